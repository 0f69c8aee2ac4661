"""The learning-rate range test: a short training in which the rate grows at every step.

Small rates learn nothing, large ones spoil what was learned; in between the loss falls. The weights
are thrown away afterwards.

Source: Smith 2015, arXiv:1506.01186, section 3.3; with an exponential rate and a smoothed loss as
in the fastai library's learning-rate finder.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from transformer_lab.model import GPT
from transformer_lab.training.batches import Batches
from transformer_lab.training.config import TrainConfig
from transformer_lab.training.live import Change, LiveSettings
from transformer_lab.training.metrics import NonFiniteLossError
from transformer_lab.training.optimizers import OPTIMIZERS
from transformer_lab.training.trainer import train

LOW, HIGH = 1e-6, 1.0  # the first and the last rate
STEPS = 100
SMOOTHING = 0.9  # how much of the smoothed loss stays at every step
DIVERGED = 1.25  # times its lowest: there the smoothed loss ends the test
LEAST_FALL = 0.02  # of the first loss, below which nothing was learned
AROUND = 3  # steps before and after one, between which its slope is taken
RULE = (
    "Rule: the rate at which the smoothed loss fell fastest while the rate grew by equal factors, "
    "since where it is lowest the steps are already too long."
)


@dataclass(frozen=True, kw_only=True)
class RangePoint:
    """One step: its rate, the loss of its batch before the update, and the smoothed loss."""

    rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a range test says: a rate, or None, and why in a sentence."""

    rate: float | None
    sentence: str


def rate_at(step: int, steps: int = STEPS) -> float:
    """The rate of step 1 to `steps`: it grows by the same factor at every step."""
    return LOW * (HIGH / LOW) ** ((step - 1) / max(steps - 1, 1))


def range_test(
    model: GPT, batches: Batches, config: TrainConfig, live: LiveSettings, steps: int = STEPS
) -> Iterator[RangePoint]:
    """Train `model` in place with a growing rate; ends when the loss diverges.

    Everything but the rate is as in a training of `config`. Raises OutOfMemoryError.
    """
    short = replace(
        config, steps=steps, schedule="constant", evaluate_every=steps, evaluation_batches=1
    )
    short = replace(short, compile="off", keep_best=False)
    live.replay = [
        Change(after=step - 1, name="learning_rate", value=rate_at(step, steps))
        for step in range(1, steps + 1)
    ]
    optimizer = OPTIMIZERS[short.optimizer](model, short)
    average, lowest = 0.0, math.inf
    try:
        for count, point in enumerate(train(model, optimizer, batches, batches, short, live), 1):
            average = SMOOTHING * average + (1 - SMOOTHING) * point.train_loss
            smoothed = average / (1 - SMOOTHING**count)  # as if it had not begun at zero
            yield RangePoint(rate=point.learning_rate, loss=point.train_loss, smoothed=smoothed)
            lowest = min(lowest, smoothed)
            if smoothed > DIVERGED * lowest:
                return
    except NonFiniteLossError:
        return


def suggestion(points: Sequence[RangePoint], steps: int = STEPS) -> Suggestion:
    """The rate that the rule gives, where the loss has fallen clearly."""
    if not points:
        return Suggestion(rate=None, sentence="Not a single step could be taken: nothing is known.")
    best = min(points, key=lambda point: point.smoothed)
    last = points[-1]
    if best.smoothed > (1 - LEAST_FALL) * points[0].smoothed:
        return Suggestion(
            rate=None,
            sentence=f"No suggestion: the smoothed loss never fell by {LEAST_FALL:.0%} of where it "
            f"began ({points[0].smoothed:.3f}). Look at the settings first.",
        )
    rate = float(f"{steepest(points[: points.index(best) + 1]).rate:.2g}")
    ended = (
        f"It had not diverged at {last.rate:.2g}, the last rate tried."
        if len(points) == steps and last.smoothed <= DIVERGED * best.smoothed
        else f"At {last.rate:.2g} it had diverged."
    )
    return Suggestion(
        rate=rate,
        sentence=f"Suggested learning rate: {rate:g}. The smoothed loss fell from "
        f"{points[0].smoothed:.3f} to {best.smoothed:.3f} at a rate of {best.rate:.2g}. {ended} "
        f"{RULE}",
    )


def steepest(points: Sequence[RangePoint]) -> RangePoint:
    """Where the smoothed loss falls fastest; each step's rate is as many times that before it."""

    def fall(at: int) -> float:
        before, after = max(at - AROUND, 0), min(at + AROUND, len(points) - 1)
        return (points[before].smoothed - points[after].smoothed) / max(after - before, 1)

    return points[max(range(len(points)), key=fall)]
