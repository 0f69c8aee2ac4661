"""A disk that is full: what is true is said, and what was acknowledged is not lost."""

import errno
import json
import sqlite3
import subprocess
import sys
import time

import pytest

from transformer_lab.cli import main
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training import ending
from transformer_lab.recipes import Setup
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from waiting import until

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 30,
        "train.evaluate_every": 10,
        "train.evaluation_batches": 1,
        "train.threads": 1,
        "sample.length": 3,
        "sample.prompt": "The ",
    }
)
ENDLESS = SETUP.with_values({"train.steps": 1_000_000, "train.evaluate_every": 1_000_000})


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "RETRY_SECONDS", 1e9)
    lab = Lab(tmp_path / "home")
    yield lab
    monkeypatch.undo()
    lab.close()


@pytest.fixture
def full(monkeypatch):
    """Have the disk take no weights, or no metrics, or both; `undo` makes room."""

    def fill(*what):
        if "weights" in what:
            monkeypatch.setattr("transformer_lab.lab.training.saves.save_checkpoint", no_room)
        if "metrics" in what:
            monkeypatch.setattr(RunWriter, "flush", no_flush)

    fill.undo = monkeypatch.undo
    return fill


def no_room(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def no_flush(self):
    self._committed = time.monotonic()
    return "The metrics cannot be written now (database or disk is full); they wait in memory."


def waiting(lab):
    """The training whose end is not on disk."""
    until(lambda: lab.trainings.current.unsaved)
    assert lab.trainings.current.status.state == "paused"
    return lab.trainings.current


def states(run):
    return [json.loads(detail)["state"] for _, detail in run.events("state")]


def test_a_run_that_cannot_be_saved_is_not_finished_and_can_be_saved_later(lab, full):
    full("weights")
    lab.trainings.start(SETUP)
    run = waiting(lab)
    assert run.status.step == 30
    assert "step 30 could not be saved: No space left on device" in run.status.reason
    assert "nothing of this run is saved" in run.status.reason
    assert "make room" in run.status.reason
    stored = lab.runs.open(run.status.run_id)
    assert "finished" not in states(stored)
    assert stored.is_held()
    assert (
        lab.models.snapshot(run.status.run_id).step == 30
    )  # and so it can write and be looked into
    full.undo()
    lab.trainings.stop()
    until(lambda: run.ended)
    assert run.status.state == "finished"
    assert states(stored)[-1] == "finished"
    assert [path.name for path in stored.checkpoints()] == ["step-00000030"]
    assert not stored.is_held()


@pytest.mark.parametrize("what", ["weights", "metrics"])
def test_stopping_on_a_full_disk_loses_no_step(lab, full, what):
    lab.trainings.start(ENDLESS)
    until(lambda: lab.trainings.current.status.step > 5)
    full(what)
    until(lambda: lab.trainings.current.status.step > 60)
    lab.trainings.stop()
    run = waiting(lab)
    taken = run.status.step
    full.undo()
    lab.trainings.resume(run.status.run_id)  # the other button says the same: try again
    until(lambda: run.ended)
    assert run.status.state == "stopped"
    points, _ = Run(lab.runs.store.folder / run.status.run_id).since()
    assert [point.step for point in points] == list(range(1, taken + 1))
    assert states(lab.runs.open(run.status.run_id))[-1] == "stopped"


def test_room_that_is_made_is_found_without_a_word(lab, full, monkeypatch):
    full("weights", "metrics")
    lab.trainings.start(SETUP)
    run = waiting(lab)
    full.undo()
    monkeypatch.setattr(ending, "RETRY_SECONDS", 0.0)
    lab.trainings._worker.submit(lab.trainings._dispatch)  # as the worker does when it rests
    until(lambda: run.ended)
    assert run.status.state == "finished"


def test_what_cannot_be_written_when_the_lab_closes_is_reported_to_be_lost(tmp_path, full, caplog):
    lab = Lab(tmp_path)
    lab.trainings.start(ENDLESS)
    until(lambda: lab.trainings.current.status.step > 5)
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    saved = lab.trainings.current.status.step
    lab.trainings.resume()
    until(lambda: lab.trainings.current.status.step > saved)
    full("weights", "metrics")
    steps = lab.trainings.current.status.step
    until(lambda: lab.trainings.current.status.step > steps + 3)
    lab.close()
    status = lab.trainings.current.status
    assert status.state == "interrupted"
    assert f"(step {saved:,} stays saved)" in status.reason
    assert "steps could not be written, and are lost" in status.reason
    assert "are lost" in caplog.text
    full.undo()
    again = Lab(tmp_path)
    assert [run.id for run in again.trainings.interrupted()] == [status.run_id]
    again.close()


def test_a_run_that_can_never_be_saved_can_be_given_up_by_deleting_it(lab, full):
    full("weights")
    lab.trainings.start(SETUP)
    run = waiting(lab)
    lab.runs.delete(run.status.run_id)
    assert lab.runs.all() == []
    assert run.ended
    lab.trainings.start(SETUP)
    waiting(lab)


def test_keep_says_kept_only_when_it_is(lab, full):
    lab.trainings.start(ENDLESS)
    until(lambda: lab.trainings.current.status.step > 5)
    run = lab.trainings.current.status.run_id
    full("weights")
    with pytest.raises(LabError, match="could not be saved: No space left on device"):
        lab.trainings.keep()
    assert lab.runs.open(run).events("kept") == []
    full.undo()
    assert lab.trainings.keep()
    assert len(lab.runs.open(run).kept_checkpoints()) == 1
    assert len(lab.runs.open(run).events("kept")) == 1
    lab.trainings.stop()


def test_a_save_that_fails_says_which_one_stays(lab, full):
    lab.trainings.start(ENDLESS)
    until(lambda: lab.trainings.current.status.step > 2)
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    step = lab.trainings.current.status.step
    lab.trainings.resume()
    until(lambda: lab.trainings.current.status.step > step)
    full("weights")
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    assert f"(step {step:,} stays saved)" in lab.trainings.current.status.note
    full.undo()
    lab.trainings.stop()


def test_a_run_is_taken_to_another_disk_whole_and_brought_back(lab, full, tmp_path, monkeypatch):
    full("metrics")
    lab.trainings.start(SETUP)
    run = waiting(lab)
    folders = [tmp_path / "missing", tmp_path]  # the first has no room
    archive = lab.trainings.rescue(run.status.run_id, folders)
    assert archive == tmp_path / f"{run.status.run_id}.zip"
    lab.trainings.abandon(run.status.run_id, archive)
    assert run.status.state == "interrupted"
    assert f"All of it is in {archive}" in run.status.reason
    assert "lost" not in run.status.reason
    full.undo()
    with archive.open("rb") as file:
        came = lab.runs.open(lab.runs.bring_in(file, "came"))
    assert [point.step for point in came.since()[0]] == list(range(1, 31))
    assert lab.models.snapshot(came.id).step == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, "home"]


LIMITED = """
import resource, sys
from transformer_lab.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
sys.exit(main(sys.argv[1:]))
"""


def test_without_anyone_to_make_room_a_command_ends_and_says_what_was_kept(tmp_path):
    settings = [f"--set={key}={value}" for key, value in SETUP.values().items()]
    line = [sys.executable, "-c", LIMITED, "train", "--home", str(tmp_path / "home"), *settings]
    done = subprocess.run(
        line, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "could not be saved: File too large" in done.stderr
    assert "There was no room in" in done.stderr
    (run,) = RunStore(tmp_path / "home").all()
    assert run.state()[0] == "interrupted"


def test_a_start_that_fails_leaves_no_folder(lab, monkeypatch):
    def no_file(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    def no_table(*arguments, **options):
        raise sqlite3.OperationalError("database or disk is full")

    for name, fault in (("store.write_json", no_file), ("database.connect", no_table)):
        with monkeypatch.context() as patch:
            patch.setattr(f"transformer_lab.runs.{name}", fault)
            lab.trainings.start(SETUP)
            until(lambda: lab.trainings.current.ended)
        assert lab.trainings.current.status.state == "failed"
        assert (
            "full" in lab.trainings.current.status.reason
            or "No space" in lab.trainings.current.status.reason
        )
        assert "Error" not in lab.trainings.current.status.reason
        assert list(lab.runs.store.folder.iterdir()) == []


def test_samples_wait_for_room_on_the_disk(lab, monkeypatch):
    def no_table(*arguments, **options):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("transformer_lab.runs.run.connect", no_table)
        lab.trainings.start(SETUP)
        until(lambda: lab.trainings.current.ended)
        until(lambda: lab.sampling._unkept)
        until(lambda: lab.sampling._writing.done)
    first = lab.trainings.current.status.run_id
    assert lab.runs.open(first).samples() == []
    lab.trainings.start(SETUP)
    until(lambda: lab.trainings.current.status.run_id != first and lab.trainings.current.ended)
    until(lambda: lab.runs.open(first).samples())


def test_commands_that_end_well_say_so_still(tmp_path, capsys):
    settings = [f"--set={key}={value}" for key, value in SETUP.values().items()]
    assert main(["train", "--home", str(tmp_path), *settings]) == 0
    assert "finished after step 30" in capsys.readouterr().out
