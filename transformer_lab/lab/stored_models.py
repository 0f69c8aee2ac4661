"""Models on disk, for writing and looking inside."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import Tensor

from transformer_lab.lab.run import Run
from transformer_lab.lab.snapshot import Snapshot
from transformer_lab.model import ModelConfig
from transformer_lab.settings import from_mapping
from transformer_lab.text.tokenizers import tokenizer_from_json
from transformer_lab.training.checkpoint import CheckpointError, load_checkpoint
from transformer_lab.training.moments import Moments

KEPT = 6  # of those read last


class NoWeightsError(RuntimeError):
    """A run without weights that can be used; the message says why."""


class StoredModels:
    """Reads checkpoints; the last few stay in memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, Snapshot] = OrderedDict()
        self._lock = threading.Lock()

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
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(
        self, key: Path, run: Run, step: int, tokenizer: Any, weights: dict[str, Tensor]
    ) -> Snapshot:
        config = from_mapping(ModelConfig, run.manifest["setup"]["model"])
        read = tokenizer_from_json(tokenizer)
        snapshot = Snapshot(run.id, step, config, read, weights, saved=True)
        with self._lock:
            self._kept[key] = snapshot
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return snapshot
