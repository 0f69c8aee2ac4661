"""A run in one line, for lists: quick to make, and made again only when its files change."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformer_lab.lab.database import UNFINISHED, State
from transformer_lab.text.split import bits_per_byte

if TYPE_CHECKING:
    from transformer_lab.lab.run import Run

SPARK_POINTS = 32
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, sqlite3.Error)


@dataclass(frozen=True)
class RunSummary:
    """A run in one line.

    Losses are in nats per token, `seconds` is the time spent training, `spark` the course of its
    loss in at most 32 numbers. `parent` names the run it goes on from, `race` the race it took part
    in as `lane`, `audit` what the newest leak audit found. `elsewhere` says that another process is
    training it now.
    """

    id: str
    title: str
    notes: str
    pinned: bool
    recipe: str
    corpus: str
    parent: str
    race: str
    lane: str
    created: float
    state: State
    reason: str
    step: int
    steps: int
    seconds: float
    parameters: int
    validation_loss: float | None
    best_loss: float | None
    bits_per_byte: float | None
    spark: tuple[float, ...]
    audit: str
    elsewhere: bool

    @property
    def name(self) -> str:
        """What to call it: the learner's title, or its id."""
        return self.title or self.id


class Summaries:
    """Summaries of runs, each remembered until a file of the run changes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[float, ...], RunSummary]] = {}

    def of(self, runs: "Iterable[Run]") -> list[RunSummary]:
        """Every run that can be read, newest first."""
        found = [summary for run in runs if (summary := self._of(run))]
        return sorted(found, key=lambda summary: summary.created, reverse=True)

    def _of(self, run: "Run") -> RunSummary | None:
        stamp = run.stamp
        known = self._known.get(run.id)
        if known and known[0] == stamp and known[1].state not in UNFINISHED:
            return known[1]
        try:
            summary = summarize(run)
        except UNREADABLE:
            return None  # half-made or spoiled: not a run that can be shown
        self._known[run.id] = (stamp, summary)
        return summary


def summarize(run: "Run") -> RunSummary:
    """One run's line. Raises one of UNREADABLE when it is spoiled."""
    about, manifest, seams = run.about, run.manifest, run.seams
    state, reason = run.state()
    with run.reading() as database:
        last = database.execute(
            "SELECT step, seconds FROM steps ORDER BY step DESC LIMIT 1"
        ).fetchone()
        losses = [
            row[0]
            for row in database.execute(
                "SELECT validation_loss FROM steps WHERE validation_loss IS NOT NULL ORDER BY step"
            )
        ]
        audited = database.execute(
            "SELECT step, detail FROM events WHERE kind = 'audit' ORDER BY rowid DESC LIMIT 1"
        ).fetchone()
        spark = _thinned(losses) if len(losses) >= 8 else _train_losses(database, last)
    loss, length = (losses[-1] if losses else None), run.bytes_per_token()
    return RunSummary(
        id=run.id,
        title=about.title,
        notes=about.notes,
        pinned=about.pinned,
        recipe=str(manifest["recipe"]),
        corpus=str(manifest["corpus"]["title"]),
        parent=seams[-1].run if seams else "",
        race=str(manifest.get("race", "")),
        lane=str(manifest.get("lane", "")),
        created=float(manifest["created"]),
        state=state,
        reason=reason,
        step=last[0] if last else 0,
        steps=run.steps,
        seconds=last[1] if last else 0.0,
        parameters=int(manifest.get("parameters", 0)),
        validation_loss=loss,
        best_loss=min(losses, default=None),
        bits_per_byte=None if loss is None or length is None else bits_per_byte(loss, length),
        spark=tuple(spark),
        audit=_badge(audited, last[0] if last else 0),
        elsewhere=state in UNFINISHED,
    )


def _badge(audited: tuple[int, str] | None, step: int) -> str:
    """What the newest leak audit found, and after which step if the run has gone on since."""
    if audited is None:
        return ""
    outcome = str(json.loads(audited[1])["outcome"])
    return outcome if audited[0] == step else f"{outcome} at step {audited[0]:,}"


def _train_losses(database: sqlite3.Connection, last: tuple[int, float] | None) -> list[float]:
    """Some losses of training steps, evenly spread."""
    if not last:
        return []
    count = min(SPARK_POINTS, last[0])
    wanted = [1 + round(k * (last[0] - 1) / max(count - 1, 1)) for k in range(count)]
    rows = database.execute(
        "SELECT train_loss FROM steps WHERE step IN (SELECT value FROM json_each(?)) ORDER BY step",
        (json.dumps(wanted),),
    )
    return [row[0] for row in rows]


def _thinned(losses: list[float]) -> list[float]:
    count = min(SPARK_POINTS, len(losses))
    return [losses[round(k * (len(losses) - 1) / (count - 1))] for k in range(count)]
