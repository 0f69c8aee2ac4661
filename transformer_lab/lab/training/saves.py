"""When a training is saved, and what of it is kept.

The last two saves, the best weights, and the moments a learner chose: each is one folder that a
crash cannot spoil.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.model import GPT, ModelConfig
from transformer_lab.model.lora import factors
from transformer_lab.runs.checkpoint import (
    META,
    OPTIMIZER,
    PROGRESS,
    CheckpointError,
    load_adapter,
    load_checkpoint,
    load_training,
    save_checkpoint,
)
from transformer_lab.runs.files import Meta, Progress, read_progress
from transformer_lab.runs.moments import Moments, is_landmark
from transformer_lab.runs.record import RecordError, checked
from transformer_lab.runs.run import Run, step_of
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.training import TrainConfig
from transformer_lab.training.optimizers import Optimizer
from transformer_lab.training.ranks import ALONE, Ranks

KEPT_SAVES = 2
SAVE_SHARE = 30  # saving by time may take at most this fraction of the time
MOMENT_SHARE = 50  # the same of moments


@dataclass(frozen=True)
class Saved:
    """A checkpoint in memory; `remembered` is empty where only weights were saved.

    `adapter` holds the numbers of a fine-tuning that stand beside those of its base.
    """

    weights: Mapping[str, Tensor]
    tokenizer: Mapping[str, Any]
    remembered: Mapping[str, Tensor]
    progress: Progress
    adapter: Mapping[str, Tensor] = field(default_factory=dict)


def newest_save(run: Run) -> tuple[Saved | None, list[tuple[Path, str]]]:
    """The newest checkpoint that is whole, and those that are not, each with the reason."""
    damaged: list[tuple[Path, str]] = []
    for folder in run.resume_points():
        try:
            return read_save(folder), damaged
        except CheckpointError as error:
            damaged.append((folder, str(error)))
    return None, damaged


def read_save(folder: Path) -> Saved:
    """A checkpoint. Raises CheckpointError."""
    weights, tokenizer, meta = load_checkpoint(folder)
    remembered, stored = load_training(folder)
    beside = load_adapter(folder)
    adapter = {key: value for key, value in beside.items() if "/" not in key}
    remembered |= {key: value for key, value in beside.items() if "/" in key}
    for key, value in remembered.items():
        weight = {**weights, **adapter}.get(key.rpartition("/")[0])
        if weight is None or value.shape not in (weight.shape, torch.Size([])):
            raise CheckpointError(f"{folder / OPTIMIZER} belongs to another model ({key}).")
    step = checked_meta(folder, meta).step
    try:
        progress = read_progress(stored, PROGRESS) if stored else Progress(step=step)
    except RecordError as error:
        raise CheckpointError(f"{folder} does not say how far it is. {error}") from error
    return Saved(weights, tokenizer, remembered, progress, adapter)


def checked_meta(folder: Path, meta: object) -> Meta:
    """What meta.json says. Raises CheckpointError."""
    try:
        return checked(Meta, meta, META)
    except RecordError as error:
        raise CheckpointError(f"{folder} is not a whole checkpoint. {error}") from error


class Saves:
    """The checkpoints of a run that is being trained; used on the worker's thread only.

    `trouble` is called with a sentence when a save fails; `problem` holds it until one succeeds.
    `ranks` know the whole of a model.
    """

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        trouble: Callable[[str], None],
        ranks: Ranks = ALONE,
    ) -> None:
        self._run = run
        self._ranks = ranks
        self._folder = run.folder / "checkpoints"
        self._config = config
        self._trouble = trouble
        self._saved_step = 0
        self._saved_at = time.monotonic()
        self._took = 0.0
        self.best: Snapshot | None = None  # of the lowest validation loss
        self.best_loss = math.inf
        self.problem = ""
        self._moments = Moments(run.folder)
        self._next_moment = 0.0

    def restore_best(self, saved: Saved, config: ModelConfig, tokenizer: Tokenizer) -> None:
        """The best weights of earlier, which only lower ones replace."""
        step, weights = saved.progress.step, dict(saved.weights)
        self.best = Snapshot(self._run.id, step, config, tokenizer, weights)
        loss = saved.progress.best_loss
        self.best_loss = math.inf if loss is None else loss

    def remember_best(self, snapshot: Snapshot | None, validation_loss: float | None) -> None:
        """A snapshot is the best so far, if its validation loss is the lowest."""
        if validation_loss is not None and validation_loss < self.best_loss:
            self.best, self.best_loss = snapshot, validation_loss

    def remember_moment(self, now: Snapshot | None, *, last: bool = False) -> None:
        """Keep weights in 16 bits, for later inspection, within a small share of the time.

        Landmarks and the last moment always stay.
        """
        begun = time.monotonic()
        if now is None or (begun < self._next_moment and not last and not is_landmark(now.step)):
            return
        try:
            self._moments.add(now.step, now.weights)
        except OSError as error:
            self._trouble(f"Step {now.step:,} could not be kept: {error.strerror or error}.")
        took = time.monotonic() - begun
        self._next_moment = time.monotonic() + MOMENT_SHARE * took

    def due(self, step: int) -> bool:
        """Whether it is time for a save, by steps or by the clock."""
        every = self._config.save_every
        if every and step // every > self._saved_step // every:
            return True
        pause = max(60 * self._config.save_minutes, SAVE_SHARE * self._took)
        return self._config.save_minutes > 0 and time.monotonic() - self._saved_at >= pause

    def started_at(self, step: int) -> None:
        """The training begins, or goes on, after `step` steps."""
        self._saved_step = step

    def save(
        self, model: GPT, optimizer: Optimizer, tokenizer: Tokenizer, progress: Progress
    ) -> bool:
        """Save the best weights, then all a training needs to go on; whether that is on disk."""
        begun, done = time.monotonic(), True
        if self.best:
            best = Progress(step=self.best.step, best_loss=self.best_loss)
            done = self._save_best(self.best.weights, tokenizer, best)
        done &= self._write_all("step", model, optimizer, tokenizer, progress)
        self._saved_step, self._saved_at = progress.step, time.monotonic()
        self._took = self._saved_at - begun
        if done:
            for old in self._run.checkpoints()[:-KEPT_SAVES]:
                shutil.rmtree(old, ignore_errors=True)
        return done

    def keep(
        self, model: GPT, optimizer: Optimizer, tokenizer: Tokenizer, progress: Progress
    ) -> bool:
        """Save this moment for good; whether that is on disk now."""
        return self._write_all("kept", model, optimizer, tokenizer, progress)

    def stays(self) -> str:
        """What is saved by now: "step 100 stays", or "nothing of this run is"."""
        newest = max(map(step_of, self._run.resume_points()), default=None)
        return "nothing of this run is" if newest is None else f"step {newest:,} stays"

    def _write_all(
        self, kind: str, model: GPT, optimizer: Optimizer, tokenizer: Tokenizer, progress: Progress
    ) -> bool:
        """Write all a training needs to go on; what stands beside the weights in its own file."""
        remembered, adapter = self._ranks.memory(model, optimizer), dict(factors(model))
        for key in [key for key in remembered if key.rpartition("/")[0] in adapter]:
            adapter[key] = remembered.pop(key)
        weights = self._ranks.weights(model)
        return self._write(kind, weights, tokenizer, progress, remembered, adapter)

    def _save_best(
        self, weights: Mapping[str, Tensor], tokenizer: Tokenizer, progress: Progress
    ) -> bool:
        """Save the weights of the lowest validation loss, in place of those before."""
        done = self._write("best", weights, tokenizer, progress)
        if done:
            for old in self._run.best_checkpoints():
                if step_of(old) != progress.step:
                    shutil.rmtree(old, ignore_errors=True)
        return done

    def _write(
        self,
        kind: str,
        weights: Mapping[str, Tensor],
        tokenizer: Tokenizer,
        progress: Progress,
        remembered: Mapping[str, Tensor] | None = None,
        adapter: Mapping[str, Tensor] | None = None,
    ) -> bool:
        """Write a checkpoint unless it is there."""
        folder = self._folder / f"{kind}-{progress.step:08d}"
        if folder.exists():
            return True
        meta = {"step": progress.step, "run": self._run.id, "best_loss": progress.best_loss}
        try:
            save_checkpoint(
                folder,
                weights,
                tokenizer.to_json(),
                meta,
                optimizer=remembered,
                progress=asdict(progress),
                adapter=adapter,
            )
        except OSError as error:
            self.problem = (
                f"The weights of step {progress.step:,} could not be saved: "
                f"{error.strerror or error} ({self.stays()} saved)."
            )
            self._trouble(self.problem)
            return False
        self.problem = ""
        return True


def best_save(run: Run) -> Saved | None:
    """The best weights on disk; None when there are none that are whole."""
    for folder in run.best_checkpoints()[::-1]:
        try:
            weights, tokenizer, meta = load_checkpoint(folder)
            known = checked_meta(folder, meta)
        except CheckpointError:
            continue
        if known.best_loss is not None:
            progress = Progress(step=known.step, best_loss=known.best_loss)
            return Saved(weights, tokenizer, {}, progress)
    return None
