"""A run's folder as it is read from outside of the lab.

It may be read while a training writes it: checkpoints come and go, so those that leave are opened
first and can then be read to their end even when they are removed meanwhile.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from transformer_lab.exchange.errors import ExportRefusedError
from transformer_lab.runs import files as records
from transformer_lab.runs.checkpoint import (
    BASE,
    META,
    TOKENIZER,
    WEIGHTS,
    CheckpointError,
    can_go_on,
    load_checkpoint,
)
from transformer_lab.runs.record import RecordError, checked, parsed
from transformer_lab.settings import shown

MANIFEST = "run.json"
CHECKPOINTS = "checkpoints"
MOMENTS = "moments"
MOMENT_NAME = re.compile(r"\d{8,12}-([0-9a-f]{12})\.safetensors")
CHECKPOINT_NAME = re.compile(r"(step|best|kept)-(\d{8,12})")
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\.(json|safetensors)")
READABLE = (WEIGHTS, TOKENIZER)  # what writing with a model takes; all else is for training on
CHUNK = 1 << 20  # bytes read at once
ATTEMPTS = 3  # to catch the checkpoints of a training that is just replacing them
log = logging.getLogger(__name__)


def read_manifest(run_folder: Path) -> dict[str, Any]:
    """What is in run.json, with a tokenizer that can be used. Raises ExportRefusedError."""
    try:
        manifest = records.read_manifest((run_folder / MANIFEST).read_bytes(), MANIFEST)
        records.stored_tokenizer(manifest["tokenizer"])
    except OSError as error:
        why = f"{MANIFEST}: {error.strerror}."
        raise ExportRefusedError(f"{run_folder.name} cannot be read: {why}") from error
    except RecordError as error:
        raise ExportRefusedError(f"{run_folder.name} cannot be read: {error}") from error
    return manifest


def checkpoint_names(run_folder: Path) -> list[str]:
    """The names of all saved weights, those of the lowest step first.

    Before them come regular ones that a training could not go on from.
    """
    folder = run_folder / CHECKPOINTS
    found = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []

    def order(name: str) -> tuple[bool, int]:
        kind, _, step = name.partition("-")
        return kind == "best" or can_go_on(folder / name), int(step)

    return sorted(filter(CHECKPOINT_NAME.fullmatch, found), key=order)


def usual_checkpoints(run_folder: Path) -> list[str]:
    """The newest weights and, where they are kept apart, the best."""
    names = checkpoint_names(run_folder)
    newest = [name for name in names if not name.startswith("best-")][-1:]
    best = [name for name in names if name.startswith("best-")][-1:]
    return newest + best


def preferred_checkpoint(run_folder: Path, wanted: str | None = None) -> str:
    """The name of the weights to write with: those wanted, or those the lab would take.

    These are the newest, or the best where the run keeps the best. Raises ExportRefusedError.
    """
    names = usual_checkpoints(run_folder)
    if read_manifest(run_folder)["setup"]["train"].get("keep_best"):
        names.reverse()
    if wanted is not None:
        names = [name for name in checkpoint_names(run_folder) if name == wanted]
    if not names:
        what = f"weights {shown(wanted)}" if wanted else "weights yet: they are saved on pause"
        raise ExportRefusedError(f"{run_folder.name} has no {what}.")
    return names[0]


def load_model(
    run_folder: Path, wanted: str | None = None
) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Name, weights and tokenizer of the preferred checkpoint. Raises ExportRefusedError."""
    name = preferred_checkpoint(run_folder, wanted)
    try:
        weights, tokenizer, _ = load_checkpoint(run_folder / CHECKPOINTS / name)
    except CheckpointError as error:
        raise ExportRefusedError(str(error)) from error
    return name, weights, tokenizer


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint whose files are open, and whole. `meta` is the text of its meta.json."""

    name: str
    meta: bytes
    files: Mapping[str, BinaryIO]


@contextlib.contextmanager
def open_checkpoints(
    run_folder: Path,
    names: Sequence[str] | None,
    *,
    training_state: bool,
    lost: Callable[[str], object] = log.warning,
) -> Iterator[list[OpenCheckpoint]]:
    """Checkpoints, open for reading; without names the newest and the best that are whole.

    With them goes the base of a fine-tuning, on which its adapter stands.

    Without training state, files that only serve to train on are left out, and meta.json does not
    mention them. Damaged ones are reported to `lost`; a named one raises ExportRefusedError.
    """
    with contextlib.ExitStack() as stack:

        def opened(name: str) -> OpenCheckpoint:
            return _open(run_folder, name, stack, training_state=training_state)

        if names is not None:
            yield [opened(name) for name in names]
            return
        found = [
            _newest(run_folder, kinds, opened, lost) for kinds in (("step", "kept"), ("best",))
        ]
        opening = [checkpoint for checkpoint in found if checkpoint]
        if training_state and opening and BASE not in {one.name for one in opening}:
            opening += [opened(name) for name in checkpoint_names(run_folder) if name == BASE]
        yield opening


def _newest(
    run_folder: Path,
    kinds: Sequence[str],
    opened: Callable[[str], OpenCheckpoint],
    lost: Callable[[str], object],
) -> OpenCheckpoint | None:
    """The newest undamaged checkpoint of some kinds; damaged ones are reported to `lost`."""
    problems: dict[str, str] = {}
    for _ in range(ATTEMPTS):
        for name in checkpoint_names(run_folder)[::-1]:
            if name.partition("-")[0] not in kinds:
                continue
            try:
                checkpoint = opened(name)
            except ExportRefusedError as error:
                problems[name] = str(error)
                continue
            for name, problem in problems.items():
                if (run_folder / CHECKPOINTS / name).exists():  # else a training has replaced it
                    lost(problem)
            return checkpoint
    for problem in problems.values():
        lost(problem)
    return None


def _open(
    run_folder: Path, name: str, stack: contextlib.ExitStack, *, training_state: bool
) -> OpenCheckpoint:
    """Raises ExportRefusedError when it is missing or damaged."""
    if not CHECKPOINT_NAME.fullmatch(name):
        raise ExportRefusedError(f"{name!r} is not the name of a checkpoint.")
    folder = run_folder / CHECKPOINTS / name
    try:
        return _opened(folder, stack, training_state=training_state)
    except OSError as error:
        raise ExportRefusedError(
            f"{name} of {run_folder.name} cannot be read: {error.strerror}."
        ) from error
    except RecordError as error:
        raise ExportRefusedError(f"{name} of {run_folder.name} is damaged: {error}") from error


def _opened(folder: Path, stack: contextlib.ExitStack, *, training_state: bool) -> OpenCheckpoint:
    text = (folder / META).read_bytes()
    meta = parsed(text, META)
    sums = checked(records.Meta, meta, META).sha256
    kept = {
        file: known
        for file, known in sums.items()
        if FILE_NAME.fullmatch(file) and (training_state or file in READABLE)
    }
    files = {file: stack.enter_context((folder / file).open("rb")) for file in kept}
    for file, opened in files.items():
        if digest(opened) != kept[file]:
            raise ExportRefusedError(f"{folder / file} is damaged: its sha256 does not match.")
        opened.seek(0)
    if kept != sums:
        text = json.dumps({**meta, "sha256": kept}, indent=2).encode()
    return OpenCheckpoint(folder.name, text, files)


def flush_file(path: Path) -> None:
    """Wait until a file is on the disk, not just on its way there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def open_moments(run_folder: Path, *, wanted: bool) -> Iterator[dict[str, BinaryIO]]:
    """The moments of a run by their names, open for reading; damaged ones stay behind."""
    folder = run_folder / MOMENTS
    paths = sorted(folder.iterdir()) if wanted and folder.is_dir() else []
    with contextlib.ExitStack() as stack:
        opened: dict[str, BinaryIO] = {}
        for path in paths:
            match = MOMENT_NAME.fullmatch(path.name)
            if match is None:
                continue
            with contextlib.suppress(OSError):  # a training has just made room, say
                file = stack.enter_context(path.open("rb"))
                if digest(file)[:12] == match[1]:
                    opened[path.name] = file
        yield opened


def digest(stream: BinaryIO, then: Callable[[bytes], object] | None = None) -> str:
    """The sha256 of what is left of a stream, each piece of which may be handed on."""
    sha256 = hashlib.sha256()
    while piece := stream.read(CHUNK):
        sha256.update(piece)
        if then is not None:
            then(piece)
    return sha256.hexdigest()
