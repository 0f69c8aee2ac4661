"""Experiments under way: each runs as an interactive job, and its last trial is kept to be shown.

Only the newest partial result of a trial is kept: it holds all that was measured before.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.experiment import Partial
from transformer_lab.lab.experiments.transformer_race import estimated_seconds, race_transformers
from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.pace import Pace
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.settings import Config, ConfigError
from transformer_lab.text.corpora import corpus_folders

Runner = Callable[[Trainings, Any, Partial[Any] | None], Iterator[Partial[Any]]]
TrialState = Literal["running", "stopping", "done", "stopped", "failed"]

# How an experiment runs that needs more of the lab than a job's thread, by its key.
RUNNERS: dict[str, Runner] = {"transformers": race_transformers}
# How long an experiment will take here, in seconds, where that may be long; None if not yet known.
ESTIMATES: dict[str, Callable[[Trainings, Pace, Any], float | None]] = {
    "transformers": estimated_seconds
}
MOST_AT_ONCE = 2  # of the job threads; the others are for writing and for looking inside


class Trial:
    """One run of an experiment: what was asked for, and what is measured so far.

    `latest` is the newest partial result, `version` counts them; `error` is a sentence when it
    failed.
    """

    def __init__(self, key: str, settings: Any) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.key = key
        self.settings = settings
        self.latest: Partial[Any] | None = None
        self.version = 0
        self.job: Job | None = None
        self._problem = ""
        self._begun = time.monotonic()
        self._ended: float | None = None

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


class Trials:
    """Starts and stops experiments, and keeps the last trial of each."""

    def __init__(self, jobs: Jobs, trainings: Trainings, costs: Pace, home: Path) -> None:
        self._jobs = jobs
        self._trainings = trainings
        self._costs = costs
        self._home = home
        self._trials: dict[str, Trial] = {}
        self._lock = threading.Lock()

    def start(self, key: str, settings: Config) -> Trial:
        """Begin an experiment; where only seeds are missing of the last trial, measure only those.

        Raises ConfigError, and LabError when it cannot start now.
        """
        if key not in EXPERIMENTS:
            raise LabError(f"There is no experiment {key}.")
        with self._lock:
            self._check_room(key)
            kept = self._trials[key].latest if self.kept_seeds(key, settings) else None
            trial = Trial(key, settings)
            measuring = trial.measure(self._partials(key, settings, kept))
            trial.job = self._jobs.start(EXPERIMENTS[key].title, measuring)
            self._trials.pop(key, None)
            self._trials[key] = trial  # the one started last is the last of them
        return trial

    def kept_seeds(self, key: str, settings: Any) -> int:
        """How many seeds of the last trial `start` would keep: those that are whole, if it had the
        same settings otherwise, and there are more to measure.
        """
        last = self._trials.get(key)
        if last is None or last.busy or last.latest is None or last.latest.progress <= 0:
            return 0
        if replace(last.settings, seeds=settings.seeds) != settings:
            return 0
        done = int(last.latest.progress * last.settings.seeds + 1e-9)
        return done if done < settings.seeds else 0

    def estimated_seconds(self, key: str, settings: Config) -> float | None:
        """How long an experiment will take here, where that may be long and can be known.

        Raises ConfigError.
        """
        return ESTIMATES[key](self._trainings, self._costs, settings) if key in ESTIMATES else None

    def _partials(
        self, key: str, settings: Config, kept: Partial[Any] | None
    ) -> Iterator[Partial[Any]]:
        if key in RUNNERS:
            return RUNNERS[key](self._trainings, settings, kept)
        return EXPERIMENTS[key].run(settings, corpus_folders(self._home), kept)

    def _check_room(self, key: str) -> None:
        busy = [trial.key for trial in self._trials.values() if trial.busy]
        if key in busy:
            raise LabError("This experiment is running: stop it first.")
        if len(busy) >= MOST_AT_ONCE:
            names = " and ".join(EXPERIMENTS[other].title for other in busy)
            raise LabError(f"{names} are running: stop one of them, or wait.")

    def stop(self, key: str) -> None:
        """End an experiment; what it has measured stays."""
        trial = self._trials.get(key)
        if trial and trial.job:
            trial.job.stop()

    def find(self, key: object) -> Trial | None:
        """The last trial of an experiment, or None when it has not been started yet."""
        return self._trials.get(key) if isinstance(key, str) else None

    def newest(self) -> Trial | None:
        """The trial to show when a page opens: the last that was started, one that runs first."""
        trials = list(self._trials.values())[::-1]
        return next((trial for trial in trials if trial.busy), trials[0] if trials else None)
