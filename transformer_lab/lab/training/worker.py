"""The one background thread that trains.

It advances every active lane in turn, one step each, and between two steps runs what other threads
asked for. It alone touches live models.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

log = logging.getLogger(__name__)
REST_SECONDS = 5.0


class Lane(Protocol):
    """Something the worker advances step by step."""

    @property
    def active(self) -> bool:
        """Whether it wants to be advanced now."""

    @property
    def ended(self) -> bool:
        """Whether it will never want to be advanced again."""

    def advance(self) -> None:
        """Do one step."""

    def fail(self, error: Exception) -> None:
        """Record that a step raised."""


class Worker:
    """A thread, its lanes and its inbox."""

    def __init__(self, on_rest: Callable[[], None] = lambda: None) -> None:
        """`on_rest` is called on the thread when a lane has ended, and while nothing happens."""
        self._begin(on_rest)
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="worker", daemon=True)
        self._thread.start()

    def _begin(self, on_rest: Callable[[], None]) -> None:
        self._on_rest = on_rest
        self._inbox: deque[tuple[Callable[[], None], Lane | None]] = deque()
        self._lanes: list[Lane] = []

    @property
    def resting(self) -> bool:
        """Whether nobody else's trainings want this thread."""
        return True

    def submit(self, work: Callable[[], None], lane: Lane | None = None) -> None:
        """Run `work` on the worker's thread before the next step; if it raises, `lane` fails."""
        with self._wake:
            self._inbox.append((work, lane))
            self._wake.notify()

    def add(self, lane: Lane) -> None:
        """Advance `lane` whenever it is active, until it has ended. On the worker's thread only."""
        self._lanes.append(lane)

    def close(self, timeout: float = 60.0) -> bool:
        """Finish the inbox and end the thread; False when it did not end in time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while True:
            work = self._next_work()
            if self._closing and not work:
                return
            for item, concerned in work:
                self._guarded(item, concerned)
            for lane in self._lanes:
                if lane.active:
                    self._guarded(lane.advance, lane)

    def _next_work(self) -> list[tuple[Callable[[], None], Lane | None]]:
        """What is in the inbox; waits when there is nothing to do at all."""
        ended = any(lane.ended for lane in self._lanes)
        self._lanes = [lane for lane in self._lanes if not lane.ended]
        with self._wake:
            if not self._has_work():
                self._wake.wait(0 if ended else REST_SECONDS)
            if not self._has_work():
                self._inbox.append((self._on_rest, None))
            work = list(self._inbox)
            self._inbox.clear()
        return [*work, (self._on_rest, None)] if ended else work

    def _has_work(self) -> bool:
        return bool(self._inbox) or self._closing or any(lane.active for lane in self._lanes)

    def _guarded(self, work: Callable[[], None], lane: Lane | None) -> None:
        """The only broad handler: a failing step ends its lane, never the thread."""
        try:
            work()
        except Exception as error:
            log.exception("the worker met an error")
            if lane is not None:
                self._guarded(partial(lane.fail, error), None)
