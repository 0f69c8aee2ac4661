"""The numbers over the charts: what they are taken over, and how they change."""

import math

import pytest

from transformer_lab.lab.training.views import View
from transformer_lab.training import StepMetrics
from transformer_lab.ui import words
from transformer_lab.ui.train import strip


def point(step, train=2.0, rate=1e-3, speed=1000.0, validation=None):
    return StepMetrics(step, train, rate, 1.0, speed, float(step), validation)


def view(points, evaluated=()):
    return View(
        state="running", step=len(points), speed=1000.0, recent=tuple(points),
        evaluations=tuple(evaluated),
    )  # fmt: skip


def test_without_a_step_there_are_no_numbers():
    assert set(strip.numbers(View()).values()) == {strip.NONE}


def test_the_train_loss_is_a_mean_of_steps_and_its_change_is_against_as_many_before():
    noise = [0.5, -0.5] * (strip.NEAR // 2)
    points = [point(i, 3.0 + x) for i, x in enumerate(noise)]
    points += [point(i + strip.NEAR, 2.5 + x) for i, x in enumerate(noise)]
    assert strip.numbers(view(points))["train"] == ("2.500", "\u22120.500", "better")
    few = strip.numbers(view(points[:5]))["train"]
    assert few.change == ""


def test_validation_and_perplexity_change_since_the_evaluation_before():
    points = [point(1)]
    first, second = point(20, validation=2.0), point(40, validation=2.25)
    one = strip.numbers(view(points, [first]))
    assert (one["validation"].value, one["validation"].change) == ("2.000", "")
    two = strip.numbers(view(points, [first, second]))
    assert two["validation"] == ("2.250", "+0.250", "worse")
    assert two["perplexity"].value == f"{math.exp(2.25):.2f}"


def test_before_the_first_evaluation_perplexity_is_that_of_the_train_loss():
    assert strip.numbers(view([point(1, math.log(12))]))["perplexity"].value == "12.0"


def test_rate_and_speed_change_over_the_last_steps():
    before = [point(i, rate=1e-3, speed=1000.0) for i in range(strip.NEAR)]
    now = [point(i, rate=5e-4, speed=1100.0) for i in range(strip.NEAR)]
    found = strip.numbers(view([*before, *now]))
    assert found["rate"][:2] == ("5.00e-4", "\u22125.0e-4")
    assert found["speed"].change == "+10%"


@pytest.mark.parametrize("loss", [1e308, -1e308, 0.0])
def test_losses_beyond_all_measure_are_shown_too(loss):
    points = [point(i, loss, rate=1e308, speed=1e308) for i in range(50)]
    for number in strip.numbers(view(points, [point(1, validation=loss)] * 2)).values():
        assert number.value


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (8.3, "8.30"),
        (9.999, "10.0"),
        (104.2, "104"),
        (999.9, "1.00k"),
        (12_000, "12.0k"),
        (25_400_000, "25.4M"),
    ],
)
def test_a_steady_number_keeps_its_digits(number, shown):
    assert words.steady(number) == shown


def test_a_change_has_its_sign_and_none_is_reported_to_be_none():
    assert [words.signed(one) for one in ("0.120", "-0.120", "-0.000", "-3.0e-5", "0.0e0")] == [
        "+0.120", "\u22120.120", "±0", "\u22123.0e-5", "±0",
    ]  # fmt: skip
