"""Runs on their way between the lab's home and a computer that does not share it.

A transfer is a .zip of what the other side does not have yet: whole checkpoints, other files, and a
consistent copy of the metrics. `have.json` in it lists all there is, so that what is gone is
removed there, too. Only the standard library is used.
"""

import contextlib
import io
import json
import shutil
import sqlite3
import tempfile
import uuid
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

METRICS, CHECKPOINTS, HAVE = "metrics.sqlite", "checkpoints", "have.json"
# Sent once: the one never changes, and titles and notes belong to the lab.
ONCE = {"run.json", "about.json"}
AUDITS = "SELECT time, step, kind, detail FROM events WHERE kind = 'audit'"
OF_ONE_PROCESS = {"lock", "control.jsonl", METRICS, f"{METRICS}-wal", f"{METRICS}-shm"}


def pieces(folder: Path) -> dict[str, list[Path]]:
    """What a run consists of besides its metrics: the files of each piece, by its name and size.

    A checkpoint is one piece: it is there as a whole or not at all, and never changes.
    """
    found: dict[str, list[Path]] = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if name in OF_ONE_PROCESS:
            continue
        if name.startswith(f"{CHECKPOINTS}/"):
            found.setdefault("/".join(name.split("/")[:2]), []).append(path)
            continue
        with contextlib.suppress(OSError):
            found[name if name in ONCE else f"{name}@{path.stat().st_size}"] = [path]
    return found


def _files(folder: Path) -> Iterator[Path]:
    """All files that have their final names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(
            part.startswith(".") for part in path.relative_to(folder).parts
        ):
            yield path


def packed(folder: Path, known: Collection[str] = ()) -> bytes:
    """A .zip of a run with what is not `known` on the other side. Raises OSError."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        there = pieces(folder)
        for name, files in there.items():
            if name not in known:
                with contextlib.suppress(FileNotFoundError):  # an old checkpoint has just gone
                    for path, content in {path: path.read_bytes() for path in files}.items():
                        archive.writestr(path.relative_to(folder).as_posix(), content)
        if (metrics := _copy(folder / METRICS)) is not None:
            archive.writestr(METRICS, metrics, zipfile.ZIP_DEFLATED)
        archive.writestr(HAVE, json.dumps(sorted(there)))
    return stream.getvalue()


def _copy(database: Path) -> bytes | None:
    """A consistent copy of a database, as bytes; None where there is none."""
    if not database.is_file():
        return None
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / METRICS
        with (
            contextlib.closing(sqlite3.connect(database, timeout=30)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return copy.read_bytes()


def unpack(data: bytes, folder: Path, changes: Mapping[str, object] | None = None) -> None:
    """Bring a run's folder up to what is in a transfer; `changes` are made to its run.json.

    Raises OSError, sqlite3.Error and ValueError.
    """
    staging = folder / f".{uuid.uuid4().hex}"  # swept as half-written, should this be killed
    try:
        unpack_files(data, staging)
        have = json.loads((staging / HAVE).read_text())
        (staging / HAVE).unlink()
        if changes and (staging / "run.json").exists():
            manifest = json.loads((staging / "run.json").read_text(encoding="utf-8"))
            (staging / "run.json").write_text(json.dumps(manifest | changes), encoding="utf-8")
        if (staging / METRICS).exists():
            _take_over(staging / METRICS, folder / METRICS)
        for path in sorted(staging.iterdir()):
            _place(path, folder / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for name, files in pieces(folder).items():
        if name not in have and name not in ONCE:
            _remove(folder, files)


def _remove(folder: Path, files: list[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are in it
        if files[0].parent != folder:
            files[0].parent.rmdir()


def packed_files(files: Mapping[str, str]) -> bytes:
    """A .zip of files, by what they are to be called. Raises OSError."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            archive.write(path, name)
    return stream.getvalue()


def unpack_files(data: bytes, folder: Path) -> None:
    """Put the files of such a .zip into a folder. Raises OSError and ValueError."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        _check(archive.namelist())
        archive.extractall(folder)


def _check(names: list[str]) -> None:
    for name in names:
        if any(part.startswith(".") for part in PurePosixPath(name).parts) or name.startswith("/"):
            raise ValueError(f"{name!r} does not belong in a transfer")


def _place(path: Path, target: Path) -> None:
    """Give what was unpacked its place; what stands in folders, one by one."""
    if path.name == METRICS:
        return
    if path.is_dir() and target.is_dir() and path.parent.name != CHECKPOINTS:
        for inside in sorted(path.iterdir()):
            _place(inside, target / inside.name)
        return
    if target.is_dir():  # the same checkpoint
        shutil.rmtree(target)
    path.replace(target)


def _take_over(copy: Path, database: Path) -> None:
    """Have a database, which others may be reading, say what a copy says.

    The audits that only it has stay, as far as the copy has come.
    """
    with (
        contextlib.closing(sqlite3.connect(copy)) as source,
        contextlib.closing(sqlite3.connect(database, timeout=30)) as target,
    ):
        if target.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
            known = set(source.execute(AUDITS))
            with source:
                source.executemany(
                    "INSERT INTO events (time, step, kind, detail) SELECT ?1, ?2, ?3, ?4 "
                    "WHERE ?2 <= (SELECT max(step) FROM steps)",
                    [row for row in target.execute(AUDITS) if row not in known],
                )
        source.backup(target)
