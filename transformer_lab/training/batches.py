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

    `tokens` is (N,) on the device where batches are wanted; N must exceed `sequence_length`, and
    `piece`. With a `piece`, batches are cut one after another from a stream of random pieces of so
    many tokens, so that batches of any size and length come from the very same text.
    """

    tokens: Tensor
    batch_size: int
    sequence_length: int
    seed: int
    piece: int = 0

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (B, T) and targets (B, T): the same pieces, one token further on"""
        starts = self._in_stream(step) if self.piece else self._drawn(step)
        offsets = torch.arange(self.sequence_length + 1, device=self.tokens.device)
        starts_here = torch.from_numpy(starts).to(self.tokens.device, non_blocking=True)
        pieces = self.tokens[starts_here[:, None] + offsets].long()  # (B, T + 1)
        return pieces[:, :-1], pieces[:, 1:]

    def _drawn(self, step: int) -> np.ndarray:
        """Where the sequences of a batch begin (B,), each anywhere."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        return generator.integers(0, len(self.tokens) - self.sequence_length, self.batch_size)

    def _in_stream(self, step: int) -> np.ndarray:
        """Where they begin (B,) when the sequences of all steps follow on one another."""
        first = (step - 1) * self.batch_size * self.sequence_length
        within = first + self.sequence_length * np.arange(self.batch_size)
        numbers, offsets = np.divmod(within, self.piece)
        begins = {number: self._piece(number) for number in np.unique(numbers).tolist()}
        return np.array([begins[number] for number in numbers.tolist()]) + offsets

    def _piece(self, number: int) -> int:
        generator = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        return int(generator.integers(0, len(self.tokens) - self.piece))


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
    piece: int = knob(
        0,
        0,
        65_536,
        "Piece Length",
        "Cut sequences one after another from pieces of so many tokens, so that trainings with "
        "other batch sizes and sequence lengths read the same text; 0 draws each anew.",
        advanced=True,
    )
