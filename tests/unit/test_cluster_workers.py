"""Several workers of a cluster that train one model: as one process, also where one is killed."""

import contextlib

import psutil
import pytest

from nodes import kill
from test_ranks import SETUP
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.outside import NO_WORKERS
from transformer_lab.settings import ConfigError
from transformer_lab.ui.runs.cluster import card
from waiting import until

TWO = {"train.where": "cluster", "train.workers": 2}
LONG = {  # at a low rate, so that roundings do not grow
    "train.steps": 1_000_000,
    "train.evaluate_every": 1_000_000,
    "train.save_every": 20,
    "train.learning_rate": 1e-4,
}


def losses(run):
    return [point.train_loss for point in run.since()[0]]


def alone(folder, setup, steps):
    """What one process finds in its first steps."""
    lab = Lab(folder)
    try:
        lab.trainings.start(setup)
        until(lambda: lab.trainings.current.active)
        run = lab.runs.open(lab.trainings.current.status.run_id)
        until(lambda: len(run.latest(steps)) == steps)
        return losses(run)[:steps]
    finally:
        lab.close()


def begun(lab, setup):
    """A training of two workers that has a run."""
    lab.trainings.start(setup.with_values(TWO))
    return until(lambda: next((child for child in lab.trainings.sent() if child.run_id), None))


def processes():
    """What this test has started to train, by rank."""
    found = {}
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if "--tied" in one.cmdline() and "RANK" in one.environ():
                found[int(one.environ()["RANK"])] = one
    return found


def trained_together(lab, tmp_path, address, nodes):
    """Two workers take the steps of one process."""
    lab.trainings.connect(address)
    until(lambda: len(lab.trainings.cluster.computers) == 2)
    child = begun(lab, SETUP.with_values({"train.threads": 2}))
    assert set(child.nodes) == nodes  # of two CPUs each, one worker has both
    assert str(card(lab)).count(child.run_id) == 2
    until(lambda: child.ended)
    run = lab.runs.open(child.run_id)
    assert run.state() == ("finished", "")
    assert losses(run) == pytest.approx(alone(tmp_path / "one", SETUP, 12), rel=1e-6)
    notes = " ".join(note for _, note in run.events("note"))
    assert "2 processes train it together" in notes


def goes_on(lab, child, folder, setup):
    """All workers train again, beyond where one was lost, with the losses of one process."""
    run = lab.runs.open(child.run_id)
    lost_at = until(lambda: child.losses == 1 and run.latest())[-1].step
    until(lambda: any("One of its 2 workers was lost" in d for _, d in run.events("state")))
    until(lambda: run.latest()[-1].step > lost_at + 40)
    lab.trainings.stop(run_id=run.id)
    until(lambda: child.ended)
    assert (run.state()[0], child.losses) == ("stopped", 1)
    found = losses(run)
    assert found == pytest.approx(alone(folder, setup, len(found)), rel=1e-4)


def test_two_workers_on_two_nodes_take_the_steps_of_one_process(quick_nodes, lab, tmp_path):
    trained_together(lab, tmp_path, "auto", {"a", "b"})


@pytest.mark.slow
def test_two_workers_on_two_computers_take_the_steps_of_one_process(
    scratch, computers, lab, tmp_path
):
    cluster, other = computers
    trained_together(lab, tmp_path, cluster.address, {other.node_id, cluster.head_node.node_id})


@pytest.mark.slow
def test_a_training_whose_worker_is_killed_goes_on_from_its_newest_save(
    scratch, computers, lab, tmp_path
):
    lab.trainings.connect(computers[0].address)
    setup = SETUP.with_values(LONG)
    child = begun(lab, setup)
    until(lab.runs.open(child.run_id).resume_points)
    processes()[1].kill()
    goes_on(lab, child, tmp_path / "one", setup)


@pytest.mark.slow
def test_a_training_whose_workers_computer_is_killed_waits_for_another_and_goes_on(
    scratch, computers, lab, tmp_path
):
    cluster, other = computers
    lab.trainings.connect(cluster.address)
    until(lambda: len(lab.trainings.cluster.computers) == 2)
    setup = SETUP.with_values(LONG | {"train.threads": 2})
    child = begun(lab, setup)
    until(lab.runs.open(child.run_id).resume_points)
    kill(other)
    until(lambda: child.losses == 1 and len(lab.trainings.cluster.computers) == 1)
    assert "It asks for 2 workers with 2 CPUs each, and the cluster has less" in str(card(lab))
    cluster.add_node(num_cpus=2, object_store_memory=80_000_000)
    goes_on(lab, child, tmp_path / "one", setup)


@pytest.mark.slow
def test_all_workers_of_a_training_pause_and_end_with_it(scratch, computers, lab):
    lab.trainings.connect(computers[0].address)
    child = begun(lab, SETUP.with_values({"train.steps": 1_000_000}))
    run = lab.runs.open(child.run_id)
    until(lambda: sorted(processes()) == [0, 1])
    lab.trainings.pause(child.run_id)
    until(lambda: run.state()[0] == "paused")
    lab.trainings.resume(child.run_id)
    until(lambda: run.state()[0] == "running")
    lab.trainings.stop(run_id=child.run_id)
    until(lambda: child.ended and not processes())
    assert (run.state()[0], child.losses) == ("stopped", 0)


def test_workers_without_a_cluster_are_refused_in_a_sentence(lab):
    for given in ({"train.workers": 3}, {"train.workers": 3, "train.where": "process"}):
        with pytest.raises(ConfigError) as caught:
            lab.trainings.start(SETUP.with_values(given))
        assert (caught.value.field, str(caught.value)) == ("train.workers", NO_WORKERS.format(3))
