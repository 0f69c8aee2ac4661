"""Comparisons under way: their lanes race on the worker, and what was measured is kept on disk."""

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transformer_lab.experiments.comparing import compare, whole_seeds
from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_result import Cell, Outcome
from transformer_lab.experiments.experiment import Partial
from transformer_lab.lab.experiments.asked import Asked, stored_as
from transformer_lab.lab.experiments.comparison_cost import Cost, cost_of
from transformer_lab.lab.experiments.kept import Kept
from transformer_lab.lab.experiments.raced import outcome_of_runs
from transformer_lab.lab.experiments.races import Races
from transformer_lab.lab.experiments.transformer_race import (
    LOOK_SECONDS,
    free_name,
)
from transformer_lab.lab.experiments.tuned import based, check_lanes
from transformer_lab.lab.jobs import Jobs
from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.pace import Pace
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError

LOOKED_SECONDS = 1.0  # between two looks at what other processes have written
PATIENCE = 60.0  # seconds in which the pace of all lanes must be measured


class Comparisons:
    """Starts, pauses and stops comparisons, one at a time, and keeps their results."""

    def __init__(
        self, jobs: Jobs, trainings: Trainings, costs: Pace, models: Models, home: Path
    ) -> None:
        self._jobs, self._trainings, self._costs = jobs, trainings, costs
        self._races = Races(trainings, models)
        self._texts = trainings.texts
        self._lock = threading.Lock()
        self._asked: dict[str, Asked] = {}
        self._kept = Kept(home)
        self._stamps: dict[str, tuple[int, int]] = {}
        self._looked = -1e9
        self._look("before the lab was opened")

    def start(self, comparison: Comparison) -> Asked:
        """Race its lanes. Raises ConfigError, and LabError while another one is under way."""
        comparison = based(comparison, self._trainings)
        self.check(comparison)
        check_lanes(comparison, self._trainings, self._texts)
        with self._lock:
            self._refuse_if_busy()
            return self._begin(Asked(self._free_name(comparison.slug), comparison), [])

    def go_on(self, name: str, more: Comparison | None = None) -> Asked:
        """Measure what is missing of one that was stopped, or of the same with `more` seeds.

        Raises ConfigError and LabError.
        """
        before = self.find(name)
        if before is None or (before.whole and more is None):
            raise LabError("There is nothing left to measure in this comparison.")
        comparison = more or before.comparison
        self.check(comparison)
        kept = whole_seeds(before.outcome) if before.outcome else []
        with self._lock:
            self._refuse_if_busy()
            return self._begin(Asked(before.key, comparison), kept)

    def _begin(self, asked: Asked, kept: Sequence[Cell]) -> Asked:
        measuring = asked.measure(self._keeping(asked, self._measured(asked, kept)))
        asked.job = self._jobs.start(f"Comparison {asked.key}", measuring)
        self._asked.pop(asked.key, None)
        self._asked[asked.key] = asked  # the one started last is the last of them
        self._kept.write(asked.key, Outcome(comparison=asked.comparison, cells=list(kept)))
        return asked

    def _measured(self, asked: Asked, kept: Sequence[Cell]) -> Iterator[Partial[Outcome]]:
        """Everything that is left to measure, the pace of each lane first where that is needed."""
        if not asked.comparison.paced:
            yield from self._paced(asked)
        yield from compare(
            asked.comparison, lambda setups: self._races.race(asked, self._at_hand(setups)), kept
        )

    def _paced(self, asked: Asked) -> Iterator[Partial[Outcome]]:
        """Wait until it is known how long a step of each lane takes; it becomes the question."""
        nothing = Outcome(comparison=asked.comparison, cells=[])
        paces, patience = self._paces(asked.comparison), time.monotonic() + PATIENCE
        while len(paces) < len(asked.comparison.lanes):
            if time.monotonic() > patience:
                raise ConfigError(
                    "compare.seconds",
                    "How fast the lanes train here could not be measured, since something else is "
                    "training or no CPU is used: wait, or choose a budget in steps or tokens.",
                )
            words = f"measuring how fast the lanes train: {len(paces)} of them are known"
            yield Partial(progress=0.0, words=words, result=nothing)
            time.sleep(LOOK_SECONDS)
            paces = self._paces(asked.comparison)
        asked.settings = asked.comparison.with_paces(paces)

    def _paces(self, comparison: Comparison) -> dict[str, float]:
        """The seconds of a step of each lane, where they have been measured."""
        found = {
            name: self._costs.estimate(setup, self._texts.facts(setup).vocabulary_size)
            for name, setup in self._at_hand(comparison.lanes).items()
        }
        return {
            name: one.step_seconds
            for name, one in found.items()
            if one.measured and one.step_seconds
        }

    def _refuse_if_busy(self) -> None:
        if busy := next((one for one in self._asked.values() if one.busy), None):
            raise LabError(f"“{busy.comparison.title}” is being compared: stop it first, or wait.")
        if away := next((one for one in self._asked.values() if one.elsewhere), None):
            raise LabError(
                f"{away.key} is being compared by another program in this home folder: end it "
                "there first (Ctrl-C), or wait."
            )

    def _keeping(
        self, asked: Asked, partials: Iterator[Partial[Outcome]]
    ) -> Iterator[Partial[Outcome]]:
        """Write down what was measured whenever a seed is whole, and at the end."""
        seeds = 0
        try:
            for partial in partials:
                yield partial
                if (whole := len(whole_seeds(partial.result))) != seeds:
                    seeds = whole
                    self._kept.write(asked.key, partial.result)
        finally:
            if asked.latest:
                self._kept.write(asked.key, asked.latest.result)

    def _at_hand(self, setups: Mapping[str, Setup]) -> dict[str, Setup]:
        """The same, each with a text that can be used now: all of a race read the same one."""
        texts = self._texts
        return {
            name: replace(setup, data=replace(setup.data, corpus=texts.at_hand(setup.data.corpus)))
            for name, setup in setups.items()
        }

    # --- steering it --------------------------------------------------------------------------

    def pause(self, name: str) -> None:
        """Let its lanes rest; they go on with `resume`."""
        if asked := self._busy(name):
            asked.paused = True
            self._races.hold(asked)

    def resume(self, name: str) -> None:
        """Let its lanes go on."""
        if asked := self._busy(name):
            asked.paused = False
            self._races.hold(asked)

    def stop(self, name: str) -> None:
        """End it; what it has measured stays."""
        asked = self._busy(name)
        if asked and asked.job:
            asked.job.stop()

    def _busy(self, name: str) -> Asked | None:
        asked = self.find(name)
        return asked if asked and asked.busy else None

    # --- what there is ------------------------------------------------------------------------

    def find(self, name: object) -> Asked | None:
        """A comparison by its name."""
        self._look()
        return self._asked.get(name) if isinstance(name, str) else None

    def _look(self, where: str = "by another program") -> None:
        """Take in what other processes have asked and measured since, and let go what is gone."""
        if time.monotonic() - self._looked < LOOKED_SECONDS:
            return
        with self._lock:
            self._looked, stamps = time.monotonic(), self._kept.stamps()
            runs = self._trainings.runs() if stamps else []
            racing = {run.comparison for run in runs if run.elsewhere}
            stored = {name for name, asked in self._asked.items() if asked.stored}
            for name in stored - stamps.keys():
                del self._asked[name]
            for name, stamp in stamps.items():
                if name in stored or name not in self._asked:
                    self._take_in(name, stamp, where, racing=name in racing)

    def _take_in(self, name: str, stamp: tuple[int, int], where: str, *, racing: bool) -> None:
        """A comparison as it is on disk and, while it is raced elsewhere, as its runs have it."""
        before = self._asked.get(name)
        if self._stamps.get(name) == stamp and not racing and not (before and before.elsewhere):
            return
        self._stamps[name] = stamp
        outcome = self._on_disk(name) if racing else self._kept.find(name)
        if outcome is None:
            return
        asked = stored_as(name, outcome)
        asked.elsewhere, asked.where = racing, where
        self._asked[name] = asked

    def newest(self, slug: object = None) -> Asked | None:
        """The one that runs or was started last, of all or of one question."""
        self._look()
        found = [one for one in self._asked.values() if _is_of(one.comparison, slug)]
        return next((one for one in found if one.busy), found[-1] if found else None)

    def delete(self, name: str) -> None:
        """Put away what was measured; its runs are deleted by themselves. Raises LabError."""
        if self._busy(name):
            raise LabError(f"{name} is being compared: stop it first.")
        with self._lock:
            self._asked.pop(name, None)
            self._kept.delete(name)

    def restore(self, name: str) -> None:
        """Bring back what was measured in one that was deleted, if there was anything."""
        with self._lock:
            self._kept.restore(name)
            self._looked = -1e9  # it is looked for anew

    def measured(self, name: str) -> Outcome | None:
        """What was measured in a comparison; where that was not kept, what its runs tell.

        So it is of races from before that was kept, and of one that another process races: its
        question is on disk from the start, its seeds as they become whole. None where there is
        nothing.
        """
        asked = self.find(name)
        if asked and asked.outcome and not asked.elsewhere:
            return asked.outcome
        return self._on_disk(name)

    def _on_disk(self, name: str) -> Outcome | None:
        kept = self._kept.find(name)
        runs = [run for run in self._trainings.runs() if name and run.comparison == name]
        if kept and len(kept.cells) >= len(runs):
            return kept
        found = outcome_of_runs(name, runs, self._trainings.store)
        if found and kept and set(found.comparison.lanes) <= set(kept.comparison.lanes):
            return replace(found, comparison=kept.comparison)
        return found

    # --- before it starts ---------------------------------------------------------------------

    def check(self, comparison: Comparison) -> None:
        """What can be known at once to be wrong. Raises ConfigError."""
        comparison = based(comparison, self._trainings)
        for setup in comparison.lanes.values():
            self._trainings.check_place(setup)
        if not comparison.paced:
            paces = self._paces(comparison)
            if len(paces) == len(comparison.lanes):
                comparison.with_paces(paces)  # is there time for a step of each lane?
        cost = self.cost(comparison)
        if cost.memory is not None and cost.free is not None and cost.memory > cost.free:
            raise ConfigError(
                "lanes",
                f"All lanes together need about {cost.memory / 1e9:.1f} GB of memory and "
                f"{cost.free / 1e9:.1f} GB are free: race fewer lanes, or smaller models.",
            )

    def cost(self, comparison: Comparison) -> Cost:
        """How long all of it takes here, and how much memory. Raises ConfigError."""
        comparison = based(comparison, self._trainings)
        found = [
            self._costs.estimate(setup, self._texts.facts(setup).vocabulary_size)
            for setup in self._at_hand(comparison.lanes).values()
        ]
        return cost_of(comparison, found, self._trainings.queue.at_once)

    def _free_name(self, slug: str) -> str:
        slug = re.sub(r"[^A-Za-z0-9_]+", "-", slug).strip("-") or "comparison"
        races = {run.comparison for run in self._trainings.runs()}
        taken = races | set(self._asked) | self._kept.names()
        return free_name(slug, taken)


def _is_of(one: Comparison, slug: object) -> bool:
    """Whether it is of that question or, where none is named, of any that is no experiment."""
    return one.slug == slug if slug is not None else "experiment" not in one.content
