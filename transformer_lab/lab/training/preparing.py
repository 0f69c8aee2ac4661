"""How a training begins: text and model first, then its folder, optimizer and loop."""

import sqlite3
from dataclasses import replace
from typing import Any

import torch

from transformer_lab.lab.cost.estimate import choose_micro_batch
from transformer_lab.lab.cost.threads import RunThreads
from transformer_lab.lab.device import memory_free
from transformer_lab.lab.training.ending import EndingRun
from transformer_lab.lab.training.metrics import MetricStream
from transformer_lab.lab.training.origins import OriginError, Resumed, check_fit
from transformer_lab.lab.training.prompts import with_prompt
from transformer_lab.lab.training.recorded import Made
from transformer_lab.lab.training.saves import Saves
from transformer_lab.lab.training.together import check, lead, note_on
from transformer_lab.lab.training.tuning import BOTH, OldText, apply_tuning, grown_to, old_text
from transformer_lab.model import GPT, build_model
from transformer_lab.model.weights import count_parameters
from transformer_lab.recipes import Setup
from transformer_lab.runs.database import State
from transformer_lab.runs.files import Progress
from transformer_lab.runs.run import UNREADABLE, Run
from transformer_lab.settings import ConfigError
from transformer_lab.text.split import EncodedCorpus
from transformer_lab.training import Begin, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS, restore_optimizer
from transformer_lab.training.trainer import evaluation_due, validate


class StoppedError(Exception):
    """It was stopped while it was being prepared."""


class PreparedRun(EndingRun):
    """A training from nothing, or from what is stored, to its first step."""

    def prepare(self, then: State = "ready") -> None:
        """Load the text, build the model, publish it: state `ready` or `starting`, or `failed`.

        Stopped meanwhile, it leaves off, and is ended by `stop`.
        """
        try:
            self._say("")
            saved = self.origin.saved()
            past = self.origin.past()
            self.stream = MetricStream(past)
            corpus, encoded, note = self.origin.text(self._texts, self.setup, self._say)
            self._say("making the model")
            tokenizer, about = encoded.tokenizer, self.origin.finetune()
            seed = self.setup.train.seed
            model = build_model(self.setup.model, tokenizer.vocabulary_size, seed)
            if saved:
                saved = grown_to(saved, about, tokenizer)
                check_fit(model, saved)
                model.load_state_dict(dict(saved.weights))
                self.update(step=saved.progress.step)
            self.parameters = count_parameters(model)
            self.trained = apply_tuning(model, about, saved, tokenizer, seed)
            self.made = Made(corpus, encoded, self._placed(model), saved)
            self._old = self._old_text(encoded)
            losses = [p.validation_loss for p in past if p.validation_loss is not None]
            self.validation_loss = losses[-1] if losses else None
            self.publish(announce=then == "ready", evaluated=True)  # else when it begins
            self.move(then, note=note)
        except StoppedError:
            pass
        except ConfigError as error:
            self._give_up("failed", str(error), field=error.field)
        except OriginError as error:
            self._give_up("failed", str(error))
        except UNREADABLE as error:
            if not self.origin.reads:
                raise
            self._give_up("failed", f"{self.origin.reads} cannot be read ({error}): it is damaged.")
        except RuntimeError as error:  # memory, mostly
            self._give_up("failed", f"The model could not be made: {error}")
        finally:
            self.live.doing = ""

    def _placed(self, model: GPT) -> GPT:
        """On its device; one that is to be split comes there in pieces, when it begins."""
        return model.to(self.device.device) if self.ranks.whole else model

    def _old_text(self, encoded: EncodedCorpus) -> OldText | None:
        """What the base of a fine-tuning was judged on."""
        if (about := self.origin.finetune()) is None:
            return None
        tokenizer = encoded.tokenizer.to_json()
        return old_text(self._texts, self.setup, about, tokenizer, self.device.device, self._say)

    def _say(self, words: str) -> None:
        """What preparing is busy with; a good moment to leave off."""
        if self.status.state == "stopping":
            raise StoppedError
        self.live.doing = words

    def begin(self, setup: Setup) -> None:
        """Take the next step soon: open the run's folder, make optimizer and loop."""
        if self.status.state != "starting" or self.made is None:
            return  # it failed, or `stop` comes next
        made = self.made
        self.setup = with_prompt(setup, made.corpus, made.encoded.tokenizer)
        progress = made.saved.progress if made.saved else Progress()
        try:
            check(self.ranks, setup, self.device.device.type, self.origin.finetune())
            self.live.micro_batch = self.origin.micro_batch() or choose_micro_batch(
                setup,
                made.encoded.tokenizer.vocabulary_size,
                self.device.device.type,
                memory_free(),
            )
            self._threads = RunThreads(
                self.live, setup, self.device.device.type, self.origin.threads()
            )
            manifest = self._manifest(made)
            self._writer = self.origin.open(self._store, self.recipe, manifest)
        except ConfigError as error:
            self._give_up("failed", str(error), field=error.field)
            return
        except (OSError, sqlite3.Error) as error:
            why = getattr(error, "strerror", None) or error
            folder = self._store.folder
            self._give_up("failed", f"The run's folder could not be made in {folder}: {why}.")
            return
        run = Run(self._writer.folder)
        self.update(run_id=run.id)
        self.on_open()
        self._saves = Saves(run, setup.train, self._note, self.ranks)
        self._saves.started_at(self.status.step)
        self._go_on(made, progress)
        self.made = made.lighter()
        self.attempt = run.attempts()
        self.peaks = tuple(x for x in run.changes(after=0) if x.name == "learning_rate")
        if isinstance(self.origin, Resumed) and (words := self.origin.note(manifest)):
            self.update(note=words)
        for note in self.status.notes:
            self._writer.event("note", self.status.step, note)
        if words := note_on(self.ranks, setup):
            self._note(words)
        if not self._change("running"):
            return  # `stop` comes next
        self._compare_texts(made)
        self.publish(evaluated=True)
        self._saves.remember_moment(self._now())

    def _compare_texts(self, made: Made) -> None:
        """Measure a fine-tuning on both texts before its first step."""
        if self._old is None:
            return
        if self._old.problem:
            self._note(self._old.problem)
        if self.status.step == 0:
            torch.set_num_threads(self.threads)
            validation = self._batches(made.encoded.validation, self.device.device, 0)
            new = validate(made.model, validation, self.setup.train, self.live, 0)
            self._record_both(new)

    def _record_both(self, new: float | None) -> None:
        """Keep the losses on the new text and on the old one."""
        if self._old is not None and self.made is not None:
            found = self._old.losses(self.made.model, self.live, self.status.step, new)
            if found:
                self.writer.event(BOTH, self.status.step, found.model_dump_json())

    def _go_on(self, made: Made, progress: Progress) -> None:
        """The optimizer and the loop, as they were after the steps already taken."""
        config, device, origin = self.setup.train, self.device.device, self.origin
        self._optimizer = OPTIMIZERS[config.optimizer](made.model, config)
        if made.saved and progress.optimizer == config.optimizer:
            restore_optimizer(made.model, self._optimizer, made.saved.remembered)
        elif made.saved:
            self.update(note="The optimizer begins without a memory of earlier gradients.")
        if isinstance(origin, Resumed):
            self.live.learning_rate = progress.learning_rate
            self.live.uncompiled = progress.uncompiled
            self.live.replay = origin.run.changes(after=progress.step)
        if best := origin.best():
            self._saves.restore_best(best, self.setup.model, made.encoded.tokenizer)
        validation = self._batches(made.encoded.validation, device, 0)
        if isinstance(origin, Resumed):
            self._make_up(made.model, validation)
        self._optimizer = lead(
            self.ranks, self.setup, made, self._optimizer, progress.step, origin.seams(), self.live
        )
        latest, seams = self.stream.latest(), origin.seams()
        self._steps = train(
            made.model,
            self._optimizer,
            self._batches(made.encoded.training, device, config.seed),
            validation,
            config,
            self.live,
            Begin(
                step=progress.step,
                seconds=latest[-1].seconds if latest else 0.0,
                seam=seams[-1].step if seams else 0,
            ),
            self.ranks,
        )

    def _make_up(self, model: GPT, validation: Batches) -> None:
        """Measure the validation loss of the last step, when stopping cut that short."""
        config = self.setup.train
        for point in self.stream.latest():
            if point.validation_loss is None and evaluation_due(point.step, config):
                torch.set_num_threads(self.threads)
                loss = validate(model, validation, config, self.live, point.step)
                point = replace(point, validation_loss=loss)
                self.stream = MetricStream([*self.stream.since()[0][:-1], point])
                self.writer.append(point)
                self.validation_loss = loss
                self._saves.remember_best(self.snapshot, loss)
                self._record_both(loss)

    def _batches(self, tokens: Any, device: torch.device, seed: int) -> Batches:
        return Batches(
            torch.from_numpy(tokens).to(device),
            self.setup.train.batch_size,
            self.setup.model.sequence_length,
            seed,
            self.setup.train.piece,
        )
