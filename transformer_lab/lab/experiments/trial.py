"""One experiment or comparison under way, or what it has measured."""

import time
import uuid
from collections.abc import Iterator
from typing import Any, Literal

from transformer_lab.experiments.experiment import Partial
from transformer_lab.lab.jobs import Job
from transformer_lab.settings import ConfigError

TrialState = Literal["running", "stopping", "done", "stopped", "failed"]


class Trial:
    """One run of an experiment: what was asked for, and what is measured so far.

    `latest` is the newest partial result, `version` counts them; `error` is a sentence when it
    failed. One that is `stored` was measured elsewhere, as `where` says in words: before the lab
    was opened, or by another program, which may be at it now (`elsewhere`).
    """

    def __init__(self, key: str, settings: Any) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.key = key
        self.name = key
        self.settings = settings
        self.paused = self.stored = self.elsewhere = False
        self.where = ""
        self._latest: Partial[Any] | None = None
        self.version = 0
        self.job: Job | None = None
        self._problem = ""
        self._begun = time.monotonic()
        self._ended: float | None = None

    @property
    def latest(self) -> Partial[Any] | None:
        """The newest partial result."""
        return self._newest()

    @latest.setter
    def latest(self, found: Partial[Any]) -> None:
        self._latest = found

    def _newest(self) -> Partial[Any] | None:
        return self._latest

    @property
    def state(self) -> TrialState:
        """Whether it still measures, or how it ended."""
        if self.job is None or not self.job.done:
            return "stopping" if self.job and self.job.stopped else "running"
        if self.error:
            return "failed"
        whole = self.latest is not None and self.latest.progress >= 1
        return "done" if whole else "stopped"

    @property
    def busy(self) -> bool:
        """Whether more may come."""
        return self.job is None or not self.job.done

    @property
    def error(self) -> str:
        """Why it failed, as a sentence; empty when it did not."""
        return self._problem or (self.job.error if self.job and self.job.error else "")

    @property
    def seconds(self) -> float:
        """How long it has been measuring, or took."""
        return (self._ended or time.monotonic()) - self._begun

    def measure(self, partials: Iterator[Partial[Any]]) -> Iterator[float]:
        """Advance an experiment and keep its newest result; yields the progress, 0 to 1."""
        self._begun = time.monotonic()
        try:
            for partial in partials:
                self.latest = partial
                self.version += 1
                yield partial.progress
        except ConfigError as error:  # found only while it ran: a damaged file, a text too short
            self._problem = str(error)
        finally:
            self._ended = time.monotonic()
            close = getattr(partials, "close", None)
            if close is not None:
                close()
