"""The race of each seed: in turns, in processes or on a cluster, and held during a pause."""

import contextlib
from collections.abc import Iterator, Mapping

from transformer_lab.experiments.transformers import Seen
from transformer_lab.lab.experiments.asked import Asked
from transformer_lab.lab.experiments.process_race import in_processes, lane_items
from transformer_lab.lab.experiments.transformer_race import on_the_worker
from transformer_lab.lab.experiments.tuned import origins
from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.recipes import Setup
from transformer_lab.runs.database import State


class Races:
    """Races lanes, and lets them rest."""

    def __init__(self, trainings: Trainings, models: Models) -> None:
        self._trainings, self._models = trainings, models
        self._resting: set[str] = set()  # runs of lanes that rest

    def race(self, asked: Asked, setups: Mapping[str, Setup]) -> Iterator[Mapping[str, Seen]]:
        """One seed's race, which is held while the comparison is paused."""
        one = asked.comparison
        seed = next(iter(setups.values())).train.seed
        name, audit = f"{asked.key}.{seed}", one.audit and seed == 1
        if one.where != "thread" and self._trainings.processes:
            items = lane_items(one, setups, name)
            standing = in_processes(
                self._trainings, items, self._models, lambda: asked.paused, audit=audit
            )
        else:
            begin = origins(one, self._trainings.store)
            standing = on_the_worker(
                self._trainings, setups, name, numbered=False, audit=audit, origins=begin
            )
        with contextlib.closing(standing):
            for seen in standing:
                self.hold(asked)
                yield seen

    def hold(self, asked: Asked) -> None:
        """Let its lanes rest while it is paused, and those that rested go on afterwards."""
        for run_id, state in self._lanes(asked):
            with contextlib.suppress(LabError):  # it has just ended
                if asked.paused and state == "running":
                    self._resting.add(run_id)
                    self._trainings.pause(run_id)
                elif not asked.paused and state == "paused" and run_id in self._resting:
                    self._resting.discard(run_id)
                    self._trainings.resume(run_id)

    def _lanes(self, asked: Asked) -> Iterator[tuple[str, State]]:
        """The runs of its lanes that have not ended, and their states."""
        for seed in range(asked.comparison.seeds):
            name = f"{asked.key}.{seed + 1}"
            for run in self._trainings.racing(name):
                yield run.status.run_id, run.status.state
            for child in self._trainings.racing_apart(name):
                yield child.run_id, self._trainings.store.open(child.run_id).state()[0]
