"""Races: several models trained in turn on the very same batches."""

import pytest

from transformer_lab.lab.lab import LabError
from transformer_lab.recipes import Setup
from waiting import until

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 20,
        "train.evaluate_every": 5,
        "train.evaluation_batches": 1,
        "train.threads": 1,
        "sample.length": 5,
        "sample.prompt": "The ",
    }
)


def losses(lab, run_id):
    return [point.train_loss for point in lab.runs.open(run_id).since()[0]]


def test_every_lane_equals_the_same_training_alone(lab):
    lanes = {
        "plain": SETUP,
        "dropout": SETUP.with_values({"model.dropout": 0.3}),
        "other seed": SETUP.with_values({"train.seed": 2}),
        "same again": SETUP,
    }
    race = lab.trainings.race("quick", lanes)
    assert race == "quick-1"
    until(lambda: all(run.ended for run in lab.trainings.racing(race)))
    lab.runs.refresh()
    runs = {run.lane: run.id for run in lab.runs.all()}
    assert set(runs) == set(lanes)
    assert {run.race for run in lab.runs.all()} == {race}
    raced = {lane: losses(lab, run_id) for lane, run_id in runs.items()}
    assert raced["plain"] == raced["same again"]
    assert len({tuple(curve) for curve in raced.values()}) == 3
    for lane in ("plain", "dropout"):
        lab.trainings.start(lanes[lane], "alone")
        until(
            lambda: (
                lab.trainings.current.status.run_id.startswith("alone")
                and lab.trainings.current.ended
            )
        )
        assert losses(lab, lab.trainings.current.status.run_id) == raced[lane]


def test_lanes_advance_in_turn_and_stop_together(lab):
    endless = SETUP.with_values({"train.steps": 100_000})
    race = lab.trainings.race("long", {"a": endless, "b": endless, "c": endless})
    until(lambda: all(run.status.step > 20 for run in lab.trainings.racing(race)))
    steps = [run.status.step for run in lab.trainings.racing(race)]
    assert max(steps) - min(steps) <= 5
    with pytest.raises(LabError, match="A race must train alone"):
        lab.trainings.race("other", {"a": SETUP})
    lab.trainings.stop_race(race)
    until(lambda: all(run.ended for run in lab.trainings.racing(race)))
    lab.runs.refresh()
    assert {run.state for run in lab.runs.all()} == {"stopped"}
    assert lab.trainings.race("long", {"a": SETUP}) == "long-2"
