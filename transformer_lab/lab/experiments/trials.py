"""Experiments under way: each runs as an interactive job, and its last trial is kept to be shown.

Only the newest partial result of a trial is kept: it holds all that was measured before.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.experiment import Partial
from transformer_lab.experiments.language_model_leak import text_of
from transformer_lab.lab.experiments import race_trial
from transformer_lab.lab.experiments.comparison_cost import Cost
from transformer_lab.lab.experiments.comparisons import Comparisons
from transformer_lab.lab.experiments.race_trial import KEY as RACE
from transformer_lab.lab.experiments.race_trial import RaceTrial
from transformer_lab.lab.experiments.trial import Trial
from transformer_lab.lab.jobs import Jobs
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.settings import Config, ConfigError
from transformer_lab.text.corpora import corpus_folders

Runner = Callable[[Trainings, Any, Partial[Any] | None], Iterator[Partial[Any]]]

# How an experiment runs that needs more of the lab than a job's thread, by its key.
RUNNERS: dict[str, Runner] = {}
MOST_AT_ONCE = 2  # of the job threads; the others are for writing and for looking inside


class Trials:
    """Starts and stops experiments, and keeps the last trial of each."""

    def __init__(
        self, jobs: Jobs, trainings: Trainings, comparisons: Comparisons, home: Path
    ) -> None:
        self._jobs = jobs
        self._trainings = trainings
        self._comparisons = comparisons
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
            if key == RACE:
                return self._race(settings)
            kept = self._trials[key].latest if self.kept_seeds(key, settings) else None
            trial = Trial(key, settings)
            measuring = trial.measure(self._partials(key, settings, kept))
            trial.job = self._jobs.start(EXPERIMENTS[key].title, measuring)
            self._trials.pop(key, None)
            self._trials[key] = trial  # the one started last is the last of them
        return trial

    def _race(self, settings: Any) -> Trial:
        """Start the race, or add the seeds that are missing. Raises ConfigError and LabError."""
        one, before = self._question(settings), self._raced()
        try:
            if before and self.kept_seeds(RACE, settings):
                asked = self._comparisons.go_on(before.name, one)
            else:
                asked = self._comparisons.start(one)
        except ConfigError as error:  # of a question, whose settings have no control here
            raise LabError(str(error)) from error
        return RaceTrial(asked, settings)

    def _question(self, settings: Any) -> Comparison:
        return race_trial.question(settings, text_of(corpus_folders(self._home)))

    def _raced(self) -> RaceTrial | None:
        """The race of transformers that was started last, if there is one."""
        asked = self._comparisons.newest(race_trial.SLUG)
        settings = race_trial.settings_of(asked) if asked else None
        return RaceTrial(asked, settings) if asked and settings else None

    def kept_seeds(self, key: str, settings: Any) -> int:
        """How many seeds of the last trial `start` would keep: those that are whole, if it had the
        same settings otherwise, and there are more to measure.
        """
        last = self.find(key)
        if last is None or last.busy or last.latest is None or last.latest.progress <= 0:
            return 0
        if replace(last.settings, seeds=settings.seeds) != settings:
            return 0
        done = int(last.latest.progress * last.settings.seeds + 1e-9)
        return done if done < settings.seeds else 0

    def cost(self, key: str, settings: Config) -> Cost | None:
        """What an experiment takes here, where that may be much and can be known.

        Raises ConfigError.
        """
        return self._comparisons.cost(self._question(settings)) if key == RACE else None

    def _partials(
        self, key: str, settings: Config, kept: Partial[Any] | None
    ) -> Iterator[Partial[Any]]:
        if key in RUNNERS:
            return RUNNERS[key](self._trainings, settings, kept)
        return EXPERIMENTS[key].run(settings, corpus_folders(self._home), kept)

    def _check_room(self, key: str) -> None:
        busy = [trial.key for trial in self._all() if trial.busy]
        if key in busy:
            raise LabError("This experiment is running: stop it first.")
        if len(busy) >= MOST_AT_ONCE:
            names = " and ".join(EXPERIMENTS[other].title for other in busy)
            raise LabError(f"{names} are running: stop one of them, or wait.")

    def stop(self, key: str) -> None:
        """End an experiment; what it has measured stays."""
        trial = self.find(key)
        if trial and trial.job:
            trial.job.stop()

    def pause_or_resume(self, key: str) -> None:
        """One button for both, of an experiment that can rest: the race, whose lanes are saved."""
        trial = self.find(key)
        if isinstance(trial, RaceTrial):
            steer = self._comparisons.resume if trial.paused else self._comparisons.pause
            steer(trial.name)

    def find(self, key: object) -> Trial | None:
        """The last trial of an experiment, or None when it has not been started yet."""
        if key == RACE:
            return self._raced()
        return self._trials.get(key) if isinstance(key, str) else None

    def newest(self) -> Trial | None:
        """The trial to show when a page opens: the last that was started, one that runs first."""
        trials = self._all()
        return next((trial for trial in trials if trial.busy), trials[0] if trials else None)

    def _all(self) -> list[Trial]:
        """Those started here, the last one first; then the race, which may be older."""
        raced = self._raced()
        return [*list(self._trials.values())[::-1], *([raced] if raced else [])]
