"""Models for writing and looking inside: read from disk, or let go by their training."""

import threading
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor

from transformer_lab.lab.run import Run
from transformer_lab.lab.shelves import Shelves
from transformer_lab.lab.snapshot import Snapshot
from transformer_lab.model import ModelConfig
from transformer_lab.settings import from_mapping
from transformer_lab.text.tokenizers import tokenizer_from_json
from transformer_lab.training.checkpoint import CheckpointError, load_checkpoint
from transformer_lab.training.moments import Moments

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
        return self._keep(folder, run, int(meta["step"]), tokenizer, weights)

    def moment(self, run: Run, step: int) -> Snapshot:
        """The weights of one moment. Raises MomentError."""
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
        read = tokenizer_from_json(tokenizer)
        snapshot = Snapshot(run.id, step, config, read, weights, saved=True)
        self._read[key] = snapshot
        return self.keep(snapshot)
