"""Runs on disk, as plain things anyone can read.

    runs/quick-start-3/
        run.json          what it was started with: settings, corpus, environment; never changed
        metrics.sqlite    tables steps, samples, events (the last `state` event is its state)
        lock              held by the process that trains it
        checkpoints/step-00000800/   weights.safetensors, tokenizer.json, meta.json

Only the holder of the lock writes steps and states. A run that has not ended, with a free lock, was
interrupted.
"""

import contextlib
import json
import logging
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from transformer_lab.text.split import bits_per_byte
from transformer_lab.training import StepMetrics
from transformer_lab.training.checkpoint import sweep_staging

log = logging.getLogger(__name__)

State = Literal[
    "preparing", "ready", "running", "paused", "finished", "stopped", "failed", "interrupted"
]
UNFINISHED = ("running", "paused")
COLUMNS = [item.name for item in fields(StepMetrics)]
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS steps ({COLUMNS[0]} INTEGER PRIMARY KEY, {", ".join(COLUMNS[1:])});
CREATE TABLE IF NOT EXISTS samples (step INTEGER, time REAL, prompt TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS events (time REAL, step INTEGER, kind TEXT, detail TEXT);
"""
INSERT_STEP = f"INSERT OR REPLACE INTO steps VALUES ({', '.join('?' * len(COLUMNS))})"
INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?)"
COMMIT_SECONDS = 0.25
COMMIT_STEPS = 50


@dataclass(frozen=True)
class Sample:
    """A text the model wrote during training, after `step` steps."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class RunSummary:
    """A run in one line. `elsewhere` says that another process is training it now."""

    id: str
    recipe: str
    corpus: str
    created: float
    state: State
    reason: str
    step: int
    steps: int
    validation_loss: float | None
    bits_per_byte: float | None
    elsewhere: bool


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

    def since(self, cursor: int = 0) -> tuple[list[StepMetrics], int]:
        """Steps after step `cursor`, and the cursor to pass next time."""
        with self._reading() as database:
            rows = database.execute("SELECT * FROM steps WHERE step > ? ORDER BY step", (cursor,))
            points = [StepMetrics(*row) for row in rows]
        return points, points[-1].step if points else cursor

    def latest(self, count: int = 1) -> list[StepMetrics]:
        """The newest steps, oldest first."""
        with self._reading() as database:
            rows = database.execute("SELECT * FROM steps ORDER BY step DESC LIMIT ?", (count,))
            return [StepMetrics(*row) for row in rows][::-1]

    def latest_validation_loss(self) -> float | None:
        """The newest validation loss, if there is one yet."""
        with self._reading() as database:
            row = database.execute(
                "SELECT validation_loss FROM steps WHERE validation_loss IS NOT NULL "
                "ORDER BY step DESC LIMIT 1"
            ).fetchone()
        return row[0] if row else None

    def latest_sample(self) -> Sample | None:
        """The newest sample, if there is one yet."""
        with self._reading() as database:
            row = database.execute(
                "SELECT step, prompt, text FROM samples ORDER BY step DESC, time DESC LIMIT 1"
            ).fetchone()
        return Sample(*row) if row else None

    def events(self, kind: str) -> list[tuple[int, str]]:
        """(step, detail) of every event of a kind, oldest first."""
        with self._reading() as database:
            return database.execute(
                "SELECT step, detail FROM events WHERE kind = ? ORDER BY rowid", (kind,)
            ).fetchall()

    def state(self) -> tuple[State, str]:
        """Its state and the reason for it. An unfinished run that nobody holds was interrupted."""
        states = self.events("state")
        recorded: dict[str, Any] = {"state": "running", "reason": ""}
        if states:
            recorded = json.loads(states[-1][1])
        if recorded["state"] in UNFINISHED and not self.is_held():
            return "interrupted", "The lab ended before this run did."
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
        return False

    def checkpoints(self) -> list[Path]:
        """Folders of saved weights, oldest first."""
        return sorted((self.folder / "checkpoints").glob("step-*"))

    def best_checkpoints(self) -> list[Path]:
        """Folders of the weights with the lowest validation loss so far, oldest first."""
        return sorted((self.folder / "checkpoints").glob("best-*"))

    def usable_checkpoints(self) -> list[Path]:
        """Folders of weights to write with, the preferred one first."""
        best = self.best_checkpoints()[::-1]
        newest = self.checkpoints()[::-1]
        keeps = self.manifest["setup"]["train"].get("keep_best", False)
        return [*best, *newest] if keeps else [*newest, *best]

    def bytes_per_token(self) -> float | None:
        """How much text a validation token stands for; None where some of the text is lost."""
        corpus = self.manifest["corpus"]
        if not corpus.get("validation_tokens") or corpus.get("unknown_share"):
            return None
        return corpus["validation_bytes"] / corpus["validation_tokens"]

    def add_accuracy(self, step: int, share: float) -> None:
        """Keep the share of held-out problems solved; from any thread of the training process."""
        with contextlib.closing(_connect(self.folder)) as database, database:
            database.execute(INSERT_EVENT, (time.time(), step, "accuracy", repr(share)))

    def accuracy(self) -> float | None:
        """The newest share of held-out problems solved, if the text has problems."""
        found = self.events("accuracy")
        return float(found[-1][1]) if found else None

    def add_sample(self, sample: Sample) -> None:
        """Keep a sample; from any thread of the process that trains the run."""
        with contextlib.closing(_connect(self.folder)) as database, database:
            database.execute(
                "INSERT INTO samples VALUES (?, ?, ?, ?)",
                (sample.step, time.time(), sample.prompt, sample.text),
            )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        database = _connect(self.folder)
        try:
            yield database
        finally:
            database.close()


class RunWriter:
    """The pen of a run: holds its lock from creation to `close`. For one thread only."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = FileLock(run.folder / "lock", timeout=2, thread_local=False)
        self._lock.acquire()
        self._database = _connect(run.folder)
        self._database.executescript(SCHEMA)
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

    def event(self, kind: str, step: int, detail: str) -> str:
        """Record that something happened, after the steps before it. Answers as `flush` does."""
        self._pending.append((INSERT_EVENT, (time.time(), step, kind, detail)))
        return self.flush()

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

    def close(self) -> None:
        """Put everything on disk, as far as it takes it, and let go of the run."""
        if trouble := self.flush():
            log.error("%s: %s", self.run.id, trouble)
        self._database.close()
        self._lock.release()


def _connect(folder: Path) -> sqlite3.Connection:
    database = sqlite3.connect(folder / "metrics.sqlite", timeout=5.0)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    return database


class RunStore:
    """The folder of all runs. Its only index is the folder itself."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "runs"
        self._summaries: dict[str, tuple[tuple[float, ...], RunSummary]] = {}

    def create(self, slug: str, manifest: Mapping[str, Any]) -> RunWriter:
        """A new run named after its recipe, with the next free number; its lock is held."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^a-z0-9]+", "-", slug.lower()).strip("-") or "run"
        number = 1 + max((_number(path.name, stem) for path in self.folder.iterdir()), default=0)
        while True:
            folder = self.folder / f"{stem}-{number}"
            try:
                folder.mkdir()
                break
            except FileExistsError:
                number += 1
        writer = RunWriter(Run(folder))
        content = {"format": 1, "id": folder.name, "created": time.time(), **manifest}
        staged = folder / ".run.json"
        staged.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
        staged.replace(folder / "run.json")
        return writer

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

    def list(self) -> list[RunSummary]:
        """Every readable run, newest first."""
        if not self.folder.is_dir():
            return []
        found = [self._summary(path.parent) for path in self.folder.glob("*/run.json")]
        return sorted((s for s in found if s), key=lambda s: s.created, reverse=True)

    def sweep(self) -> None:
        """Remove what interrupted saves left behind, in runs nobody holds."""
        for path in self.folder.glob("*/checkpoints"):
            if not Run(path.parent).is_held():
                sweep_staging(path)

    def _summary(self, folder: Path) -> RunSummary | None:
        """One run's line; an ended run is read again only when its files change."""
        stamp = tuple(
            path.stat().st_mtime if path.exists() else 0.0
            for path in (folder / "metrics.sqlite", folder / "metrics.sqlite-wal")
        )
        known = self._summaries.get(folder.name)
        if known and known[0] == stamp and known[1].state not in UNFINISHED:
            return known[1]
        run = Run(folder)
        try:
            summary = _summarize(run)
        except (OSError, ValueError, KeyError, TypeError, sqlite3.Error):
            return None  # half-made or spoiled: not a run that can be shown
        self._summaries[folder.name] = (stamp, summary)
        return summary


def _summarize(run: Run) -> RunSummary:
    state, reason = run.state()
    latest, loss, length = run.latest(), run.latest_validation_loss(), run.bytes_per_token()
    return RunSummary(
        id=run.id,
        recipe=str(run.manifest["recipe"]),
        corpus=str(run.manifest["corpus"]["title"]),
        created=float(run.manifest["created"]),
        state=state,
        reason=reason,
        step=latest[-1].step if latest else 0,
        steps=run.steps,
        validation_loss=loss,
        bits_per_byte=bits_per_byte(loss, length) if loss and length else None,
        elsewhere=state in UNFINISHED,
    )


def _number(name: str, stem: str) -> int:
    match = re.fullmatch(rf"{re.escape(stem)}-(\d+)", name)
    return int(match[1]) if match else 0
