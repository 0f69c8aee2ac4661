"""The training loop: a generator that yields after every step.

It knows no thread, no page and no file. To pause, don't advance it; to race two models, advance
both in turn; to test it, take the first three steps.

What makes it fast or keeps it going stands in files of its own: `ahead.py` (a GPU is not waited
for), `micro_batches.py` (memory), `compiling.py`, `precision.py`, `ranks.py` (several processes).

Shapes: B batch, T time.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.training.ahead import metrics_of
from transformer_lab.training.batches import Batches
from transformer_lab.training.compiling import compiled, compiles_at
from transformer_lab.training.config import TrainConfig
from transformer_lab.training.evaluate import evaluate
from transformer_lab.training.learning_rules import LEARNING_RULES
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.metrics import StepMetrics, Update
from transformer_lab.training.micro_batches import within_memory
from transformer_lab.training.optimizers import Optimizer
from transformer_lab.training.precision import Loss, repeatable
from transformer_lab.training.ranks import ALONE, Ranks
from transformer_lab.training.schedule import rate_factor


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


def train(
    model: GPT,
    optimizer: Optimizer,
    batches: Batches,
    validation: Batches,
    config: TrainConfig,
    live: LiveSettings | None = None,
    begin: Begin = FIRST,
    ranks: Ranks = ALONE,
) -> Generator[StepMetrics, None, None]:
    """Train `model` in place, up to step `config.steps`; yield after every step.

    With `begin`, `model` and `optimizer` are as they were after its `step`, and go on exactly so.
    Of `ranks` this process is the first; the others take `training_steps`. Raises
    NonFiniteLossError, the weights unspoiled, OutOfMemoryError and RankLostError.
    """
    live = live or LiveSettings()
    live.micro_batch = live.micro_batch or config.micro_batch or config.batch_size
    updates = training_steps(model, optimizer, batches, validation, config, live, begin, ranks)
    return metrics_of(updates, batches.tokens.device, live, begin.seconds)


def training_steps(
    model: GPT,
    optimizer: Optimizer,
    batches: Batches,
    validation: Batches,
    config: TrainConfig,
    live: LiveSettings,
    begin: Begin,
    ranks: Ranks = ALONE,
) -> Iterator[Update]:
    """Take one step after another, without waiting for what it shows; ends early when stopped."""
    device = batches.tokens.device
    phases = config.phases(begin.seam)
    loss_of = LEARNING_RULES[config.learning_rule](model, config, live)
    # Becomes 1 with the first loss that is not finite, and from then on no step changes a weight.
    # Fused optimizers look for it under this name, on the device and without waiting for it.
    spoiled = optimizer.found_inf = torch.zeros((), device=device)

    for step in range(begin.step + 1, config.steps + 1):
        live.before(step)
        if not ranks.agree(live):  # rank 0 has ended
            return
        rate = (live.learning_rate or config.learning_rate) * rate_factor(phases, step)
        set_rate(optimizer, rate)

        model.train()
        batch = batches(step)  # (B, T) each
        if ranks.whole and compiles_at(step, begin.step + 1, config, device):
            inputs, targets = ranks.rows(*batch)
            program = partial(compiled, loss_of, model, live, (inputs, targets), step)
            loss_of = within_memory(live, step - 1, program)

        with repeatable(config):
            learn = partial(forward_backward, model, loss_of, *batch, config, live, step, ranks)
            loss = ranks.together(model, partial(within_memory, live, step - 1, learn))
            if loss is None:  # stopped in the middle of it
                return
            norm = clipped_norm(model, config.gradient_clip, ranks)
            spoiled.copy_(torch.maximum(spoiled, (~torch.isfinite(loss + norm)).float()))
            ranks.step(optimizer)

        look = partial(validate, model, validation, config, live, step, ranks)
        yield Update(
            step=step,
            rate=rate,
            loss=loss,
            norm=norm,
            tokens=batch[0].numel(),
            evaluate=look if evaluation_due(step, config) else None,
        )


def forward_backward(
    model: GPT,
    loss_of: Loss,
    inputs: Tensor,
    targets: Tensor,
    config: TrainConfig,
    live: LiveSettings,
    step: int,
    ranks: Ranks = ALONE,
) -> Tensor | None:
    """The mean loss () of (B, T) inputs and targets; its gradient is left in the model.

    Computed `live.micro_batch` sequences at a time, which gives the same sum; of several `ranks`,
    this one's share of it. None when stopped in between.
    """
    model.zero_grad(set_to_none=True)
    total = torch.zeros((), device=inputs.device)
    own = ranks.parts(live, len(inputs), *ranks.rows(inputs, targets))
    for number, (some, wanted, weight) in enumerate(own, start=ranks.rank * len(inputs)):
        if ranks.stops(live.stop):
            return None
        torch.manual_seed(dropout_seed(config.seed, step, number))  # so dropout repeats exactly
        loss = loss_of(some, wanted) * weight
        loss.backward()
        total = total + loss.detach()
    return total


def clipped_norm(model: GPT, longest: float, ranks: Ranks = ALONE) -> Tensor:
    """The length () of the whole gradient, which is then shortened to `longest` (0: left alone)."""
    learning = [parameter for _, parameter in ranks.learning(model).named_parameters()]
    gradients = [p.grad for p in learning if p.grad is not None]
    norm = ranks.norm(torch.nn.utils.get_total_norm(gradients))
    if longest:
        torch.nn.utils.clip_grads_with_norm_(learning, longest, norm)
    return norm


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Every group learns at its own share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def evaluation_due(step: int, config: TrainConfig) -> bool:
    """Whether the validation loss belongs to what `step` shows."""
    return step % config.evaluate_every == 0 or step == config.steps


def validate(
    model: GPT,
    validation: Batches,
    config: TrainConfig,
    live: LiveSettings,
    step: int,
    ranks: Ranks = ALONE,
) -> float | None:
    """The validation loss after `step`; None when stopped meanwhile, but never after the last."""

    def look() -> float | None:
        return evaluate(
            model,
            validation,
            config.evaluation_batches,
            live,
            after=step,
            stopped=lambda: ranks.stops(live.stop and step != config.steps),
        )

    with repeatable(config):
        return ranks.look(look)


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """A seed for torch's default generator; on a CPU only its last 32 bits count."""
    return int(np.random.SeedSequence([seed, step, micro_batch]).generate_state(1)[0])
