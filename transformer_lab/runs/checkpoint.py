"""Checkpoints: weights on disk that a crash cannot spoil.

A checkpoint is a folder of safetensors and JSON files. It is written beside its place, flushed,
and then renamed: what has the final name is whole. Sums of all files are checked when it is read,
because a flipped bit in a weight would otherwise go unseen.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

META = "meta.json"
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.json"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"
ADAPTER = "adapter.safetensors"
BASE = "kept-00000000"  # the checkpoint of a fine-tuned run that holds its base
STAGING = ".staging-"
# What a file system answers that cannot flush a folder, as some shares and drives of others.
CANNOT_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF)


class CheckpointError(Exception):
    """A checkpoint that is damaged or incomplete; the message names the file."""


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    tokenizer: Mapping[str, Any],
    meta: Mapping[str, Any],
    *,
    optimizer: Mapping[str, Tensor] | None = None,
    progress: Mapping[str, Any] | None = None,
    adapter: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint to `folder`, which must not exist; after a crash it is whole or not there.

    With `optimizer` (its memory) and `progress` (plain values) a training can go on from it; one
    of an `adapter` needs that too: its numbers, and what the optimizer remembers of them.
    Raises OSError (a full disk, say) and leaves nothing behind.
    """
    files = {WEIGHTS: _packed(weights), TOKENIZER: json.dumps(tokenizer).encode()}
    if optimizer is not None:
        files |= {OPTIMIZER: _packed(optimizer), PROGRESS: json.dumps(progress).encode()}
    if adapter:
        files[ADAPTER] = _packed(adapter)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    files[META] = json.dumps({"format": 1, **meta, "sha256": sums}, indent=2).encode()
    with staged(folder) as staging:
        for name, data in files.items():
            _write_through(staging / name, data)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to fill beside `folder`, renamed to it at the end; removed when anything fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.parent / f"{STAGING}{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        yield staging
        flush_folder(staging)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    flush_folder(folder.parent)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Weights, tokenizer and meta of a checkpoint. Raises CheckpointError, naming what is wrong."""
    meta, data = _checked(folder, (WEIGHTS, TOKENIZER))
    with _naming(folder, WEIGHTS):
        return safetensors.torch.load(data[WEIGHTS]), json.loads(data[TOKENIZER]), meta


def load_training(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimizer's memory and the progress of a checkpoint; both empty where none were saved.

    Raises CheckpointError, naming what is wrong.
    """
    if not can_go_on(folder):
        return {}, {}
    _, data = _checked(folder, (OPTIMIZER, PROGRESS))
    with _naming(folder, OPTIMIZER):
        return safetensors.torch.load(data[OPTIMIZER]), json.loads(data[PROGRESS])


def load_adapter(folder: Path) -> dict[str, Tensor]:
    """The numbers of an adapter, and what is remembered of them; empty where there is none.

    Raises CheckpointError, naming what is wrong.
    """
    if not (folder / ADAPTER).exists():
        return {}
    _, data = _checked(folder, (ADAPTER,))
    with _naming(folder, ADAPTER):
        return safetensors.torch.load(data[ADAPTER])


def can_go_on(folder: Path) -> bool:
    """Whether a checkpoint was saved with all that a training needs to go on."""
    return (folder / OPTIMIZER).is_file()


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain)


def _checked(folder: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """meta.json and the wanted files, each compared with its sum."""
    with _naming(folder, META):
        meta = json.loads((folder / META).read_bytes())
        data = {name: (folder / name).read_bytes() for name in wanted}
        for name, found in data.items():
            if hashlib.sha256(found).hexdigest() != meta["sha256"][name]:
                raise CheckpointError(f"{folder / name} is damaged: its sha256 does not match.")
    return meta, data


@contextlib.contextmanager
def _naming(folder: Path, name: str) -> Iterator[None]:
    """Turn whatever reading a damaged file can raise into a CheckpointError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} is not a whole checkpoint: {error}.") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{folder / name} is damaged: {error}.") from error


def sweep_staging(folder: Path) -> None:
    """Remove what an interrupted save left behind."""
    for leftover in folder.glob(f"{STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make sure that a rename in a folder survives a crash of the computer."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in CANNOT_FLUSH:
                raise
        finally:
            os.close(descriptor)
