"""Experiments in the lab: started, stopped, kept."""

import itertools
import threading
from dataclasses import dataclass

import pytest

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.experiment import Partial
from transformer_lab.lab.experiments import trials
from transformer_lab.lab.lab import LabError
from transformer_lab.settings import ConfigError
from waiting import PATIENCE, until

SHORT = {"steps": 3, "epochs": 1, "seeds": 1, "width": 8}
LONG = SHORT | {"epochs": 100, "seeds": 20}


def race(**changes):
    return EXPERIMENTS["race"].settings(**(SHORT | changes))


def measuring(trial, until):
    until(lambda: trial.latest is not None and trial.latest.result.races)


@pytest.fixture(name="until")
def until_fixture():
    """Wait for something to become true; gives it."""
    return until


def test_an_experiment_is_measured_to_its_end_and_kept(lab):
    trial = lab.trials.start("race", race())
    assert trial.job.wait(PATIENCE)
    assert trial.state == "done"
    assert trial.latest.progress == 1
    assert lab.trials.find("race") is trial
    assert "of the test digits" in EXPERIMENTS["race"].verdict(trial.latest.result)


def test_stop_keeps_what_was_measured_and_it_can_start_anew(lab, until):
    trial = lab.trials.start("race", race(**LONG))
    measuring(trial, until)
    lab.trials.stop("race")
    assert trial.job.wait(PATIENCE)
    assert trial.state == "stopped"
    assert trial.latest.result.races
    assert 0 < trial.latest.progress < 1
    again = lab.trials.start("race", race())
    assert again.job.wait(PATIENCE)
    assert lab.trials.find("race") is again


def test_the_same_experiment_does_not_run_twice_at_once_and_no_more_than_two(lab):
    lab.trials.start("race", race(**LONG))
    with pytest.raises(LabError, match="stop it first"):
        lab.trials.start("race", race())
    lab.trials.start("gradients", EXPERIMENTS["gradients"].settings(**LONG))
    with pytest.raises(LabError, match="stop one of them"):
        lab.trials.start("leak", EXPERIMENTS["leak"].settings())
    assert lab.trials.find("leak") is None
    assert lab.trials.newest().key == "gradients"
    lab.trials.stop("gradients")
    lab.trials.find("gradients").job.wait(PATIENCE)
    assert lab.trials.newest().key == "race"  # what runs is shown first


def test_what_cannot_start_says_so_at_its_setting_and_leaves_no_trial(lab):
    with pytest.raises(ConfigError, match="CIFAR-10 is not on this computer") as caught:
        lab.trials.start("leak", EXPERIMENTS["leak"].settings(pictures="cifar10"))
    assert caught.value.field == "pcn_leak.pictures"
    assert lab.trials.find("leak") is None


def test_a_file_found_damaged_while_it_runs_is_reported_in_a_sentence(lab):
    data = lab.home / "data"
    data.mkdir()
    (data / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    trial = lab.trials.start("leak", EXPERIMENTS["leak"].settings(pictures="cifar10"))
    assert trial.job.wait(PATIENCE)
    assert trial.state == "failed"
    assert "CIFAR-10" in trial.error
    assert "Error" not in trial.error


@dataclass
class Counted:
    """A result that draws nothing."""

    count: int

    def plots(self):
        return []


def test_an_experiment_with_a_runner_of_its_own_gets_the_trainings_and_is_closed_by_stop(
    lab, monkeypatch
):
    asked, closed = [], threading.Event()

    def runner(asking, settings, kept):
        asked.append((asking, settings, kept))
        try:
            for count in itertools.count():
                yield Partial(progress=0.5, words="counting", result=Counted(count))
        finally:
            closed.set()

    monkeypatch.setitem(trials.RUNNERS, "race", runner)
    settings = race()
    trial = lab.trials.start("race", settings)
    while trial.version < 3:
        threading.Event().wait(0.01)
    lab.trials.stop("race")
    assert trial.job.wait(PATIENCE)
    assert closed.is_set()
    assert asked == [(lab.trainings, settings, None)]
    assert trial.latest.result.count == trial.version - 1
