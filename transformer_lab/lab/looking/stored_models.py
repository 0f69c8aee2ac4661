"""Models to generate with and to inspect: read from disk, or left by an ended training."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor

from transformer_lab.lab.shelves import Shelves
from transformer_lab.lab.training.saves import checked_meta
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.model import ModelConfig
from transformer_lab.model.weights import outline
from transformer_lab.runs.checkpoint import CheckpointError, load_checkpoint
from transformer_lab.runs.files import stored_tokenizer
from transformer_lab.runs.moments import Moments
from transformer_lab.runs.record import RecordError
from transformer_lab.runs.run import Run
from transformer_lab.settings import from_mapping
from transformer_lab.text.tokenizers import Tokenizer

LIVE = 4  # models kept that were a moment of a training, and are not on disk


class NoWeightsError(RuntimeError):
    """A run without weights that can be used; the message says why."""


class StoredModels:
    """Reads checkpoints; the shelf alone keeps them in memory, so what it lets go is gone."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelf = shelves.shelf()
        self._read: WeakValueDictionary[Path, Snapshot] = WeakValueDictionary()
        self._live: list[int] = []
        self._lock = threading.Lock()

    def keep(self, snapshot: Snapshot) -> Snapshot:
        """Keep a model for a while; of those that are not on disk only the last few."""
        name = id(snapshot)
        if not snapshot.saved:
            with self._lock:
                self._live = [*(other for other in self._live if other != name), name]
                while len(self._live) > LIVE:
                    self._shelf.drop(self._live.pop(0))
        self._shelf.keep(name, snapshot, snapshot.nbytes)
        return snapshot

    def newest(self, run: Run) -> Snapshot:
        """The weights a run is to write with; damaged ones are passed over. NoWeightsError."""
        damaged = []
        for folder in run.usable_checkpoints():
            try:
                return self.read(run, folder)
            except CheckpointError as error:
                damaged.append(str(error))
        why = " ".join(damaged) or "it was never saved."
        raise NoWeightsError(f"{run.id} has no weights that can be used: {why}")

    def read(self, run: Run, folder: Path) -> Snapshot:
        """The weights of one checkpoint. Raises CheckpointError."""
        if (known := self._known(folder)) is not None:
            return known
        weights, tokenizer, meta = load_checkpoint(folder)
        step = checked_meta(folder, meta).step
        return self._keep(folder, run, step, tokenizer, weights)

    def moment(self, run: Run, step: int) -> Snapshot:
        """The weights of one moment. Raises MomentError and DamagedRunError."""
        key = run.folder / f"moments {step} {run.attempts()}"
        if (known := self._known(key)) is not None:
            return known
        weights = Moments(run.folder).load(step)
        return self._keep(key, run, step, run.manifest["tokenizer"], weights)

    def _known(self, key: Path) -> Snapshot | None:
        known = self._read.get(key)
        return None if known is None else self.keep(known)

    def _keep(
        self, key: Path, run: Run, step: int, tokenizer: Any, weights: dict[str, Tensor]
    ) -> Snapshot:
        config = from_mapping(ModelConfig, run.manifest["setup"]["model"])
        try:
            read = stored_tokenizer(tokenizer)
        except RecordError as error:
            raise CheckpointError(f"{key.name} of {run.id} cannot be used. {error}") from error
        _check_shapes(f"{key.name} of {run.id}", config, read, weights)
        snapshot = Snapshot(run.id, step, config, read, weights, saved=True)
        self._read[key] = snapshot
        return self.keep(snapshot)


def _check_shapes(
    what: str, config: ModelConfig, tokenizer: Tokenizer, weights: Mapping[str, Tensor]
) -> None:
    """Weights must be those of the model that run.json describes."""
    expected = outline(config, tokenizer.vocabulary_size).state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        shapes = [tuple(one[name].shape) if name in one else None for one in (weights, expected)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"The weights in {what} do not fit the settings in run.json: {name} is "
                f"{shapes[0] or 'missing'} in place of {shapes[1] or 'nothing'}."
            )
