"""Removal of half-written files that a killed process left behind, when a lab opens a home.

Every lab holds a lock on its home as long as it lives, which they share. Whoever gets it alone
knows that no other lab is writing there, and what looks half-done will never be finished.
"""

import contextlib
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from transformer_lab.runs.run import Run, inside

LOCK = ".lock"
PATIENCE = 5.0  # seconds to wait for another lab that is sweeping
ABANDONED = 86_400.0  # seconds after which work is given up where there are no shared locks
HALF_WRITTEN = re.compile(r"\.(\w+\.json\.|writable-)?[0-9a-f]{32}|\.staging-.*|\.made-.*")
# What a run's folder holds before its run.json: nothing of it is anybody's work.
BEFORE_A_RUN = {"lock", "metrics.sqlite", "metrics.sqlite-wal", "metrics.sqlite-shm"}
PLACES = ("runs", "runs/*", "runs/*/moments", "cache/*")


class Presence:
    """Marks a home as open in a lab until `close`; the first lab removes half-written files."""

    def __init__(self, home: Path) -> None:
        self._file: BinaryIO | None = None
        if fcntl is None:
            sweep(home, older_than=ABANDONED)
            return
        with contextlib.suppress(OSError):  # where nothing can be written, nothing is swept
            self._file = (home / LOCK).open("ab")
            if self._locked(fcntl.LOCK_EX):
                sweep(home)
            limit = time.monotonic() + PATIENCE
            while not self._locked(fcntl.LOCK_SH) and time.monotonic() < limit:
                time.sleep(0.01)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _locked(self, kind: int) -> bool:
        assert self._file is not None
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def sweep(home: Path, older_than: float = 0.0) -> None:
    """Remove what was half-written more than so many seconds ago."""
    for path in _litter(home):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < older_than:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _litter(home: Path) -> Iterator[Path]:
    for folder in (home, *(found for place in PLACES for found in home.glob(place))):
        yield from (path for path in inside(folder) if HALF_WRITTEN.fullmatch(path.name))
    yield from (folder for folder in inside(home / "runs") if _never_began(folder))


def _never_began(folder: Path) -> bool:
    """Whether a folder was to become a run, and the work was cut off before there was one."""
    names = {path.name for path in inside(folder) if not HALF_WRITTEN.fullmatch(path.name)}
    if not folder.is_dir() or folder.is_symlink() or names - BEFORE_A_RUN:
        return False
    if "lock" not in names and names:  # no run of ours was ever made in this order
        return False
    run = Run(folder)
    return not run.is_held() and not _has_rows(run)


def _has_rows(run: Run) -> bool:
    """Whether anything was recorded; True when that cannot be determined."""
    if not (run.folder / "metrics.sqlite").exists():
        return False
    try:
        with run.reading() as database:
            tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
            return any(
                database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
                for table in ("steps", "samples", "events")
                if table in tables
            )
    except (OSError, LookupError, sqlite3.Error):
        return True
