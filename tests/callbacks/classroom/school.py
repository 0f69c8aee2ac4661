"""A class for tests: its door, its people, and what is in a learner's home."""

import contextlib
import hashlib
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from werkzeug.test import Client, TestResponse

from transformer_lab.lab.classroom.classroom import Classroom, Limits
from transformer_lab.lab.classroom.people import Person
from transformer_lab.lab.common import Common
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Setup
from transformer_lab.ui.classroom.door import Door
from waiting import PATIENCE, until

TEACHER, LEARNERS = "the-token-of-the-teacher", "the-token-of-the-class-x"
BESIDE = ("-wal", "-shm")  # what a database keeps beside its file while it is open
SECRET = "MARKER-OF-JO"  # in everything of Jo's that can be read
RUN = "jos-own-1"
SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 4,
        "train.evaluate_every": 4,
        "train.evaluation_batches": 1,
        "train.threads": 1,
    }
)
LONG = SETUP.with_values({"train.steps": 1_000_000})
JSON = {"content_type": "application/json"}
FORM = {"content_type": "application/x-www-form-urlencoded"}
BYTES = {"content_type": "application/octet-stream"}


class School:
    """A class on one door, with a browser for each person."""

    def __init__(self, home: Path, page_of: Any, base: str = "", **limits: Any) -> None:
        self.page_of = page_of
        self.common = Common()
        self.lab = Lab(home, common=self.common)
        self.classroom = Classroom(self.lab, self.common, Limits(**limits))
        self.base = base
        self.door = Door(self.classroom, teacher=TEACHER, learners=LEARNERS, base_path=base)

    def browser(self, token: str = "") -> Client:
        client = Client(self.door)
        if token:
            assert client.get(f"{self.base}/?token={token}").status_code == 303
        return client

    def enter(self, name: str, client: Client | None = None, code: str = "") -> TestResponse:
        client = client or self.browser(LEARNERS)
        return client.post(f"{self.base}/enter", data={"name": name, "code": code})

    def learner(self, name: str) -> Client:
        client = self.browser(LEARNERS)
        assert self.enter(name, client).status_code == 303
        return client

    def person(self, name: str) -> Person:
        return next(one for one in self.classroom.people.all() if one.name == name)

    def lab_of(self, name: str) -> Lab:
        return self.classroom.lab_of(self.person(name))

    def page(self, name: str, client: Client) -> Any:
        """A page, whose requests go through the door; of the teacher without a name."""
        known = (self.door.page_of(self.person(name)) if name else self.door.teacher).callback_map
        through = SimpleNamespace(test_client=lambda: client)
        return self.page_of(SimpleNamespace(server=through, callback_map=known))

    def close(self) -> None:
        self.classroom.close()
        self.lab.close()
        self.common.thread.close()


def rested(lab: Lab) -> None:
    """Wait until a training has ended, and nothing of it is still being written."""
    until(lambda: lab.trainings.current.ended)
    assert lab.trainings.wait(PATIENCE)
    until(lambda: not lab.jobs.busy)


def fingerprint(home: Path) -> dict[str, str]:
    """Of every file of a home, by its path; of a database what is in it, wherever it lies."""
    return {
        str(path): hashlib.sha256(content(path)).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and "cache" not in path.parts and not path.name.endswith(BESIDE)
    }


def content(path: Path) -> bytes:
    """The bytes of a file, or the statements that make the same database."""
    if path.suffix != ".sqlite":
        return path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump()).encode()
