"""Trainings that wait for their turn: a list in the home folder that survives a restart."""

import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from transformer_lab.lab.run import write_json

log = logging.getLogger(__name__)
MOST_AT_ONCE = 8
LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One training in the queue.

    `kind` says how it begins: "new" with new weights, "resume" where `run` was cut off, "extended"
    or "branched" from `checkpoint` of `run`. `problem` is a sentence when it could not be started.
    """

    kind: Literal["new", "resume", "extended", "branched"]
    recipe: str
    setup: Mapping[str, Mapping[str, Any]]
    run: str = ""
    checkpoint: str = ""
    problem: str = ""
    group: str = ""
    added: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])


class QueueFullError(RuntimeError):
    """There is no room for another one."""


class Queue:
    """What waits, in order. Any thread may ask and change it; every change is on disk at once.

    A queue found on disk is `held`: nothing starts before a person says so.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "queue.json"
        self._lock = threading.RLock()
        self._waiting: list[Waiting] = []
        self.at_once = 1
        self._load()
        self.held = bool(self._waiting)

    def list(self) -> list[Waiting]:
        """What waits, the next one first."""
        with self._lock:
            return [*self._waiting]

    def add(self, item: Waiting, *, first: bool = False) -> None:
        """Put one at the end, or in front. Raises QueueFullError and OSError."""
        with self._lock:
            if len(self._waiting) >= LONGEST:
                raise QueueFullError(f"The queue holds {LONGEST} trainings, which is all it can.")
            if not self._waiting:
                self.held = False
            self._keep([item, *self._waiting] if first else [*self._waiting, item])

    def remove(self, item_id: str) -> Waiting | None:
        """Take one out; None when it is not there (any more). Raises OSError."""
        with self._lock:
            found = next((item for item in self._waiting if item.id == item_id), None)
            self._keep([item for item in self._waiting if item.id != item_id])
            return found

    def move(self, item_id: str, by: int) -> None:
        """Move one up (-1) or down (+1); nothing happens at the ends. Raises OSError."""
        with self._lock:
            places = [item.id for item in self._waiting]
            if item_id not in places:
                return
            place = places.index(item_id)
            other = place + by
            if 0 <= other < len(places):
                changed = [*self._waiting]
                changed[place], changed[other] = changed[other], changed[place]
                self._keep(changed)

    def next(self) -> Waiting | None:
        """The first one that had no problem; None when nothing is to start."""
        with self._lock:
            if self.held:
                return None
            return next((item for item in self._waiting if not item.problem), None)

    def set_problem(self, item_id: str, problem: str) -> None:
        """Say why one could not be started; it stays, and the next one has its turn."""
        with self._lock:
            self._keep(
                [replace(x, problem=problem) if x.id == item_id else x for x in self._waiting]
            )

    def release(self) -> None:
        """Let it run, those with a problem once more."""
        with self._lock:
            self.held = False
            self._keep([replace(item, problem="") for item in self._waiting])

    def set_at_once(self, count: int) -> None:
        """How many trainings may run at the same time. Raises OSError."""
        with self._lock:
            self.at_once = count
            self._keep(self._waiting)

    def _keep(self, waiting: Sequence[Waiting]) -> None:
        content = {"format": 1, "at_once": self.at_once, "waiting": [asdict(x) for x in waiting]}
        write_json(self._path, content)
        self._waiting = [*waiting]

    def _load(self) -> None:
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            self.at_once = min(max(int(stored["at_once"]), 1), MOST_AT_ONCE)
            self._waiting = [Waiting(**item) for item in stored["waiting"]]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the queue cannot be read: %s", error)
            with contextlib.suppress(OSError):  # where nothing can be written, it stays
                self._path.replace(self._path.with_name("queue.damaged.json"))
