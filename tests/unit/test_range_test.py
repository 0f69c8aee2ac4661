"""The range test of the learning rate: its rates, its end, its suggestion, its run."""

import json
import math

import pytest
import torch

from transformer_lab.cli import main
from transformer_lab.lab.lab import LabError
from transformer_lab.model import ModelConfig, build_model
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError
from transformer_lab.training import LiveSettings, TrainConfig
from transformer_lab.training.batches import Batches
from transformer_lab.training.range_test import (
    HIGH,
    LOW,
    STEPS,
    RangePoint,
    range_test,
    rate_at,
    suggestion,
)

PATIENCE = 120
TINY = {"layers": 1, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
SETUP = Setup().with_values(
    {"data.corpus": "python_docs", "train.batch_size": 4, "train.threads": 1}
    | {f"model.{name}": value for name, value in TINY.items()}
)

CHANGED = ("data.corpus", "train.batch_size", "train.threads", *(f"model.{name}" for name in TINY))


def trial(**changes):
    text = torch.arange(4000) * 7 % 11
    config = TrainConfig(batch_size=4, threads=1, **changes)
    model = build_model(ModelConfig(**TINY), 11, seed=1)
    return list(range_test(model, Batches(text, 4, 16, seed=1), config, LiveSettings()))


def test_the_rate_grows_by_equal_factors_until_the_loss_diverges():
    assert (rate_at(1), rate_at(STEPS)) == (LOW, pytest.approx(HIGH))
    points = trial(optimizer="sgd", learning_rate=0.005)
    assert 40 < len(points) < STEPS  # it does not stand a rate of 1 here
    for step, point in enumerate(points, 1):
        assert point.rate == pytest.approx(rate_at(step))
    assert points[0].smoothed == pytest.approx(points[0].loss)
    found = suggestion(points)
    assert 1e-3 < found.rate < points[-1].rate / 2
    assert f"At {points[-1].rate:.2g} it had diverged" in found.sentence
    assert "Rule: " in found.sentence


def curve(losses):
    return [
        RangePoint(rate=rate_at(step), loss=loss, smoothed=loss)
        for step, loss in enumerate(losses, 1)
    ]


def test_the_suggestion_is_where_the_loss_falls_fastest():
    falling = [3 - 1 / (1 + math.exp(-(step - 60) / 4)) for step in range(1, 81)]
    found = suggestion(curve([*falling, 2.0, 2.3, 2.6]))
    assert found.rate == pytest.approx(rate_at(60), rel=0.1)
    for flat in ([], [3.0] * 100, [3 + step / 10 for step in range(30)]):
        assert suggestion(curve(flat)).rate is None
    assert "had not diverged" in suggestion(curve([4 - step / 50 for step in range(100)])).sentence


def test_it_runs_on_the_worker_leaves_nothing_behind_and_can_be_cancelled(lab):
    first = lab.range_tests.start(SETUP)
    with pytest.raises(LabError, match="already"):
        lab.range_tests.start(SETUP)
    assert first.wait(PATIENCE)
    assert (first.state, first.reason) == ("done", "")
    assert first.suggestion.sentence
    assert not lab.runs.all()
    second = lab.range_tests.start(SETUP)
    assert second.wait(PATIENCE)
    assert second.points == first.points
    third = lab.range_tests.start(SETUP)
    lab.range_tests.stop()
    assert third.wait(PATIENCE)
    assert third.state == "stopped"
    assert third.suggestion is None


def test_settings_that_cannot_be_tried_are_refused_in_a_sentence(lab):
    with pytest.raises(ConfigError):
        lab.range_tests.start(SETUP.with_values({"data.corpus": "no such text"}))
    short = lab.texts.add(b"too short a text, " * 6, "short", "test")
    with pytest.raises(ConfigError, match="a longer text"):
        lab.range_tests.start(SETUP.with_values({"data.corpus": short.id}))
    assert lab.range_tests.newest is None


def test_the_command_prints_every_step_and_the_suggestion(tmp_path, capsys):
    changes = {key: value for key, value in SETUP.values().items() if key in CHANGED}
    line = ["find-rate", "--home", str(tmp_path), "--json"]
    line += [f"--set={key}={value}" for key, value in changes.items()]
    assert main(line) == 0
    *steps, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["step"] for one in steps] == list(range(1, len(steps) + 1))
    assert [one["rate"] for one in steps] == pytest.approx([rate_at(one["step"]) for one in steps])
    points = [RangePoint(rate=o["rate"], loss=o["loss"], smoothed=o["smoothed"]) for o in steps]
    found = suggestion(points)
    assert (summary["state"], summary["rate"], summary["reason"]) == (
        "done", found.rate, found.sentence)  # fmt: skip
    assert main([*line, "--set=model.heads=3"]) == 2
    assert "does not divide" in capsys.readouterr().err
