"""metrics.sqlite: what happened in a run, step by step, in three tables anyone can read.

steps     one row a step, the columns of StepMetrics
samples   what the model wrote: step, time, prompt, text
events    time, step, kind, detail: what happened after that step; docs/run_format.md has the kinds
"""

import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from transformer_lab.runs.disk import shared_by_computers
from transformer_lab.runs.held import LOCK
from transformer_lab.runs.tables import METRICS, STEPS, insertion, migrate
from transformer_lab.training import Change, StepMetrics

log = logging.getLogger(__name__)

State = Literal[
    "preparing",
    "ready",
    "starting",
    "running",
    "pausing",
    "paused",
    "stopping",
    "finished",
    "stopped",
    "failed",
    "interrupted",
    "damaged",
]
RECORDED: tuple[State, ...] = (
    "running", "paused", "finished", "stopped", "failed", "interrupted"
)  # fmt: skip
UNFINISHED = ("running", "paused")
# Kinds of events that are made again.
CHANGES = ("learning_rate", "micro_batch", "uncompiled", "threads")
COLUMNS = [*STEPS]
INSERT_STEP = insertion("steps", replace=True)
INSERT_SAMPLE = insertion("samples")
INSERT_EVENT = insertion("events")
COMMIT_SECONDS = 0.25
COMMIT_STEPS = 50


@dataclass(frozen=True)
class Sample:
    """A text the model wrote during training, after `step` steps."""

    step: int
    prompt: str
    text: str


def connect(folder: Path, *, new: bool = False) -> sqlite3.Connection:
    """The metrics of a run's folder, to be written; made only for a run that is `new`.

    Raises sqlite3.Error.
    """
    mode = "rwc" if new else "rw"
    uri = f"{(folder / METRICS).absolute().as_uri()}?mode={mode}"
    database = sqlite3.connect(uri, uri=True, timeout=5.0)
    # A write-ahead log is for one computer: others would read it where it is not.
    shared = shared_by_computers(folder)
    with contextlib.suppress(sqlite3.OperationalError):  # some shares know no such log
        database.execute(f"PRAGMA journal_mode = {'TRUNCATE' if shared else 'WAL'}")
    database.execute(f"PRAGMA synchronous = {'FULL' if shared else 'NORMAL'}")
    return database


class RunWriter:
    """Writes the metrics of a run, and holds its lock until `close`. For one thread only.

    Raises filelock.Timeout when another process holds it.
    """

    def __init__(self, folder: Path, *, new: bool = False) -> None:
        """`new` makes the tables of a run that has none yet."""
        self.folder = folder
        self.closed = False
        self._lock = FileLock(folder / LOCK, timeout=2, thread_local=False)
        self._lock.acquire()
        try:
            self._database = connect(folder, new=new)
            try:
                migrate(self._database)
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._pending: list[tuple[str, tuple[Any, ...]]] = []
        self._committed = time.monotonic()

    def append(self, metrics: StepMetrics) -> str:
        """Keep a step; on disk within 0.25 s or 50 steps. Answers as `flush` does."""
        self._pending.append((INSERT_STEP, astuple(metrics)))
        waited = time.monotonic() - self._committed
        if len(self._pending) % COMMIT_STEPS and waited < COMMIT_SECONDS:
            return ""
        return self.flush()

    def state(self, state: State, step: int, reason: str = "") -> str:
        """Record a change of state. Answers as `flush` does."""
        return self.event("state", step, json.dumps({"state": state, "reason": reason}))

    def change(self, change: Change) -> str:
        """Record a change that no setting says; those once made later are no more."""
        self._pending.append(
            ("DELETE FROM events WHERE kind = ? AND step > ?", (change.name, change.after))
        )
        return self.event(change.name, change.after, repr(change.value))

    def event(self, kind: str, step: int, detail: str) -> str:
        """Record that something happened, after the steps before it. Answers as `flush` does."""
        self._pending.append((INSERT_EVENT, (time.time(), step, kind, detail)))
        return self.flush()

    def rewind(self, step: int) -> None:
        """Forget what came after `step`, because it is about to be done again.

        Changes that a learner made later stay: they are made again. Raises sqlite3.Error.
        """
        with self._database:
            for table in ("steps", "samples"):
                self._database.execute(f"DELETE FROM {table} WHERE step > ?", (step,))
            self._database.execute(
                "DELETE FROM events WHERE kind IN ('accuracy', 'audit', 'both_losses') "
                "AND step > ?",
                (step,),
            )

    def copy(self, steps: Iterable[StepMetrics]) -> None:
        """Take over the first steps of a parent. Raises sqlite3.Error."""
        with self._database:
            self._database.executemany(INSERT_STEP, map(astuple, steps))

    def flush(self) -> str:
        """Put everything on disk now.

        When the disk refuses, it waits in memory, and the answer is a sentence that says so.
        """
        self._committed = time.monotonic()
        try:
            with self._database:
                for statement, row in self._pending:
                    self._database.execute(statement, row)
        except sqlite3.Error as error:
            return f"The metrics cannot be written now ({error}); they wait in memory."
        self._pending.clear()
        return ""

    def flush_through(self) -> str:
        """Put everything where not even a power failure can take it. Answers as `flush` does."""
        if trouble := self.flush():
            return trouble
        try:
            self._database.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
        except sqlite3.Error as error:
            return f"The metrics cannot be written through now ({error})."
        return ""

    def write_waiting(self, path: Path) -> None:
        """Put what waits in memory into a copy of the metrics. Raises sqlite3.Error."""
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            for statement, row in self._pending:
                database.execute(statement, row)

    def discard(self) -> None:
        """Drop what waits in memory: a copy is kept elsewhere."""
        self._pending.clear()

    def close(self) -> str:
        """Write everything that can be written, and release the run's lock; may be called twice.

        The answer is a sentence when something is lost, else empty.
        """
        if self.closed:
            return ""
        self.closed, lost = True, ""
        try:
            lost = self._last_flush()
            self._database.close()
        finally:
            self._lock.release()
        return lost

    def _last_flush(self) -> str:
        lost = ""
        if self.flush() and self._pending:
            steps = sum(statement == INSERT_STEP for statement, _ in self._pending)
            what = f"metrics of {steps:,} steps" if steps else "last entries of its log"
            lost = f"The {what} could not be written, and are lost."
            log.error("%s: %s", self.folder.name, lost)
        return lost
