"""The strip over the charts: the newest numbers of a run, large, and how they change.

A number that follows single steps is taken over NEAR of them, so that it does not jump with every
batch; its change is against as many steps before.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dash import html
from dash.development.base_component import Component

from transformer_lab.lab.training.views import View
from transformer_lab.training import StepMetrics
from transformer_lab.ui import words
from transformer_lab.ui.terms import term
from transformer_lab.ui.train import ids

NEAR = 20  # steps


class Number(NamedTuple):
    """A number as it is shown: itself, its change, and whether that is good or bad."""

    value: str
    change: str = ""
    kind: str = ""


NONE = Number("–")
HEADS = {  # the words above each number, their term in the glossary, and how it is taken here
    "train": (
        "Train loss",
        "cross_entropy",
        f"Here the mean of the last {NEAR} steps, and its change from the {NEAR} steps before.",
    ),
    "validation": (
        "Validation loss",
        "validation",
        "Here that of the newest evaluation, and its change since the evaluation before.",
    ),
    "perplexity": (
        "Perplexity",
        "perplexity",
        "Here that of the validation loss, and its change since the evaluation before; until "
        f"there is one, that of the train loss over {NEAR} steps.",
    ),
    "rate": (
        "Learning rate",
        "learning_rate",
        f"Here that of the newest step, and its change over the last {NEAR} steps.",
    ),
    "speed": (
        "Tokens/s",
        "token",
        "Tokens trained on in a second: the median of the last 50 steps, and how much faster or "
        f"slower the last {NEAR} are than the {NEAR} before.",
    ),
}


def layout() -> html.Dl:
    """The names of the numbers; a poll puts the numbers there."""
    return html.Dl(
        [
            html.Div(
                [
                    html.Dt(term(key, head, more)),
                    html.Dd(shown(NONE), id=ids.strip_number(name)),
                ]
            )
            for name, (head, key, more) in HEADS.items()
        ],
        className="card strip",
    )


def shown(number: Number) -> list[Component]:
    """A number and its change, as they stand in the strip."""
    return [
        html.Span(number.value, className="strip-value"),
        html.Span(number.change, className=f"strip-change {number.kind}".strip()),
    ]


def numbers(view: View) -> dict[str, Number]:
    """What the strip shows of a run, by the names of HEADS."""
    recent, evaluated = view.recent, view.evaluations
    if not recent:
        return dict.fromkeys(HEADS, NONE)
    return {
        "train": _train(recent),
        "validation": _evaluated(evaluated, lambda loss: loss, "{:.3f}".format),
        "perplexity": _evaluated(evaluated, perplexity, words.steady)
        if evaluated
        else Number(words.steady(perplexity(_mean_loss(recent[-NEAR:])))),
        "rate": _rate(recent),
        "speed": _speed(recent, view.speed or 0.0),
    }


def perplexity(loss: float) -> float:
    """The exponential of a loss, of one that is too large for that a very large number."""
    return math.exp(min(loss, 700))


def _train(recent: Sequence[StepMetrics]) -> Number:
    now, before = _near(recent)
    loss = _mean_loss(now)
    if not before:
        return Number(f"{loss:.3f}")
    change = loss - _mean_loss(before)
    return Number(f"{loss:.3f}", words.signed(f"{change:.3f}"), "better" if change < 0 else "")


def _evaluated(
    evaluated: Sequence[StepMetrics],
    of: Callable[[float], float],
    written: Callable[[float], str],
) -> Number:
    """Something of the validation loss, and its change since the evaluation before."""
    values = [of(p.validation_loss) for p in evaluated if p.validation_loss is not None]
    if len(values) < 2:
        return Number(written(values[-1])) if values else NONE
    change = values[-1] - values[-2]
    kind = "better" if change < 0 else "worse" if change > 0 else ""
    return Number(written(values[-1]), words.signed(written(change)), kind)


def _rate(recent: Sequence[StepMetrics]) -> Number:
    rate = recent[-1].learning_rate
    if len(recent) <= NEAR:
        return Number(words.rate(rate))
    change = words.rate(rate - recent[-NEAR - 1].learning_rate, 1)
    return Number(words.rate(rate), words.signed(change))


def _speed(recent: Sequence[StepMetrics], speed: float) -> Number:
    now, before = _near(recent)
    if not before:
        return Number(words.steady(speed))
    newer, older = (statistics.median(p.tokens_per_second for p in part) for part in (now, before))
    change = words.signed(f"{100 * (newer / older - 1):.0f}") + "%" if older > 0 else ""
    return Number(words.steady(speed), change)


def _near(recent: Sequence[StepMetrics]) -> tuple[Sequence[StepMetrics], Sequence[StepMetrics]]:
    """The newest steps, and as many before them; none where there are too few."""
    before = recent[-2 * NEAR : -NEAR]
    return recent[-NEAR:], before if len(before) == NEAR else ()


def _mean_loss(points: Sequence[StepMetrics]) -> float:
    return sum(point.train_loss for point in points) / len(points)
