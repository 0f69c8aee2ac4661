"""Evaluation: how well the model predicts text it has never learned from."""

from collections.abc import Callable

import torch

from transformer_lab.model import GPT
from transformer_lab.training.batches import Batches


def evaluate(
    model: GPT, batches: Batches, count: int, stopped: Callable[[], bool] = lambda: False
) -> float | None:
    """Mean loss over batches 0 .. count - 1, in nats per token, without dropout.

    The batches are the same at every call, so two values differ only by what the model has learned.
    None when `stopped()` becomes true in between.
    """
    model.eval()
    total = 0.0
    with torch.no_grad():
        for number in range(count):
            if stopped():
                return None
            total += model.loss(*batches(number)).item()
    return total / count
