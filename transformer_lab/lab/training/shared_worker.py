"""One thread for the trainings of several labs, which has a turn for each of them.

Whose trainings have taken the least time has the next turn: a step of one of them, or what was
asked of them. One with two models, or with long steps, gets no more of the thread than another.
"""

import threading
import time
from collections.abc import Callable

from transformer_lab.lab.training.worker import REST_SECONDS, Lane, Worker


class SharedThread:
    """The thread, and the workers that share it."""

    def __init__(self) -> None:
        self.wake = threading.Condition()
        self._workers: list[SharingWorker] = []
        self._reached = 0.0  # seconds that whoever had the last turn had had before it
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="worker", daemon=True)
        self._thread.start()

    def worker(self, on_rest: Callable[[], None]) -> "SharingWorker":
        """A new worker, which has its turns from now on; for `on_rest` see `Worker`."""
        made = SharingWorker(self, on_rest)
        with self.wake:
            self._workers.append(made)
        return made

    @property
    def resting(self) -> bool:
        """Whether no training of anybody wants a turn."""
        return not any(one.training for one in [*self._workers])

    def leave(self, worker: "SharingWorker") -> None:
        """Give no more turns to a worker."""
        with self.wake:
            self._workers = [one for one in self._workers if one is not worker]

    def close(self, timeout: float = 60.0) -> bool:
        """End the thread when nothing is left to do; False when it did not end in time."""
        with self.wake:
            self._closing = True
            self.wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while (worker := self._next()) is not None:
            began = time.monotonic()
            worker.turn()
            worker.spent += time.monotonic() - began

    def _next(self) -> "SharingWorker | None":
        """Whose turn it is; waits until somebody wants one. None at the end."""
        with self.wake:
            while True:
                wanting = [one for one in self._workers if one.wants_turn()]
                if wanting:
                    return self._first(wanting)
                if self._closing:
                    return None
                self.wake.wait(REST_SECONDS)

    def _first(self, wanting: "list[SharingWorker]") -> "SharingWorker":
        """Who has had the least; who wanted nothing has saved nothing up for now."""
        for one in self._workers:
            if one not in wanting:
                one.rested = True
            elif one.rested:
                one.spent, one.rested = max(one.spent, self._reached), False
        chosen = min(wanting, key=lambda one: one.spent)
        self._reached = chosen.spent
        return chosen


class SharingWorker(Worker):
    """A worker without a thread of its own.

    While it is `held`, no step of its trainings is taken. `trained` counts seconds of their steps.
    """

    def __init__(self, shared: SharedThread, on_rest: Callable[[], None]) -> None:
        self._begin(on_rest)
        self._shared = shared
        self._wake = shared.wake
        self._looked = time.monotonic()  # when `on_rest` was called last
        self.held = False
        self.spent = 0.0
        self.trained = 0.0
        self.rested = True

    def hold(self, held: bool) -> None:
        """Take no more steps of its trainings, or go on."""
        with self._wake:
            self.held = held
            self._wake.notify()

    @property
    def resting(self) -> bool:
        """As in `Worker`: nobody's trainings want a turn."""
        return self._shared.resting

    @property
    def training(self) -> bool:
        """Whether one of its trainings wants a step now."""
        return any(lane.active for lane in [*self._lanes])

    def wants_turn(self) -> bool:
        """Whether there is anything to do for it now; under the lock."""
        if not self._inbox and time.monotonic() - self._looked > REST_SECONDS:
            self._inbox.append((self._on_rest, None))
        return bool(self._inbox) or (self.training and not self.held)

    def turn(self) -> None:
        """Do what was asked of it, or else a step of the training that waits the longest."""
        with self._wake:
            work = list(self._inbox)
            self._inbox.clear()
        for item, concerned in work:
            self._guarded(item, concerned)
        if not work and not self.held:
            self._step()
        if any(lane.ended for lane in self._lanes):
            self._lanes = [lane for lane in self._lanes if not lane.ended]
            self._look()
        elif any(item is self._on_rest for item, _ in work):
            self._looked = time.monotonic()

    def _step(self) -> None:
        lane = next((lane for lane in self._lanes if lane.active), None)
        if lane is None:
            return
        self._lanes = [*(one for one in self._lanes if one is not lane), lane]
        began = time.monotonic()
        self._guarded(lane.advance, lane)
        self.trained += time.monotonic() - began

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._guarded(self._on_rest, None)

    def add(self, lane: Lane) -> None:
        """As in `Worker`."""
        self._lanes = [*self._lanes, lane]

    def close(self, timeout: float = 60.0) -> bool:
        """Finish what was asked, and leave the thread; False when that took too long."""
        done = threading.Event()
        self.submit(done.set)
        ended = done.wait(timeout)
        self._shared.leave(self)
        return ended
