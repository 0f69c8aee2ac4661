"""The one program of a lab that talks to Ray: python -m transformer_lab.lab.training.ray_driver

A line of JSON in is what the lab asks, a line of JSON out what has become of it; `cluster.py` is
the other end. It is a program of its own because Ray ends the program that is connected to it when
the cluster's head is lost. When the lab goes, it ends, and with it everything it started.
"""

import contextlib
import json
import os
import queue
import secrets
import socket
import sys
import threading
import time
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, TextIO

TURN_SECONDS = 0.1
NODES_SECONDS = 2.0  # between two looks at the computers of the cluster
ANSWER_SECONDS = 5.0  # in which the address of a cluster has to answer
NOT_INSTALLED = "Ray is not installed here: pip install 'transformer-lab[cluster]'."
BY_CLIENT = (
    "ray:// is the address of Ray's client, which the lab does not use: start the lab on a "
    "computer of the cluster, with --ray auto."
)
NO_CLUSTER = (
    "No Ray cluster runs on this computer, or it wants a token that is not the one here: start one "
    "(ray start --head), join one (ray start --address=HOST:6379), or try --ray local."
)


class Driver:
    """The trainings that a lab has on a cluster, by the names it gave them."""

    def __init__(self, ray: Any, seat: Any, home: str, mark: str, said: TextIO) -> None:
        self._ray, self._seat = ray, seat
        self._home, self._mark, self._said = home, mark, said
        self._jobs: dict[str, dict[str, Any]] = {}
        self._nodes: list[dict[str, Any]] = []
        self._looked = -1e9

    def say(self, **what: Any) -> None:
        """One line for the lab."""
        self._said.write(json.dumps(what) + "\n")
        self._said.flush()

    def obey(self, asked: dict[str, Any]) -> None:
        """Do what a line of the lab asks."""
        name = asked["job"]
        if asked["do"] == "start":
            actor = self._seat.options(num_cpus=asked["cpus"], num_gpus=asked["gpus"]).remote()
            self._jobs[name] = {"seat": actor, "begins": asked["begins"], "node": ""}
            self._jobs[name]["answer"] = actor.where.remote(self._mark)
        elif job := self._jobs.get(name):
            if job["node"]:
                job["answer"] = job["seat"].stop.remote()
            else:
                self._end(name, lines=[], code=None)

    def turn(self) -> None:
        """Look once at every training, and now and then at the computers."""
        for name in [*self._jobs]:
            self._advance(name)
        if time.monotonic() - self._looked > NODES_SECONDS:
            self._look_at_nodes()

    def _look_at_nodes(self) -> None:
        self._looked = time.monotonic()
        nodes = [
            {
                "id": node["NodeID"],
                "name": node["NodeManagerHostname"],
                "address": node["NodeManagerAddress"],
                "cpus": node["Resources"].get("CPU", 0.0),
                "gpus": node["Resources"].get("GPU", 0.0),
            }
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        if nodes != self._nodes:
            self._nodes = nodes
            self.say(nodes=nodes)

    def _advance(self, name: str) -> None:
        """Take in what a training's actor has answered, if it has."""
        job, errors = self._jobs[name], self._ray.exceptions
        if not self._ray.wait([job["answer"]], timeout=0)[0]:
            return
        try:
            answer = json.loads(self._ray.get(job["answer"]))
        except errors.ActorUnavailableError:  # for now; whether it is lost turns out
            job["answer"] = job["seat"].look.remote()
        except errors.RayActorError:
            del self._jobs[name]
            self.say(job=name, lost=job["node"])
        except errors.RayError as error:
            self._end(name, problem=str(error).strip().splitlines()[-1])
        else:
            self._take_in(name, job, answer)

    def _take_in(self, name: str, job: dict[str, Any], answer: dict[str, Any]) -> None:
        seat = job["seat"]
        if "node" in answer:
            job["node"] = answer["node"]
            self.say(job=name, node=job["node"])
            if problem := self._unfit(answer):
                self._end(name, problem=problem)
            else:
                job["answer"] = seat.begin.remote(json.dumps(job["begins"]), self._home)
        elif answer["code"] is not None:
            self._end(name, **answer)
        else:
            if answer["run"] and not job.get("run"):
                job["run"] = answer["run"]
                self.say(job=name, run=answer["run"])
            job["answer"] = seat.look.remote()

    def _unfit(self, computer: dict[str, Any]) -> str:
        """Why a computer of the cluster cannot train for this lab, in a sentence; or ""."""
        if not computer["shared"]:
            return (
                f"{computer['name']} does not see {self._home}: put the home on a disk that all "
                "computers of the cluster share, under the same path."
            )
        if computer["version"] != version("transformer-lab"):
            return (
                f"{computer['name']} has Transformer Lab {computer['version']}, and this computer "
                f"{version('transformer-lab')}: install the same everywhere."
            )
        return ""

    def _end(self, name: str, **what: Any) -> None:
        self._ray.kill(self._jobs.pop(name)["seat"])
        self.say(job=name, ended=True, **what)


def connection_problem(address: str) -> str:
    """Why there can be no connection to such an address, in a sentence; "" where it may succeed."""
    if find_spec("ray") is None:
        return NOT_INSTALLED
    if "://" in address:
        return BY_CLIENT
    host, colon, port = address.rpartition(":")
    if not colon:
        known = address in ("auto", "local")
        return "" if known else f"{address!r} is no address: give auto, local or HOST:PORT."
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS):
            return ""
    except (OSError, ValueError, OverflowError) as error:
        return f"No Ray cluster answers at {address} ({error})."


def connect(address: str) -> Any:
    """Ray, connected to a cluster, or with one of its own on this computer for `local`.

    Raises ConnectionError with a sentence.
    """
    if problem := connection_problem(address):
        raise ConnectionError(problem)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report to its makers
    own = {}
    if address == "local":  # it listens on every network: let in only what has this token
        own = {"include_dashboard": False}
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray  # noqa: PLC0415 - an extra, and only this program needs it
    import ray.exceptions  # noqa: PLC0415

    try:
        ray.init(address, log_to_driver=False, configure_logging=False, **own)
    except ConnectionError:
        raise ConnectionError(NO_CLUSTER) from None
    except (RuntimeError, ValueError, AssertionError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConnectionError(f"No connection to the cluster at {address}: {first}") from error
    return ray


def _read_into(lines: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("")  # the lab has gone


def main(address: str, home: str, mark: str) -> int:
    """Serve a lab until it closes this program's standard input."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Ray prints is not for the lab
    try:
        ray = connect(address)
    except ConnectionError as error:
        said.write(json.dumps({"problem": str(error)}) + "\n")
        said.close()
        return 1
    from transformer_lab.lab.training.ray_seat import Seat  # noqa: PLC0415 - it imports Ray

    driver = Driver(ray, ray.remote(max_restarts=0, max_task_retries=0)(Seat), home, mark, said)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_into, args=(lines,), daemon=True).start()
    line = None
    while line != "":
        driver.turn()
        line = None
        with contextlib.suppress(queue.Empty):
            if line := lines.get(timeout=TURN_SECONDS):
                driver.obey(json.loads(line))
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
