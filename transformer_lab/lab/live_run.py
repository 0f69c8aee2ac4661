"""One training in the worker's hands, from laying out the model to the last save.

The methods that change it run on the worker's thread; `status`, `snapshot` and `stream` may be read
from any other.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transformer_lab.lab.device import (
    DeviceChoice,
    choose_device,
    environment,
    memory_free,
    thread_count,
)
from transformer_lab.lab.estimate import choose_micro_batch
from transformer_lab.lab.metrics import MetricStream
from transformer_lab.lab.runs import RunStore, RunWriter, State
from transformer_lab.model import GPT, ModelConfig, build_model, model_from_weights
from transformer_lab.model.weights import count_parameters
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import EncodedCorpus, Progress
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.training import LiveSettings, NonFiniteLossError, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.checkpoint import save_checkpoint
from transformer_lab.training.optimizers import OPTIMIZERS

SNAPSHOT_SECONDS = 1.0
SNAPSHOT_SHARE = 50  # publishing may take at most this fraction of the time
KEPT_SAVES = 2


@dataclass(frozen=True)
class Snapshot:
    """A private copy of a model's weights after `step` steps, for others to read."""

    run_id: str
    step: int
    config: ModelConfig
    tokenizer: Tokenizer
    weights: dict[str, Tensor]

    def model(self) -> GPT:
        """A model with these weights, for reading."""
        return model_from_weights(self.config, self.tokenizer.vocabulary_size, self.weights)


@dataclass(frozen=True)
class Status:
    """Where a training stands; only the worker's thread changes it."""

    state: State
    reason: str = ""
    run_id: str = ""
    step: int = 0
    note: str = ""
    field: str = ""


@dataclass(frozen=True)
class Made:
    """What preparing a training makes: the text and the model."""

    corpus: Corpus
    encoded: EncodedCorpus
    model: GPT


class LiveRun:
    """A training and everything it needs; a lane of the worker."""

    def __init__(
        self,
        setup: Setup,
        recipe: str,
        store: RunStore,
        load: Callable[[Setup, Progress], tuple[Corpus, EncodedCorpus, str]],
        on_snapshot: Callable[["LiveRun", bool], None],
    ) -> None:
        self.setup = setup
        self.recipe = recipe
        self.status = Status("preparing")
        self.snapshot: Snapshot | None = None
        self.stream = MetricStream()
        self.live = LiveSettings()
        self.device: DeviceChoice = choose_device(setup.train.device)
        self.wish = ""  # what was asked for and waits for the end of the current step
        self.parameters = 0
        self.made: Made | None = None
        self.validation_loss: float | None = None
        self.best: Snapshot | None = None  # of the lowest validation loss
        self._best_loss = math.inf
        self._store = store
        self._load = load
        self._on_snapshot = on_snapshot
        self._writer: RunWriter | None = None
        self._published = 0.0

    @property
    def active(self) -> bool:
        """Whether the worker should advance it."""
        return self.status.state == "running"

    @property
    def ended(self) -> bool:
        """Whether it will never take another step."""
        return self.status.state in ("finished", "stopped", "failed")

    @property
    def busy(self) -> bool:
        """Whether it is neither ended nor merely initialized."""
        return self.status.state in ("preparing", "running", "paused") or self.wish == "starting"

    def prepare(self) -> None:
        """Load the text, build the model, publish it untrained: state `ready`, or `failed`."""
        try:
            corpus, encoded, note = self._load(self.setup, self._say)
            self._say("making the model")
            vocabulary_size = encoded.tokenizer.vocabulary_size
            model = build_model(self.setup.model, vocabulary_size, self.setup.train.seed)
            self.made = Made(corpus, encoded, model.to(self.device.device))
            self.parameters = count_parameters(model)
            self.publish(announce=False)
            self._change("ready", note=note)
        except ConfigError as error:
            self._change("failed", reason=str(error), field=error.field)
        except RuntimeError as error:  # memory, mostly
            self._change("failed", reason=f"The model could not be made: {error}")
        finally:
            self.live.doing = ""

    def _say(self, words: str) -> None:
        self.live.doing = words

    def begin(self, setup: Setup) -> None:
        """Take the first step next: make the run's folder, optimizer and loop."""
        self.wish = ""
        if self.status.state != "ready" or self.made is None or self.live.stop:
            return
        self.setup, made = setup, self.made
        try:
            self.live.micro_batch = choose_micro_batch(
                setup,
                made.encoded.tokenizer.vocabulary_size,
                self.device.device.type,
                memory_free(),
            )
            self._writer = self._store.create(self.recipe, self._manifest(made))
        except ConfigError as error:
            self._change("failed", reason=str(error), field=error.field)
            return
        except OSError as error:
            reason = (
                f"The run's folder could not be made in {self._store.folder}: {error.strerror}."
            )
            self._change("failed", reason=reason)
            return
        torch.set_num_threads(thread_count(setup.train.threads))
        config, device = setup.train, self.device.device
        self._steps = train(
            made.model,
            OPTIMIZERS[config.optimizer](made.model, config),
            self._batches(made.encoded.training, device, config.seed),
            self._batches(made.encoded.validation, device, 0),
            config,
            self.live,
        )
        self.status = replace(self.status, run_id=self._writer.run.id)
        if self.status.note:
            self._writer.event("note", 0, self.status.note)
        self._change("running")
        self.publish(evaluated=True)

    def advance(self) -> None:
        """One step, kept in memory and on disk; a fresh snapshot when it is time for one."""
        for metrics in self._steps:
            self.stream.append(metrics)
            self.validation_loss = metrics.validation_loss or self.validation_loss
            self.status = replace(self.status, step=metrics.step)
            if trouble := self.writer.append(metrics):
                self.status = replace(self.status, note=trouble)
            if self.live.ahead == 0:
                break
        else:
            if not self.live.stop:  # else the step was given up, and `stop` comes next
                self._end("finished")
            return
        while self.live.notes:
            self._note(self.live.notes.pop(0))
        if metrics.step == self.setup.train.steps:
            self._end("finished")
        elif metrics.validation_loss is not None or self._snapshot_due():
            self.publish(evaluated=metrics.validation_loss is not None)

    def _note(self, sentence: str) -> None:
        """Something the learner should know of this run."""
        self.writer.event("note", self.status.step, sentence)
        self.status = replace(self.status, note=sentence)

    def pause(self) -> None:
        """Rest after the current step; the weights are saved."""
        if self.status.state == "running":
            self.publish()
            self.save()
            self._change("paused")

    def resume(self) -> None:
        """Go on where it paused."""
        if self.status.state == "paused":
            torch.set_num_threads(thread_count(self.setup.train.threads))
            self._change("running")

    def stop(self, reason: str = "") -> None:
        """End early; the weights are saved."""
        if self.status.state in ("running", "paused"):
            self._end("stopped", reason)
        elif self.status.state == "ready":
            self._change("stopped")

    def set_learning_rate(self, rate: float) -> None:
        """Use another peak learning rate from the next step on."""
        if self.status.state in ("running", "paused"):
            self.live.learning_rate = rate
            self.writer.event("learning_rate", self.status.step, repr(rate))

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
        if self.status.state in ("running", "paused"):
            self._end("failed", reason)
        else:
            self.wish = ""
            self._change("failed", reason=reason)

    def publish(self, *, announce: bool = True, evaluated: bool = False) -> None:
        """Copy the weights for others to read, and tell the observers."""
        started = time.monotonic()
        assert self.made is not None
        state = self.made.model.state_dict()
        self.snapshot = Snapshot(
            run_id=self.status.run_id,
            step=self.status.step,
            config=self.setup.model,
            tokenizer=self.made.encoded.tokenizer,
            weights={name: value.detach().clone() for name, value in state.items()},
        )
        if evaluated and (self.validation_loss or math.inf) < self._best_loss:
            self.best, self._best_loss = self.snapshot, self.validation_loss or math.inf
        self._published = time.monotonic()
        self._snapshot_pause = max(SNAPSHOT_SECONDS, SNAPSHOT_SHARE * (self._published - started))
        if announce:
            self._on_snapshot(self, evaluated)

    def save(self) -> None:
        """Write the published weights, and the best ones, to the run's folder."""
        assert self.snapshot is not None
        folder = self.writer.run.folder / "checkpoints"
        if self._write(folder / f"step-{self.snapshot.step:08d}", self.snapshot):
            for old in self.writer.run.checkpoints()[:-KEPT_SAVES]:
                shutil.rmtree(old, ignore_errors=True)
        if self.best and self._write(folder / f"best-{self.best.step:08d}", self.best):
            for old in self.writer.run.best_checkpoints()[:-1]:
                shutil.rmtree(old, ignore_errors=True)

    def _write(self, folder: Path, snapshot: Snapshot) -> bool:
        """Save a snapshot that is not saved yet; on a full disk say so, and training goes on."""
        if folder.exists():
            return False
        try:
            save_checkpoint(
                folder,
                snapshot.weights,
                snapshot.tokenizer.to_json(),
                {"step": snapshot.step, "run": self.writer.run.id},
            )
        except OSError as error:
            step = f"{snapshot.step:,}"
            why = error.strerror or error
            self._note(f"The weights of step {step} could not be saved: {why}.")
            return False
        return True

    @property
    def writer(self) -> RunWriter:
        """The pen of the run's folder, once it has begun."""
        assert self._writer is not None
        return self._writer

    def _end(self, state: State, reason: str = "") -> None:
        """Save, record the state, let go of the folder."""
        self._steps.close()
        try:
            self.publish(announce=False, evaluated=state == "finished")
            self.save()
            if self.best and self.setup.train.keep_best and self.best.step != self.status.step:
                self._note(
                    f"It writes with the weights of step {self.best.step:,}, where the validation "
                    f"loss was lowest ({self._best_loss:.3f})."
                )
                self.snapshot = self.best
            if trouble := self.writer.state(state, self.status.step, reason):
                self.status = replace(self.status, note=trouble)
        finally:
            self.writer.close()
            self.wish = ""
            self.status = replace(self.status, state=state, reason=reason)
        self._on_snapshot(self, True)

    def _change(self, state: State, *, reason: str = "", field: str = "", note: str = "") -> None:
        self.wish = "" if self.wish != "starting" else self.wish
        if self._writer is not None:
            self._writer.state(state, self.status.step, reason)
        self.status = replace(
            self.status,
            state=state,
            reason=reason,
            field=field,
            note=note or self.status.note,
        )

    def _snapshot_due(self) -> bool:
        return time.monotonic() - self._published >= self._snapshot_pause

    def _batches(self, tokens: Any, device: torch.device, seed: int) -> Batches:
        return Batches(
            torch.from_numpy(tokens).to(device),
            self.setup.train.batch_size,
            self.setup.model.sequence_length,
            seed,
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
            "threads": thread_count(self.setup.train.threads),
            "environment": environment(self._store.folder),
        }
