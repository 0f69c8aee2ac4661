"""What killed work leaves is swept when a lab opens, but never what another one is writing."""

import json
import signal
import subprocess
import sys
import uuid

import pytest

from transformer_lab.lab import litter
from transformer_lab.lab.lab import Lab
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.files import write_json
from transformer_lab.training import StepMetrics

HEX = uuid.uuid4().hex


def a_cut_off_import(home):
    folder = home / "runs" / ".staging-abc" / "run"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    return folder.parent


def half_a_title(home):
    path = home / "runs" / "whole-1" / f".about.json.{HEX}"
    path.write_text('{"title": ')
    return path


def half_a_queue(home):
    path = home / f".queue.json.{HEX}"
    path.write_text("{")
    return path


def half_a_moment(home):
    path = home / "runs" / "whole-1" / "moments" / f".{HEX}"
    path.parent.mkdir()
    path.write_bytes(b"half")
    return path


def a_try_to_write(home):
    path = home / f".writable-{HEX}"
    path.touch()
    return path


def a_run_that_never_began(home):
    folder = home / "runs" / "never-1"
    folder.mkdir()
    RunWriter(folder, new=True).close()
    (folder / f".run.json.{HEX}").write_text("{")
    return folder


def an_empty_folder(home):
    folder = home / "runs" / "empty-1"
    folder.mkdir()
    return folder


def half_a_save(home):
    folder = home / "runs" / "whole-1" / "checkpoints" / ".staging-abc"
    folder.mkdir(parents=True)
    return folder


LEFT = [
    a_cut_off_import, half_a_title, half_a_queue, half_a_moment, a_try_to_write,
    a_run_that_never_began, an_empty_folder, half_a_save,
]  # fmt: skip


@pytest.fixture
def home(tmp_path):
    whole = tmp_path / "runs" / "whole-1"
    whole.mkdir(parents=True)
    RunWriter(whole, new=True).close()
    write_json(whole / "run.json", {"id": "whole-1"})
    return tmp_path


@pytest.mark.parametrize("leave", LEFT, ids=lambda leave: leave.__name__)
def test_what_killed_work_left_is_swept_when_a_lab_opens(home, leave):
    left = leave(home)
    Lab(home).close()
    assert not left.exists()
    assert (home / "runs" / "whole-1" / "run.json").exists()


@pytest.mark.parametrize(
    "leave", [leave for leave in LEFT if leave is not half_a_save], ids=lambda leave: leave.__name__
)
def test_nothing_is_swept_while_another_lab_is_open_on_the_home(home, leave):
    first = Lab(home)
    left = leave(home)
    try:
        Lab(home).close()
        assert left.exists()
    finally:
        first.close()
    Lab(home).close()
    assert not left.exists()


def test_what_another_process_writes_stays_until_that_is_killed(home):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from transformer_lab.lab.lab import Lab\n"
        "lab = Lab(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    line = [sys.executable, "-c", code, str(home)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            left = a_cut_off_import(home)
            Lab(home).close()
            assert left.exists()
        finally:
            process.send_signal(signal.SIGKILL)
    Lab(home).close()
    assert not left.exists()


def with_steps(folder):
    writer = RunWriter(folder, new=True)
    writer.append(StepMetrics(1, 4.0, 0.001, 1.5, 1000.0, 0.1))
    writer.close()


def with_an_event(folder):
    writer = RunWriter(folder, new=True)
    writer.state("running", 0)
    writer.close()


def with_weights(folder):
    RunWriter(folder, new=True).close()
    (folder / "checkpoints").mkdir()


def with_something_else(folder):
    RunWriter(folder, new=True).close()
    (folder / "mine.txt").touch()


def with_damaged_metrics(folder):
    RunWriter(folder, new=True).close()
    (folder / "metrics.sqlite").write_bytes(b"not a database " * 100)


@pytest.mark.parametrize(
    "fill",
    [with_steps, with_an_event, with_weights, with_something_else, with_damaged_metrics],
    ids=lambda fill: fill.__name__,
)
def test_a_folder_in_which_anything_was_recorded_stays(home, fill):
    folder = home / "runs" / "lost-1"
    folder.mkdir()
    fill(folder)
    Lab(home).close()
    assert folder.exists()


def test_a_folder_that_is_held_stays(home):
    folder = home / "runs" / "new-1"
    folder.mkdir()
    writer = RunWriter(folder, new=True)
    litter.sweep(home)
    assert folder.exists()
    writer.close()
    litter.sweep(home)
    assert not folder.exists()


def test_where_locks_are_not_shared_only_old_work_is_swept(home, monkeypatch):
    monkeypatch.setattr(litter, "fcntl", None)
    left = half_a_title(home)
    litter.Presence(home).close()
    assert left.exists()
    monkeypatch.setattr(litter, "ABANDONED", -1.0)
    litter.Presence(home).close()
    assert not left.exists()


def test_a_lock_that_is_no_file_keeps_no_lab_from_opening(home):
    (home / litter.LOCK).mkdir()
    Lab(home).close()
    assert json.loads((home / "runs" / "whole-1" / "run.json").read_text())
