"""Trainings that wait for their turn."""

import json
import os
import subprocess
import sys
import threading
from functools import partial

import pytest

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.queue import LONGEST, Queue, QueueFullError, Waiting
from transformer_lab.lab.training.continuing import extension, resumption
from transformer_lab.recipes import Setup
from transformer_lab.runs.database import Sample
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError
from waiting import PATIENCE, until

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


def waiting(name):
    return Waiting(kind="new", recipe=name, setup=SETUP.to_mapping())


def names(queue):
    return [item.recipe for item in queue.list()]


def states(lab):
    lab.runs.refresh()
    return {run.id: run.state for run in lab.runs.all()}


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
    lab.trainings.start(ENDLESS, "first")
    until(lambda: lab.trainings.current.status.step > 0)
    lab.trainings.enqueue(SETUP, "second")
    lab.trainings.enqueue(SETUP, "third")
    assert lab.trainings.wait(PATIENCE)
    assert states(lab) == {"first-1": "running"}
    lab.trainings.stop()
    until(lambda: states(lab).get("third-1") == "finished")
    assert states(lab) == {"first-1": "stopped", "second-1": "finished", "third-1": "finished"}
    runs = {run.id: run.created for run in lab.runs.all()}
    assert runs["second-1"] < runs["third-1"]
    assert lab.trainings.queue.list() == []


def test_the_queue_survives_a_restart_and_then_runs_when_asked(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(ENDLESS, "first")
    lab.trainings.enqueue(SETUP, "second")
    until(lambda: lab.trainings.current.status.step > 0)
    lab.close()
    lab = Lab(tmp_path)
    try:
        assert names(lab.trainings.queue) == ["second"]
        assert lab.trainings.wait(PATIENCE)
        assert states(lab) == {"first-1": "interrupted"}
        lab.trainings.run_queue()
        until(lambda: states(lab).get("second-1") == "finished")
    finally:
        lab.close()


def test_at_most_so_many_run_at_once_and_each_is_exact(lab):
    lab.trainings.set_at_once(2)
    for name in ("a", "b", "c"):
        lab.trainings.enqueue(ENDLESS, name)
    until(lambda: list(states(lab).values()) == ["running", "running"])
    until(lambda: all(run.step > 3 for run in lab.runs.all()) or lab.runs.refresh())
    assert names(lab.trainings.queue) == ["c"]
    with pytest.raises(LabError, match="add this one to the queue"):
        lab.trainings.start(SETUP)
    lab.trainings.stop(run_id="a-1")
    until(lambda: states(lab).get("c-1") == "running")
    assert states(lab) == {"a-1": "stopped", "b-1": "running", "c-1": "running"}
    until(lambda: lab.trainings.live("c-1").status.step > 3)
    for name in ("b-1", "c-1"):
        lab.trainings.stop(run_id=name)
    until(lambda: set(states(lab).values()) == {"stopped"})
    curves = [[p.train_loss for p in lab.runs.open(f"{name}-1").since()[0]] for name in "abc"]
    shortest = min(map(len, curves))
    assert shortest > 3
    assert curves[0][:shortest] == curves[1][:shortest] == curves[2][:shortest]


def test_one_that_cannot_start_says_why_and_the_next_has_its_turn(lab, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("It was the best of times, it was the worst of times.\n" * 40)
    lab.trainings.start(ENDLESS, "first")
    lab.trainings.enqueue(SETUP.with_values({"data.corpus": str(book)}), "broken")
    lab.trainings.enqueue(SETUP, "good")
    book.unlink()
    until(lambda: lab.trainings.current.status.step > 0)
    lab.trainings.stop()
    until(lambda: states(lab).get("good-1") == "finished")
    (broken,) = lab.trainings.queue.list()
    assert "There is no corpus" in broken.problem
    stored = json.loads((lab.home / "queue.json").read_text())
    assert stored["waiting"][0]["problem"] == broken.problem
    book.write_text("It was the best of times, it was the worst of times.\n" * 40)
    lab.trainings.run_queue()
    until(lambda: states(lab).get("broken-1") == "finished")


def test_what_cannot_work_is_refused_before_it_is_queued(lab):
    with pytest.raises(ConfigError):
        lab.trainings.enqueue(SETUP.with_values({"data.corpus": "/nowhere.txt"}))
    assert lab.trainings.queue.list() == []


def test_resuming_and_extending_can_wait_too(lab):
    lab.trainings.start(ENDLESS, "one")
    until(lambda: lab.trainings.current.status.step > 3)
    lab.trainings.stop()
    until(lambda: lab.trainings.current.ended)
    lab.trainings.start(SETUP, "two")
    until(lambda: lab.trainings.current.ended and lab.trainings.current.status.run_id == "two-1")
    lab.trainings.start(ENDLESS, "busy")
    lab.trainings.add_to_queue(extension(lab.runs.store, "two-1", 4))
    lab.trainings.add_to_queue(
        Waiting(kind="resume", recipe="one", setup=ENDLESS.to_mapping(), run="one-1")
    )
    until(lambda: lab.trainings.current.status.step > 0)
    lab.trainings.stop()
    until(lambda: states(lab).get("two-1-more-1") == "finished")
    until(lambda: states(lab).get("one-1") == "running")
    lab.trainings.stop()


def test_a_deleted_run_can_be_brought_back(lab):
    lab.trainings.start(SETUP, "mine")
    until(lambda: lab.trainings.current.ended)
    lab.runs.describe("mine-1", title="  My\n first\x07 ", notes="It learns.", pinned=True)
    lab.runs.delete("mine-1")
    assert states(lab) == {}
    with pytest.raises(LookupError):
        lab.runs.view("mine-1")
    lab.runs.restore("mine-1")
    (run,) = lab.runs.all()
    assert (run.id, run.name, run.notes, run.pinned) == ("mine-1", "My first", "It learns.", True)
    with pytest.raises(LabError, match="no longer in the trash"):
        lab.runs.restore("mine-1")


def test_a_sample_of_a_deleted_run_holds_up_no_other(lab):
    lab.trainings.start(SETUP, "mine")
    until(lambda: lab.trainings.current.ended)
    here, gone = lab.runs.open("mine-1"), Run(lab.runs.store.folder / "gone-1")
    until(lambda: here.latest_sample() is not None)
    for run in (gone, here):
        lab.sampling._keep(run, partial(run.add_sample, Sample(99, "The ", "end")))
    assert here.latest_sample().step == 99


def test_a_run_that_trains_is_not_deleted(lab):
    lab.trainings.start(ENDLESS, "mine")
    until(lambda: lab.trainings.current.status.step > 0)
    with pytest.raises(LabError, match="stop it first"):
        lab.runs.delete("mine-1")
    lab.trainings.stop()


def test_the_number_of_a_deleted_run_is_not_given_again(lab):
    lab.trainings.start(SETUP, "mine")
    until(lambda: lab.trainings.current.ended)
    lab.runs.delete("mine-1")
    lab.trainings.start(SETUP, "mine")
    until(lambda: lab.trainings.current.ended)
    assert list(states(lab)) == ["mine-2"]


# --- nothing that waits is lost -------------------------------------------------------------------


def test_what_waits_stays_in_the_queue_until_its_runs_folder_is_there(lab, monkeypatch):
    """Killed while it is being prepared, a lab finds it again."""
    reached, go, create = threading.Event(), threading.Event(), RunStore.create

    def waiting_create(*args):
        reached.set()
        assert go.wait(PATIENCE)
        return create(*args)

    monkeypatch.setattr(RunStore, "create", waiting_create)
    lab.trainings.enqueue(SETUP, "mine")
    assert reached.wait(PATIENCE)
    assert names(Queue(lab.home)) == ["mine"]
    assert lab.trainings.wait(0) is False
    go.set()
    until(lambda: states(lab).get("mine-1") == "finished")
    assert names(Queue(lab.home)) == []


def test_what_is_stopped_before_its_first_step_stays_in_the_queue(lab, monkeypatch):
    reached, go, fetched = threading.Event(), threading.Event(), lab.texts.fetched

    def waiting_fetched(*args):
        reached.set()
        assert go.wait(PATIENCE)
        return fetched(*args)

    monkeypatch.setattr(lab.texts, "fetched", waiting_fetched)
    lab.trainings.enqueue(SETUP, "mine")
    assert reached.wait(PATIENCE)
    lab.trainings.stop()
    go.set()
    until(lambda: lab.trainings.current.ended)
    assert lab.trainings.wait(PATIENCE)
    (item,) = Queue(lab.home).list()
    assert "stopped before its first step" in item.problem
    lab.trainings.run_queue()
    until(lambda: states(lab) == {"mine-1": "finished"})
    assert lab.trainings.queue.list() == []


def spoil(path):
    path.write_bytes(b"spoiled")


SPOILED = {
    "settings": lambda run: spoil(run.folder / "run.json"),
    "no settings": lambda run: (run.folder / "run.json").write_text("{}"),
    "metrics": lambda run: spoil(run.folder / "metrics.sqlite"),
    "weights": lambda run: [spoil(p) for p in run.folder.glob("checkpoints/*/weights*")],
    "progress": lambda run: [spoil(p) for p in run.folder.glob("checkpoints/*/progress.json")],
    "nothing left": lambda run: run.folder.rename(run.folder.parents[1] / "gone"),
}


@pytest.mark.parametrize("spoiling", SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("kind", ["resume", "extended"])
def test_what_waits_for_a_run_that_cannot_be_opened_says_so_and_stays(lab, kind, spoiling):
    lab.trainings.start(ENDLESS, "one")
    until(lambda: lab.trainings.current.status.step > 3)
    lab.trainings.stop()
    until(lambda: lab.trainings.current.ended)
    run = lab.runs.open("one-1")
    item = (
        resumption(lab.runs.store, "one-1")
        if kind == "resume"
        else extension(lab.runs.store, "one-1", 3)
    )
    spoiling(run)
    lab.trainings.add_to_queue(item)
    lab.trainings.enqueue(SETUP, "next")
    until(lambda: states(lab).get("next-1") == "finished")
    (waits,) = Queue(lab.home).list()
    assert waits.id == item.id
    assert waits.problem.endswith(".")
    until(lambda: not any(run.is_held() for run in lab.runs.store.all()))


def test_a_queue_that_cannot_be_written_starts_nothing_twice(lab, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    lab.trainings.start(ENDLESS, "first")
    lab.trainings.enqueue(SETUP, "mine")
    until(lambda: lab.trainings.current.status.step > 0)
    with monkeypatch.context() as broke:
        broke.setattr("transformer_lab.lab.queue.write_json", full)
        with pytest.raises(LabError, match="No space left"):
            lab.trainings.enqueue(SETUP, "other")
        lab.trainings.stop()
        until(lambda: states(lab).get("mine-1") == "finished")
        assert lab.trainings.wait(PATIENCE)
        assert lab.trainings.queue.list() == []
    lab.trainings.enqueue(SETUP, "other")
    until(lambda: states(lab).get("other-1") == "finished")
    assert list(states(lab)) == ["other-1", "mine-1", "first-1"]
    assert names(Queue(lab.home)) == []


def test_a_spoiled_queue_costs_nothing_that_is_in_memory(tmp_path):
    queue = Queue(tmp_path)
    queue.add(waiting("a"))
    for number, spoiled in enumerate(("", "[]", '{"at_once": 1, "waiting": [{"kind": "run"}]}'), 1):
        (tmp_path / "queue.json").write_text(spoiled)
        assert names(queue) == ["a", *"b" * (number - 1)]
        queue.add(waiting("b"))
        assert names(Queue(tmp_path)) == ["a", *"b" * number]
    assert len(list(tmp_path.glob("queue.damaged*.json"))) == 3


def test_another_labs_change_is_seen_and_kept(tmp_path):
    one, other = Queue(tmp_path), Queue(tmp_path)
    one.add(waiting("a"))
    other.add(waiting("b"))
    other.set_at_once(3)
    one.move(one.list()[1].id, -1)
    assert names(one) == names(other) == ["b", "a"]
    assert one.at_once == 3
    assert one.next() is None  # it is for the other lab to start, or for a person
    assert other.next().recipe == "b"
    assert (one.held, other.held) == (True, True)
    one.release()
    assert one.next().recipe == "b"


ADDING = """
import sys
from pathlib import Path
from transformer_lab.lab.queue import Queue, Waiting

queue, name = Queue(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    item = Waiting(kind="new", recipe=f"{name}{number}", setup={"train": {"steps": 1}})
    queue.add(item)
    if number % 2:
        queue.remove(item.id)
    else:
        queue.move(item.id, -1)
"""


def test_two_programs_that_write_the_queue_at_once_lose_nothing(tmp_path):
    line = [sys.executable, "-c", ADDING, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    programs = [subprocess.Popen([*line, name], **pipes) for name in "xy"]
    try:
        for program in programs:
            assert program.stdout.readline() == "ready\n"
        for program in programs:
            program.stdin.write("go\n")
            program.stdin.flush()
        assert [program.wait(PATIENCE) for program in programs] == [0, 0]
    finally:
        for program in programs:
            program.kill()
            program.communicate()
    expected = {f"{name}{number}" for name in "xy" for number in range(0, 40, 2)}
    found = names(Queue(tmp_path))
    assert (set(found), len(found)) == (expected, 40)


WORKING = """
import sys, time
from pathlib import Path
from transformer_lab.lab.lab import Lab

lab = Lab(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
lab.trainings.run_queue()
while lab.trainings.queue.list() or lab.trainings.busy():
    time.sleep(0.02)
lab.close()
"""


def test_two_labs_that_work_off_one_queue_train_each_item_once(tmp_path):
    queue = Queue(tmp_path)
    for number in range(6):
        queue.add(waiting(f"q{number}"))
    line = [sys.executable, "-c", WORKING, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    labs = [subprocess.Popen(line, env=environment, **pipes) for _ in range(2)]
    try:
        for lab in labs:
            assert lab.stdout.readline() == "ready\n"
        for lab in labs:
            lab.stdin.write("go\n")
            lab.stdin.flush()
        assert [lab.wait(PATIENCE) for lab in labs] == [0, 0]
    finally:
        for lab in labs:
            lab.kill()
            lab.communicate()
    ends = {run.id: run.state for run in RunStore(tmp_path).list()}
    assert ends == {f"q{number}-1": "finished" for number in range(6)}
