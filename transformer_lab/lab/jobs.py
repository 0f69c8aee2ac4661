"""Interactive work: generators that threads of their own advance while the page reads along.

A job collects what its generator yields. Readers come with a cursor; `stop` closes it. A few jobs
compute at once and the others wait; between two items a job gives way, so that a short one, begun
after many long ones, is soon done. What takes no longer than a page can wait is asked instead: a
function, and its answer.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

from transformer_lab.lab.shelves import Shelf, Shelves, bytes_of

log = logging.getLogger(__name__)
BEGUN = 64  # jobs under way or waiting for their turn; more wait to be begun
SLICE = 0.05  # seconds that a job computes before it gives way
Answer = TypeVar("Answer")


class Share:
    """What the jobs of one person have had of the turns; each of them counts for that person."""

    def __init__(self) -> None:
        self.spent = 0.0  # seconds
        self.given = 0  # turns
        self.jobs = 0  # that wait or compute
        self.computing = 0


class Job:
    """One piece of work under way. `error` is a sentence when it failed."""

    def __init__(self, label: str, share: Share | None = None) -> None:
        self.share = share or Share()
        self.id = uuid.uuid4().hex
        self.label = label
        self.error: str | None = None
        self._items: list[Any] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._done = threading.Event()
        self.called = threading.Event()  # it is this job's turn, or it was stopped while it waited
        self.spent = 0.0  # seconds of its turns
        self.last_turn = 0.0

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._done.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Ask it to end; what it has so far stays."""
        self._stopped.set()
        self.called.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is done; False when the time ran out."""
        return self._done.wait(timeout)

    def since(self, cursor: int = 0) -> tuple[list[Any], int]:
        """Items after `cursor`, and the cursor to pass next time."""
        with self._lock:
            return self._items[cursor:], len(self._items)

    def run(self, items: Iterator[Any], turns: "Turns") -> None:
        """Advance the generator to its end, or until stopped, in turn with other jobs."""
        try:
            while turns.take(self) and self._advance(items):
                turns.give(self)
        except Exception as error:
            log.exception("%s failed", self.label)
            self.error = f"{self.label} failed: {error}"
        finally:
            turns.give(self)
            if hasattr(items, "close"):
                items.close()
            self._done.set()

    def _advance(self, items: Iterator[Any]) -> bool:
        """Compute for one turn; False when nothing more is to come."""
        began = time.monotonic()
        try:
            for item in items:
                with self._lock:
                    self._items.append(item)
                if self.stopped:
                    return False
                if time.monotonic() - began > SLICE:
                    return True
            return False
        finally:
            self.last_turn = time.monotonic() - began
            self.spent += self.last_turn


class Turns:
    """Which jobs compute: `places` at once, of one person at most `each`.

    Whoever's jobs have computed the least goes next. Of one person's jobs that is the one that has
    computed the least, so that a short one is soon done; every fourth turn is for the one that has
    waited the longest, so that none waits for ever.
    """

    def __init__(self, places: int, each: int = 0) -> None:
        self._free = places
        self._each = each or places
        self._waiting: list[Job] = []  # the longest waiting first
        self._computing: set[Job] = set()
        self._reached = 0.0  # seconds that whoever had the last turn had had before it
        self._lock = threading.Lock()

    def take(self, job: Job) -> bool:
        """Wait for a turn; False when the job was stopped before it came."""
        with self._lock:
            job.called.clear()
            if job.stopped:
                return False
            if not job.share.jobs:  # who wanted nothing has saved nothing up for now
                job.share.spent = max(job.share.spent, self._reached)
            job.share.jobs += 1
            self._waiting.append(job)
            self._hand_out()
        job.called.wait()
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                job.share.jobs -= 1
        return job in self._computing

    def give(self, job: Job) -> None:
        """End a job's turn, if it has one."""
        with self._lock:
            if job in self._computing:
                self._computing.remove(job)
                job.share.jobs -= 1
                job.share.computing -= 1
                job.share.spent += job.last_turn
                self._free += 1
                self._hand_out()

    def _hand_out(self) -> None:
        while self._free and (ready := self._ready()):
            share = min(ready, key=lambda one: one.share.spent).share
            share.given += 1
            theirs = [job for job in ready if job.share is share]
            longest = share.given % 4 == 0
            job = theirs[0] if longest else min(theirs, key=lambda one: one.spent)
            self._reached = share.spent
            self._waiting.remove(job)
            self._computing.add(job)
            share.computing += 1
            self._free -= 1
            job.called.set()

    def _ready(self) -> list[Job]:
        """Those that wait, of people who have not as many at work as one may."""
        return [job for job in self._waiting if job.share.computing < self._each]


class Jobs:
    """Job threads, `places` of them at work, each on one CPU thread: training keeps its own.

    A job stays on its thread: what a generator enters, such as a mode of torch, holds there only.
    `turns` are shared with the jobs of others; at most `begun` jobs are under way or wait for them.
    """

    def __init__(
        self,
        places: int = 4,
        questions: int = 2,
        *,
        shelves: Shelves | None = None,
        turns: Turns | None = None,
        begun: int = BEGUN,
    ) -> None:
        self._pool = _one_thread_each(begun, "job")
        self._turns = turns or Turns(places)
        self._share = Share()
        self._questions = _one_thread_each(questions, "question")  # never wait behind long jobs
        self._jobs: dict[str, Job] = {}  # those not done
        self._ended: Shelf[Job] = (shelves or Shelves()).shelf()
        self._futures: set[Future[None]] = set()
        self._lock = threading.Lock()

    def start(self, label: str, items: Iterator[Any], *, found: bool = True) -> Job:
        """Begin a job; `items` is advanced on a job thread.

        It can be found by its id for a while after its end, unless `found` says that nobody will
        look for it.
        """
        job = Job(label, self._share)
        with self._lock:
            self._jobs[job.id] = job
            future = self._pool.submit(job.run, items, self._turns)
            self._futures.add(future)
        future.add_done_callback(lambda future: self._end(job, future, found))
        return job

    def _end(self, job: Job, future: "Future[None]", found: bool) -> None:
        if found:
            self._ended.keep(job.id, job, bytes_of(job.since()[0]))
        self._jobs.pop(job.id, None)
        self._futures.discard(future)

    @property
    def busy(self) -> bool:
        """Whether any job is under way or waits."""
        return bool(self._jobs)

    def find(self, job_id: str) -> Job | None:
        """A job by its id, or None when it is not known (any more)."""
        return self._jobs.get(job_id) or self._ended.find(job_id)

    def ask(self, function: Callable[[], Answer], timeout: float = 60.0) -> Answer:
        """Run a short piece of work on a thread for such, and wait for its answer.

        Raises what the work raises, and TimeoutError; then it still goes on to its end.
        """
        return self._questions.submit(function).result(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Stop all jobs and wait for them."""
        with self._lock:
            for job in list(self._jobs.values()):
                job.stop()
            futures = list(self._futures)
        wait(futures, timeout)
        for pool in (self._pool, self._questions):
            pool.shutdown(wait=False, cancel_futures=True)


def _one_thread_each(threads: int, name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        threads, thread_name_prefix=name, initializer=torch.set_num_threads, initargs=(1,)
    )
