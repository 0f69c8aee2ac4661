"""Positions: how a model that reads all tokens at once knows their order.

A scheme is a module with three hooks, of which it uses one: `forward` may add to the embeddings,
`rotate` may turn queries and keys, `score_bias` may add to the scores of attention.

Shapes: B batch, T time, D width, H heads, K head width, S keys.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transformer_lab.model.cache import Cache
from transformer_lab.model.linear import DEVIATION, Linear, normal
from transformer_lab.model.settling import FIRST_GUESS, Settling, SettlingRule


@dataclass(frozen=True, kw_only=True)
class PositionShape:
    """What a scheme needs to know.

    `deviation` is how large learned vectors start, `settling` is for those of predictive coding.
    """

    sequence_length: int
    width: int
    heads: int
    deviation: float = DEVIATION
    settling: SettlingRule = FIRST_GUESS


class Positions(nn.Module):
    """No positions at all: each hook leaves alone what it gets.

    Such a model is not blind to order, since a token sees only those before it.
    """

    def __init__(self, shape: PositionShape) -> None:
        super().__init__()

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, D) embeddings -> (B, T, D); the first stands where the cache ends"""
        return x

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """Queries or keys at positions start .. start + T - 1: (..., T, K) -> (..., T, K)"""
        return x

    def score_bias(self, queries: int, keys: int) -> Tensor | None:
        """What is added to the scores of the last `queries` of `keys` tokens: (H, T, S) or None"""
        return None


class LearnedPositions(Positions):
    """A trained vector for every position, added to the token embedding, as in GPT-2."""

    def __init__(self, shape: PositionShape) -> None:
        super().__init__(shape)
        self.table = nn.Parameter(torch.empty(shape.sequence_length, shape.width))
        self.deviation = shape.deviation

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw every vector."""
        normal(self.table, self.deviation, generator)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        start = cache.length if cache else 0
        return x + self.table[start : start + x.shape[1]]


class SinusoidalPositions(Positions):
    """Fixed waves of many lengths, added to the token embedding.

    The paper multiplies embeddings by √D so that the waves, of size 1, do not drown them; here the
    waves are scaled down to the embeddings' initial size instead, which is the same ratio.

    Source: arXiv:1706.03762, section 3.5.
    """

    waves: Tensor

    def __init__(self, shape: PositionShape) -> None:
        super().__init__(shape)
        T, D = shape.sequence_length, shape.width
        angles = _angles(T, math.ceil(D / 2))  # (T, D/2)
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(T, -1)
        self.register_buffer("waves", _table(0.02 * waves[:, :D]), persistent=False)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        start = cache.length if cache else 0
        return x + self.waves[start : start + x.shape[1]]


class RotaryPositions(Positions):
    """Turns pairs of query and key numbers by an angle that grows with position.

    The product of a query and a key then depends only on how far apart they stand.
    Source: arXiv:2104.09864, eq. 34.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: PositionShape) -> None:
        super().__init__(shape)
        angles = _angles(shape.sequence_length, shape.width // shape.heads // 2)  # (T, K/2)
        self.register_buffer("cos", _table(np.cos(angles)), persistent=False)
        self.register_buffer("sin", _table(np.sin(angles)), persistent=False)

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """(..., T, K) -> (..., T, K): number i of the first half pairs with i of the second"""
        end = start + x.shape[-2]
        cos, sin = self.cos[start:end], self.sin[start:end]
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class AlibiPositions(Positions):
    """Lowers a score by how far apart query and key stand, more in some heads than in others.

    The slope of head h of H is 2^(-8 h / H). Nothing is learned, and distances that were never
    seen in training work too. Source: arXiv:2108.12409, section 3.
    """

    slopes: Tensor

    def __init__(self, shape: PositionShape) -> None:
        super().__init__(shape)
        slopes = 2.0 ** (-8 * np.arange(1, shape.heads + 1) / shape.heads)
        self.register_buffer("slopes", _table(slopes), persistent=False)

    def score_bias(self, queries: int, keys: int) -> Tensor:
        """-slope · (query's position - key's position): (H, T, S)"""
        places = torch.arange(keys, device=self.slopes.device)
        distance = places[keys - queries :, None] - places  # (T, S)
        return -self.slopes[:, None, None] * distance


class PredictivePositions(Positions):
    """Position vectors that settle: each comes to predict the token that stands at its place.

    Before it sees token x_t, the vector p_t of place t is a guess from the place and from the token
    before; then it settles on x_t, and is added to it:

        a_t = table_t + S x_{t-1}        E(p) = ½ ‖x_t - D p‖² + (π/2) ‖p - a_t‖²

    Neighbours do not share an energy: else p_t would feel how badly p_{t+1} predicts a token that
    is yet to come.
    """

    def __init__(self, shape: PositionShape) -> None:
        super().__init__(shape)
        D = shape.width
        self.table: Tensor = nn.Parameter(torch.empty(shape.sequence_length, D))
        self.deviation = shape.deviation
        self.suggest = Linear(D, D, bias=False, deviation=D**-0.5)  # S
        self.settling = Settling((D, D), shape.settling)  # D

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw every vector of the table."""
        normal(self.table, self.deviation, generator)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        start = cache.length if cache else 0
        before = cache.previous if cache else None
        if before is None:
            before = torch.zeros_like(x[:, :1])
        if cache:
            cache.previous = x[:, -1:]
        previous = torch.cat([before, x[:, :-1]], dim=1)  # (B, T, D)
        guess = self.table[start : start + x.shape[1]] + self.suggest(previous)
        (settled,) = self.settling(x, [guess])
        return x + settled


class PredictivePlaceless(PredictivePositions):
    """The control of predictive positions: their table of places is zero, and stays so.

    What is left of the first guess is S x_{t-1}, the token before. What a model gains with this one
    is not the gain of knowing places, and with T = 0 not that of settling either.
    """

    def __init__(self, shape: PositionShape) -> None:
        super().__init__(shape)
        del self.table  # it is not learned
        zeros = np.zeros((shape.sequence_length, shape.width))
        self.register_buffer("table", _table(zeros), persistent=False)

    def init_weights(self, generator: torch.Generator) -> None:
        """There is nothing to draw."""


def _angles(positions: int, pairs: int) -> NDArray[np.float64]:
    """(positions, pairs): position times a speed that falls from 1 to 1/10,000 over the pairs."""
    return np.outer(np.arange(positions), 10_000.0 ** -(np.arange(pairs) / pairs))


def _table(numbers: NDArray[np.float64]) -> Tensor:
    """Numbers as a tensor on the CPU, also while a model is laid out on the "meta" device.

    They come from numpy because models are laid out on threads that must not start torch's: two
    groups of them on the same cores slow a training down by half.
    """
    return torch.from_numpy(numbers.astype(np.float32))


POSITIONS: dict[str, type[Positions]] = {
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
    "rotary": RotaryPositions,
    "alibi": AlibiPositions,
    "pc": PredictivePositions,
    "pc_zero": PredictivePlaceless,
    "none": Positions,
}
