"""Micro-batches: a batch is computed a few sequences at a time, fewer where memory runs out.

Training and everything that measures a model go through here. On a GPU the number of sequences is
halved when an attempt fails; on a CPU, where a system out of memory kills, it is chosen beforehand
(`lab/cost/estimate.py` for a training, `at_once` for a look at a model).

Shapes: B batch, T time, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.training.live import Change, LiveSettings

TOKENS = 4096  # computed at once on a CPU: more fall out of its caches, fewer are slower
LOGITS = 64_000_000  # bytes that the logits of a look may take, unless one sequence takes more
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
NOT_COUNTED = -100  # as a target, to PyTorch's cross-entropy
Result = TypeVar("Result")


class OutOfMemoryError(MemoryError):
    """Not even one sequence fits."""


def at_once(model: GPT, length: int) -> LiveSettings:
    """How many sequences of so many tokens a look at a model computes at once."""
    fitting = LOGITS // (4 * length * model.vocabulary_size)
    return LiveSettings(micro_batch=max(1, min(TOKENS // length, fitting)))


def within_memory(live: LiveSettings, after: int, attempt: Callable[[], Result]) -> Result:
    """What `attempt` gives, which computes `live.micro_batch` sequences at a time.

    When a GPU has no room for that many, they are halved, which is recorded as a change after
    step `after`, and it is attempted anew. Raises OutOfMemoryError when there is no room for one,
    or they may not be halved, as where several processes must compute the same number.
    """
    while True:
        try:
            return attempt()
        except RuntimeError as error:
            if not _ran_out(error):
                raise  # what a failed attempt holds is freed only outside of this clause
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not live.halves:
            raise OutOfMemoryError(
                f"There was not enough memory for {live.micro_batch} sequences at once in each "
                "process: choose a smaller Micro-batch, or start more processes."
            )
        if live.micro_batch <= 1:
            raise OutOfMemoryError("There is not enough memory for even one sequence.")
        live.micro_batch = math.ceil(live.micro_batch / 2)
        live.made.append(Change(after, "micro_batch", live.micro_batch))
        live.notes.append(
            f"Memory ran out after step {after:,}, so batches are now computed "
            f"{live.micro_batch} sequences at a time: the same result, a little slower."
        )


def _ran_out(error: RuntimeError) -> bool:
    """Whether it says that memory ran out; only CUDA has a type of error for that."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in OUT_OF_MEMORY
    )


def parts(live: LiveSettings, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors (B, ...) that belong together, in pieces of `live.micro_batch` sequences."""
    return zip(*(tensor.split(live.micro_batch) for tensor in tensors), strict=True)


def in_parts(
    model: GPT, compute: Callable[..., Result], tokens: Tensor, *others: Tensor
) -> list[Result]:
    """What `compute` gives for a few sequences of (B, T) tokens, and what goes with them, each."""
    live = at_once(model, tokens.shape[1])
    return within_memory(live, 0, lambda: [compute(*some) for some in parts(live, tokens, *others)])


def mean_loss(
    model: GPT,
    batch: tuple[Tensor, Tensor],
    live: LiveSettings,
    *,
    after: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> float | None:
    """The loss of (B, T) inputs and targets in nats per token; None when stopped in between.

    Targets that are NOT_COUNTED are not counted.
    """
    device = model.embedding.weight.device
    inputs, targets = batch[0].to(device), batch[1].to(device)
    with torch.no_grad():
        return within_memory(live, after, lambda: _mean_loss(model, inputs, targets, live, stopped))


def _mean_loss(
    model: GPT,
    inputs: Tensor,
    targets: Tensor,
    live: LiveSettings,
    stopped: Callable[[], bool],
) -> float | None:
    total = torch.zeros((), device=targets.device)
    counted = (targets != NOT_COUNTED).sum()
    for some, wanted in parts(live, inputs, targets):
        if stopped():
            return None
        share = (wanted != NOT_COUNTED).sum() / counted
        total += torch.where(share > 0, model.loss(some, wanted) * share, 0.0)
    return total.item()
