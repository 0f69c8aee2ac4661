"""The states of a training, and which of them may follow which.

    preparing -> ready -> starting -> running <-> pausing -> paused
        any of these -> stopping -> stopped | interrupted
        any of these -> failed;    running, pausing, stopping -> finished
        running, stopping -> paused, when the disk does not take the end and it stays in memory

What a person asks for shows at once, as `starting`, `pausing` or `stopping`; the worker's thread
does it between two steps. A training in one of the BUSY states is in the worker's hands and can be
stopped.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transformer_lab.runs.database import State

NEXT: Mapping[State, tuple[State, ...]] = {
    "preparing": ("ready", "starting", "stopping", "failed"),
    "ready": ("starting", "stopping", "failed"),
    "starting": ("running", "stopping", "failed"),
    "running": ("pausing", "paused", "stopping", "finished", "failed"),
    "pausing": ("paused", "stopping", "finished", "failed"),
    "paused": ("running", "stopping", "failed"),
    "stopping": ("stopped", "interrupted", "finished", "failed", "paused"),
    "finished": (),
    "stopped": (),
    "failed": (),
    "interrupted": (),
}
ENDED = tuple(state for state, following in NEXT.items() if not following)
BUSY = tuple(state for state in NEXT if state not in (*ENDED, "ready"))
BEGUN: tuple[State, ...] = ("running", "pausing", "paused")  # and not about to end
STEPPING: tuple[State, ...] = ("running", "pausing", "stopping")  # or about to stop doing so


@dataclass(frozen=True)
class Status:
    """Where a training stands."""

    state: State
    reason: str = ""
    run_id: str = ""
    step: int = 0
    notes: tuple[str, ...] = ()  # in the order in which they came
    field: str = ""

    @property
    def note(self) -> str:
        """The newest of the notes."""
        return self.notes[-1] if self.notes else ""


class Lifecycle:
    """The status of a training, which several threads read and change."""

    def __init__(self, run_id: str = "") -> None:
        self._status = Status("preparing", run_id=run_id)
        self._changing = threading.Lock()

    @property
    def status(self) -> Status:
        """Where it stands now."""
        return self._status

    @property
    def active(self) -> bool:
        """Whether the worker should advance it."""
        return self._status.state == "running"

    @property
    def ended(self) -> bool:
        """Whether it will never take another step."""
        return self._status.state in ENDED

    @property
    def busy(self) -> bool:
        """Whether it is in the worker's hands: neither ended nor merely initialized."""
        return self._status.state in BUSY

    def move(self, state: State, **changes: Any) -> bool:
        """Go to another state; False, and nothing changes, where that may not follow this one."""
        with self._changing:
            if state not in NEXT[self._status.state]:
                return False
            self._set(state=state, **changes)
            return True

    def update(self, **changes: Any) -> None:
        """Change anything but the state; a `note` comes after those that are there."""
        assert "state" not in changes
        with self._changing:
            self._set(**changes)

    def _set(self, *, note: str = "", **changes: Any) -> None:
        before = self._status
        notes = (*before.notes, note) if note not in ("", before.note) else before.notes
        self._status = replace(before, notes=notes, **changes)
