"""Lanes of a comparison in processes of their own: as in turns, and a kill ends only one."""

from dataclasses import asdict

import pytest

from test_comparison import content
from test_comparison_tuned import NEW_TEXT, trained_base
from test_comparison_tuned import content as tuned_content
from transformer_lab.experiments.comparison import NO_SECONDS, comparison_from
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from waiting import PATIENCE, until

ENDLESS = 1_000_000
RATES = {"train.learning_rate": [0.01, 0.02]}


def measured(lab, one):
    asked = lab.comparisons.start(one)
    assert asked.job.wait(PATIENCE)
    assert (asked.state, asked.error) == ("done", "")
    return [{**asdict(cell), "seconds": []} for cell in asked.outcome.cells]


def started(lab):
    return lab.trainings.children()


def states(lab):
    """How the lanes stand that have a run."""
    return {c.begins.lane: lab.runs.open(c.run_id).state()[0] for c in started(lab) if c.run_id}


@pytest.mark.parametrize("at_once", [1, 2])
def test_lanes_in_processes_measure_what_they_do_in_turns(lab, at_once):
    one = comparison_from(content(RATES), "rates")
    in_turns = measured(lab, one)
    lab.trainings.set_at_once(at_once)
    assert measured(lab, one.trained("process")) == in_turns
    lab.runs.refresh()
    apart = [run for run in lab.runs.all() if run.race == "rates-2.1"]
    assert {run.lane for run in apart} == {"0.01", "0.02"}
    assert {run.state for run in apart} == {"finished"}


def test_a_lane_killed_before_its_first_step_is_told_and_all_of_it_can_be_gone_on_with(lab):
    lab.trainings.set_at_once(2)
    given = content({"model.layers": [1, 2]})
    asked = lab.comparisons.start(comparison_from(given, "early").trained("process"))
    second = until(lambda: next((c for c in started(lab) if c.begins.lane == "2"), None))
    second.process.kill()
    assert asked.job.wait(PATIENCE)
    assert (asked.state, asked.error) == ("done", "")
    well, killed = asked.outcome.cells
    assert (well.last, well.failed) == (10, "")
    assert "was killed (SIGKILL) before its first step" in killed.failed
    assert not asked.whole
    again = lab.comparisons.go_on(asked.key)
    assert again.job.wait(PATIENCE)
    assert [cell.last for cell in again.outcome.cells] == [10, 10]
    assert again.whole


def test_pause_resume_and_stop_reach_every_lane_and_a_kill_only_one(lab):
    lab.trainings.set_at_once(2)
    one = comparison_from(content({"model.layers": [1, 2]}, steps=ENDLESS), "long")
    asked = lab.comparisons.start(one.trained("process"))
    until(lambda: states(lab) == {"1": "running", "2": "running"})
    lab.comparisons.pause(asked.key)
    until(lambda: states(lab) == {"1": "paused", "2": "paused"})
    lab.comparisons.resume(asked.key)
    until(lambda: states(lab) == {"1": "running", "2": "running"})
    next(c for c in started(lab) if c.begins.lane == "2").process.kill()
    killed = until(lambda: next((c for c in asked.outcome.cells if c.failed), None))
    assert (killed.variant, killed.stopped) == ("2", True)
    assert "was killed (SIGKILL) after step" in killed.failed
    assert "Go on, on the Compare tab, trains it anew." in killed.failed
    assert states(lab) == {"1": "running"}
    lab.comparisons.stop(asked.key)
    assert asked.job.wait(PATIENCE)
    assert asked.state == "stopped"
    until(lambda: not started(lab))
    lab.runs.refresh()
    assert {run.lane: run.state for run in lab.runs.all()} == {"1": "stopped", "2": "interrupted"}


def test_the_lanes_of_a_lab_that_is_closed_are_saved_and_the_comparison_can_go_on(lab):
    one = comparison_from(content({"model.layers": [1, 2]}, steps=ENDLESS), "closed")
    asked = lab.comparisons.start(one.trained("process"))
    until(lambda: states(lab) == {"1": "running"})  # the other one waits for room
    lab.close()
    assert (asked.state, asked.error) == ("stopped", "")
    again = Lab(lab.home)
    try:
        assert [(run.lane, run.state) for run in again.runs.all()] == [("1", "interrupted")]
        assert again.comparisons.newest("closed").state == "stopped"
    finally:
        again.close()


@pytest.mark.slow
def test_fine_tunings_in_processes_measure_what_they_do_in_turns(lab):
    lab.texts.add(NEW_TEXT.encode(), "foxes", "a test")
    trained_base(lab)
    one = comparison_from(tuned_content(), "tuned")
    assert measured(lab, one.trained("process")) == measured(lab, one)


@pytest.mark.slow
def test_an_audit_follows_the_race(lab):
    given = content({"model.layers": [1, 2]}, audit=True)
    cells = measured(lab, comparison_from(given, "audited").trained("process"))
    assert {cell["audited"] for cell in cells} <= {"passed", "failed", "unknown"}
    assert all(cell["audit"] for cell in cells)


def test_seconds_are_for_lanes_that_take_turns():
    timed = content(RATES) | {"compare": {"seconds": 1, "seeds": 1}}
    with pytest.raises(ConfigError) as caught:
        comparison_from(timed, "timed").trained("process")
    assert (caught.value.field, str(caught.value)) == ("compare.seconds", NO_SECONDS)


def test_only_lanes_that_train_at_once_need_memory_together(lab):
    one = comparison_from(content({"model.layers": [1, 2, 4]}), "sizes").trained("process")
    single, double = (
        (lab.trainings.set_at_once(count), lab.comparisons.cost(one).memory)[1] for count in (1, 2)
    )
    assert single < double < 2 * single
