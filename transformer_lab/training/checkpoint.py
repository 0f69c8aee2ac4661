"""Checkpoints: weights on disk that a crash cannot spoil.

A checkpoint is a folder of safetensors and JSON files. It is written beside its place, flushed,
and then renamed: what has the final name is whole. Sums of all files are checked when it is read,
because a flipped bit in a weight would otherwise go unseen.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

META = "meta.json"
WEIGHTS = "weights.safetensors"
STAGING = ".staging-"


class CheckpointError(Exception):
    """A checkpoint that is damaged or incomplete; the message names the file."""


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    tokenizer: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> None:
    """Write a checkpoint to `folder`, which must not exist; after a crash it is whole or not there.

    Raises OSError (a full disk, say) and leaves nothing behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.parent / f"{STAGING}{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        plain = {name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}
        files = {
            WEIGHTS: safetensors.torch.save(plain),
            "tokenizer.json": json.dumps(tokenizer).encode(),
        }
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        files[META] = json.dumps({"format": 1, **meta, "sha256": sums}, indent=2).encode()
        for name, data in files.items():
            _write_through(staging / name, data)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _flush_folder(folder.parent)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Weights, tokenizer and meta of a checkpoint. Raises CheckpointError, naming what is wrong."""
    try:
        meta = json.loads((folder / META).read_bytes())
        data = {name: (folder / name).read_bytes() for name in meta["sha256"]}
        for name, expected in meta["sha256"].items():
            if hashlib.sha256(data[name]).hexdigest() != expected:
                raise CheckpointError(f"{folder / name} is damaged: its sha256 does not match.")
        return safetensors.torch.load(data[WEIGHTS]), json.loads(data["tokenizer.json"]), meta
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} is not a whole checkpoint: {error}.") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{folder / WEIGHTS} is damaged: {error}.") from error


def sweep_staging(folder: Path) -> None:
    """Remove what an interrupted save left behind."""
    for leftover in folder.glob(f"{STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
