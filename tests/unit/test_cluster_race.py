"""Lanes of a comparison on a Ray cluster: as in turns, also where a computer is lost."""

import pytest

from nodes import kill
from test_comparison import content
from test_process_race import ENDLESS, measured
from transformer_lab.cli import main
from transformer_lab.experiments.comparison import NO_SECONDS, comparison_from
from transformer_lab.lab.training.outside import NO_CLUSTER
from transformer_lab.settings import ConfigError
from transformer_lab.ui.compare import ids
from transformer_lab.ui.compare.layout import layout
from waiting import PATIENCE, until

LAYERS = {"model.layers": [1, 2]}


def states(lab):
    """How the lanes stand that have a run."""
    sent = lab.trainings.sent()
    return {c.begins.lane: lab.runs.open(c.run_id).state()[0] for c in sent if c.run_id}


def on_cluster(lab, steps, address):
    """What lanes measure in turns, and the same comparison on a cluster of two, just begun."""
    given = content(LAYERS, steps=steps)
    given["base"] |= {"train.threads": 2, "train.save_every": 50}
    one = comparison_from(given, "rates")
    in_turns = measured(lab, one)
    lab.trainings.connect(address)
    until(lambda: len(lab.trainings.cluster.computers) == 2)
    return in_turns, lab.comparisons.start(one.trained("cluster"))


def lane_on(lab, node):
    """The lane that a node has."""
    return next((child for child in lab.trainings.sent() if child.node == node), None)


def cells(asked):
    assert asked.job.wait(PATIENCE)
    assert (asked.state, asked.error) == ("done", "")
    return [{**vars(cell), "seconds": []} for cell in asked.outcome.cells]


@pytest.mark.slow
def test_lanes_on_two_computers_one_of_which_is_killed_measure_what_they_do_in_turns(
    scratch, computers, lab
):
    cluster, other = computers
    in_turns, asked = on_cluster(lab, 1500, cluster.address)

    def doomed():
        lane = lane_on(lab, other.node_id)
        return lane and lane.run_id and lab.runs.open(lane.run_id).resume_points() and lane

    lost = until(doomed)
    kill(other)
    assert cells(asked) == in_turns
    said = [detail for _, detail in lab.runs.open(lost.run_id).events("state")]
    assert any("It goes on at another computer after step " in detail for detail in said)
    lab.runs.refresh()
    assert len([run for run in lab.runs.all() if run.comparison == asked.key]) == 2


@pytest.mark.parametrize("scratch", ["shared", "away"], indirect=True)
def test_a_lane_whose_node_is_lost_before_its_first_step_begins_at_the_other_one(
    scratch, quick_nodes, lab
):
    in_turns, asked = on_cluster(lab, 20, "auto")
    lost = until(lambda: lane_on(lab, "b"))
    (quick_nodes / "b").unlink()
    assert cells(asked) == in_turns
    assert (lost.losses, lost.node) == (1, "a")


@pytest.mark.slow
def test_pause_resume_and_stop_reach_every_lane_on_a_cluster(scratch, computers, lab):
    cluster, _ = computers
    steered(lab, cluster.address)


def test_pause_resume_and_stop_reach_every_lane_on_nodes(quick_nodes, lab):
    steered(lab, "auto")


def steered(lab, address):
    lab.trainings.connect(address)
    one = comparison_from(content({"model.layers": [1, 2, 3]}, steps=ENDLESS), "long")
    asked = lab.comparisons.start(one.trained("cluster"))
    until(lambda: states(lab) == dict.fromkeys("123", "running"))
    lab.comparisons.pause(asked.key)
    until(lambda: states(lab) == dict.fromkeys("123", "paused"))
    lab.comparisons.resume(asked.key)
    until(lambda: states(lab) == dict.fromkeys("123", "running"))
    lab.comparisons.stop(asked.key)
    assert asked.job.wait(PATIENCE)
    assert asked.state == "stopped"
    until(lambda: not lab.trainings.sent())
    lab.runs.refresh()
    assert {run.lane: run.state for run in lab.runs.all()} == dict.fromkeys("123", "stopped")


def test_without_a_cluster_nothing_is_sent_to_one(lab):
    one = comparison_from(content(LAYERS), "nowhere").trained("cluster")
    for start in (
        lambda: lab.comparisons.start(one),
        lambda: lab.trainings.start(one.lanes["1"]),
        lambda: lab.trainings.enqueue(one.lanes["1"]),
    ):
        with pytest.raises(ConfigError) as caught:
            start()
        assert (caught.value.field, str(caught.value)) == ("train.where", NO_CLUSTER)


def test_seconds_are_for_lanes_that_take_turns():
    timed = content(LAYERS) | {"compare": {"seconds": 1, "seeds": 1}}
    with pytest.raises(ConfigError) as caught:
        comparison_from(timed, "timed").trained("cluster")
    assert str(caught.value) == NO_SECONDS


def test_lanes_on_a_cluster_are_saved_now_and_then_as_the_question_says():
    given = content(LAYERS)
    saved = {
        minutes: comparison_from(given, "saved").trained("cluster").lanes["1"].train.save_minutes
        for minutes in (None, 0.5)
        if minutes is None or given["base"].update({"train.save_minutes": minutes}) is None
    }
    assert saved == {None: 2.0, 0.5: 0.5}


def test_the_compare_tab_offers_the_cluster_where_there_is_one(quick_nodes, lab):
    offered = {"label": "Cluster", "value": "cluster"}
    assert offered not in layout(lab)[ids.COMPARE_WHERE].options
    lab.trainings.connect("auto")
    assert offered in layout(lab)[ids.COMPARE_WHERE].options


def test_a_comparison_in_a_terminal_says_that_no_cluster_answers(tmp_path, capsys):
    given = ["compare", "deeper", "--ray", "nowhere", "--home", str(tmp_path)]
    assert main(given) == 2
    assert "'nowhere' is no address: give auto, local or HOST:PORT." in capsys.readouterr().err
    with pytest.raises(SystemExit):  # one place at a time
        main([*given, "--processes"])
