"""Trainings on a Ray cluster: two computers' worth of processes on this one, one of them killed."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from nodes import kill
from small import ENDLESS, TINY
from transformer_lab.lab.elsewhere import ray_connection
from transformer_lab.lab.elsewhere.cluster import Cluster
from transformer_lab.lab.elsewhere.needs import Computer, Needs, names_of, needs_of
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.queue import Waiting
from transformer_lab.recipes import Setup
from transformer_lab.runs.run import Run
from transformer_lab.settings import ConfigError
from transformer_lab.ui.runs.cluster import ITS_TURN, card, why_waiting
from waiting import ended, until

SETUP = Setup().with_values(
    TINY | {"train.steps": 1500, "train.evaluate_every": 500, "train.save_every": 50}
)
SEEDS = range(1, 9)


def losses(run: Run) -> list[tuple[int, float, float | None]]:
    return [(point.step, point.train_loss, point.validation_loss) for point in run.since()[0]]


def trained_on_one(folder) -> dict[int, list]:
    """What the same runs measure in a lab of its own, one after another."""
    lab, found = Lab(folder), {}
    for seed in SEEDS:
        lab.trainings.start(SETUP.with_values({"train.seed": seed}))
        assert ended(lab).state == "finished"
        found[seed] = losses(lab.runs.open(lab.trainings.current.status.run_id))
    lab.close()
    return found


@pytest.mark.slow
def test_eight_runs_measure_on_two_computers_one_of_which_is_killed_what_they_do_on_one(
    scratch, computers, lab, tmp_path
):
    cluster, other = computers
    lab.trainings.connect(cluster.address)
    until(lambda: len(lab.trainings.cluster.computers) == 2)
    for seed in SEEDS:
        lab.trainings.enqueue(SETUP.with_values({"train.seed": seed}), f"seed {seed}")

    def doomed():
        return [
            child
            for child in lab.trainings.sent()
            if child.node == other.node_id
            and child.run_id
            and (run := lab.runs.open(child.run_id)).resume_points()
            and run.state()[0] == "running"
        ]

    lost = [child.run_id for child in until(doomed)]
    kill(other)
    until(lambda: not lab.trainings.sent() and not lab.trainings.queue.list())
    runs = {run.manifest["setup"]["train"]["seed"]: run for run in lab.runs.store.all()}
    assert {seed: runs[seed].state()[0] for seed in SEEDS} == dict.fromkeys(SEEDS, "finished")
    assert len(lab.runs.store.all()) == len(SEEDS)
    for run_id in lost:
        run = lab.runs.open(run_id)
        said = [detail for _, detail in run.events("state") if "was lost after step" in detail]
        assert said
        assert "It goes on at another computer after step " in said[0]
        assert run.attempts() == 1
    if scratch:  # what was lost with a computer is left; on the other nothing is
        assert len(list(scratch.iterdir())) <= 2
    expected = trained_on_one(tmp_path / "one")
    assert {seed: losses(runs[seed]) for seed in SEEDS} == expected


@pytest.mark.slow
def test_a_run_on_a_cluster_is_steered_and_what_waits_for_it_says_why(scratch, lab):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    lab.trainings.connect("local")
    (computer,) = lab.trainings.cluster.computers
    all_of_it = Needs(cpus=int(computer.cpus), gpus=0)
    big = ENDLESS.with_values({"train.threads": 256})
    small = ENDLESS.with_values({"train.threads": all_of_it.cpus})
    for name, setup in {"too big": big, "first": small, "second": small, "third": small}.items():
        lab.trainings.enqueue(setup, name)
    until(lambda: lab.trainings.remote("first-1") and lab.runs.view("first-1").step)
    until(lambda: len(lab.trainings.sent()) == 3)
    waiting = lab.trainings.queue.list()
    assert [item.recipe for item in waiting] == ["too big", "second", "third"]
    why = [*why_waiting(lab, waiting).values()]
    assert why[0].startswith("It asks for 256 CPUs, and no computer of the cluster has as much")
    assert why[1] == f"It waits until a computer of the cluster has {all_of_it} free."
    assert why[2] == ITS_TURN
    lab.runs.refresh()
    shown = str(card(lab))
    assert "first-1" in shown
    assert "of 1,000,000" in shown

    assert lab.trainings.set_learning_rate("1e-4", "first-1") == 1e-4
    until(
        lambda: lab.runs.view("first-1").peaks and lab.runs.view("first-1").peaks[-1].value == 1e-4
    )
    assert lab.trainings.keep("first-1")
    lab.trainings.pause("first-1")
    until(lambda: lab.runs.open("first-1").state()[0] == "paused")
    with pytest.raises(LabError, match="first-1 trains on the cluster: stop it first"):
        lab.runs.delete("first-1")
    lab.trainings.resume("first-1")
    until(lambda: lab.runs.open("first-1").state()[0] == "running")
    lab.trainings.remove_from_queue(waiting[0].id)
    lab.trainings.stop(run_id="first-1")
    until(lambda: lab.runs.open("first-1").state()[0] == "stopped")
    until(lambda: lab.trainings.remote("second-1"))
    until(lambda: [item.recipe for item in lab.trainings.queue.list()] == ["third"])
    lab.close()
    assert lab.runs.open("second-1").state() == ("interrupted", "The lab was closed.")
    assert [item.recipe for item in lab.trainings.queue.list()] == ["third"]
    assert [run.id for run in lab.runs.store.all() if run.is_held()] == []
    assert not scratch or not list(scratch.iterdir())


@pytest.mark.slow
def test_a_run_that_has_lost_its_computer_can_be_taken_off_the_cluster(scratch, computers, lab):
    cluster, other = computers
    lab.trainings.connect(cluster.address)
    until(lambda: len(lab.trainings.cluster.computers) == 2)
    for name in ("one", "two"):
        lab.trainings.enqueue(ENDLESS.with_values({"train.threads": 2}), name)
    until(lambda: lab.trainings.remote("one-1") and lab.trainings.remote("two-1"))
    (lost,) = [one.run_id for one in lab.trainings.sent() if one.node == other.node_id]
    kill(other)
    until(lambda: lab.runs.open(lost).state()[0] == "interrupted")
    with pytest.raises(LabError, match=f"{lost} goes on on the cluster by itself: take it off"):
        lab.trainings.resume(lost)
    assert lost not in [run.id for run in lab.trainings.interrupted()]  # nor is that offered
    until(lambda: f"Take it off the cluster: {lost}" in str(card(lab)))
    lab.trainings.stop(run_id=lost)
    until(lambda: "It was taken off the cluster " in lab.runs.open(lost).state()[1])
    (other_run,) = lab.trainings.sent()
    lab.trainings.stop(run_id=other_run.run_id)
    until(lambda: not lab.trainings.sent())
    assert lab.runs.open(other_run.run_id).state()[0] == "stopped"


KILLED_LAB = """
import sys, time
from pathlib import Path
from small import ENDLESS
from transformer_lab.lab.lab import Lab

lab = Lab(Path(sys.argv[1]))
lab.trainings.connect("local")
lab.trainings.enqueue(ENDLESS, "orphan")
time.sleep(3600)
"""


@pytest.mark.slow
def test_what_trains_on_a_cluster_saves_and_ends_when_the_lab_is_killed(tmp_path):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    killed = subprocess.Popen([sys.executable, "-c", KILLED_LAB, str(tmp_path)])
    run = Run(tmp_path / "runs" / "orphan-1")
    try:
        until(lambda: (run.folder / "run.json").exists() and run.latest())
    finally:
        killed.kill()
        killed.wait()
    until(lambda: not run.is_held())
    assert run.state() == ("interrupted", "The lab was closed.")
    assert run.resume_points()


@contextlib.contextmanager
def tied(home, setup) -> Iterator[subprocess.Popen[bytes]]:
    """A process that trains as on a cluster, by the name of tied-1."""
    begins = Waiting(kind="new", recipe="tied", setup=setup.to_mapping())
    process = subprocess.Popen(
        [sys.executable, "-m", "transformer_lab.cli", "train", "--from-stdin", "--tied",
         "--home", str(home)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with process:
        process.stdin.write(json.dumps(asdict(begins)).encode() + b"\n")
        process.stdin.flush()
        yield process


def test_a_tied_process_saves_and_ends_when_who_started_it_is_gone(tmp_path):
    run = Run(tmp_path / "runs" / "tied-1")
    with tied(tmp_path, ENDLESS) as process:
        until(lambda: (run.folder / "run.json").exists() and run.latest())
        process.stdin.close()
        assert process.wait() == 0
    assert run.state() == ("interrupted", "The lab was closed.")
    assert run.resume_points()


def test_a_tied_process_ends_in_order_when_its_training_does(tmp_path):
    with tied(tmp_path, Setup().with_values(TINY)) as process:
        until(lambda: process.poll() is not None)
        assert process.returncode == 0
    assert Run(tmp_path / "runs" / "tied-1").state()[0] == "finished"


def test_an_address_without_a_cluster_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ConfigError) as refused:
        Cluster(tmp_path, "127.0.0.1:1", lambda child: None)
    assert refused.value.field == "ray"
    assert str(refused.value).startswith(("No Ray cluster answers at 127.0.0.1:1", "Ray is not"))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(ray_connection, "find_spec", lambda name: None)
    assert "pip install 'transformer-lab[cluster]'" in ray_connection.connection_problem("auto")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ray://10.0.0.1:10001", "is the address of Ray's client"),
        ("head", "'head' is no address: give auto, local or HOST:PORT."),
        ("127.0.0.1:http", "No Ray cluster answers at 127.0.0.1:http"),
        ("127.0.0.1:99999", "No Ray cluster answers at 127.0.0.1:99999"),
    ],
)
def test_an_odd_address_is_refused_at_once(monkeypatch, address, words):
    monkeypatch.setattr(ray_connection, "find_spec", lambda name: name)
    assert words in ray_connection.connection_problem(address)


def computer(name: str, *, cpus: float = 4, gpus: float = 0) -> Computer:
    return Computer(id=f"{name}{gpus:g}abcdef", name=name, address="10.0.0.1", cpus=cpus, gpus=gpus)


def test_a_training_asks_for_its_threads_and_for_a_gpu_where_there_is_one():
    plain, gpu = [computer("a")], [computer("a"), computer("b", gpus=2)]
    asked = Setup().with_values({"train.threads": 3})
    assert needs_of(asked.with_values({"train.workers": 2}), gpu).workers == 2
    assert needs_of(Setup(), plain) == Needs(cpus=1, gpus=0)
    assert needs_of(asked, gpu) == Needs(cpus=3, gpus=1)
    assert needs_of(asked.with_values({"train.device": "cpu"}), gpu) == Needs(cpus=3, gpus=0)
    assert needs_of(asked.with_values({"train.device": "cuda"}), plain) == Needs(cpus=3, gpus=1)
    assert not Needs(cpus=1, gpus=1).fit(plain)
    assert Needs(cpus=2, gpus=0, workers=4).fit(gpu)
    assert not Needs(cpus=3, gpus=0, workers=3).fit(gpu)
    assert not Needs(cpus=1, gpus=1, workers=3).fit(gpu)
    assert str(Needs(cpus=1, gpus=0, workers=2)) == "2 workers with 1 CPU each"
    assert str(Needs(cpus=1, gpus=1)) == "1 CPU and 1 GPU"


def test_computers_of_one_name_are_told_apart():
    assert [*names_of([computer("a"), computer("b"), computer("b", gpus=1)]).values()] == [
        "a", "b-b0ab", "b-b1ab"
    ]  # fmt: skip
