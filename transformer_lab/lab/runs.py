"""The folder of all runs: new ones, the list of them, the trash."""

import contextlib
import json
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

from transformer_lab.lab.database import UNFINISHED, RunWriter
from transformer_lab.lab.run import CUT_OFF, Run, RunNotFoundError, write_json
from transformer_lab.lab.summaries import RunSummary, Summaries
from transformer_lab.training.checkpoint import sweep_staging

KEPT_IN_TRASH = 7 * 86_400  # seconds


class RunStore:
    """The folder of all runs. Its only index is the folder itself."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "runs"
        self.trash = home / "trash"
        self._summaries = Summaries()
        self._naming = threading.Lock()
        self._reserved: set[str] = set()
        self._writers: list[RunWriter] = []

    def create(self, slug: str, manifest: Mapping[str, Any]) -> RunWriter:
        """A new run named after its recipe, with the next free number; its lock is held."""
        folder = self._new_folder(slug)
        writer = None
        try:
            writer = RunWriter(folder)
            self._writers = [*(one for one in self._writers if not one.closed), writer]
            content = {"format": 1, "id": folder.name, "created": time.time(), **manifest}
            write_json(folder / "run.json", content)
        except BaseException:
            if writer is not None:
                writer.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return writer

    def being_written(self) -> set[str]:
        """The ids of runs that were made here and are still open for writing."""
        return {writer.folder.name for writer in self._writers if not writer.closed}

    def _new_folder(self, slug: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^a-z0-9]+", "-", slug.lower()).strip("-") or "run"
        with self._naming:
            number = 1 + max((_number(name, stem) for name in self._taken()), default=0)
            while True:
                folder = self.folder / f"{stem}-{number}"
                try:
                    folder.mkdir()
                except FileExistsError:  # another program's, just now
                    number += 1
                else:
                    return folder

    @contextlib.contextmanager
    def reserved(self, wanted: str) -> Iterator[str]:
        """A name no run has, the wanted one if it can be; no other run gets it meanwhile."""
        slug = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")[:60] or "run"
        with self._naming:
            taken = self._taken()
            number = 1 + max((_number(name, slug) for name in taken), default=0)
            run_id = f"{slug}-{number}" if slug in taken else slug
            self._reserved.add(run_id)
        try:
            yield run_id
        finally:
            with self._naming:
                self._reserved.discard(run_id)

    def _taken(self) -> set[str]:
        """The names of all runs, also of those in the trash and those about to come."""
        folders = [path.name for place in (self.folder, self.trash) for path in _inside(place)]
        return {*folders, *self._reserved}

    def open(self, run_id: str) -> Run:
        """A run by its id, or `latest`. Raises RunNotFoundError."""
        if run_id == "latest":
            summaries = self.list()
            if not summaries:
                raise RunNotFoundError("There are no runs yet: train one first.")
            return Run(self.folder / summaries[0].id)
        folder = self.folder / run_id
        if not re.fullmatch(r"[a-z0-9-]+", run_id) or not (folder / "run.json").is_file():
            raise RunNotFoundError(f"There is no run {run_id!r}.")
        return Run(folder)

    def all(self) -> list[Run]:
        """Every folder that holds a run, in no order."""
        return [Run(path.parent) for path in self.folder.glob("*/run.json")]

    def list(self) -> list[RunSummary]:
        """Every readable run, newest first."""
        return self._summaries.of(self.all())

    def sweep(self) -> None:
        """Tidy up what crashes left: half-written saves, and runs still called running.

        Only in runs nobody holds. What was deleted a week ago goes for good.
        """
        for run in self.all():
            if run.is_held():
                continue
            sweep_staging(run.folder / "checkpoints")
            with contextlib.suppress(OSError, ValueError, KeyError, sqlite3.Error, Timeout):
                _mark_interrupted(run)
        for folder in _inside(self.trash):
            if time.time() - folder.stat().st_mtime > KEPT_IN_TRASH:
                shutil.rmtree(folder, ignore_errors=True)

    def delete(self, run_id: str) -> None:
        """Move a run to the trash. Raises RunNotFoundError, and OSError while it is held."""
        run = self.open(run_id)
        if run.is_held():
            raise OSError(f"{run_id} is being trained: stop it first.")
        self.trash.mkdir(exist_ok=True)
        run.folder.rename(self.trash / run_id)
        (self.trash / run_id).touch()

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back. Raises RunNotFoundError when it is gone for good."""
        place = self.trash / run_id
        if not re.fullmatch(r"[a-z0-9-]+", run_id) or not place.is_dir():
            raise RunNotFoundError(f"{run_id} is no longer in the trash.")
        place.rename(self.folder / run_id)


def _inside(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _mark_interrupted(run: Run) -> None:
    states = run.events("state")
    if states and json.loads(states[-1][1])["state"] in UNFINISHED:
        latest = run.latest()
        with contextlib.closing(RunWriter(run.folder)) as writer:
            writer.state("interrupted", latest[-1].step if latest else 0, CUT_OFF)


def _number(name: str, stem: str) -> int:
    match = re.fullmatch(rf"{re.escape(stem)}-(\d+)", name)
    return int(match[1]) if match else 0
