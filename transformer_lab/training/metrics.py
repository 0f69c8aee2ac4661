"""What a step of training shows."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from transformer_lab.training.optimizers import LEAST_RATE


@dataclass(frozen=True)
class StepMetrics:
    """What one step showed.

    Losses are in nats per token: `train_loss` of the step's batch before its update,
    `validation_loss` after it, when it was measured. `gradient_norm` is the length before clipping,
    `seconds` the time spent training since the first step, evaluations included.
    """

    step: int
    train_loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds: float
    validation_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Update:
    """A step that was taken, whose numbers may still be on their way from the device.

    `loss` and `norm` are (); `tokens` is how many it learned from. `evaluate` measures the
    validation loss where one is due; it is called once the loss is known to be a number.
    """

    step: int
    rate: float
    loss: Tensor
    norm: Tensor
    tokens: int
    evaluate: Callable[[], float | None] | None

    def metrics(self, loss: float, norm: float, pace: float, seconds: float) -> StepMetrics:
        """What it showed, its numbers read; `pace` is how many seconds it took."""
        return StepMetrics(
            step=self.step,
            train_loss=loss,
            learning_rate=self.rate,
            gradient_norm=norm,
            tokens_per_second=self.tokens / pace,
            seconds=seconds,
        )


class NonFiniteLossError(ArithmeticError):
    """The loss or its gradient is no longer a number; the weights are still those before it."""

    def __init__(self, step: int, loss: float, learning_rate: float) -> None:
        self.step = step
        what = "gradient" if math.isfinite(loss) else "loss"
        lower = f"{learning_rate / 3:.1g} or less, " if learning_rate / 3 > LEAST_RATE else ""
        super().__init__(
            f"At step {step:,} the {what} was no longer a finite number, so the step was not "
            f"taken: the weights of step {step - 1:,} are kept. The learning rate was "
            f"{learning_rate:.3g}; try {lower}a longer warm-up, or a gradient clip of 1."
        )
