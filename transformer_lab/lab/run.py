"""A run on disk, made of plain things anyone can read; docs/run_format.md describes them.

    runs/quick-start-3/
        run.json          what it was started with: settings, corpus, environment; never changed
        about.json        what may change: its title, notes, and whether it is pinned
        metrics.sqlite    tables steps, samples, events (the last `state` event is its state)
        lock              held by the process that trains it
        checkpoints/step-00000800/   weights, the optimizer's memory, tokenizer, progress, sums

Only the holder of the lock writes steps and states. A run that has not ended, with a free lock, was
interrupted.
"""

import contextlib
import json
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from transformer_lab.exchange.opening import opened_to_read
from transformer_lab.lab.database import (
    CHANGES,
    INSERT_EVENT,
    INSERT_SAMPLE,
    METRICS,
    UNFINISHED,
    Sample,
    State,
    connect,
)
from transformer_lab.text.library import printable
from transformer_lab.training import Change, StepMetrics
from transformer_lab.training.checkpoint import can_go_on, flush_folder
from transformer_lab.training.live import ChangeName

CUT_OFF = "The lab ended before this run did."
RESUMABLE = ("interrupted", "stopped", "failed")
CHANGING = ("metrics.sqlite", "metrics.sqlite-wal", "about.json", "checkpoints")
LONGEST_TITLE, LONGEST_NOTES = 80, 10_000


@dataclass(frozen=True)
class About:
    """What may be changed of a run at any time: a title of the learner's, notes, and a pin."""

    title: str = ""
    notes: str = ""
    pinned: bool = False


@dataclass(frozen=True)
class Seam:
    """Where a run left its parent: after `step` steps of `run`, by `kind` (extended, branched)."""

    run: str
    step: int
    kind: str


class RunNotFoundError(LookupError):
    """No run of that name."""


class Run:
    """A run, to be read: by anyone, at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self._manifest: dict[str, Any] | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        """What is in run.json. Raises OSError or ValueError when it cannot be read."""
        if self._manifest is None:
            self._manifest = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        return self._manifest

    @property
    def steps(self) -> int:
        """How many steps it is to have."""
        return int(self.manifest["setup"]["train"]["steps"])

    @property
    def seams(self) -> list[Seam]:
        """Where it, its parent and so on left theirs, in the order of steps."""
        return [Seam(**seam) for seam in self.manifest.get("seams", [])]

    @property
    def about(self) -> About:
        """Its title, notes and pin; empty ones when there is nothing that can be read."""
        try:
            stored = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
            return About(str(stored["title"]), str(stored["notes"]), bool(stored["pinned"]))
        except (OSError, ValueError, KeyError, TypeError):
            return About()

    def describe(self, **changes: Any) -> About:
        """Change title, notes or pin. Raises OSError."""
        about = replace(self.about, **changes)
        title = printable(" ".join(about.title.split()))
        about = replace(about, title=title[:LONGEST_TITLE], notes=about.notes[:LONGEST_NOTES])
        write_json(self.folder / "about.json", asdict(about))
        return about

    @property
    def stamp(self) -> tuple[float, ...]:
        """Changes whenever something was recorded of the run."""
        return tuple(_modified(self.folder / name) for name in CHANGING)

    def since(self, cursor: int = 0) -> tuple[list[StepMetrics], int]:
        """Steps after step `cursor`, and the cursor to pass next time."""
        with self.reading() as database:
            rows = database.execute("SELECT * FROM steps WHERE step > ? ORDER BY step", (cursor,))
            points = [StepMetrics(*row) for row in rows]
        return points, points[-1].step if points else cursor

    def latest(self, count: int = 1) -> list[StepMetrics]:
        """The newest steps, oldest first."""
        with self.reading() as database:
            rows = database.execute("SELECT * FROM steps ORDER BY step DESC LIMIT ?", (count,))
            return [StepMetrics(*row) for row in rows][::-1]

    def latest_validation_loss(self) -> float | None:
        """The newest validation loss, if there is one yet."""
        with self.reading() as database:
            row = database.execute(
                "SELECT validation_loss FROM steps WHERE validation_loss IS NOT NULL "
                "ORDER BY step DESC LIMIT 1"
            ).fetchone()
        return row[0] if row else None

    def latest_sample(self) -> Sample | None:
        """The newest sample, if there is one yet."""
        with self.reading() as database:
            row = database.execute(
                "SELECT step, prompt, text FROM samples ORDER BY step DESC, time DESC LIMIT 1"
            ).fetchone()
        return Sample(*row) if row else None

    def samples(self) -> list[Sample]:
        """What it wrote over time, oldest first."""
        with self.reading() as database:
            rows = database.execute("SELECT step, prompt, text FROM samples ORDER BY step, time")
            return [Sample(*row) for row in rows]

    def events(self, kind: str) -> list[tuple[int, str]]:
        """(step, detail) of every event of a kind, oldest first."""
        with self.reading() as database:
            return database.execute(
                "SELECT step, detail FROM events WHERE kind = ? ORDER BY rowid", (kind,)
            ).fetchall()

    def log(self) -> list[tuple[float, int, str, str]]:
        """(time, step, kind, detail) of everything that happened, oldest first."""
        with self.reading() as database:
            return database.execute(
                "SELECT time, step, kind, detail FROM events ORDER BY rowid"
            ).fetchall()

    def changes(self, after: int) -> list[Change]:
        """What was changed at step `after` or later, in the order in which it is to be repeated."""
        found = [
            Change(step, cast(ChangeName, name), float(detail))
            for name in CHANGES
            for step, detail in self.events(name)
            if step >= after
        ]
        return sorted(found, key=lambda change: change.after)

    def threads(self, step: int | None = None) -> int:
        """CPU threads that computed `step`, or compute now."""
        counts = [
            int(float(count))
            for after, count in self.events("threads")
            if step is None or after < step
        ]
        return counts[-1] if counts else int(self.manifest["threads"])

    def attempts(self) -> int:
        """How many times it was resumed."""
        return len(self.events("resumed"))

    def state(self) -> tuple[State, str]:
        """Its state and the reason for it. An unfinished run that nobody holds was interrupted."""
        states = self.events("state")
        recorded: dict[str, Any] = {"state": "running", "reason": ""}
        if states:
            recorded = json.loads(states[-1][1])
        if recorded["state"] in UNFINISHED and not self.is_held():
            return "interrupted", CUT_OFF
        return recorded["state"], recorded["reason"]

    def is_held(self) -> bool:
        """Whether a process is training this run now.

        Asked, where the system can, with a lock that readers share: else two of them that ask at
        once would take each other for the one who trains.
        """
        try:
            if fcntl is None:
                with FileLock(self.folder / "lock", timeout=0):
                    return False
            with (self.folder / "lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except (Timeout, BlockingIOError):
            return True
        except OSError:  # of a person who lets nobody look, or on a disk that knows no locks
            return False
        return False

    def checkpoints(self) -> list[Path]:
        """Folders of its regular saves, oldest first."""
        return self._saved("step")

    def best_checkpoints(self) -> list[Path]:
        """Folders of the weights with the lowest validation loss so far, oldest first."""
        return self._saved("best")

    def kept_checkpoints(self) -> list[Path]:
        """Folders of the moments a learner chose to keep, oldest first."""
        return self._saved("kept")

    def _saved(self, kind: str) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob(f"{kind}-*"))

    def checkpoint(self, name: str) -> Path:
        """A checkpoint's folder by its name, as in `step-00000800`. Raises RunNotFoundError."""
        folder = self.folder / "checkpoints" / name
        if not re.fullmatch(r"(step|best|kept)-\d{8,}", name) or not folder.is_dir():
            raise RunNotFoundError(f"{self.id} has no checkpoint {name!r}.")
        return folder

    def usable_checkpoints(self) -> list[Path]:
        """Folders of weights to write with, the preferred one first."""
        best, newest = self.best_checkpoints()[::-1], self.resume_points()
        keeps = self.manifest["setup"]["train"].get("keep_best", False)
        return [*best, *newest] if keeps else [*newest, *best]

    def resume_points(self) -> list[Path]:
        """Folders a training can go on from, the newest first."""
        found = [*self.kept_checkpoints(), *self.checkpoints()]
        return sorted(found, key=lambda path: (can_go_on(path), step_of(path)), reverse=True)

    def bytes_per_token(self) -> float | None:
        """How much text a validation token stands for; None where some of the text is lost."""
        corpus = self.manifest["corpus"]
        if not corpus.get("validation_tokens") or corpus.get("unknown_share"):
            return None
        return corpus["validation_bytes"] / corpus["validation_tokens"]

    def add_event(self, kind: str, step: int, detail: str) -> None:
        """Keep something that was found out about the model after `step`; from any thread."""
        with contextlib.closing(connect(self.folder)) as database, database:
            database.execute(INSERT_EVENT, (time.time(), step, kind, detail))

    def accuracy(self) -> float | None:
        """The newest share of held-out problems solved, if the text has problems."""
        found = self.events("accuracy")
        return float(found[-1][1]) if found else None

    def add_sample(self, sample: Sample) -> None:
        """Keep a sample; from any thread of the process that trains the run."""
        with contextlib.closing(connect(self.folder)) as database, database:
            database.execute(INSERT_SAMPLE, (sample.step, time.time(), sample.prompt, sample.text))

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Its metrics, to be asked in SQL."""
        with opened_to_read(self.folder / METRICS) as database:
            yield database


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint's folder is named after."""
    return int(checkpoint.name.rpartition("-")[2])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file of plain values at one stroke. Raises OSError."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # A path that is no text, as in Python's surrogates, is spelled as JSON does: \udcff.
        with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(content, file, indent=2, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)
