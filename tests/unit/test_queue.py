"""Trainings that wait for their turn."""

import json
import time

import pytest

from transformer_lab.lab.continuing import extension
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.queue import LONGEST, Queue, QueueFullError, Waiting
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 5,
        "train.evaluate_every": 5,
        "train.evaluation_batches": 1,
        "train.threads": 1,
        "sample.length": 5,
        "sample.prompt": "The ",
    }
)
ENDLESS = SETUP.with_values({"train.steps": 1_000_000, "train.evaluate_every": 1_000_000})


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def waiting(name):
    return Waiting(kind="new", recipe=name, setup=SETUP.to_mapping())


def names(queue):
    return [item.recipe for item in queue.list()]


def states(lab):
    lab.refresh()
    return {run.id: run.state for run in lab.runs()}


def test_the_order_can_be_changed_and_is_on_disk_at_once(tmp_path):
    queue = Queue(tmp_path)
    for name in "abc":
        queue.add(waiting(name))
    first, _, last = queue.list()
    queue.move(last.id, -1)
    queue.move(first.id, -1)  # it is the first already
    assert names(queue) == ["a", "c", "b"] == names(Queue(tmp_path))
    queue.remove(first.id)
    assert queue.remove(first.id) is None
    assert names(Queue(tmp_path)) == ["c", "b"]


def test_a_queue_found_on_disk_waits_for_a_person(tmp_path):
    queue = Queue(tmp_path)
    assert not queue.held
    queue.add(waiting("a"))
    assert queue.next().recipe == "a"
    found = Queue(tmp_path)
    assert found.held
    assert found.next() is None
    found.release()
    assert found.next().recipe == "a"


def test_a_damaged_queue_is_set_aside(tmp_path):
    (tmp_path / "queue.json").write_text('{"at_once": 1, "waiting": [{"kind"')
    assert Queue(tmp_path).list() == []
    assert (tmp_path / "queue.damaged.json").is_file()


def test_the_queue_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("transformer_lab.lab.queue.LONGEST", 2)
    assert LONGEST > 2
    queue = Queue(tmp_path)
    queue.add(waiting("a"))
    queue.add(waiting("b"))
    with pytest.raises(QueueFullError, match="2 trainings"):
        queue.add(waiting("c"))


def test_what_waits_starts_by_itself_one_after_the_other(lab):
    lab.start(ENDLESS, "first")
    until(lambda: lab.current.status.step > 0)
    lab.enqueue(SETUP, "second")
    lab.enqueue(SETUP, "third")
    assert lab.wait(10)
    assert states(lab) == {"first-1": "running"}
    lab.stop()
    until(lambda: states(lab).get("third-1") == "finished")
    assert states(lab) == {"first-1": "stopped", "second-1": "finished", "third-1": "finished"}
    runs = {run.id: run.created for run in lab.runs()}
    assert runs["second-1"] < runs["third-1"]
    assert lab.queue.list() == []


def test_the_queue_survives_a_restart_and_then_runs_when_asked(tmp_path):
    lab = Lab(tmp_path)
    lab.start(ENDLESS, "first")
    lab.enqueue(SETUP, "second")
    until(lambda: lab.current.status.step > 0)
    lab.close()
    lab = Lab(tmp_path)
    try:
        assert names(lab.queue) == ["second"]
        assert lab.wait(10)
        assert states(lab) == {"first-1": "interrupted"}
        lab.run_queue()
        until(lambda: states(lab).get("second-1") == "finished")
    finally:
        lab.close()


def test_at_most_so_many_run_at_once_and_each_is_exact(lab):
    lab.set_at_once(2)
    for name in ("a", "b", "c"):
        lab.enqueue(ENDLESS, name)
    until(lambda: list(states(lab).values()) == ["running", "running"])
    until(lambda: all(run.step > 3 for run in lab.runs()) or lab.refresh())
    assert names(lab.queue) == ["c"]
    with pytest.raises(LabError, match="add this one to the queue"):
        lab.start(SETUP)
    lab.stop(run_id="a-1")
    until(lambda: states(lab).get("c-1") == "running")
    assert states(lab) == {"a-1": "stopped", "b-1": "running", "c-1": "running"}
    until(lambda: lab.live("c-1").status.step > 3)
    for name in ("b-1", "c-1"):
        lab.stop(run_id=name)
    until(lambda: set(states(lab).values()) == {"stopped"})
    curves = [[p.train_loss for p in lab.store.open(f"{name}-1").since()[0]] for name in "abc"]
    shortest = min(map(len, curves))
    assert shortest > 3
    assert curves[0][:shortest] == curves[1][:shortest] == curves[2][:shortest]


def test_one_that_cannot_start_says_why_and_the_next_has_its_turn(lab, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("It was the best of times, it was the worst of times.\n" * 40)
    lab.start(ENDLESS, "first")
    lab.enqueue(SETUP.with_values({"data.corpus": str(book)}), "broken")
    lab.enqueue(SETUP, "good")
    book.unlink()
    until(lambda: lab.current.status.step > 0)
    lab.stop()
    until(lambda: states(lab).get("good-1") == "finished")
    (broken,) = lab.queue.list()
    assert "There is no corpus" in broken.problem
    stored = json.loads((lab.home / "queue.json").read_text())
    assert stored["waiting"][0]["problem"] == broken.problem
    book.write_text("It was the best of times, it was the worst of times.\n" * 40)
    lab.run_queue()
    until(lambda: states(lab).get("broken-1") == "finished")


def test_what_cannot_work_is_refused_before_it_is_queued(lab):
    with pytest.raises(ConfigError):
        lab.enqueue(SETUP.with_values({"data.corpus": "/nowhere.txt"}))
    assert lab.queue.list() == []


def test_resuming_and_extending_can_wait_too(lab):
    lab.start(ENDLESS, "one")
    until(lambda: lab.current.status.step > 3)
    lab.stop()
    until(lambda: lab.current.ended)
    lab.start(SETUP, "two")
    until(lambda: lab.current.ended and lab.current.status.run_id == "two-1")
    lab.start(ENDLESS, "busy")
    lab.add_to_queue(extension(lab.store, "two-1", 4))
    lab.add_to_queue(Waiting(kind="resume", recipe="one", setup=ENDLESS.to_mapping(), run="one-1"))
    until(lambda: lab.current.status.step > 0)
    lab.stop()
    until(lambda: states(lab).get("two-1-more-1") == "finished")
    until(lambda: states(lab).get("one-1") == "running")
    lab.stop()


def test_a_deleted_run_can_be_brought_back(lab):
    lab.start(SETUP, "mine")
    until(lambda: lab.current.ended)
    lab.describe("mine-1", title="  My\n first\x07 ", notes="It learns.", pinned=True)
    lab.delete("mine-1")
    assert states(lab) == {}
    with pytest.raises(LookupError):
        lab.view("mine-1")
    lab.restore("mine-1")
    (run,) = lab.runs()
    assert (run.id, run.name, run.notes, run.pinned) == ("mine-1", "My first", "It learns.", True)
    with pytest.raises(LabError, match="no longer in the trash"):
        lab.restore("mine-1")


def test_a_run_that_trains_is_not_deleted(lab):
    lab.start(ENDLESS, "mine")
    until(lambda: lab.current.status.step > 0)
    with pytest.raises(LabError, match="stop it first"):
        lab.delete("mine-1")
    lab.stop()


def test_the_number_of_a_deleted_run_is_not_given_again(lab):
    lab.start(SETUP, "mine")
    until(lambda: lab.current.ended)
    lab.delete("mine-1")
    lab.start(SETUP, "mine")
    until(lambda: lab.current.ended)
    assert list(states(lab)) == ["mine-2"]
