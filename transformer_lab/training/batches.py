"""Batches: which pieces of text the model sees at which step.

A batch is a pure function of (seed, step). So a training can be continued at any step with nothing
saved, and two models that are compared see the very same text.

Shapes: B batch, T time.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transformer_lab.settings import Config, knob


@dataclass(frozen=True)
class Batches:
    """Random pieces of a text: `batches(step)` gives inputs and targets for that step.

    `tokens` is (N,) on the device where batches are wanted; N must exceed `sequence_length`.
    """

    tokens: Tensor
    batch_size: int
    sequence_length: int
    seed: int

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (B, T) and targets (B, T): the same pieces, one token further on"""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        starts = generator.integers(0, len(self.tokens) - self.sequence_length, self.batch_size)
        offsets = torch.arange(self.sequence_length + 1, device=self.tokens.device)
        starts_here = torch.from_numpy(starts).to(self.tokens.device, non_blocking=True)
        pieces = self.tokens[starts_here[:, None] + offsets].long()  # (B, T + 1)
        return pieces[:, :-1], pieces[:, 1:]


@dataclass(frozen=True, kw_only=True)
class BatchSettings(Config):
    """How much text each step sees; how long its pieces are is the model's sequence length."""

    GROUP = "train"

    batch_size: int = knob(
        64,
        1,
        4096,
        "Batch Size",
        "Sequences processed together: more is steadier, fewer is faster per step.",
    )
