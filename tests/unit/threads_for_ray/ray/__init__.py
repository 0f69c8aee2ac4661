"""What the lab asks of Ray, with a thread for each actor, so that all the rest is tested quickly.

Ray itself takes ten seconds to start; the slow tests use it. Here the nodes are the files of a
folder, each with its number of CPUs; one that is deleted is lost with all that runs there.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ray import exceptions

NODES = Path(os.environ.get("NODES_OF_A_TEST", "/nowhere"))
_lock, _here = threading.Lock(), threading.local()
_actors: list["Actor"] = []
_groups: list["PlacementGroup"] = []


class Context:
    def get_node_id(self) -> str:
        return _here.node


class ActorClass:
    def __init__(self, made: type, cpus: float = 1, bundle: Any = None) -> None:
        self._made, self._cpus, self._bundle = made, cpus, bundle

    def options(
        self, *, num_cpus: float, num_gpus: float, scheduling_strategy: Any = None
    ) -> "ActorClass":
        return ActorClass(self._made, num_cpus, scheduling_strategy)

    def remote(self) -> "Actor":
        return Actor(self._made, self._cpus, self._bundle)


class PlacementGroup:
    """`nodes` are those of its bundles, none of which has one before there is room for all."""

    def __init__(self, bundles: list[float]) -> None:
        self.bundles, self.nodes = bundles, []
        _groups.append(self)

    def take_nodes(self) -> None:
        room, found = {node["NodeID"]: free(node) for node in nodes()}, []
        for cpus in self.bundles:
            node = next((name for name, there in room.items() if there >= cpus), "")
            if not node:
                return
            room[node] -= cpus
            found.append(node)
        self.nodes = found


class Actor:
    def __init__(self, made: type, cpus: float, bundle: Any) -> None:
        self.bundle = bundle
        self.cpus, self.node, self.gone, self.it = cpus, "", False, None
        self._made, self._thread = made, ThreadPoolExecutor(1)
        _actors.append(self)

    def __getattr__(self, name: str) -> Any:
        return Method(lambda *given: self._thread.submit(self._call, name, given), self)

    def _call(self, name: str, given: tuple[Any, ...]) -> Any:
        while not self.node and not self.gone:
            self._take_a_node()
            time.sleep(0.01)
        if self.gone:
            raise exceptions.RayActorError("gone")
        _here.node = self.node
        self.it = self.it or self._made()
        return getattr(self.it, name)(*given)

    def _take_a_node(self) -> None:
        with _lock:
            if self.bundle:
                group = self.bundle.group
                if not group.nodes:
                    group.take_nodes()
                self.node = group.nodes[self.bundle.number] if group.nodes else ""
                return
            fitting = (node["NodeID"] for node in nodes() if free(node) >= self.cpus)
            self.node = next(fitting, "")

    def end(self) -> None:
        self.gone = True
        if self.it and self.it._process:
            self.it._process.kill()


class Method:
    def __init__(self, submit: Callable[..., "Future[Any]"], actor: Actor) -> None:
        self._submit, self._actor = submit, actor

    def remote(self, *given: Any) -> "Future[Any]":
        answer = self._submit(*given)
        answer.actor = self._actor
        return answer


def init(*given: Any, **more: Any) -> None:
    """Nothing is to be connected."""


def shutdown() -> None:
    for actor in _actors:
        kill(actor)


def nodes() -> list[dict[str, Any]]:
    return [
        {
            "NodeID": path.name,
            "NodeManagerHostname": path.name,
            "NodeManagerAddress": "127.0.0.1",
            "Resources": {"CPU": float(path.read_text())},
            "Alive": True,
        }
        for path in sorted(NODES.iterdir())
    ]


def free(node: dict[str, Any]) -> float:
    """How many CPUs of a node nobody has."""
    name = node["NodeID"]
    alone = [actor for actor in _actors if not actor.bundle and not actor.gone]
    used = sum(actor.cpus for actor in alone if actor.node == name)
    for group in _groups:
        used += sum(c for c, at in zip(group.bundles, group.nodes, strict=False) if at == name)
    return node["Resources"]["CPU"] - used


def get_runtime_context() -> Context:
    return Context()


def remote(**options: Any) -> Callable[[type], ActorClass]:
    return ActorClass


def wait(answers: list["Future[Any]"], timeout: float) -> tuple[list["Future[Any]"], None]:
    for actor in _actors:
        if actor.node and not actor.gone and not (NODES / actor.node).exists():
            actor.end()
    return [answer for answer in answers if answer.actor.gone or answer.done()], None


def get(answer: "Future[Any]") -> Any:
    if answer.actor.gone:
        raise exceptions.RayActorError("lost")
    return answer.result()


def kill(actor: Actor) -> None:
    actor.end()
