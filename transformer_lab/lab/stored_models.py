"""Models on disk, for writing and looking inside."""

from collections import OrderedDict
from pathlib import Path

from transformer_lab.lab.live_run import Snapshot
from transformer_lab.lab.runs import Run
from transformer_lab.model import ModelConfig
from transformer_lab.settings import from_mapping
from transformer_lab.text.tokenizers import tokenizer_from_json
from transformer_lab.training.checkpoint import CheckpointError, load_checkpoint

KEPT = 4  # of those read last


class NoWeightsError(RuntimeError):
    """A run without weights that can be used; the message says why."""


class StoredModels:
    """Reads checkpoints; the last few stay in memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, Snapshot] = OrderedDict()

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
        if folder in self._kept:
            self._kept.move_to_end(folder)
            return self._kept[folder]
        weights, tokenizer, meta = load_checkpoint(folder)
        config = from_mapping(ModelConfig, run.manifest["setup"]["model"])
        step, tokens = int(meta["step"]), tokenizer_from_json(tokenizer)
        snapshot = Snapshot(run.id, step, config, tokens, weights)
        self._kept[folder] = snapshot
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return snapshot
