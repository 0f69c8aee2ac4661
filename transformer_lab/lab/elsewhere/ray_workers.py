"""Several workers of a Ray cluster for one model: a placement group, and an actor in each bundle.

Each actor runs the command that torchrun would run, with the variables that torchrun would set.
Ray Train's TorchTrainer is not used: it connects its own worker processes, in threads of which the
command cannot run, cannot be ended while it waits, and wants storage that all nodes see.
"""

import json
from collections.abc import Mapping
from typing import Any

Places = dict[str, str]


class Workers:
    """The actors of one training, the first of which has the run; `rest` are the others."""

    def __init__(self, ray: Any, actor_class: Any, needs: Mapping[str, int], mark: str) -> None:
        self._ray, self._group = ray, None
        options = {"num_cpus": needs["cpus"], "num_gpus": needs["gpus"]}
        places: list[dict[str, Any]] = [{}]
        if needs["workers"] > 1:
            places = self._bundles(needs)
        actors = [actor_class.options(**options, **place).remote() for place in places]
        self.first, *self.rest = actors
        self._answers = [actor.where.remote(mark) for actor in self.rest]
        self._facts: dict[int, dict[str, Any]] = {}
        self.lost = ""  # the computer of one of `rest` that is lost or whose process was killed

    def _bundles(self, needs: Mapping[str, int]) -> list[dict[str, Any]]:
        from ray.util.placement_group import placement_group  # noqa: PLC0415 - an extra
        from ray.util.scheduling_strategies import (  # noqa: PLC0415
            PlacementGroupSchedulingStrategy,
        )

        bundle = {"CPU": needs["cpus"]} | ({"GPU": needs["gpus"]} if needs["gpus"] else {})
        self._group = placement_group([bundle] * needs["workers"], strategy="PACK")
        return [
            {"scheduling_strategy": PlacementGroupSchedulingStrategy(self._group, number)}
            for number in range(needs["workers"])
        ]

    @property
    def ready(self) -> bool:
        """Whether all have a computer."""
        return len(self._facts) == len(self.rest)

    @property
    def facts(self) -> list[dict[str, Any]]:
        """What is known of the computers of `rest`."""
        return [self._facts[number] for number in sorted(self._facts)]

    def places(self, first: Mapping[str, Any]) -> list[Places]:
        """What torchrun tells each process; `first` are the facts of the first computer."""
        if not self.rest:
            return [{}]
        return [
            {
                "MASTER_ADDR": first["address"],
                "MASTER_PORT": str(first["port"]),
                "WORLD_SIZE": str(1 + len(self.rest)),
                "RANK": str(rank),
                "LOCAL_RANK": "0",  # each sees its own GPU only
            }
            for rank in range(1 + len(self.rest))
        ]

    def begin(self, begins: str, places: list[Places]) -> None:
        """Have all but the first begin; they wait for it."""
        self._answers = [
            actor.begin.remote(begins, "", json.dumps(place))
            for actor, place in zip(self.rest, places[1:], strict=True)
        ]

    def look(self) -> None:
        """Take in what all but the first have answered."""
        for number, actor in enumerate(self.rest):
            answer = self._answers[number]
            if answer is None or not self._ray.wait([answer], timeout=0)[0]:
                continue
            try:
                said = json.loads(self._ray.get(answer))
            except self._ray.exceptions.ActorUnavailableError:  # for now
                said = {"code": None}
            except self._ray.exceptions.RayActorError:
                said = {"code": -1}
            self._take_in(number, actor, said)

    def _take_in(self, number: int, actor: Any, said: dict[str, Any]) -> None:
        self._answers[number] = None
        if "node" in said:
            self._facts[number] = said
        elif said["code"] is None:
            self._answers[number] = actor.look.remote()
        elif said["code"]:
            self.lost = self._facts.get(number, {}).get("node", "unknown")

    def end(self) -> None:
        """Let go of all computers; what trains there saves and ends."""
        for actor in (self.first, *self.rest):
            self._ray.kill(actor)
        if self._group is not None:
            from ray.util.placement_group import remove_placement_group  # noqa: PLC0415

            remove_placement_group(self._group)
