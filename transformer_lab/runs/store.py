"""The folder of all runs: new ones, the list of them, the trash."""

import contextlib
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

from transformer_lab.runs.checkpoint import sweep_staging
from transformer_lab.runs.database import UNFINISHED, RunWriter
from transformer_lab.runs.events import event_value
from transformer_lab.runs.files import write_json
from transformer_lab.runs.held import LOCK
from transformer_lab.runs.record import FORMAT
from transformer_lab.runs.run import CUT_OFF, MANIFEST, Run, RunNotFoundError, inside
from transformer_lab.runs.summaries import RunSummary, Summaries
from transformer_lab.settings import shown

LATEST, UNTRAINED = "latest", "untrained"  # stand for the newest run, and for a model without one
# What no run may be called: these two, and what Windows takes for a device.
RESERVED = {LATEST, UNTRAINED, "con", "prn", "aux", "nul"}
RESERVED |= {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
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
        order = self.next_order()
        folder = self.new_folder(slug)
        writer = None
        try:
            writer = RunWriter(folder, new=True)
            self._writers = [*(one for one in self._writers if not one.closed), writer]
            about = {"format": FORMAT, "id": folder.name, "created": time.time(), "order": order}
            write_json(folder / MANIFEST, {**about, **manifest})
        except BaseException:
            if writer is not None:
                writer.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return writer

    def being_written(self) -> set[str]:
        """The ids of runs that were made here and are still open for writing."""
        return {writer.folder.name for writer in self._writers if not writer.closed}

    def next_order(self) -> int:
        """The place of a new run after all others, whatever the clock says."""
        return 1 + max((run.order for run in self.list()), default=0)

    def new_folder(self, slug: str) -> Path:
        """An empty folder with the next free number, for a run that is about to come."""
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
        with self._naming:
            run_id = self.free_id(wanted)
            self._reserved.add(run_id)
        try:
            yield run_id
        finally:
            with self._naming:
                self._reserved.discard(run_id)

    def free_id(self, wanted: str) -> str:
        """A name no run has, the wanted one if it can be."""
        slug = re.sub(r"[^a-z0-9]+", "-", wanted.lower())[:60].strip("-") or "run"
        taken = self._taken()
        if slug not in taken | RESERVED:
            return slug
        return f"{slug}-{1 + max((_number(name, slug) for name in taken), default=0)}"

    def _taken(self) -> set[str]:
        """The names of all runs, also of those in the trash and those about to come.

        In small letters, for not every disk tells them from large ones.
        """
        places = (self.folder, self.trash)
        folders = {path.name.lower() for place in places for path in _inside(place)}
        return folders | self._reserved

    def open(self, run_id: str) -> Run:
        """A run by its id, or the newest whole one as `latest`. Raises RunNotFoundError."""
        if run_id != LATEST:
            return self._named(run_id)
        whole = next((run for run in self.list() if run.state != "damaged"), None)
        if whole is None:
            raise RunNotFoundError("There are no runs yet: train one first.")
        return self._named(whole.id)

    def _named(self, run_id: str) -> Run:
        """The run in the folder of that very name: one that is listed, and no other path."""
        folder = next((path for path in inside(self.folder) if path.name == run_id), None)
        if folder is None or not _is_name(run_id) or not _is_run(folder):
            raise RunNotFoundError(f"There is no run {shown(run_id)}.")
        return Run(folder)

    def all(self) -> list[Run]:
        """Every folder that holds a run, damaged or not, in no order."""
        return [Run(path) for path in _inside(self.folder) if _is_name(path.name) and _is_run(path)]

    def changed(self) -> int:
        """When a run came or went last, in nanoseconds; 0 where there are none."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def list(self) -> list[RunSummary]:
        """Every run, newest first; damaged ones say so."""
        return self._summaries.of(self.all())

    def sweep(self) -> None:
        """Tidy up what crashes left: half-written saves, and runs still called running.

        Only in runs that are not locked. What was deleted a week ago goes for good.
        """
        self._rename_unusable()
        for run in self.all():
            if run.is_held():
                continue
            sweep_staging(run.folder / "checkpoints")
            with contextlib.suppress(OSError, RunNotFoundError, sqlite3.Error, Timeout):
                _mark_interrupted(run)
        for folder in _inside(self.trash):
            with contextlib.suppress(OSError):  # another lab was faster
                if time.time() - folder.stat().st_mtime > KEPT_IN_TRASH:
                    shutil.rmtree(folder, ignore_errors=True)

    def _rename_unusable(self) -> None:
        """Rename a folder whose name, given by hand, cannot be used as a run's id."""
        for folder in _inside(self.folder):
            hidden = folder.name.startswith(".")
            if not hidden and not _is_name(folder.name) and not Run(folder).is_held():
                with contextlib.suppress(OSError):
                    folder.rename(self.folder / self.free_id(folder.name))

    def delete(self, run_id: str) -> None:
        """Move the run of that very name to the trash.

        Raises RunNotFoundError, and RunBusyError or OSError when it cannot be moved.
        """
        run = self._named(run_id)
        if run.is_held():
            raise RunBusyError(f"{run_id} is being trained: stop it first.")
        self.trash.mkdir(exist_ok=True)
        place = self.trash / run_id
        if place.exists():  # an older one of that name, which stays till its time has come
            place.rename(self.trash / self.free_id(run_id))
        run.folder.rename(place)
        with contextlib.suppress(OSError):
            place.touch()  # it is kept from now on

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back. Raises RunNotFoundError, RunBusyError and OSError."""
        place = next((path for path in _inside(self.trash) if path.name == run_id), None)
        if place is None:
            raise RunNotFoundError(f"{shown(run_id)} is no longer in the trash.")
        if (self.folder / run_id).exists():
            raise RunBusyError(
                f"{run_id} cannot come back, for there is another run of that name now: "
                "delete that one first."
            )
        place.rename(self.folder / run_id)


class RunBusyError(RuntimeError):
    """Something that cannot be done with a run now; the message says why."""


def _inside(folder: Path) -> list[Path]:
    return [path for path in inside(folder) if path.is_dir()]


def _is_name(name: str) -> bool:
    """Whether a run can be asked for by the name of its folder."""
    return name.isprintable() and not name.startswith(".") and name.lower() not in RESERVED


def _is_run(folder: Path) -> bool:
    """Whether a folder holds a run, if only what is left of one; not one that is being made."""
    if (folder / MANIFEST).exists():
        return True
    left = [path.name for path in inside(folder) if path.name != LOCK]
    return bool(left) and not Run(folder).is_held()


def _mark_interrupted(run: Run) -> None:
    last = run.last_event("state")
    if last and event_value("state", last[1]).state in UNFINISHED:
        latest = run.latest()
        with contextlib.closing(RunWriter(run.folder)) as writer:
            writer.state("interrupted", latest[-1].step if latest else 0, CUT_OFF)


def _number(name: str, stem: str) -> int:
    match = re.fullmatch(rf"{re.escape(stem)}-(\d+)", name)
    return int(match[1]) if match else 0
