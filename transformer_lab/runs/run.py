"""A run on disk, made of plain things anyone can read; docs/run_format.md describes them.

    runs/quick-start-3/
        run.json          what it was started with: settings, corpus, environment; never changed
        about.json        what may change: its titles, notes, and whether it is pinned
        metrics.sqlite    tables steps, samples, events (the last `state` event is its state)
        lock              held by the process that trains it
        checkpoints/step-00000800/   weights, the optimizer's memory, tokenizer, progress, sums

Only the holder of the lock writes steps and states. A run that has not ended, with a free lock, was
interrupted.
"""

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from transformer_lab.runs.about import ABOUT, About, read_about, write_about
from transformer_lab.runs.checkpoint import can_go_on
from transformer_lab.runs.curves import COLUMNS, SOUND, extremes, smoothed, spread
from transformer_lab.runs.database import (
    CHANGES,
    INSERT_EVENT,
    INSERT_SAMPLE,
    UNFINISHED,
    Sample,
    State,
    connect,
)
from transformer_lab.runs.events import StateEvent, event_value, is_sound
from transformer_lab.runs.files import read_manifest, stored_tokenizer
from transformer_lab.runs.held import LOCK, is_held
from transformer_lab.runs.opening import opened_to_read
from transformer_lab.runs.record import RecordError
from transformer_lab.runs.tables import METRICS, sound, sound_rows
from transformer_lab.settings import shown
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.training import Change, StepMetrics
from transformer_lab.training.live import ChangeName

MANIFEST = "run.json"
SOUND_EVENT = sound_rows("events")
SOUND_LOSS = sound("validation_loss", always=True)
WITHOUT_MANIFEST = (
    "Without it the run cannot be used: put the file back, export what there is, or delete the run."
)
WITHOUT_METRICS = (
    "Its weights can still be used. To go on with it, export it and bring that in again: every row "
    "that can be read is kept."
)
CUT_OFF = "The lab ended before this run did."
# What reading a damaged run may raise; a DamagedRunError is a LookupError.
UNREADABLE = (OSError, LookupError, ValueError, TypeError, AttributeError, sqlite3.Error)
RESUMABLE = ("interrupted", "stopped", "failed")
CHANGING = (MANIFEST, METRICS, f"{METRICS}-wal", ABOUT, "checkpoints")


@dataclass(frozen=True)
class Seam:
    """Where a run left its parent: after `step` steps of `run`, by `kind` (extended, branched)."""

    run: str
    step: int
    kind: str


class RunNotFoundError(LookupError):
    """No run of that name, or none that can be read."""


class DamagedRunError(RunNotFoundError):
    """A run of which something is lost that was asked for; the message names it and a way out."""


class Run:
    """A run, to be read: by anyone, at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self._manifest: dict[str, Any] | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        """What is in run.json; odd values have their defaults. Raises DamagedRunError."""
        if self._manifest is None:
            try:
                text = (self.folder / MANIFEST).read_bytes()
                self._manifest = read_manifest(text, MANIFEST)
            except OSError as error:
                raise DamagedRunError(f"{MANIFEST} cannot be read: {error.strerror}.") from error
            except RecordError as error:
                raise DamagedRunError(str(error)) from error
        return self._manifest

    @property
    def problem(self) -> str:
        """What cannot be read of it, and what can still be done; empty when all is well."""
        try:
            _ = self.manifest
        except DamagedRunError as error:
            return f"{error} {WITHOUT_MANIFEST}"
        try:
            with self.reading() as database:
                database.execute("SELECT rowid FROM events LIMIT 1").fetchall()
        except DamagedRunError as error:
            return str(error)
        return ""

    @property
    def tokenizer(self) -> Tokenizer:
        """How it reads text. Raises DamagedRunError."""
        try:
            return stored_tokenizer(self.manifest["tokenizer"])
        except RecordError as error:
            raise DamagedRunError(
                f"{self.id} has no tokenizer that can be used. {error}"
            ) from error

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
        """What may be changed of it; empty where they cannot be read."""
        return read_about(self.folder)

    def describe(self, **changes: Any) -> About:
        """Change titles, notes or pin. Raises OSError."""
        return write_about(self.folder, replace(self.about, **changes))

    @property
    def stamp(self) -> tuple[float, ...]:
        """Changes whenever something was recorded of the run."""
        return tuple(_modified(self.folder / name) for name in CHANGING)

    def since(self, cursor: int = 0) -> tuple[list[StepMetrics], int]:
        """Steps after step `cursor`, and the cursor to pass next time."""
        with self.reading() as database:
            rows = database.execute(
                f"SELECT {COLUMNS} FROM steps WHERE step > ? AND {SOUND} ORDER BY step", (cursor,)
            )
            points = [StepMetrics(*row) for row in rows]
        return points, points[-1].step if points else cursor

    def thinned(self, most: int, window: int = 1) -> tuple[list[StepMetrics], list[StepMetrics]]:
        """At most `most` steps, evenly spread, and as many evaluated ones; the last of both.

        Training losses are means over `window` steps. All is chosen by the database, so that
        millions of steps take no longer than a thousand.
        """
        with self.reading() as database:
            points = spread(database, f"steps WHERE {SOUND}", most)
            if window > 1:
                points = [smoothed(database, point, window) for point in points]
            evaluated = f"steps WHERE validation_loss IS NOT NULL AND {SOUND}"
            return points, spread(database, evaluated, most)

    def envelope(self, most: int) -> tuple[list[StepMetrics], list[StepMetrics]]:
        """About `most` steps that show how far the loss goes up and down, and as many evaluated.

        Each of `most` / 2 stretches gives the lowest and the highest; both ends are there.
        """
        with self.reading() as database:
            evaluated = f"steps WHERE validation_loss IS NOT NULL AND {SOUND}"
            return (
                extremes(database, f"steps WHERE {SOUND}", "train_loss", most),
                extremes(database, evaluated, "validation_loss", most),
            )

    def latest(self, count: int = 1) -> list[StepMetrics]:
        """The newest steps, oldest first."""
        with self.reading() as database:
            rows = database.execute(
                f"SELECT {COLUMNS} FROM steps WHERE {SOUND} ORDER BY step DESC LIMIT ?", (count,)
            )
            return [StepMetrics(*row) for row in rows][::-1]

    def step_at(self, step: int) -> StepMetrics | None:
        """One step, if it is there."""
        with self.reading() as database:
            row = database.execute(
                f"SELECT {COLUMNS} FROM steps WHERE step = ? AND {SOUND}", (step,)
            ).fetchone()
        return StepMetrics(*row) if row else None

    def evaluated(self, count: int = -1) -> list[StepMetrics]:
        """The newest steps with a validation loss, oldest first."""
        with self.reading() as database:
            rows = database.execute(
                f"SELECT {COLUMNS} FROM steps WHERE validation_loss IS NOT NULL AND {SOUND} "
                "ORDER BY step DESC LIMIT ?",
                (count,),
            )
            return [StepMetrics(*row) for row in rows][::-1]

    def best_loss(self) -> float | None:
        """The lowest validation loss, if there is one yet."""
        with self.reading() as database:
            (lowest,) = database.execute(
                "SELECT min(validation_loss) FROM steps WHERE validation_loss IS NOT NULL "
                f"AND {SOUND_LOSS}"
            ).fetchone()
        return lowest

    def latest_sample(self) -> Sample | None:
        """The newest sample, if there is one yet."""
        return next(iter(self.samples(1)), None)

    def samples(self, most: int = -1) -> list[Sample]:
        """What it wrote over time, oldest first; the newest so many of them."""
        with self.reading() as database:
            rows = database.execute(
                f"SELECT step, prompt, text FROM samples WHERE {sound_rows('samples')} "
                "ORDER BY step DESC, time DESC LIMIT ?",
                (most,),
            )
            return [Sample(*row) for row in rows][::-1]

    def samples_around(self, step: int) -> tuple[Sample | None, Sample | None]:
        """The sample nearest before `step`, and the first one after it or at it."""
        found = []
        with self.reading() as database:
            for side in ("step < ? ORDER BY step DESC, time DESC", "step >= ? ORDER BY step, time"):
                row = database.execute(
                    f"SELECT step, prompt, text FROM samples WHERE {sound_rows('samples')} "
                    f"AND {side} LIMIT 1",
                    (step,),
                ).fetchone()
                found.append(Sample(*row) if row else None)
        return found[0], found[1]

    def events(self, kind: str) -> list[tuple[int, str]]:
        """(step, detail) of every event of a kind that can be used, oldest first."""
        with self.reading() as database:
            rows = database.execute(
                f"SELECT step, detail FROM events WHERE kind = ? AND {SOUND_EVENT} ORDER BY rowid",
                (kind,),
            )
            return [row for row in rows if is_sound(kind, row[1])]

    def last_event(self, kind: str) -> tuple[int, str] | None:
        """(step, detail) of the newest event of a kind that can be used."""
        with self.reading() as database:
            rows = database.execute(
                f"SELECT step, detail FROM events WHERE kind = ? AND {SOUND_EVENT} "
                "ORDER BY rowid DESC",
                (kind,),
            )
            return next((row for row in rows if is_sound(kind, row[1])), None)

    def log(self, most: int = -1) -> list[tuple[float, int, str, str]]:
        """(time, step, kind, detail) of what happened, oldest first; the newest so many."""
        with self.reading() as database:
            rows = database.execute(
                f"SELECT time, step, kind, detail FROM events WHERE {SOUND_EVENT} "
                "ORDER BY rowid DESC LIMIT ?",
                (most,),
            ).fetchall()
        return [row for row in rows if is_sound(row[2], row[3])][::-1]

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
        """Its state and the reason for it. An unfinished run without a lock was interrupted."""
        if problem := self.problem:
            return "damaged", problem
        last = self.last_event("state")
        recorded = event_value("state", last[1]) if last else StateEvent(state="running")
        if recorded.state in UNFINISHED and not self.is_held():
            return "interrupted", CUT_OFF
        return recorded.state, recorded.reason

    def is_held(self) -> bool:
        """Whether a process is training this run now."""
        return is_held(self.folder / LOCK)

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
        found = (path for path in inside(self.folder / "checkpoints") if path.is_dir())
        return sorted(path for path in found if re.fullmatch(rf"{kind}-\d{{8,12}}", path.name))

    def checkpoint(self, name: str) -> Path:
        """A checkpoint's folder by its name, as in `step-00000800`. Raises RunNotFoundError."""
        folders = [*self.checkpoints(), *self.best_checkpoints(), *self.kept_checkpoints()]
        for folder in folders:
            if folder.name == name:
                return folder
        raise RunNotFoundError(f"{self.id} has no checkpoint {shown(name)}.")

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
        tokens, size = corpus["validation_tokens"], corpus["validation_bytes"]
        return size / tokens if tokens and size and not corpus["unknown_share"] else None

    def add_event(self, kind: str, step: int, detail: str) -> None:
        """Keep something that was found out about the model after `step`; from any thread."""
        with contextlib.closing(connect(self.folder)) as database, database:
            database.execute(INSERT_EVENT, (time.time(), step, kind, detail))

    def accuracy(self) -> float | None:
        """The newest share of held-out problems solved, if the text has problems."""
        found = self.last_event("accuracy")
        return float(found[1]) if found else None

    def add_sample(self, sample: Sample) -> None:
        """Keep a sample; from any thread of the process that trains the run."""
        with contextlib.closing(connect(self.folder)) as database, database:
            database.execute(INSERT_SAMPLE, (sample.step, time.time(), sample.prompt, sample.text))

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Its metrics, to be asked in SQL; never made by it. Raises DamagedRunError."""
        path = self.folder / METRICS
        if not path.is_file():
            what = "is missing" if not path.exists() else "is no file"
            raise DamagedRunError(f"{METRICS} {what}. {WITHOUT_METRICS}")
        try:
            with opened_to_read(path) as database:
                database.text_factory = lambda text: text.decode(errors="replace")
                yield database
        except (OSError, sqlite3.Error) as error:
            raise DamagedRunError(
                f"{METRICS} cannot be read ({error}). {WITHOUT_METRICS}"
            ) from error


def inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing when there is none, or it cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint's folder is named after."""
    return int(checkpoint.name.rpartition("-")[2])
