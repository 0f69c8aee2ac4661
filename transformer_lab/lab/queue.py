"""Trainings that wait for their turn: a list in the home folder that survives a restart.

Several labs may share it: each change reads the file again under a lock and replaces it at one
stroke.
"""

import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from transformer_lab.runs.files import write_json

log = logging.getLogger(__name__)
MOST_AT_ONCE = 8
LONGEST = 200
PATIENCE = 5.0  # seconds to wait for another lab that is writing the list
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
Kind = Literal["new", "resume", "extended", "branched", "finetuned"]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One training in the queue.

    `kind` says how it begins: "new" with new weights, "resume" where `run` was cut off, "extended"
    or "branched" from `checkpoint` of `run`, "finetuned" from its step of that number, with the
    settings `finetune`. `problem` is a sentence when it could not be started. One with a `race` is
    the `lane` of a comparison.
    """

    kind: Kind
    recipe: str
    setup: Mapping[str, Mapping[str, Any]]
    run: str = ""
    checkpoint: str = ""
    finetune: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problem: str = ""
    group: str = ""
    race: str = ""
    lane: str = ""
    added: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])


class QueueFullError(RuntimeError):
    """There is no room for another one."""


Items = list[Waiting]


class Queue:
    """What waits, in order. Any thread may ask and change it; every change is on disk at once.

    What was found on disk is `held`: it starts when a person says so, here or where it was added.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "queue.json"
        self._lock = threading.RLock()
        self._writing = FileLock(home / "queue.lock", timeout=PATIENCE, thread_local=False)
        self._turn = FileLock(home / "queue.turn.lock", timeout=0, thread_local=False)
        self._stamp: object = None
        self._waiting: Items = []
        self._released: set[str] = set()  # what may start from here
        self._done: set[str] = set()  # what was taken out, though the file may not say so yet
        self.at_once = 1
        self.list()

    @property
    def held(self) -> bool:
        """Whether something waits for a person."""
        return any(item.id not in self._released for item in self.list())

    def list(self) -> Items:
        """What waits, the next one first."""
        with self._lock:
            with contextlib.suppress(OSError):  # what was read before is the best there is
                self._read()
            return [*self._waiting]

    def add(self, item: Waiting) -> None:
        """Put one at the end. Raises QueueFullError and OSError."""

        def added(waiting: Items) -> Items:
            if len(waiting) >= LONGEST:
                raise QueueFullError(f"The queue holds {LONGEST} trainings, which is all it can.")
            return [*waiting, item]

        with self._lock:
            self._change(added)
            self._released.add(item.id)

    def remove(self, item_id: str) -> Waiting | None:
        """Take one out; None when it is not there (any more). Raises OSError."""
        with self._lock:
            found = next((item for item in self.list() if item.id == item_id), None)
            if found:
                self._change(lambda waiting: [item for item in waiting if item.id != item_id])
            return found

    def take_out(self, item_id: str) -> None:
        """Take out one that has begun. It does not begin again, even if that cannot be written."""
        with self._lock:
            try:
                self.remove(item_id)
            except OSError as error:
                log.warning("the queue could not be written: %s", error)
                self._done.add(item_id)
                self._waiting = [item for item in self._waiting if item.id != item_id]

    def move(self, item_id: str, by: int) -> None:
        """Move one up (-1) or down (+1); nothing happens at the ends. Raises OSError."""

        def moved(waiting: Items) -> Items:
            place = next((n for n, item in enumerate(waiting) if item.id == item_id), -1)
            other = place + by
            if place >= 0 and 0 <= other < len(waiting):
                waiting[place], waiting[other] = waiting[other], waiting[place]
            return waiting

        self._change(moved)

    def next(self, in_hand: Container[str] = ()) -> Waiting | None:
        """The first one that has no problem and is not in hand; None when nothing is to start."""
        with self._lock:
            found = next((x for x in self.list() if not x.problem and x.id not in in_hand), None)
            return found if found and found.id in self._released else None

    def set_problem(self, item_id: str, problem: str) -> None:
        """Say why one could not be started; it stays, and the next one has its turn."""
        with self._lock:
            try:
                self._change(lambda waiting: _with_problem(waiting, item_id, problem))
            except OSError as error:
                log.warning("the queue could not be written: %s", error)
                self._waiting = _with_problem(self._waiting, item_id, problem)

    def release(self) -> None:
        """Let the items start, those with a problem once more. Raises OSError."""
        with self._lock:
            self._change(lambda waiting: [replace(item, problem="") for item in waiting])
            self._released = {item.id for item in self._waiting}

    def set_at_once(self, count: int) -> None:
        """How many trainings may run at the same time. Raises OSError."""
        with self._lock:
            self._change(lambda waiting: waiting, at_once=count)

    def take_turn(self) -> bool:
        """Whether no other lab is preparing what waits; from now on it is this one that does."""
        try:
            if not self._turn.is_locked:
                self._turn.acquire()
        except OSError:  # it is held, or there can be no lock in this folder
            return False
        return True

    def end_turn(self) -> None:
        """Let other labs prepare what waits."""
        self._turn.release(force=True)

    def _change(
        self, how: Callable[[Items], Sequence[Waiting]], at_once: int | None = None
    ) -> None:
        """Change what is in the file now, whoever wrote it. Raises OSError."""
        try:
            with self._lock, self._writing:
                self._read()
                waiting, at_once = [*how([*self._waiting])], at_once or self.at_once
                content = {"format": 1, "at_once": at_once, "waiting": [*map(asdict, waiting)]}
                write_json(self._path, content)
                self._waiting, self.at_once = waiting, at_once
                self._stamp = self._stamp_now()
                self._done.clear()
        except Timeout as error:
            raise TimeoutError(0, "another program is writing it, try again") from error

    def _read(self) -> None:
        """Take over what is in the file, if it has changed. Raises OSError."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            at_once = min(max(int(stored["at_once"]), 1), MOST_AT_ONCE)
            waiting = [_checked(Waiting(**item)) for item in stored["waiting"]]
        except FileNotFoundError:
            pass
        except (IsADirectoryError, *UNREADABLE) as error:
            log.warning("the queue cannot be read: %s", error)
            stamp = self._set_aside()
        else:
            self.at_once = at_once
            self._waiting = [item for item in waiting if item.id not in self._done]
        self._stamp = stamp

    def _stamp_now(self) -> object:
        try:
            status = self._path.stat()
        except OSError:
            return ""
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _set_aside(self) -> object:
        """Give a spoiled file another name; what waits in memory will be written in its place."""
        number, place = 1, self._path.with_name("queue.damaged.json")
        while place.exists():
            number += 1
            place = self._path.with_name(f"queue.damaged-{number}.json")
        with contextlib.suppress(OSError):
            self._path.rename(place)
        return self._stamp_now()


def _with_problem(waiting: Sequence[Waiting], item_id: str, problem: str) -> Items:
    return [replace(item, problem=problem) if item.id == item_id else item for item in waiting]


def waiting_from(text: str | bytes) -> Waiting:
    """What is to be trained, as JSON has it. Raises ValueError, KeyError or TypeError."""
    return _checked(Waiting(**json.loads(text)))


def _checked(item: Waiting) -> Waiting:
    """An item that can be listed. Raises ValueError, KeyError or TypeError."""
    texts = (item.recipe, item.run, item.checkpoint, item.problem, item.id, item.race, item.lane)
    if item.kind not in get_args(Kind) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{item.id!r} is no training")
    int(item.setup["train"]["steps"])
    return item
