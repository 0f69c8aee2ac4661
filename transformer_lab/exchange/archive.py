"""A run as one .zip: to keep, to send, to read without the lab, and to bring in again elsewhere.

    quick-start-3/
        README.md                what everything is, and how to read it without us
        run.json                 as in the run's folder
        metrics.sqlite           a consistent copy, also of a run in training
        metrics.csv, samples.txt the same, for people
        checkpoints/..., moments/...  as in the run's folder
        archive.json             the format, and size and sha256 of every other file

Bringing one in is in `arrival.py`.
"""

import hashlib
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from transformer_lab.exchange.database import DATABASE, reading, salvage_database
from transformer_lab.exchange.errors import ExportRefusedError
from transformer_lab.exchange.metrics_csv import csv_lines
from transformer_lab.exchange.readme import archive_readme
from transformer_lab.exchange.run_folder import (
    CHECKPOINTS,
    FILE_NAME,
    MANIFEST,
    MOMENTS,
    OpenCheckpoint,
    checkpoint_names,
    digest,
    open_checkpoints,
    open_moments,
    read_manifest,
)
from transformer_lab.runs.checkpoint import META

FORMAT = 1
INDEX, ABOUT = "archive.json", "about.json"
README = "README.md"
TABLE = "metrics.csv"
SAMPLES = "samples.txt"
LARGEST_NOTE = 8_000_000  # bytes of a JSON file beside run.json


def write_archive(
    run_folder: Path,
    stream: BinaryIO,
    *,
    checkpoints: Sequence[str] | None = None,
    training_state: bool = True,
    moments: bool = True,
) -> list[str]:
    """Write a run as a .zip, which need not be seekable, in little memory.

    `checkpoints` are names such as step-00000800; without them the newest and the best go along.
    Without `training_state`, what serves only to train on (the optimizer's memory) stays behind;
    without `moments`, the weights along the way.

    A damaged run leaves as far as it is whole; gives a sentence on each thing that is lost, which
    the README says too. Raises ExportRefusedError before anything is written when a checkpoint that
    was named is damaged, and when there is nothing of a run.
    """
    lost: list[str] = []
    manifest = _manifest(run_folder, lost)
    with (
        open_checkpoints(
            run_folder, checkpoints, training_state=training_state, lost=lost.append
        ) as opened,
        open_moments(run_folder, wanted=moments) as kept,
        tempfile.TemporaryDirectory() as folder,
    ):
        copy = Path(folder) / DATABASE
        if problem := salvage_database(run_folder, copy):
            lost.append(problem)
        notes = _notes(run_folder)
        with zipfile.ZipFile(stream, "w") as archive:
            packing = _Packing(archive, run_folder.name)
            packing.add(
                README, archive_readme(manifest, [one.name for one in opened], lost).encode()
            )
            for name, content in notes.items():
                packing.add(name, content)
            packing.add_file(DATABASE, copy)
            packing.add_lines(TABLE, csv_lines(copy))
            packing.add_lines(SAMPLES, sample_lines(copy))
            for checkpoint in opened:
                packing.add_checkpoint(checkpoint)
            for name, source in kept.items():
                packing.add_open(f"{MOMENTS}/{name}", source)
            packing.finish({"run": run_folder.name, "training_state": training_state})
    return lost


def _manifest(run_folder: Path, lost: list[str]) -> dict[str, Any]:
    """What is in run.json; only its name when that is damaged, but something else is there."""
    try:
        return read_manifest(run_folder)
    except ExportRefusedError as error:
        if not (run_folder / DATABASE).exists() and not checkpoint_names(run_folder):
            raise
        lost.append(f"{error} Without a good {MANIFEST}, no lab can bring this archive in.")
        return {"id": run_folder.name, "setup": {}}


def _notes(run_folder: Path) -> dict[str, bytes]:
    """run.json, and other small JSON files beside it."""
    found = {}
    for path in sorted(run_folder.glob("*.json")):
        known = path.is_file() and path.name != INDEX and FILE_NAME.fullmatch(path.name)
        if known and (path.name == MANIFEST or path.stat().st_size <= LARGEST_NOTE):
            found[path.name] = path.read_bytes()
    return found


def sample_lines(database: Path) -> Iterator[bytes]:
    """What the model wrote while it learned, oldest first, for reading."""
    with reading(database) as connection:
        for step, prompt, text in connection.execute(
            "SELECT step, prompt, text FROM samples ORDER BY rowid"
        ):
            yield f"--- after step {step}, from {prompt!r}\n\n{prompt}{text}\n\n".encode(
                "utf-8", "replace"
            )


class _Packing:
    """Puts files into an archive, one after another, and keeps their sizes and sums."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive = archive
        self._name = name
        self._files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, content: bytes) -> None:
        """A small file."""
        self._add(name, io.BytesIO(content), len(content), zipfile.ZIP_DEFLATED)

    def add_lines(self, name: str, lines: Iterator[bytes]) -> None:
        """A text, line by line."""
        sha256, size = hashlib.sha256(), 0
        with self._archive.open(
            self._info(name, 0, zipfile.ZIP_DEFLATED), "w", force_zip64=True
        ) as target:
            for line in lines:
                sha256.update(line)
                size += target.write(line)
        self._files[name] = {"bytes": size, "sha256": sha256.hexdigest()}

    def add_file(self, name: str, path: Path) -> None:
        """A file on disk."""
        with path.open("rb") as source:
            self._add(name, source, path.stat().st_size, zipfile.ZIP_DEFLATED)

    def add_checkpoint(self, checkpoint: OpenCheckpoint) -> None:
        """A folder of weights."""
        folder = f"{CHECKPOINTS}/{checkpoint.name}"
        self.add(f"{folder}/{META}", checkpoint.meta)
        for name, source in checkpoint.files.items():
            self.add_open(f"{folder}/{name}", source)

    def add_open(self, name: str, source: BinaryIO) -> None:
        """A file that is open. Weights are stored as they are: they hardly get smaller."""
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        weights = name.endswith(".safetensors")
        self._add(name, source, size, zipfile.ZIP_STORED if weights else zipfile.ZIP_DEFLATED)

    def finish(self, about: dict[str, Any]) -> None:
        """Write the list of everything that was added."""
        index = {"format": FORMAT, "written": time.time(), **about, "files": self._files}
        with self._archive.open(self._info(INDEX, 0, zipfile.ZIP_DEFLATED), "w") as target:
            target.write(json.dumps(index, indent=2).encode())

    def _add(self, name: str, source: BinaryIO, size: int, compression: int) -> None:
        with self._archive.open(self._info(name, size, compression), "w") as target:
            sha256 = digest(source, target.write)
        self._files[name] = {"bytes": size, "sha256": sha256}

    def _info(self, name: str, size: int, compression: int) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(f"{self._name}/{name}", time.localtime()[:6])
        info.compress_type = compression
        info.external_attr = 0o100644 << 16
        info.file_size = size  # so that one of over 2 GiB is given room for its size
        return info
