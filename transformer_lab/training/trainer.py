"""The training loop: a generator that yields after every step.

It knows no thread, no page and no file. To pause, don't advance it; to race two models, advance
both in turn; to test it, take the first three steps.
"""

import math
import time
from collections.abc import Generator
from dataclasses import dataclass

import torch

from transformer_lab.model import GPT
from transformer_lab.training.batches import Batches
from transformer_lab.training.config import TrainConfig
from transformer_lab.training.evaluate import evaluate
from transformer_lab.training.optimizers import Optimizer
from transformer_lab.training.schedule import SCHEDULES, rate_factor


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


@dataclass
class LiveSettings:
    """What may be changed while a training goes on; read before each step."""

    learning_rate: float | None = None
    stop: bool = False


class NonFiniteLossError(ArithmeticError):
    """The loss or its gradient is no longer a number; the weights are still those before it."""

    def __init__(self, step: int, what: str, learning_rate: float) -> None:
        self.step = step
        super().__init__(
            f"At step {step:,} the {what} was no longer a finite number, so the step was not "
            f"taken: the weights of step {step - 1:,} are kept. The learning rate was "
            f"{learning_rate:.3g}; try {learning_rate / 3:.1g} or less, a longer warm-up, or a "
            "gradient clip of 1."
        )


def train(
    model: GPT,
    optimizer: Optimizer,
    batches: Batches,
    validation: Batches,
    config: TrainConfig,
    live: LiveSettings | None = None,
    first_step: int = 1,
) -> Generator[StepMetrics, None, None]:
    """Train `model` in place, from `first_step` to `config.steps`; yield after every step.

    Raises NonFiniteLossError before an update that would spoil the weights.
    """
    live = live or LiveSettings()
    phases = SCHEDULES[config.schedule](config)
    clip = config.gradient_clip or math.inf
    seconds = 0.0

    for step in range(first_step, config.steps + 1):
        started = time.perf_counter()
        rate = (live.learning_rate or config.learning_rate) * rate_factor(phases, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]

        model.train()
        torch.manual_seed(dropout_seed(config.seed, step))  # so dropout, too, repeats exactly
        loss = model.loss(*batches(step))
        if not math.isfinite(train_loss := loss.item()):
            raise NonFiniteLossError(step, "loss", rate)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        if not math.isfinite(gradient_norm := norm.item()):
            raise NonFiniteLossError(step, "gradient", rate)
        optimizer.step()
        step_seconds = time.perf_counter() - started

        validation_loss = None
        if step % config.evaluate_every == 0 or step == config.steps:
            validation_loss = evaluate(
                model, validation, config.evaluation_batches, lambda: live.stop
            )
        seconds += time.perf_counter() - started
        yield StepMetrics(
            step=step,
            train_loss=train_loss,
            learning_rate=rate,
            gradient_norm=gradient_norm,
            tokens_per_second=batches.batch_size * batches.sequence_length / step_seconds,
            seconds=seconds,
            validation_loss=validation_loss,
        )


def dropout_seed(seed: int, step: int) -> int:
    """A seed for torch's default generator, different for every (seed, step)."""
    return (seed << 32) + step
