"""Interactive work: generators that a small pool of threads advances while the page reads along.

A job collects what its generator yields. Readers come with a cursor; `stop` closes it. What takes
no longer than a page can wait is asked instead: a function, and its answer.
"""

import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

log = logging.getLogger(__name__)
KEPT = 64  # finished jobs that can still be read
Answer = TypeVar("Answer")


class Job:
    """One piece of work under way. `error` is a sentence when it failed."""

    def __init__(self, label: str) -> None:
        self.id = uuid.uuid4().hex
        self.label = label
        self.error: str | None = None
        self._items: list[Any] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._done = threading.Event()

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

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is done; False when the time ran out."""
        return self._done.wait(timeout)

    def since(self, cursor: int = 0) -> tuple[list[Any], int]:
        """Items after `cursor`, and the cursor to pass next time."""
        with self._lock:
            return self._items[cursor:], len(self._items)

    def run(self, items: Iterator[Any]) -> None:
        """Advance the generator to its end, or until stopped."""
        try:
            for item in items:
                with self._lock:
                    self._items.append(item)
                if self.stopped:
                    break
        except Exception as error:
            log.exception("%s failed", self.label)
            self.error = f"{self.label} failed: {error}"
        finally:
            if hasattr(items, "close"):
                items.close()
            self._done.set()


class Jobs:
    """A pool of job threads, each computing on one CPU thread so that training keeps its own."""

    def __init__(self, threads: int = 4, questions: int = 2) -> None:
        self._pool = _one_thread_each(threads, "job")
        self._questions = _one_thread_each(questions, "question")  # never wait behind long jobs
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._futures: set[Future[None]] = set()
        self._lock = threading.Lock()

    def start(self, label: str, items: Iterator[Any]) -> Job:
        """Begin a job; `items` is advanced on a job thread."""
        job = Job(label)
        with self._lock:
            self._jobs[job.id] = job
            for old in [key for key, kept in self._jobs.items() if kept.done][:-KEPT]:
                del self._jobs[old]
            future = self._pool.submit(job.run, items)
            self._futures.add(future)
            future.add_done_callback(self._futures.discard)
        return job

    def find(self, job_id: str) -> Job | None:
        """A job by its id, or None when it is not known (any more)."""
        return self._jobs.get(job_id)

    def ask(self, function: Callable[[], Answer], timeout: float = 60.0) -> Answer:
        """Run a short piece of work on a thread for such, and wait for its answer.

        Raises what the work raises, and TimeoutError; then it still goes on to its end.
        """
        return self._questions.submit(function).result(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Stop all jobs and wait for them."""
        with self._lock:
            for job in self._jobs.values():
                job.stop()
            futures = list(self._futures)
        wait(futures, timeout)
        for pool in (self._pool, self._questions):
            pool.shutdown(wait=False, cancel_futures=True)


def _one_thread_each(threads: int, name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        threads, thread_name_prefix=name, initializer=torch.set_num_threads, initargs=(1,)
    )
