"""What the checkpoints of a run from elsewhere must be."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from transformer_lab.exchange.checks import FORMAT, ArrivingRun, member, parsed
from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.run_folder import CHECKPOINT_NAME, MANIFEST, MOMENT_NAME, READABLE
from transformer_lab.settings import shown
from transformer_lab.training.checkpoint import META, OPTIMIZER, PROGRESS, TOKENIZER, WEIGHTS

# The kinds of values in progress.json, by their names.
PROGRESS_KINDS: dict[str, tuple[type, ...]] = {
    "step": (int,),
    "optimizer": (str,),
    "learning_rate": (float, type(None)),
    "micro_batch": (int,),
    "uncompiled": (bool,),
    "best_loss": (float, type(None)),
}


def check_checkpoint(folder: Path, sums: Mapping[str, str], run: ArrivingRun) -> None:
    """A checkpoint whose files are there, are the ones it names, and fit the run.

    `sums` are the sha256 of its files as they were unpacked. Raises ImportRefusedError.
    """
    where = f"{META} of {folder.name}"
    if not {META, *READABLE} <= set(sums):
        raise ImportRefusedError(f"{folder.name} has no {WEIGHTS}, {TOKENIZER} or {META}.")
    meta = parsed((folder / META).read_bytes(), where)
    named = member(meta, "sha256", dict, where)
    if named != {name: known for name, known in sums.items() if name != META}:
        raise ImportRefusedError(f"{where} does not name the files beside it, or not their sums.")
    match = CHECKPOINT_NAME.fullmatch(folder.name)
    assert match is not None
    if member(meta, "format", int, where) != FORMAT or member(meta, "step", int, where) != int(
        match[2]
    ):
        raise ImportRefusedError(f"{where} has another step than its name, or a newer format.")
    if parsed((folder / TOKENIZER).read_bytes(), TOKENIZER) != run.content["tokenizer"]:
        raise ImportRefusedError(f"{folder.name} has another tokenizer than {MANIFEST}.")
    _check_weights(folder / WEIGHTS, run, (torch.float32,))
    if OPTIMIZER in sums:
        _check_optimizer(folder / OPTIMIZER, run)
    if PROGRESS in sums:
        _check_progress(parsed((folder / PROGRESS).read_bytes(), PROGRESS), int(match[2]))


def check_moment(path: Path, sha256: str, run: ArrivingRun) -> None:
    """A moment whose name tells the beginning of its sum, and that fits the run."""
    match = MOMENT_NAME.fullmatch(path.name)
    if match is None or match[1] != sha256[:12]:
        raise ImportRefusedError(f"{path.name} is damaged: its sha256 does not match its name.")
    _check_weights(path, run, (torch.float16, torch.float32))


def _check_weights(path: Path, run: ArrivingRun, kinds: tuple[torch.dtype, ...]) -> None:
    """Weights have the names and shapes of the model's."""
    found = set()
    for name, tensor in _tensors(path):
        found.add(name)
        if run.shapes.get(name) != tensor.shape or tensor.dtype not in kinds:
            raise ImportRefusedError(
                f"{path.name} of {path.parent.name} does not fit the model: it has {shown(name)} "
                f"of {tuple(tensor.shape)}, {tensor.dtype}."
            )
    if missing := sorted(set(run.shapes) - found):
        raise ImportRefusedError(
            f"{path.name} of {path.parent.name} does not fit the model: {missing[0]} is missing."
        )


def _check_optimizer(path: Path, run: ArrivingRun) -> None:
    """What an optimizer remembers of a parameter has its shape, or is one number."""
    for key, tensor in _tensors(path):
        if tensor.shape not in (run.shapes.get(key.rpartition("/")[0]), torch.Size([])):
            raise ImportRefusedError(
                f"{path.name} of {path.parent.name} does not fit the model: {shown(key)}."
            )


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file, one in memory at a time, each of them numbers."""
    where = f"{path.name} of {path.parent.name}"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dict
                tensor = file.get_tensor(name)
                if not torch.isfinite(tensor).all():
                    raise ImportRefusedError(f"{where} holds numbers that are not finite: {name}.")
                yield name, tensor
    except safetensors.SafetensorError as error:
        raise ImportRefusedError(f"{where} is damaged: {error}.") from error


def _check_progress(progress: Mapping[str, Any], step: int) -> None:
    """What a training knows besides its weights: plain values of the right kind."""
    for key, value in progress.items():
        kinds = PROGRESS_KINDS.get(key, ())
        finite = not isinstance(value, float) or math.isfinite(value)
        if type(value) not in kinds or not finite or (isinstance(value, int) and value < 0):
            raise ImportRefusedError(f"{PROGRESS} is not ours: {shown(key)} is {shown(value)}.")
    if progress.get("step") != step:
        raise ImportRefusedError(f"{PROGRESS} tells of another step than {step:,}.")
