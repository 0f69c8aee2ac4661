"""Positions: how a model that reads all tokens at once knows their order.

A scheme is a module with two hooks: `forward` may add to the embeddings, `rotate` may turn queries
and keys. Each leaves alone what it does not use. `forward` gets a `Recent` when tokens are read
little by little.

Shapes: B batch, T time, D width, H heads, K head width.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transformer_lab.model.settling import Settling, SettlingRule


class Recent:
    """The last embedding read, (B, 1, D), for a scheme that looks back at it."""

    def __init__(self) -> None:
        self.embedding: Tensor | None = None


class LearnedPositions(nn.Module):
    """A trained vector for every position, added to the token embedding, as in GPT-2."""

    def __init__(
        self, sequence_length: int, width: int, head_width: int, rule: SettlingRule | None = None
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(sequence_length, width))

    def forward(self, x: Tensor, start: int = 0, recent: Recent | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), for tokens at positions start .. start + T - 1"""
        return x + self.table[start : start + x.shape[1]]

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """(..., T, K), unchanged"""
        return x


class SinusoidalPositions(nn.Module):
    """Fixed waves of many lengths, added to the token embedding.

    The paper multiplies embeddings by √D so that the waves, of size 1, do not drown them; here the
    waves are scaled down to the embeddings' initial size instead, which is the same ratio.

    Source: arXiv:1706.03762, section 3.5.
    """

    waves: Tensor

    def __init__(
        self, sequence_length: int, width: int, head_width: int, rule: SettlingRule | None = None
    ) -> None:
        super().__init__()
        angles = _angles(sequence_length, math.ceil(width / 2))  # (T, D/2)
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(sequence_length, -1)
        self.register_buffer("waves", _table(0.02 * waves[:, :width]), persistent=False)

    def forward(self, x: Tensor, start: int = 0, recent: Recent | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), for tokens at positions start .. start + T - 1"""
        return x + self.waves[start : start + x.shape[1]]

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """(..., T, K), unchanged"""
        return x


class RotaryPositions(nn.Module):
    """Turns pairs of query and key numbers by an angle that grows with position.

    The product of a query and a key then depends only on how far apart they stand.
    Source: arXiv:2104.09864, eq. 34.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self, sequence_length: int, width: int, head_width: int, rule: SettlingRule | None = None
    ) -> None:
        super().__init__()
        angles = _angles(sequence_length, head_width // 2)  # (T, K/2)
        self.register_buffer("cos", _table(np.cos(angles)), persistent=False)
        self.register_buffer("sin", _table(np.sin(angles)), persistent=False)

    def forward(self, x: Tensor, start: int = 0, recent: Recent | None = None) -> Tensor:
        """(B, T, D), unchanged"""
        return x

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """(..., T, K) -> (..., T, K): number i of the first half pairs with i of the second"""
        end = start + x.shape[-2]
        cos, sin = self.cos[start:end], self.sin[start:end]
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class PredictivePositions(nn.Module):
    """Position vectors that settle: each comes to predict the token that stands at its place.

    Before it sees token x_t, the vector p_t of place t is a guess from the place and from the token
    before; then it settles on x_t, and is added to it:

        a_t = table_t + S x_{t-1}        E(p) = ½ ‖x_t - D p‖² + (π/2) ‖p - a_t‖²

    Neighbours do not share an energy: else p_t would feel how badly p_{t+1} predicts a token that
    is yet to come.
    """

    def __init__(
        self, sequence_length: int, width: int, head_width: int, rule: SettlingRule
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(sequence_length, width))
        self.suggest = nn.Linear(width, width, bias=False)  # S
        self.settling = Settling((width, width), rule)  # D

    def forward(self, x: Tensor, start: int = 0, recent: Recent | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), for tokens at positions start .. start + T - 1"""
        before = recent.embedding if recent else None
        if before is None:
            before = torch.zeros_like(x[:, :1])
        if recent:
            recent.embedding = x[:, -1:]
        previous = torch.cat([before, x[:, :-1]], dim=1)  # (B, T, D)
        guess = self.table[start : start + x.shape[1]] + self.suggest(previous)
        (settled,) = self.settling(x, [guess])
        return x + settled

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """(..., T, K), unchanged"""
        return x


def _angles(positions: int, pairs: int) -> NDArray[np.float64]:
    """(positions, pairs): position times a speed that falls from 1 to 1/10,000 over the pairs."""
    return np.outer(np.arange(positions), 10_000.0 ** -(np.arange(pairs) / pairs))


def _table(numbers: NDArray[np.float64]) -> Tensor:
    """Numbers as a tensor on the CPU, also while a model is laid out on the "meta" device.

    They come from numpy because models are laid out on threads that must not start torch's: two
    groups of them on the same cores slow a training down by half.
    """
    return torch.from_numpy(numbers.astype(np.float32))


Positions = LearnedPositions | SinusoidalPositions | RotaryPositions | PredictivePositions

POSITIONS = {
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
    "rotary": RotaryPositions,
    "pc": PredictivePositions,
}
