"""Trainings outside of the lab's own thread: what is common to its processes and to a cluster."""

import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from filelock import Timeout

from transformer_lab.lab.elsewhere.said import how_ended, memory_words
from transformer_lab.lab.queue import Waiting
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.database import UNFINISHED, RunWriter
from transformer_lab.runs.events import event_value
from transformer_lab.runs.run import Run, step_of


@dataclass(kw_only=True)
class Child:
    """A training outside of the lab's own thread.

    `run_id` is "" until its folder is there; `reason` says why it ended before that, if it did;
    `item` is what it is in the queue, until it is taken out of there, or "".
    """

    begins: Waiting
    item: str
    run_id: str = ""
    reason: str = ""
    ended: bool = False
    stopping: bool = False

    @property
    def setup(self) -> Setup:
        """What it trains with."""
        return setup_from(self.begins.setup)


RESUME_IT = (
    "Resume goes on after step {step}, its newest save.",
    "It had not been saved: Resume begins it again, with the same seed.",
)
RACE_IT = ("Go on, on the Compare tab, trains it anew.",) * 2
Kind = TypeVar("Kind", bound=Child)


class Children(Generic[Kind]):
    """Those that were started and have not ended, and those that the queue still holds."""

    def __init__(self) -> None:
        self._children: list[Kind] = []
        self._lock = threading.Lock()

    def busy(self) -> list[Kind]:
        """Those that have not ended, oldest first."""
        return [child for child in self._children if not child.ended]

    def of(self, begins: Waiting) -> Kind | None:
        """The one that was started with this, not long ago."""
        return next((child for child in self._children if child.begins is begins), None)

    def waited(self) -> set[str]:
        """What the queue still holds of those that were started from it."""
        return {child.item for child in self._children} - {""}

    def _add(self, child: Kind) -> None:
        with self._lock:
            kept = [one for one in self._children if one.item or not one.ended]
            self._children = [*kept, child]


def explain(
    run: Run, code: int, states: Sequence[str] = UNFINISHED, *, raced: bool = False
) -> None:
    """Say in a run why its process ended in the middle of it, if it did: if its state is one of
    these. The lane of a comparison (`raced`) goes on with that."""
    memory = f"{memory_words(code)} ".lstrip()
    more = f"{memory}Nothing else was harmed. "
    broken_off(run, how_ended(code), more, *RACE_IT if raced else RESUME_IT, states)


def broken_off(
    run: Run, how: str, more: str, saved: str, unsaved: str, states: Sequence[str] = UNFINISHED
) -> None:
    """Mark a run as interrupted if it was not over: `how`, after which step, and how it goes on.

    `saved` has a place {step} for that of its newest save.
    """
    with contextlib.suppress(OSError, LookupError, sqlite3.Error, Timeout):
        if not _is_in(states, run):
            return
        with contextlib.closing(RunWriter(run.folder)) as writer:
            if not _is_in(states, run):  # who trained it has just ended it in order
                return
            latest, points = run.latest(), run.resume_points()
            step = latest[-1].step if latest else 0
            when = f"after step {step:,}" if step else "before its first step"
            goes_on = saved.format(step=f"{step_of(points[0]):,}") if points else unsaved
            writer.state("interrupted", step, f"{how} {when}. {more}{goes_on}")


def _is_in(states: Sequence[str], run: Run) -> bool:
    last = run.last_event("state")
    return last is not None and event_value("state", last[1]).state in states
