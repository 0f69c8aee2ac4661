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


class Context:
    def get_node_id(self) -> str:
        return _here.node


class ActorClass:
    def __init__(self, made: type, cpus: float = 1) -> None:
        self._made, self._cpus = made, cpus

    def options(self, *, num_cpus: float, num_gpus: float) -> "ActorClass":
        return ActorClass(self._made, num_cpus)

    def remote(self) -> "Actor":
        return Actor(self._made, self._cpus)


class Actor:
    def __init__(self, made: type, cpus: float) -> None:
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
            for node in nodes():
                used = sum(a.cpus for a in _actors if a.node == node["NodeID"] and not a.gone)
                if not self.node and node["Resources"]["CPU"] - used >= self.cpus:
                    self.node = node["NodeID"]

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
