"""The one program of a lab that talks to Ray: python -m transformer_lab.lab.elsewhere.ray_driver

A line of JSON in is what the lab asks, a line of JSON out what has become of it; `cluster.py` is
the other end. It is a program of its own because Ray ends the program that is connected to it when
the cluster's head is lost. When the lab goes, it ends, and with it everything it started.
"""

import contextlib
import json
import os
import queue
import sqlite3
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from filelock import Timeout

from transformer_lab.lab.elsewhere.ray_connection import connect
from transformer_lab.lab.elsewhere.ray_workers import Workers
from transformer_lab.lab.elsewhere.said import RANK_LOST
from transformer_lab.lab.elsewhere.transfer import packed, packed_files

if TYPE_CHECKING:
    from transformer_lab.lab.elsewhere.proxy import RunProxy

TURN_SECONDS = 0.1
RARELY_SECONDS = 60.0  # the same of a large one
NEWS_SECONDS = 2.0  # between two transfers of a run that is trained where the home cannot be seen
NODES_SECONDS = 2.0  # between two looks at the computers of the cluster
END_SECONDS = 60.0  # in which all trainings may save and end when the lab is gone
NOTICE_SECONDS = 20.0  # in which the first of several may notice that another one is lost
DIFFERENT = (
    "{name} has Transformer Lab {version}, and this computer {0}: install the same everywhere."
)


@dataclass(kw_only=True)
class Job:
    """A training of the lab: the actors it has, and what the first was asked last.

    `node` is "" while it waits for a computer, `run` as long as it has none; `away` says that it is
    trained where the home cannot be seen, and `proxy` is there as soon as some of it has come
    home, where it is called `home_run`; `code` and `lines` are how it ended, when only the last of
    it has still to come.
    """

    workers: Workers
    asked: dict[str, Any]
    answer: Any
    node: str = ""
    run: str = ""
    away: bool = False
    proxy: "RunProxy | None" = None
    home_run: str = ""
    next_news: float = 0.0
    code: int | None = None
    given_up: float = 0.0  # when the first is not waited for any longer, as another one is lost
    lines: list[str] = field(default_factory=list)

    @property
    def actor(self) -> Any:
        """The first of its workers, which has the run."""
        return self.workers.first

    @property
    def lost_worker(self) -> bool:
        """Whether it has ended because one of several was killed or lost."""
        killed = self.code is not None and (self.code < 0 or self.code == RANK_LOST)
        return killed and bool(self.workers.rest)


class Driver:
    """The trainings that a lab has on a cluster, by the names it gave them."""

    def __init__(self, ray: Any, actor_class: Any, home: str, mark: str, said: TextIO) -> None:
        self._ray, self._actor_class = ray, actor_class
        self._home, self._mark, self._said = home, mark, said
        self._jobs: dict[str, Job] = {}
        self._nodes: list[dict[str, Any]] = []
        self._looked = -1e9

    def say(self, **what: Any) -> None:
        """One line for the lab."""
        with contextlib.suppress(OSError):  # the lab is gone
            self._said.write(json.dumps(what) + "\n")
            self._said.flush()

    def obey(self, asked: dict[str, Any]) -> None:
        """Do what a line of the lab asks."""
        name = asked["job"]
        if asked["do"] == "start":
            workers = Workers(self._ray, self._actor_class, asked, self._mark)
            where = workers.first.where.remote(self._mark)
            self._jobs[name] = Job(workers=workers, asked=asked, answer=where)
        elif name in self._jobs:
            self._part(name, "stop")

    def close(self) -> None:
        """Have all trainings save and end; Ray alone would kill them."""
        for name in [*self._jobs]:
            self._part(name, "let_go")
        limit = time.monotonic() + END_SECONDS
        while self._jobs and time.monotonic() < limit:
            self.turn()
            time.sleep(TURN_SECONDS)

    def turn(self) -> None:
        """Look once at every training, and now and then at the computers."""
        for name in [*self._jobs]:
            self._advance(name)
        if time.monotonic() - self._looked > NODES_SECONDS:
            self._look_at_nodes()

    def _part(self, name: str, how: str) -> None:
        """Have a training end; one that has no computer yet is over."""
        job = self._jobs[name]
        if not job.node:
            self._end(name)
        elif job.code is None:
            job.answer = getattr(job.actor, how).remote()

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
            self.say(computers=nodes)

    def _advance(self, name: str) -> None:
        """Take in what a training's actor has answered, if it has."""
        job, errors = self._jobs[name], self._ray.exceptions
        for request in job.proxy.asked() if job.proxy else ():
            job.actor.ask.remote(request.do, request.value)
        if self._gives_up(job):
            self._lose(name, job.workers.lost)
            return
        if not job.workers.ready or not self._ray.wait([job.answer], timeout=0)[0]:
            return
        try:
            answer = self._ray.get(job.answer)
        except errors.ActorUnavailableError:  # for now; whether it is lost turns out
            job.answer = job.actor.look.remote()
        except errors.RayActorError:
            self._lose(name, job.node)
        except errors.RayError as error:
            self._end(name, problem=str(error).strip().splitlines()[-1])
        else:
            self._take_in(name, job, answer)

    @staticmethod
    def _gives_up(job: Job) -> bool:
        """Whether a worker is lost without the first having noticed, which would save and end."""
        job.workers.look()
        if job.workers.lost and not job.given_up:
            job.given_up = time.monotonic() + NOTICE_SECONDS
        return bool(job.given_up) and time.monotonic() > job.given_up

    def _take_in(self, name: str, job: Job, answer: str | bytes) -> None:
        if isinstance(answer, bytes):
            self._take_home(name, job, answer)
            return
        said = json.loads(answer)
        if "node" in said:
            self._begin(name, job, said)
            return
        job.code, job.lines = said["code"], said["lines"]
        if job.away and said["run"] and (job.code is not None or self._news_due(job)):
            job.run = said["run"]
            known = json.dumps(job.proxy.known if job.proxy else [])
            job.answer = job.actor.news.remote(known, job.code is not None)
        elif job.code is not None:
            self._end(name)
        else:
            if said["run"] and not job.run and not job.away:
                job.run = said["run"]
                self.say(job=name, run=job.run)
            job.answer = job.actor.look.remote()

    def _begin(self, name: str, job: Job, computer: dict[str, Any]) -> None:
        """A training has a computer."""
        job.node, job.away = computer["node"], not computer["shared"]
        all_of_them = [computer, *job.workers.facts]
        self.say(job=name, node=job.node, nodes=[one["node"] for one in all_of_them])
        begins, places = json.dumps(job.asked["begins"]), job.workers.places(computer)
        own = version("transformer-lab")
        other = next((one for one in all_of_them if one["version"] != own), None)
        if other:
            self._end(name, problem=DIFFERENT.format(own, **other))
            return
        job.workers.begin(begins, places)
        place = json.dumps(places[0])
        if not job.away:
            job.answer = job.actor.begin.remote(begins, self._home, place)
        else:
            try:
                from_run = job.asked["begins"]["run"]
                run = packed(Path(self._home) / "runs" / from_run) if from_run else b""
                texts = packed_files(job.asked["texts"])
            except (OSError, sqlite3.Error) as error:
                self._end(name, problem=f"What it begins with could not be sent: {error}.")
            else:
                job.answer = job.actor.begin_away.remote(begins, run, texts, place)

    @staticmethod
    def _news_due(job: Job) -> bool:
        return time.monotonic() >= job.next_news

    def _take_home(self, name: str, job: Job, data: bytes) -> None:
        """Write what has come home of a run; that costs about a tenth of the time."""
        problem = ""
        try:
            if job.proxy is None:
                job.proxy = self._make_proxy(job)
            began = time.monotonic()
            job.proxy.take(data)
            took = time.monotonic() - began
            job.next_news = time.monotonic() + min(max(NEWS_SECONDS, 10 * took), RARELY_SECONDS)
            if not job.home_run:
                job.home_run = job.proxy.folder.name
                self.say(job=name, run=job.home_run)
        except (OSError, ValueError, sqlite3.Error, Timeout) as error:
            problem = f"What it has learned could not be written here: {error}."
        if job.code is None:
            job.answer = job.actor.look.remote()
        else:
            self._end(name, **({"problem": problem} if problem else {}))

    def _make_proxy(self, job: Job) -> "RunProxy":
        # It needs all of PyTorch, which the driver otherwise does without.
        from transformer_lab.lab.elsewhere.proxy import RunProxy  # noqa: PLC0415

        resumed = job.asked["begins"]["kind"] == "resume"
        return RunProxy(Path(self._home), job.run, resumed=resumed)

    def _lose(self, name: str, node: str) -> None:
        """A computer of a training is lost, or one of several processes."""
        job = self._drop(name)
        self.say(job=name, lost=node, several=bool(job.workers.rest))

    def _end(self, name: str, **what: Any) -> None:
        if self._jobs[name].lost_worker and not what:
            self._lose(name, self._jobs[name].workers.lost or self._jobs[name].node)
            return
        job = self._drop(name)
        self.say(job=name, ended=True, code=job.code, lines=job.lines, **what)

    def _drop(self, name: str) -> Job:
        job = self._jobs.pop(name)
        job.workers.end()
        if job.proxy:
            job.proxy.close()
        return job


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
    from transformer_lab.lab.elsewhere.ray_actor import TrainingActor  # noqa: PLC0415 - needs Ray

    actor_class = ray.remote(max_restarts=0, max_task_retries=0)(TrainingActor)
    driver = Driver(ray, actor_class, home, mark, said)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_into, args=(lines,), daemon=True).start()
    line = None
    while line != "":
        driver.turn()
        line = None
        with contextlib.suppress(queue.Empty):
            if line := lines.get(timeout=TURN_SECONDS):
                driver.obey(json.loads(line))
    driver.close()
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
