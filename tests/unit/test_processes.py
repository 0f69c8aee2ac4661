"""Trainings in processes of their own: steered, killed, continued, and queued one on each GPU."""

import io
import json
import os
import signal
import stat
import sys
import time
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from transformer_lab.cli import main, train
from transformer_lab.lab.elsewhere import processes
from transformer_lab.lab.elsewhere.processes import Processes
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.queue import Waiting
from transformer_lab.recipes import Setup
from transformer_lab.runs import control
from transformer_lab.runs.control import CONTROL, Requests, UnreachableError, ask, reachable
from waiting import until

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 1_000_000,
        "train.evaluate_every": 1_000_000,
        "train.evaluation_batches": 1,
        "train.save_every": 20,
        "train.threads": 1,
        "train.where": "process",
        "sample.length": 5,
        "sample.prompt": "The ",
    }
)
FEW = SETUP.with_values({"train.steps": 5, "train.evaluate_every": 5})


def view(lab):
    lab.runs.refresh()
    return lab.runs.view()


def begun(lab):
    """The run of the process that was started last, some steps on."""
    until(lambda: view(lab).step > 20)
    return view(lab).run_id


@pytest.mark.slow  # the same in the normal run: tests/callbacks/test_process.py
def test_a_process_is_steered_as_a_thread_is_and_its_kill_harms_nothing_else(lab):
    lab.trainings.start(SETUP, "apart")
    assert (view(lab).state, view(lab).run_id) == ("preparing", "")
    with pytest.raises(LabError, match="process of its own: stop it first"):
        lab.trainings.start(FEW)
    run_id = begun(lab)
    (child,) = lab.trainings.children()
    assert child.process.pid != os.getpid()
    assert lab.trainings.current is None
    assert stat.S_IMODE((lab.runs.open(run_id).folder / CONTROL).stat().st_mode) == 0o600
    with pytest.raises(LabError, match="stop it first"):
        lab.runs.delete(run_id)

    assert lab.trainings.set_learning_rate("1e-4", run_id) == 1e-4
    until(lambda: view(lab).peaks and view(lab).peaks[-1].value == 1e-4)
    assert lab.trainings.keep(run_id)
    assert len(lab.runs.open(run_id).kept_checkpoints()) == 1
    lab.trainings.pause_or_resume(run_id)
    until(lambda: view(lab).state == "paused")
    step = view(lab).step
    lab.trainings.pause_or_resume(run_id)
    until(lambda: view(lab).step > step)

    os.kill(child.process.pid, signal.SIGKILL)
    until(lambda: child.ended)
    state, reason = lab.runs.open(run_id).state()
    assert state == "interrupted"
    assert reason.startswith("Its process was killed (SIGKILL) after step ")
    assert "memory runs out. Nothing else was harmed. Resume goes on after step " in reason
    assert view(lab).reason == reason
    assert lab.trainings.interrupted()[0].id == run_id

    lab.trainings.resume(run_id)  # from its newest save, in a process again
    until(lambda: view(lab).state == "running" and view(lab).attempt == 1)
    lab.trainings.start_over(SETUP, "anew")
    until(lambda: lab.runs.open(run_id).state()[0] == "stopped")
    lab.trainings.stop()  # the one that has only been started
    until(lambda: lab.trainings.resting() and lab.trainings.has_room())
    assert not reachable(lab.runs.open(run_id).folder)
    assert not [path for path in lab.home.iterdir() if path.name.startswith(".") and
                path.name != ".lock"]  # fmt: skip


def test_a_process_that_cannot_begin_says_why_and_the_lab_goes_on(lab, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    lab.trainings.start(FEW)
    until(lambda: view(lab).state == "failed")
    assert view(lab).reason == "Its process ended before its first step (exit code 1)."
    monkeypatch.setattr(processes.sys, "executable", "/nowhere/python")
    with pytest.raises(LabError, match=r"No process could be started .*: choose The lab"):
        lab.trainings.start(FEW)
    lab.trainings.start(FEW.with_values({"train.where": "thread"}))
    until(lambda: view(lab).state == "finished")


@pytest.fixture
def two_gpus(lab, monkeypatch):
    """They are only said to be there: the processes compute on the CPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(lab.trainings, "_gets_gpu", lambda setup: True)
    for name in ("one", "two", "three"):
        lab.trainings.enqueue(SETUP, name)


def test_the_queue_puts_one_process_on_each_gpu(lab, two_gpus):
    until(lambda: len(lab.trainings.children()) == 2)
    assert lab.trainings.wait()
    first, second = lab.trainings.children()
    assert [(child.begins.recipe, child.gpu) for child in (first, second)] == [
        ("one", "4"), ("two", "7"),
    ]  # fmt: skip
    assert not lab.trainings.has_room(SETUP)


@pytest.mark.slow
def test_a_lab_that_closes_has_its_processes_save_and_end(lab, two_gpus):
    until(lambda: [item.recipe for item in lab.trainings.queue.list()] == ["three"])
    until(lambda: len(list(filter(lab.trainings.remote, ("one-1", "two-1")))) == 2)
    lab.close()
    ends = {run.id: run.state()[0] for run in lab.runs.store.all()}
    assert ends == {"one-1": "interrupted", "two-1": "interrupted"}


def test_a_gpu_is_free_until_something_computes_on_it(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 2)
    assert processes.gpus() == ["0", "1"]
    assert Processes(tmp_path, lambda child: None).free_gpu(["0"]) == "1"
    assert Processes(tmp_path, lambda child: None).free_gpu(["0", "1"]) == ""


def test_requests_are_read_once_whole_and_only_if_they_are_some(tmp_path):
    requests = Requests(tmp_path)
    ask(tmp_path, "learning_rate", 0.5)
    with (tmp_path / CONTROL).open("ab") as file:
        file.write(b'{"do": "delete everything"}\nno json\n{"do": "pa')
    assert [(request.do, request.value) for request in requests.new()] == [("learning_rate", 0.5)]
    with (tmp_path / CONTROL).open("ab") as file:
        file.write(b'use"}\n')
    assert [request.do for request in requests.new()] == ["pause"]
    assert requests.new() == []
    requests.close()
    with pytest.raises(UnreachableError, match="has just ended"):
        ask(tmp_path, "stop")


def test_a_control_file_that_others_can_open_or_that_is_a_link_is_not_written(tmp_path):
    requests = Requests(tmp_path)
    (tmp_path / CONTROL).chmod(0o644)
    assert not reachable(tmp_path)
    with pytest.raises(UnreachableError, match="not yours alone"):
        ask(tmp_path, "stop")
    requests.close()
    (tmp_path / "other").touch(mode=0o600)
    (tmp_path / CONTROL).symlink_to(tmp_path / "other")
    assert not reachable(tmp_path)
    with pytest.raises(UnreachableError):
        ask(tmp_path, "stop")
    assert (tmp_path / "other").read_bytes() == b""


def test_a_control_file_of_another_user_is_not_written(tmp_path, monkeypatch):
    requests = Requests(tmp_path)
    monkeypatch.setattr(control.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnreachableError, match="not yours alone"):
        ask(tmp_path, "stop")
    requests.close()


def test_a_training_that_is_over_between_two_looks_is_named_to_the_lab(
    tmp_path, monkeypatch, capsys
):
    labs = []

    class Watched(Lab):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            labs.append(self)

    def look_late(seconds):
        until(lambda: labs[0].trainings.current.ended)

    item = Waiting(kind="new", recipe="short", setup=FEW.to_mapping())
    told = SimpleNamespace(buffer=io.BytesIO(json.dumps(asdict(item)).encode()), isatty=bool)
    monkeypatch.setattr(train, "Lab", Watched)
    monkeypatch.setattr(train, "time", SimpleNamespace(sleep=look_late, monotonic=time.monotonic))
    monkeypatch.setattr(sys, "stdin", told)
    assert main(["train", "--from-stdin", "--home", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == {"begins": "short-1"}
