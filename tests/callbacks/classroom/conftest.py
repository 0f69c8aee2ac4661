"""A class in which Jo has something of everything."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from school import LONG, RUN, SECRET, SETUP, School, rested

from waiting import until


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, page_of: Any) -> Iterator[School]:
    made = School(tmp_path_factory.mktemp("school"), page_of)
    yield made
    made.close()


@pytest.fixture(scope="module")
def jo(school: School) -> Iterator[SimpleNamespace]:
    """Jo has trained, trains (which rests now), has a text, a job, and something in the queue."""
    client = school.learner("Jo")
    lab = school.lab_of("Jo")
    lab.trainings.start(SETUP, "jos-own")
    rested(lab)
    lab.runs.describe(RUN, title=SECRET, notes=SECRET)
    text = lab.texts.add(f"{SECRET} ".encode() * 200, f"{SECRET}.txt", "uploaded")
    lab.trainings.start(LONG, "jos-own")
    until(lambda: lab.trainings.current.status.step > 1)
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    lab.trainings.enqueue(SETUP, "jos-own")
    job = lab.jobs.start("job", iter([SECRET]))
    job.wait()
    held = threading.Event()
    writing = lab.jobs.start("writing", (held.wait() for _ in range(2)))
    item = lab.trainings.queue.list()[0].id
    ids = {"run": RUN, "job": job.id, "text": text.id, "item": item, "writing": writing.id}
    yield SimpleNamespace(client=client, lab=lab, ids=ids)
    held.set()
