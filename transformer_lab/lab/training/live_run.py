"""One training in the worker's hands, from laying out the model to the last save.

The methods that change it run on the worker's thread; `status`, `snapshot` and `stream` may be read
from any other. Which state may follow which is in `states.py`: whoever wants something of a
training moves it to `starting`, `pausing` or `stopping` and has the worker do it.
"""

import itertools
import math
import sqlite3
import statistics
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from transformer_lab.exchange import ExportRefusedError
from transformer_lab.lab.device import DeviceChoice, choose_device, environment, memory_free
from transformer_lab.lab.shelves import give_back
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.estimate import choose_micro_batch
from transformer_lab.lab.training.metrics import MetricStream
from transformer_lab.lab.training.origins import New, Origin, OriginError, Resumed, check_fit
from transformer_lab.lab.training.prompts import with_prompt
from transformer_lab.lab.training.rescue import packed, rescued
from transformer_lab.lab.training.saves import Saved, Saves
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.states import BEGUN, NEXT, Lifecycle
from transformer_lab.lab.training.threads import MEASURED, RunThreads
from transformer_lab.lab.training.tuning import BOTH, OldText, old_text, prepare
from transformer_lab.model import GPT, build_model
from transformer_lab.model.lora import plain_weights
from transformer_lab.model.weights import count_parameters, outline
from transformer_lab.recipes import Setup
from transformer_lab.runs.database import RunWriter, State
from transformer_lab.runs.files import Progress
from transformer_lab.runs.moments import is_landmark
from transformer_lab.runs.run import UNREADABLE, Run
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import EncodedCorpus
from transformer_lab.training import (
    Begin,
    Change,
    LiveSettings,
    NonFiniteLossError,
    StepMetrics,
    train,
)
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS, Optimizer, restore_optimizer
from transformer_lab.training.schedule import rate_factor
from transformer_lab.training.trainer import evaluation_due, validate

LATEST_STEPS = 50  # that tell how much time passes between two
SNAPSHOT_SECONDS = 1.0
SNAPSHOT_SHARE = 50  # publishing may take at most this fraction of the time
RETRY_SECONDS = 5.0  # between two tries to save what a full disk did not take
KEPT_IN_MEMORY = (
    "Nothing is lost as long as the lab runs: make room on the disk, and it is saved by itself, or "
    "when you press Stop. Or take the whole run away (Runs tab). Deleting it gives it up."
)


class StoppedError(Exception):
    """It was stopped while it was being prepared."""


@dataclass(frozen=True)
class Made:
    """What preparing a training makes: the text and the model."""

    corpus: Corpus
    encoded: EncodedCorpus
    model: GPT
    saved: Saved | None

    def lighter(self) -> "Made":
        """The same, but of what was saved only how far it was: the rest is in use by now."""
        saved = self.saved and replace(self.saved, weights={}, remembered={})
        return replace(self, saved=saved)


class LiveRun(Lifecycle):
    """A training and everything it needs; a lane of the worker."""

    def __init__(
        self,
        setup: Setup,
        recipe: str,
        store: RunStore,
        texts: Texts,
        on_snapshot: Callable[["LiveRun", bool], None],
        origin: Origin | None = None,
        *,
        race: str = "",
        lane: str = "",
        item: str = "",
    ) -> None:
        """`race` and `lane` name the race it takes part in, and what it is called there.

        `item` is what it is in the queue, where it waited.
        """
        self.setup = setup
        self.recipe = recipe
        self.race = race
        self.lane = lane
        self.item = item
        self.origin = origin or New()
        super().__init__(self.origin.run.id if isinstance(self.origin, Resumed) else "")
        self.snapshot: Snapshot | None = None
        self.stream = MetricStream()
        self.live = LiveSettings()
        self.device: DeviceChoice = choose_device(setup.train.device)
        self.on_open: Callable[[], None] = lambda: None  # called when its folder is there
        self.parameters = 0
        self.trained = 0  # numbers that learn in a fine-tuning
        self.made: Made | None = None
        self.validation_loss: float | None = None
        self.attempt = 0
        self.begun = time.time()
        self.peaks: tuple[Change, ...] = ()
        self._store = store
        self._texts = texts
        self._on_snapshot = on_snapshot
        self._writer: RunWriter | None = None
        self._steps: Generator[StepMetrics, None, None] | None = None
        self._published = 0.0
        self._old: OldText | None = None
        self.unsaved = ""  # why its end is not on disk yet, in a sentence
        self._ending: tuple[State, str] | None = None  # the state and reason it is to end with
        self._tried = 0.0
        self._kept_in: Path | None = None
        self._ends: deque[tuple[int, float]] = deque(maxlen=LATEST_STEPS)  # of steps, and when

    @property
    def between(self) -> float:
        """Seconds from the end of one step to that of the next, other lanes' steps included."""
        pairs = list(itertools.pairwise(self._ends))
        found = [(end - begun) / (step - before) for (before, begun), (step, end) in pairs]
        return statistics.median(found) if found else 0.0

    @property
    def threads(self) -> int:
        """CPU threads it computes on now; 0 before it begins."""
        return self.live.threads

    # --- from nothing to the first step -------------------------------------------------------

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
            vocabulary_size = encoded.tokenizer.vocabulary_size
            model = build_model(self.setup.model, vocabulary_size, self.setup.train.seed)
            if saved:
                check_fit(model, saved)
                model.load_state_dict(dict(saved.weights))
                self.update(step=saved.progress.step)
            self.parameters = count_parameters(model)
            self.trained = prepare(model, self.origin.finetune(), saved, self.setup.train.seed)
            self.made = Made(corpus, encoded, model.to(self.device.device), saved)
            self._old = self._old_text(encoded)
            losses = [p.validation_loss for p in past if p.validation_loss is not None]
            self.validation_loss = losses[-1] if losses else None
            self.publish(announce=False)
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

    def _give_up(self, state: State, reason: str, *, field: str = "") -> None:
        """It ends before its first step; what is on disk of it stays as it was."""
        if self._writer is not None:
            self._writer.state(state, self.status.step, reason)
        self._let_go(state, reason, field)

    def begin(self, setup: Setup) -> None:
        """Take the next step soon: open the run's folder, make optimizer and loop."""
        if self.status.state != "starting" or self.made is None:
            return  # it failed, or `stop` comes next
        made = self.made
        self.setup = with_prompt(setup, made.corpus, made.encoded.tokenizer)
        progress = made.saved.progress if made.saved else Progress()
        try:
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
        self._saves = Saves(run, setup.train, self._note)
        self._saves.started_at(self.status.step)
        self._go_on(made, progress)
        self.made = made.lighter()
        self.attempt = run.attempts()
        self.peaks = tuple(x for x in run.changes(after=0) if x.name == "learning_rate")
        if isinstance(self.origin, Resumed) and (words := self.origin.note(manifest)):
            self.update(note=words)
        if self.status.note:
            self._writer.event("note", self.status.step, self.status.note)
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
        self._optimizer: Optimizer = OPTIMIZERS[config.optimizer](made.model, config)
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

    # --- step by step -------------------------------------------------------------------------

    def advance(self) -> None:
        """One step, kept in memory and on disk; a fresh snapshot and a save when it is time."""
        if change := self._threads.before(self.status.step + 1):
            self.writer.change(change)
        metrics = self._take_step()
        if metrics is None:
            if not self.live.stop:  # else the step was given up, and `stop` comes next
                self._end("finished")
            return
        self._record_changes(metrics)
        self._record_both(metrics.validation_loss)
        self._ends.append((metrics.step, time.monotonic()))
        if metrics.step == self.setup.train.steps:
            self._end("finished", validation_loss=metrics.validation_loss)
            return
        if metrics.validation_loss is not None or self._snapshot_due():
            self.publish(evaluated=metrics.validation_loss is not None)
            self._saves.remember_best(self.snapshot, metrics.validation_loss)
        if metrics.validation_loss is not None or is_landmark(metrics.step):
            self._saves.remember_moment(self._now())
        if self._saves.due(metrics.step):
            self.save()

    def _take_step(self) -> StepMetrics | None:
        """One step, or as many as a GPU is ahead; the last one's metrics, None when none came."""
        assert self._steps is not None
        for metrics in self._steps:
            self.stream.append(metrics)
            if metrics.validation_loss is not None:  # 0.0 is a loss
                self.validation_loss = metrics.validation_loss
            self.update(step=metrics.step)
            if trouble := self.writer.append(metrics):
                self.update(note=trouble)
            if self.live.ahead == 0:
                return metrics
        return None

    def _record_changes(self, metrics: StepMetrics) -> None:
        """What the training changed by itself, and what it has to say."""
        found, notes = self._threads.took(metrics)
        if change := self._threads.changed(metrics.step):
            self.writer.change(change)
        if found:
            self.writer.event(MEASURED, metrics.step, found)
        self.live.notes += notes
        while self.live.made:
            self.writer.change(self.live.made.pop(0))
        while self.live.notes:
            self._note(self.live.notes.pop(0))

    def _note(self, sentence: str) -> None:
        """Something the learner should know of this run."""
        if sentence == self.status.note:  # it was said just now
            return
        self.writer.event("note", self.status.step, sentence)
        self.update(note=sentence)

    def pause(self) -> None:
        """Rest after the current step; the weights are saved."""
        self.move("pausing")
        if self.status.state == "pausing":
            self.publish()
            self.save()
            self._change("paused")

    def resume(self) -> None:
        """Go on where it paused."""
        if self._ending:
            self._finish()
        elif self.status.state == "paused":
            self._ends.clear()
            self._change("running")

    def stop(self, reason: str = "", state: State = "stopped") -> None:
        """End early; the weights are saved. As `interrupted` it ends for good, saved or not."""
        if self.ended:
            return
        self.move("stopping")
        last_try = state == "interrupted"
        if self._ending:
            self._finish(last_try=last_try)
        else:
            self._end(state, reason, last_try=last_try)

    def set_learning_rate(self, rate: float) -> None:
        """Use another peak learning rate from the next step on."""
        if self.status.state in BEGUN:
            self.live.learning_rate = rate
            self.live.replay = [x for x in self.live.replay if x.name != "learning_rate"]
            change = Change(self.status.step, "learning_rate", rate)
            self.peaks = (*(x for x in self.peaks if x.after < change.after), change)
            self.writer.change(change)

    def next_rate(self, peak: float) -> float:
        """The learning rate that the schedule makes of a peak at the next step."""
        train, seams = self.setup.train, self.origin.seams()
        step = min(self.status.step + 1, train.steps)
        return peak * rate_factor(train.phases(seams[-1].step if seams else 0), step)

    def fail(self, error: Exception) -> None:
        """The training raised: keep the last good weights and say why."""
        if self.ended:  # it was the ending itself that raised
            return
        known = isinstance(error, NonFiniteLossError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or "not enough memory" in reason:
            reason = (
                "There was not enough memory for even one sequence: halve Sequence Length, "
                "Layers or Embedding Dimension."
            )
        self._end("failed", reason)

    # --- what is published and saved ----------------------------------------------------------

    def publish(self, *, announce: bool = True, evaluated: bool = False) -> None:
        """Copy the weights for others to read, and tell the observers."""
        started = time.monotonic()
        now = self._now()
        weights = {name: value.clone() for name, value in now.weights.items()}
        self.snapshot = replace(now, weights=weights)
        self._published = time.monotonic()
        self._snapshot_pause = max(SNAPSHOT_SECONDS, SNAPSHOT_SHARE * (self._published - started))
        if announce:
            self._on_snapshot(self, evaluated)

    def _now(self) -> Snapshot:
        """The weights themselves, not a copy: for the worker's thread, until the next step."""
        assert self.made is not None
        return Snapshot(
            run_id=self.status.run_id,
            step=self.status.step,
            config=self.setup.model,
            tokenizer=self.made.encoded.tokenizer,
            weights=plain_weights(self.made.model),
        )

    def save(self) -> bool:
        """Write the best weights, then all that is needed to go on; whether that is on disk.

        The metrics come first: a save must never be ahead of the curve that leads to it.
        """
        assert self.made is not None
        if trouble := self.writer.flush_through():
            self.update(note=trouble)
        tokenizer = self.made.encoded.tokenizer
        return self._saves.save(self.made.model, self._optimizer, tokenizer, self._progress())

    def keep(self) -> str:
        """Save this moment for good; on the worker's thread, between two steps.

        The answer is a sentence when that was not possible, else empty.
        """
        if self.made is None or self.ended:
            return "The training has ended before this moment could be kept."
        tokenizer = self.made.encoded.tokenizer
        if not self._saves.keep(self.made.model, self._optimizer, tokenizer, self._progress()):
            return self._saves.problem
        return self.writer.event("kept", self.status.step, "")

    def _progress(self) -> Progress:
        return Progress(
            step=self.status.step,
            optimizer=self.setup.train.optimizer,
            learning_rate=self.live.learning_rate,
            micro_batch=self.live.micro_batch,
            uncompiled=self.live.uncompiled,
            best_loss=None if math.isinf(self._saves.best_loss) else self._saves.best_loss,
        )

    def forget(self) -> None:
        """Let go of what only training needs, once it has ended; `snapshot` has the weights."""
        if self.made is not None:
            vocabulary_size = self.made.encoded.tokenizer.vocabulary_size
            shape = outline(self.setup.model, vocabulary_size)
            self.made = replace(self.made.lighter(), model=shape)
        vars(self).pop("_optimizer", None)
        if "_saves" in vars(self):
            self._saves.best = None  # on disk, or in `snapshot`
        give_back()

    @property
    def writer(self) -> RunWriter:
        """The pen of the run's folder, once it has begun."""
        assert self._writer is not None
        return self._writer

    def _end(
        self,
        state: State,
        reason: str = "",
        *,
        validation_loss: float | None = None,
        last_try: bool = False,
    ) -> None:
        """Save, record the state, let go of the folder: every end of a training comes here."""
        if self._steps is None:
            self._give_up(state, reason)
            return
        self._ending = state, reason
        try:
            self._steps.close()
            self.publish(announce=False)
            self._saves.remember_best(self.snapshot, validation_loss)
            self._saves.remember_moment(self.snapshot, last=True)
        except BaseException:
            self._let_go(state, reason)
            raise
        self._finish(last_try=last_try)

    def _finish(self, *, last_try: bool = False) -> None:
        """Put the end on disk. Where that is full, all of it stays in memory, to be tried again."""
        assert self._ending is not None
        state, reason = self._ending
        try:
            self.unsaved = self._unwritten(state, reason)
        except BaseException:
            self._let_go(state, reason)
            raise
        self._tried = time.monotonic()
        if self.unsaved and not last_try:
            self.move("paused")
            self.update(reason=f"{self.unsaved} {KEPT_IN_MEMORY}")
            return
        if self.unsaved:
            state = "failed" if state == "failed" else "interrupted"
            reason = f"{reason} {self.unsaved}".strip()
            self.writer.state(state, self.status.step, reason)
        self._let_go(state, reason)
        self._on_snapshot(self, True)

    def try_again(self) -> None:
        """Put the end on disk that it did not take before, if it is time for that."""
        if self._ending and not self.ended and time.monotonic() - self._tried > RETRY_SECONDS:
            self._finish()

    def abandon(self, kept_in: Path | None = None) -> None:
        """Let go of an end that the disk did not take; all of it may be kept elsewhere."""
        if self._ending and not self.ended:
            self._kept_in = kept_in
            self._finish(last_try=True)

    def rescue(self, folders: Sequence[Path]) -> Path | None:
        """Write all there is to a .zip in the first of the folders that has room for it."""
        if not self._ending or self.made is None:
            return None
        for folder in folders:
            try:
                with rescued(self.writer, folder) as copy:
                    saves = Saves(copy, self.setup.train, lambda problem: None)
                    saves.best, saves.best_loss = self._saves.best, self._saves.best_loss
                    tokenizer = self.made.encoded.tokenizer
                    progress = self._progress()
                    if saves.save(self.made.model, self._optimizer, tokenizer, progress):
                        return packed(copy, folder)
            except (OSError, sqlite3.Error, ExportRefusedError):
                continue
        return None

    def _unwritten(self, state: State, reason: str) -> str:
        """Write all there is to the end; a sentence when the disk does not take it."""
        if not self.save():
            return self._saves.problem
        self._prefer_best()
        return self.writer.flush() or self.writer.state(state, self.status.step, reason)

    def _let_go(self, state: State, reason: str, field: str = "") -> None:
        """The training is over: anyone may go on with its folder, or delete it."""
        self._ending, told = None, ""
        try:
            if self._writer is not None:
                told = self._close_writer(self._writer)
        finally:
            self.origin.release()
            self.move("stopping")
            self.move(state, reason=f"{reason} {told}".strip(), field=field)

    def _close_writer(self, writer: RunWriter) -> str:
        """Let go of the folder; a sentence when not all is in it, else empty."""
        if self._kept_in:
            writer.discard()
        return writer.close() or (f"All of it is in {self._kept_in}." if self._kept_in else "")

    def _prefer_best(self) -> None:
        """Where that was asked for, write with the best weights from now on."""
        best, loss = self._saves.best, self._saves.best_loss
        if best and self.setup.train.keep_best and best.step != self.status.step:
            self._note(
                f"It writes with the weights of step {best.step:,}, where the validation loss was "
                f"lowest ({loss:.3f})."
            )
            self.snapshot = best

    def _change(self, state: State) -> bool:
        """Record another state and go to it, unless something else was asked for meanwhile."""
        if state not in NEXT[self.status.state]:
            return False
        self.writer.state(state, self.status.step)
        return self.move(state)

    def _snapshot_due(self) -> bool:
        return time.monotonic() - self._published >= self._snapshot_pause

    def _batches(self, tokens: Any, device: torch.device, seed: int) -> Batches:
        return Batches(
            torch.from_numpy(tokens).to(device),
            self.setup.train.batch_size,
            self.setup.model.sequence_length,
            seed,
            self.setup.train.piece,
        )

    def _manifest(self, made: Made) -> dict[str, Any]:
        """What run.json records: everything needed to know what this run really was."""
        self._store.folder.mkdir(parents=True, exist_ok=True)
        return {
            "recipe": self.recipe,
            "setup": self.setup.to_mapping(),
            "corpus": {
                "name": made.corpus.name,
                "title": made.corpus.title,
                "source": made.corpus.source,
                "sha256": made.corpus.sha256,
                "characters": made.corpus.characters,
                "distinct_characters": made.corpus.distinct_characters,
                "asked_for": self.setup.data.corpus,
                "training_tokens": len(made.encoded.training),
                "validation_tokens": len(made.encoded.validation),
                "validation_bytes": made.encoded.validation_bytes,
                "unknown_share": made.encoded.unknown_share,
            },
            "tokenizer": made.encoded.tokenizer.to_json(),
            "parameters": self.parameters,
            "device": {"name": self.device.name, "reason": self.device.reason},
            "threads": self.threads,
            "micro_batch": self.live.micro_batch,
            "environment": environment(self._store.folder),
            **self._finetune(),
            **({"race": self.race, "lane": self.lane} if self.race else {}),
        }

    def _finetune(self) -> dict[str, Any]:
        """What run.json records of a fine-tuning."""
        about = self.origin.finetune()
        return {"finetune": {**about, "trained": self.trained}} if about else {}
