"""Checks of the checkpoints of an imported run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from transformer_lab.exchange.checks import ArrivingRun, parsed, refusing
from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.run_folder import (
    CHECKPOINT_NAME,
    MANIFEST,
    MOMENT_NAME,
    MOMENTS,
    READABLE,
)
from transformer_lab.runs.checkpoint import META, OPTIMIZER, PROGRESS, TOKENIZER, WEIGHTS
from transformer_lab.runs.files import Meta, read_progress
from transformer_lab.runs.record import checked
from transformer_lab.settings import shown

BYTES = {"F32": 4, "F16": 2}  # of a number, by the names of types in such a file
KINDS = tuple(BYTES)  # those of weights and memories first, then what moments may be besides


def check_checkpoint(folder: Path, sums: Mapping[str, str], run: ArrivingRun) -> None:
    """A checkpoint whose files are there, are the ones it names, and fit the run.

    `sums` are the sha256 of its files as they were unpacked. Raises ImportRefusedError.
    """
    where = f"{META} of {folder.name}"
    if not {META, *READABLE} <= set(sums):
        raise ImportRefusedError(f"{folder.name} has no {WEIGHTS}, {TOKENIZER} or {META}.")
    with refusing():
        meta = checked(Meta, parsed((folder / META).read_bytes(), where), where)
    if meta.sha256 != {name: known for name, known in sums.items() if name != META}:
        raise ImportRefusedError(f"{where} does not name the files beside it, or not their sums.")
    match = CHECKPOINT_NAME.fullmatch(folder.name)
    assert match is not None
    if meta.step != int(match[2]):
        raise ImportRefusedError(f"{where} has another step than its name.")
    if parsed((folder / TOKENIZER).read_bytes(), TOKENIZER) != run.content["tokenizer"]:
        raise ImportRefusedError(f"{folder.name} has another tokenizer than {MANIFEST}.")
    _check_numbers(folder / WEIGHTS)
    if OPTIMIZER in sums:
        _check_numbers(folder / OPTIMIZER)
    if PROGRESS in sums:
        _check_progress(parsed((folder / PROGRESS).read_bytes(), PROGRESS), int(match[2]))


def check_moment(path: Path, sha256: str) -> None:
    """A moment whose name tells the beginning of its sum."""
    match = MOMENT_NAME.fullmatch(path.name)
    if match is None or match[1] != sha256[:12]:
        raise ImportRefusedError(f"{path.name} is damaged: its sha256 does not match its name.")
    _check_numbers(path)


def holds_tensors(name: str) -> bool:
    """Whether a file must hold tensors of the model; whatever else comes is only carried along."""
    folder, _, file = name.rpartition("/")
    return folder == MOMENTS or file in (WEIGHTS, OPTIMIZER)


def check_declared(name: str, header: Mapping[str, Any], size: int, run: ArrivingRun) -> None:
    """The tensors that a file says it holds fit the run, and take the `size` bytes there are.

    Before it is unpacked: else a small model could bring files of any size. Raises
    ImportRefusedError.
    """
    folder, _, file = name.rpartition("/")
    where = f"{file} of {folder.rpartition('/')[2]} does not fit the model"
    tensors = {key: _declared(about) for key, about in header.items() if key != "__metadata__"}
    for key, (kind, shape) in tensors.items():
        expected = [run.shapes.get(key)]
        if file == OPTIMIZER:  # of a parameter, or one number
            expected = [run.shapes.get(key.rpartition("/")[0]), torch.Size([])]
        if shape not in expected or kind not in (KINDS if folder == MOMENTS else KINDS[:1]):
            raise ImportRefusedError(f"{where}: it has {shown(key)} of {[*shape]}, {shown(kind)}.")
    if file != OPTIMIZER and (missing := sorted(set(run.shapes) - set(tensors))):
        raise ImportRefusedError(f"{where}: {missing[0]} is missing.")
    if size != sum(shape.numel() * BYTES[kind] for kind, shape in tensors.values()):
        raise ImportRefusedError(f"{where}: it is not as long as its tensors.")


def _declared(about: Any) -> tuple[str, torch.Size]:
    """Type and shape of a tensor by the header of its file."""
    shape = about.get("shape") if isinstance(about, dict) else None
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**53 for n in shape):
        raise ImportRefusedError(f"A tensor of the shape {shown(shape)} is none.")
    return str(about.get("dtype")), torch.Size(shape)


def _check_numbers(path: Path) -> None:
    """The tensors of a file, one in memory at a time, are numbers each."""
    where = f"{path.name} of {path.parent.name}"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dict
                if not torch.isfinite(file.get_tensor(name)).all():
                    raise ImportRefusedError(f"{where} holds numbers that are not finite: {name}.")
    except safetensors.SafetensorError as error:
        raise ImportRefusedError(f"{where} is damaged: {error}.") from error


def _check_progress(progress: Mapping[str, Any], step: int) -> None:
    """What a training knows besides its weights: plain values of the right kind."""
    with refusing():
        known = read_progress(progress, PROGRESS)
    if known.step != step:
        raise ImportRefusedError(f"{PROGRESS} tells of another step than {step:,}.")
