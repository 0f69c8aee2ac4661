"""What charts and captions say is what is so."""

import random
import re
from dataclasses import dataclass

import numpy as np
import pytest

from transformer_lab.inspection import logit_lens
from transformer_lab.inspection.attention import HEAD_MEASURES
from transformer_lab.lab.cost.step_time import split
from transformer_lab.lab.looking.looks import AttentionLook, MeasuresLook
from transformer_lab.packaged import packaged
from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.settings import ConfigError
from transformer_lab.ui.charts import predictions, scales, training
from transformer_lab.ui.look import measures


@dataclass(frozen=True)
class Point:
    step: int
    train_loss: float
    validation_loss: float | None = None
    learning_rate: float = 0.1


def test_a_thinned_line_goes_as_far_up_and_down_as_all_of_its_points():
    rolled = random.Random(1)
    points = [Point(n, 2 + rolled.gauss(0, 0.3)) for n in range(1, 20_001)]
    curve = training.curve_of(points, 400)
    assert len(curve.steps) <= 402
    assert (curve.steps[0], curve.steps[-1]) == (1, 20_000)
    for part in range(10):  # old ones as much as new ones
        all_of_it = [p.train_loss for p in points if (p.step - 1) // 2000 == part]
        shown = [
            loss
            for step, loss in zip(curve.steps, curve.train, strict=True)
            if (step - 1) // 2000 == part
        ]
        assert max(shown) == pytest.approx(max(all_of_it), abs=1e-3)
        assert min(shown) == pytest.approx(min(all_of_it), abs=1e-3)


def test_the_plan_goes_on_with_the_rate_that_was_applied():
    train = Setup().with_values({"train.steps": 100, "train.schedule": "constant"}).train
    curve = training.curve_of([Point(n, 2.0) for n in range(1, 51)])
    figure = training.rate_figure(curve, "run", train.phases(), 0.01, [(40, 0.006)])
    (planned,) = [trace for trace in figure.data if trace.name == "planned"]
    plan = dict(zip(planned.x, planned.y, strict=True))
    assert (plan[1], plan[40], plan[41], plan[100]) == (0.01, 0.01, 0.006, 0.006)


def test_the_lens_names_the_row_that_is_the_models_own_by_where_it_stands():
    shares = np.zeros((3, 2), np.float32)
    figure = predictions.lens_figure([["a", "b"]] * 3, shares, shares, ["a", "b"], 0, dark=False)
    assert figure.layout.yaxis.autorange != "reversed", "the last is on top"
    assert list(figure.layout.yaxis.ticktext)[-1] == "after layer 2"
    assert "top row" in figure.data[0].hovertemplate
    for words in (logit_lens.PRE_NORM, logit_lens.POST_NORM):
        assert "top row" in words
        assert "last row" not in words


@pytest.mark.parametrize("count", [22, 200])
def test_the_bars_of_a_logit_add_up_to_it_however_many_parts_there_are(count):
    values = np.linspace(-1, 2, count)
    figure = predictions.attribution_figure([f"p{n}" for n in range(count)], values, "t", dark=True)
    assert sum(figure.data[0].x) == pytest.approx(values.sum(), abs=1e-4)
    assert len(figure.data[0].x) == min(count, predictions.MOST_PARTS)


def test_in_the_dark_nothing_has_the_colour_of_the_card():
    style = (packaged("assets") / "lab.css").read_text()
    cards = re.findall(r"--card: (#\w+)", style)
    for scale in (scales.shares(True), scales.amounts(True)):
        assert scale[0][1] == cards[1]
    assert scales.signed(True)[1] == [0.5, cards[1]]


def test_every_head_looks_like_something():
    count, T = 4, 8
    values = np.zeros((len(HEAD_MEASURES), 1, count))
    place = {key: row for row, key in enumerate(HEAD_MEASURES)}
    even = np.array([1.0, 0.2, 0.2, 0.2, 3.0, 0.1])
    values[place["previous_token"], 0, 0] = 0.7
    values[place["own_token"], 0, 1] = 0.45
    values[place["entropy"], 0, 2] = 1.0
    values[place["distance"], 0, 2:] = 3.0
    tiles = np.zeros((1, count, T, T), np.uint8)
    look = AttentionLook(layers=(0,), tiles=tiles, factor=1)
    lines = measures.rows(look, MeasuresLook(values=values, even=even))
    assert [line["kind"] for line in lines] == [
        "previous 70%",
        "partly own token 45%",
        "everything alike",
        "mixed",
    ]


def test_a_busy_moment_never_makes_a_step_cost_nothing():
    for one, three in ((1.0, 1.4), (1.0, 0.5), (1.0, 50.0)):
        step, layer = split(one, three)
        assert step >= one / 2
        assert 0 <= layer <= one / 2
        assert step + layer == pytest.approx(one)


def test_no_sentence_calls_a_choice_by_its_internal_name():
    keys = {key for one in SETTINGS.values() for key in one.choices or () if "_" in str(key)}
    said = [setting.help for setting in SETTINGS.values()]
    with pytest.raises(ConfigError) as refused:
        Setup().with_values(
            {"model.architecture": "pc_alternating", "model.feedforward": "gelu_matched"}
        )
    said.append(str(refused.value))
    assert "gelu_matched" in keys
    assert [words for words in said if any(key in words for key in keys)] == []
