"""The training loop: a generator that yields after every step.

It knows no thread, no page and no file. To pause, don't advance it; to race two models, advance
both in turn; to test it, take the first three steps.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.training.batches import Batches
from transformer_lab.training.config import LEAST_RATE, TrainConfig
from transformer_lab.training.evaluate import evaluate
from transformer_lab.training.learning_rules import LEARNING_RULES
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.micro_batches import parts, within_memory
from transformer_lab.training.optimizers import Optimizer
from transformer_lab.training.precision import compiled, compiles_at, repeatable
from transformer_lab.training.schedule import phases_of, rate_factor

Answer = TypeVar("Answer")
READ_SECONDS = 0.05  # how long a GPU runs ahead before its losses are read


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
class Begin:
    """Where a training goes on: after `step` steps that took `seconds`.

    `seam` is the step at which it left its parent, when it was extended or branched: the schedule
    of the learning rate runs over the steps after it.
    """

    step: int = 0
    seconds: float = 0.0
    seam: int = 0


FIRST = Begin()


class NonFiniteLossError(ArithmeticError):
    """The loss or its gradient is no longer a number; the weights are still those before it."""

    def __init__(self, step: int, what: str, learning_rate: float) -> None:
        self.step = step
        lower = f"{learning_rate / 3:.1g} or less, " if learning_rate / 3 > LEAST_RATE else ""
        super().__init__(
            f"At step {step:,} the {what} was no longer a finite number, so the step was not "
            f"taken: the weights of step {step - 1:,} are kept. The learning rate was "
            f"{learning_rate:.3g}; try {lower}a longer warm-up, or a gradient clip of 1."
        )


@dataclass(frozen=True)
class Taken:
    """A step whose loss and gradient norm, both (), may still be on their way from the device."""

    step: int
    rate: float
    loss: Tensor
    norm: Tensor


def train(
    model: GPT,
    optimizer: Optimizer,
    batches: Batches,
    validation: Batches,
    config: TrainConfig,
    live: LiveSettings | None = None,
    begin: Begin = FIRST,
) -> Generator[StepMetrics, None, None]:
    """Train `model` in place, up to step `config.steps`; yield after every step.

    With `begin`, `model` and `optimizer` are as they were after its `step`, and go on exactly so.
    A GPU is not waited for at every step: there several are taken, and then yielded together.
    Raises NonFiniteLossError, the weights unspoiled, and OutOfMemoryError.
    """
    live = live or LiveSettings()
    live.micro_batch = live.micro_batch or config.micro_batch or config.batch_size
    device = batches.tokens.device
    updates = _updates(model, optimizer, batches, config, live, begin)
    pending: list[Taken] = []
    seconds, begun, ended = begin.seconds, time.perf_counter(), False

    while not ended:
        taken, failed = _attempted(partial(next, updates, None))
        ended = taken is None
        due = taken is not None and evaluation_due(taken.step, config)
        if taken:
            pending.append(taken)
            if not due and runs_ahead(device) and time.perf_counter() - begun < READ_SECONDS:
                continue
        metrics, trouble = read_back(pending, seconds, begun, batches)
        failed = trouble or failed
        if due and taken and not failed:
            look = partial(validate, model, validation, config, live, taken.step)
            loss_now, failed = _attempted(look)
            spent = seconds + time.perf_counter() - begun
            metrics[-1] = replace(metrics[-1], validation_loss=loss_now, seconds=spent)
        seconds += time.perf_counter() - begun
        for number, one in enumerate(metrics, start=1):
            live.ahead = len(metrics) - number
            yield one
        if failed:  # only now: the steps before it have changed the weights, so they are told first
            raise failed
        pending, begun = [], time.perf_counter()


def _updates(
    model: GPT,
    optimizer: Optimizer,
    batches: Batches,
    config: TrainConfig,
    live: LiveSettings,
    begin: Begin,
) -> Iterator[Taken]:
    """Take one step after another, without waiting for what it shows; ends early when stopped."""
    phases = phases_of(config, begin.seam)
    loss_of = LEARNING_RULES[config.learning_rule](model, config, live)
    device = batches.tokens.device
    # Becomes 1 with the first loss that is not finite, and from then on no step changes a weight.
    # Fused optimizers look for it under this name, on the device and without waiting for it.
    spoiled = optimizer.found_inf = torch.zeros((), device=device)

    for step in range(begin.step + 1, config.steps + 1):
        live.before(step)
        rate = (live.learning_rate or config.learning_rate) * rate_factor(phases, step)
        set_rate(optimizer, rate)
        model.train()
        optimizer.zero_grad(set_to_none=True)
        batch = batches(step)
        if compiles_at(step, begin.step + 1, config, device):
            program = partial(compiled, loss_of, model, live, batch, step)
            loss_of = within_memory(live, step - 1, program)
        with repeatable(config):
            loss = add_gradients(model, loss_of, batch, live, (config.seed, step))
            if loss is None:  # stopped in the middle of it
                return
            norm = clipped_norm(model, config.gradient_clip)
            spoiled.copy_(torch.maximum(spoiled, (~torch.isfinite(loss + norm)).float()))
            optimizer.step()
        yield Taken(step, rate, loss, norm)


def _attempted(work: Callable[[], Answer]) -> tuple[Answer | None, Exception | None]:
    """What it gives, or what it raised."""
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - the caller raises it, a little later
        return None, error


def evaluation_due(step: int, config: TrainConfig) -> bool:
    """Whether the validation loss belongs to what `step` shows."""
    return step % config.evaluate_every == 0 or step == config.steps


def validate(
    model: GPT, validation: Batches, config: TrainConfig, live: LiveSettings, step: int
) -> float | None:
    """The validation loss after `step`; None when stopped meanwhile, but never after the last."""
    with repeatable(config):
        return evaluate(
            model,
            validation,
            config.evaluation_batches,
            live,
            after=step,
            stopped=lambda: live.stop and step != config.steps,
        )


def clipped_norm(model: GPT, longest: float) -> Tensor:
    """The length () of the whole gradient, which is then shortened to `longest` (0: left alone)."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if longest:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), longest, norm)
    return norm


def runs_ahead(device: torch.device) -> bool:
    """Whether the device works through a queue, which to look at every step would only hold up."""
    return device.type != "cpu"


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Every group learns at its own share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def add_gradients(
    model: GPT,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    batch: tuple[Tensor, Tensor],
    live: LiveSettings,
    seeds: tuple[int, int],
) -> Tensor | None:
    """The mean loss () of a batch of (B, T) inputs and targets; its gradient is left in the model.

    Computed `live.micro_batch` sequences at a time, which gives the same sum. When a GPU has no
    room for that many, it is halved and the batch begun again. None when stopped in between.
    Raises OutOfMemoryError when there is no room for one.
    """

    def attempt() -> Tensor | None:
        model.zero_grad(set_to_none=True)  # what a failed attempt has left
        return _accumulated(loss_of, batch, live, seeds)

    return within_memory(live, seeds[1] - 1, attempt)


def _accumulated(
    loss_of: Callable[[Tensor, Tensor], Tensor],
    batch: tuple[Tensor, Tensor],
    live: LiveSettings,
    seeds: tuple[int, int],
) -> Tensor | None:
    inputs, targets = batch
    total = torch.zeros((), device=inputs.device)
    for number, (some, wanted) in enumerate(parts(live, inputs, targets)):
        if live.stop:
            return None
        torch.manual_seed(dropout_seed(*seeds, number))  # so dropout, too, repeats exactly
        loss = loss_of(some, wanted) * (len(some) / len(inputs))
        loss.backward()
        total += loss.detach()
    return total


def read_back(
    pending: list[Taken], seconds: float, begun: float, batches: Batches
) -> tuple[list[StepMetrics], NonFiniteLossError | None]:
    """What the steps taken since `begun` showed, and the error at the first that is not finite."""
    if not pending:
        return [], None
    numbers = torch.stack([number for taken in pending for number in (taken.loss, taken.norm)])
    read = numbers.float().tolist()  # this waits for the device
    pace = (time.perf_counter() - begun) / len(pending)
    metrics: list[StepMetrics] = []
    for taken, loss, norm in zip(pending, read[::2], read[1::2], strict=True):
        if not math.isfinite(loss + norm):
            what = "gradient" if math.isfinite(loss) else "loss"
            return metrics, NonFiniteLossError(taken.step, what, taken.rate)
        metrics.append(
            StepMetrics(
                step=taken.step,
                train_loss=loss,
                learning_rate=taken.rate,
                gradient_norm=norm,
                tokens_per_second=batches.batch_size * batches.sequence_length / pace,
                seconds=seconds + pace * (len(metrics) + 1),
            )
        )
    return metrics, None


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """A seed for torch's default generator; on a CPU only its last 32 bits count."""
    return int(np.random.SeedSequence([seed, step, micro_batch]).generate_state(1)[0])
