"""The states of a training: what the worker has is listed, busy, can be stopped, and lets go."""

import contextlib
import io
import json
import shutil
import sqlite3
import threading

import pytest
import torch

from transformer_lab.exchange import write_archive
from transformer_lab.lab.lab import LabError
from transformer_lab.lab.training import preparing
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.origins import Offspring, Resumed
from transformer_lab.lab.training.saves import Saves
from transformer_lab.lab.training.states import BUSY, ENDED, NEXT, Lifecycle
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import load_checkpoint, load_training, save_checkpoint
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from waiting import ended, until

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


class Gate:
    """Makes a method wait at its beginning, once it is armed, until it is opened."""

    def __init__(self, monkeypatch, owner, name):
        self._reached, self._open = threading.Event(), threading.Event()
        method = getattr(owner, name)

        def waiting(*args, **options):
            self._reached.set()
            assert self._open.wait(60)
            return method(*args, **options)

        monkeypatch.setattr(owner, name, waiting)

    def reached(self):
        assert self._reached.wait(60)

    def open(self):
        self._open.set()


@pytest.fixture
def gate(monkeypatch):
    gates = []

    def made(owner, name):
        gates.append(Gate(monkeypatch, owner, name))
        return gates[-1]

    yield made
    for one in gates:
        one.open()


def test_every_busy_state_can_be_stopped_and_every_other_leads_to_an_end():
    for state in BUSY:
        assert state == "stopping" or "stopping" in NEXT[state]
    reached, edge = set(ENDED), True
    while edge:
        edge = {one for one, following in NEXT.items() if {*following} & reached} - reached
        reached |= edge
    assert reached == {*NEXT}


def test_a_move_that_may_not_follow_changes_nothing():
    life = Lifecycle()
    assert not life.move("paused", reason="by hand")
    assert (life.status.state, life.status.reason) == ("preparing", "")
    assert life.move("failed", reason="by hand")
    for state in NEXT:
        assert not life.move(state)


@pytest.mark.parametrize("where", ["create", "begin"])
def test_a_training_that_is_about_to_begin_is_busy_and_can_be_stopped(lab, gate, where):
    """Its model is made, but not its folder: once it looked as if it were merely initialized."""
    opening = gate(*{"create": (RunStore, where), "begin": (LiveRun, where)}[where])
    lab.trainings.start(ENDLESS, "mine")
    opening.reached()
    assert lab.trainings.current.busy
    with pytest.raises(LabError, match="stop it first"):
        lab.trainings.start(SETUP, "other")
    with pytest.raises(LabError, match="stop it first"):
        lab.trainings.initialize(SETUP)
    lab.trainings.stop()
    first = lab.trainings.current
    opening.open()
    until(lambda: first.ended)
    assert first.status.state == "stopped"
    assert first.status.step == 0
    assert not any(run.is_held() for run in lab.runs.store.all())


def test_a_training_that_is_being_prepared_can_be_stopped_and_leaves_nothing(lab, gate):
    reading = gate(lab.texts, "fetched")
    lab.trainings.start(ENDLESS, "mine")
    reading.reached()
    lab.trainings.stop()
    assert lab.trainings.current.status.state == "stopping"
    lab.trainings.start(SETUP, "next")  # what is about to end takes no room
    reading.open()
    assert ended(lab).run_id == "next-1"
    assert [run.id for run in lab.runs.store.list()] == ["next-1"]


def test_two_starts_with_the_same_settings_are_two_trainings(lab, gate):
    """The second does not take the first for a model that was merely initialized."""
    lab.trainings.set_at_once(2)
    reading = gate(lab.texts, "fetched")
    lab.trainings.start(ENDLESS, "one")
    reading.reached()
    lab.trainings.start(ENDLESS, "two")
    reading.open()
    until(lambda: {run.id for run in lab.runs.store.all() if run.is_held()} == {"one-1", "two-1"})
    for name in ("one-1", "two-1"):
        until(lambda name=name: lab.trainings.live(name) is not None)
        lab.trainings.stop(run_id=name)
        until(lambda name=name: lab.trainings.live(name) is None or lab.trainings.live(name).ended)


def test_a_resume_that_is_stopped_while_it_is_prepared_leaves_the_run_as_it_was(lab, gate):
    lab.trainings.start(ENDLESS, "mine")
    until(lambda: lab.trainings.current.status.step > 2)
    lab.trainings.stop()
    name, step = ended(lab).run_id, lab.trainings.current.status.step
    reading = gate(lab.texts, "again")
    lab.trainings.resume(name)
    reading.reached()
    with pytest.raises(LabError, match="is preparing"):
        lab.trainings.resume(name)
    lab.trainings.stop(run_id=name)
    reading.open()
    assert ended(lab).state == "stopped"
    assert not lab.runs.open(name).is_held()
    lab.trainings.resume(name)
    until(lambda: lab.trainings.current.status.step > step)
    lab.trainings.stop()


def test_starting_over_at_once_from_many_pages_leaves_one_training(lab):
    pages = [
        threading.Thread(target=lab.trainings.start_over, args=(ENDLESS, f"p{n}")) for n in range(4)
    ]
    lab.trainings.start(ENDLESS, "first")
    for page in pages:
        page.start()
    for page in pages:
        page.join()
    until(lambda: lab.trainings.current.status.step > 0)
    held = [run.id for run in lab.runs.store.all() if run.is_held()]
    assert held == [lab.trainings.current.status.run_id]
    lab.trainings.stop()
    ended(lab)


def test_a_run_is_never_called_another_programs_while_it_opens(lab, gate):
    opening = gate(LiveRun, "_go_on")
    lab.trainings.start(ENDLESS, "mine")
    opening.reached()
    lab.runs.refresh()
    assert lab.trainings.elsewhere() is None
    assert [(run.id, run.elsewhere) for run in lab.runs.all()] == [("mine-1", False)]
    opening.open()
    lab.trainings.stop()
    ended(lab)


def test_a_run_that_begins_or_ends_here_is_listed_so_at_once(lab):
    assert lab.runs.all() == []
    lab.trainings.start(SETUP.with_values({"train.steps": 1}), "mine")
    until(lambda: lab.trainings.current.status.run_id)
    assert [run.id for run in lab.runs.all()] == ["mine-1"]
    ended(lab)
    assert [(run.id, run.state, run.step) for run in lab.runs.all()] == [("mine-1", "finished", 1)]


def test_a_run_that_ended_here_and_goes_on_elsewhere_is_seen(lab):
    lab.trainings.start(SETUP, "mine")
    name = ended(lab).run_id
    with contextlib.closing(RunWriter(lab.runs.store.folder / name)) as other:
        other.state("running", 5)
        lab.runs.refresh()
        assert lab.trainings.elsewhere().id == name


# --- every end lets go ----------------------------------------------------------------------------


def stopped_run(lab):
    lab.trainings.start(ENDLESS.with_values({"train.save_every": 2}), "mine")
    until(lambda: lab.trainings.current.status.step > 2)
    lab.trainings.stop()
    run = lab.runs.open(ended(lab).run_id)
    for folder in run.checkpoints()[:-1]:
        shutil.rmtree(folder)
    return run


def resaved(folder, change):
    """Write a checkpoint anew, whole, with something else in it."""
    weights, tokenizer, meta = load_checkpoint(folder)
    remembered, progress = load_training(folder)
    change(weights, remembered)
    meta = {key: value for key, value in meta.items() if key != "sha256"}
    shutil.rmtree(folder)
    save_checkpoint(folder, weights, tokenizer, meta, optimizer=remembered, progress=progress)


SPOILED = {
    "an optimizer of another shape": lambda w, o: o.update({"norm.weight/exp_avg": torch.ones(9)}),
    "an optimizer of another model": lambda w, o: o.update({"nose.weight/exp_avg": torch.ones(9)}),
    "weights of another shape": lambda w, o: (o.clear(), w.update({"norm.weight": torch.ones(9)})),
    "weights of another model": lambda w, o: (o.clear(), w.pop("norm.weight")),
}


@pytest.mark.parametrize("change", SPOILED.values(), ids=SPOILED)
def test_a_save_that_does_not_fit_fails_in_a_sentence_and_lets_go(lab, change):
    run = stopped_run(lab)
    resaved(run.checkpoints()[-1], change)
    steps = run.since()
    for begin in (lab.trainings.resume, lambda name: lab.trainings.extend(name, 3)):
        begin(run.id)
        status = ended(lab)
        assert status.state == "failed"
        assert "model" in status.reason
        assert "Error" not in status.reason
        assert run.since() == steps
        assert not any(one.is_held() for one in lab.runs.store.all())
        lab.runs.refresh()
        assert lab.trainings.elsewhere() is None
    lab.runs.delete(run.id)


def refusing(*args, **options):
    raise sqlite3.OperationalError("disk I/O error")


BREAKS = {
    "the folder": (RunStore, "create"),
    "the manifest": (LiveRun, "_manifest"),
    "the optimizer": (preparing, "restore_optimizer"),
    "the parent's steps": (RunWriter, "copy"),
    "rewinding": (RunWriter, "rewind"),
    "what the run did before": (Run, "attempts"),
    "the best weights": (Resumed, "best"),
    "the parent's best weights": (Offspring, "best"),
    "the past": (Run, "since"),
    "the end itself": (Saves, "save"),
}


@pytest.mark.parametrize("how", ["start", "resume", "extend"])
def test_whatever_fails_on_the_way_in_or_out_lets_go_of_the_run(lab, monkeypatch, how):
    run = stopped_run(lab)
    for name, broken in BREAKS.items():
        with monkeypatch.context() as broke:
            broke.setattr(*broken, refusing)
            begin(lab, run, how)
            until(lambda: lab.trainings.current.ended)
            assert lab.trainings.wait(60)
        assert not any(one.is_held() for one in lab.runs.store.all()), name
        folders = [
            path for path in lab.runs.store.folder.iterdir() if not (path / "run.json").is_file()
        ]
        assert folders == [], name
    lab.runs.delete(run.id)
    lab.trainings.start(SETUP, "after")
    assert ended(lab).state == "finished"


def begin(lab, run, how):
    """Start, or go on with a run, which is stopped again if that should succeed."""
    with contextlib.suppress(LabError):
        if how == "start":
            lab.trainings.start(SETUP, "new")
        elif how == "extend":
            lab.trainings.extend(run.id, 3)
        else:
            lab.trainings.resume(run.id)
            assert lab.trainings.wait(60)
            lab.trainings.stop()


def test_a_kept_moment_asked_for_too_late_breaks_nothing(lab, gate):
    lab.trainings.start(ENDLESS, "mine")
    until(lambda: lab.trainings.current.status.step > 0)
    run = lab.trainings.current
    lab.trainings.stop()
    until(lambda: run.ended)
    run.keep()
    assert run.status.state == "stopped"


# --- no lock over long work -----------------------------------------------------------------------


class Slow(io.BytesIO):
    """A file that keeps its reader waiting."""

    def __init__(self, data):
        super().__init__(data)
        self.reached, self.go = threading.Event(), threading.Event()

    def read(self, *args):
        self.reached.set()
        assert self.go.wait(60)
        return super().read(*args)


def test_importing_keeps_nobody_waiting_and_its_name_is_taken_meanwhile(lab):
    lab.trainings.start(SETUP, "mine")
    packed = io.BytesIO()
    write_archive(lab.runs.open(ended(lab).run_id).folder, packed)
    files = [Slow(packed.getvalue()) for _ in range(2)]
    came = []
    imports = [
        threading.Thread(target=lambda file=file: came.append(lab.runs.bring_in(file, "Mine 1")))
        for file in files
    ]
    for thread, file in zip(imports, files, strict=True):
        thread.start()
        assert file.reached.wait(60)
    try:
        lab.trainings.start(SETUP, "mine")
        assert ended(lab).run_id == "mine-2"
        lab.trainings.start(SETUP, "mine-1")
        assert ended(lab).run_id == "mine-1-3"
        lab.runs.delete("mine-2")
    finally:
        for file in files:
            file.go.set()
        for thread in imports:
            thread.join()
    assert sorted(came) == ["mine-1-1", "mine-1-2"]
    assert {run.id for run in lab.runs.store.list()} == {
        "mine-1",
        "mine-1-1",
        "mine-1-2",
        "mine-1-3",
    }


@pytest.mark.parametrize("slow", ["list", "facts"])
def test_a_start_that_looks_for_long_keeps_no_other_command_waiting(lab, gate, slow):
    lab.trainings.set_at_once(2)
    lab.trainings.start(ENDLESS, "mine")
    until(lambda: lab.trainings.current.status.step > 0)
    lab.runs.refresh()
    looking = gate(*{"list": (lab.runs.store, "list"), "facts": (lab.texts, "facts")}[slow])
    start = threading.Thread(target=lab.trainings.start, args=(SETUP, "other"))
    start.start()
    looking.reached()
    lab.trainings.pause("mine-1")
    until(lambda: lab.trainings.live("mine-1").status.state == "paused")
    lab.trainings.stop(run_id="mine-1")
    until(lambda: lab.trainings.live("mine-1").ended)
    looking.open()
    start.join()
    assert ended(lab).run_id == "other-1"


def test_a_run_that_is_being_deleted_is_not_taken_up(lab, gate):
    run = stopped_run(lab)
    moving = gate(lab.runs.store, "delete")
    deletion = threading.Thread(target=lab.runs.delete, args=(run.id,))
    deletion.start()
    moving.reached()
    for command in (lab.trainings.resume, lab.runs.delete):
        with pytest.raises(LabError, match="is being deleted"):
            command(run.id)
    lab.trainings.start(SETUP, "other")
    assert ended(lab).state == "finished"
    moving.open()
    deletion.join()
    assert [one.id for one in lab.runs.store.all()] == ["other-1"]


def test_a_parent_is_not_deleted_while_its_child_begins(lab, gate):
    run = stopped_run(lab)
    reading = gate(lab.texts, "in_tokens_of")
    lab.trainings.extend(run.id, 3)
    reading.reached()
    with pytest.raises(LabError, match="beginning from"):
        lab.runs.delete(run.id)
    reading.open()
    assert ended(lab).state == "finished"
    lab.runs.delete(run.id)


def test_the_states_on_disk_are_those_that_are_documented(lab):
    lab.trainings.start(ENDLESS, "mine")
    until(lambda: lab.trainings.current.status.step > 0)
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    lab.trainings.resume()
    lab.trainings.stop("Enough.")
    run = lab.runs.open(ended(lab).run_id)
    recorded = [json.loads(detail) for _, detail in run.events("state")]
    assert [one["state"] for one in recorded] in (
        ["running", "paused", "running", "stopped"],
        ["running", "paused", "stopped"],
    )
    assert recorded[-1]["reason"] == "Enough."
