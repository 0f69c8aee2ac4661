"""Positions: how a model that reads all tokens at once knows their order.

A scheme is a module with two hooks: `forward` may add to the embeddings, `rotate` may turn queries
and keys. Each leaves alone what it does not use.

Shapes: B batch, T time, D width, H heads, K head width.
"""

import math

import torch
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """A trained vector for every position, added to the token embedding, as in GPT-2."""

    def __init__(self, sequence_length: int, width: int, head_width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(sequence_length, width))

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
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

    def __init__(self, sequence_length: int, width: int, head_width: int) -> None:
        super().__init__()
        angles = _angles(sequence_length, math.ceil(width / 2))  # (T, D/2)
        waves = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
        self.register_buffer("waves", 0.02 * waves, persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
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

    def __init__(self, sequence_length: int, width: int, head_width: int) -> None:
        super().__init__()
        angles = _angles(sequence_length, head_width // 2)  # (T, K/2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """(B, T, D), unchanged"""
        return x

    def rotate(self, x: Tensor, start: int = 0) -> Tensor:
        """(..., T, K) -> (..., T, K): number i of the first half pairs with i of the second"""
        end = start + x.shape[-2]
        cos, sin = self.cos[start:end], self.sin[start:end]
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _angles(positions: int, pairs: int) -> Tensor:
    """(T, pairs): position times a speed that falls from 1 to 1/10,000 over the pairs."""
    # On the CPU by name: a model is first laid out on the "meta" device, which has no numbers.
    speeds = 10_000.0 ** -(torch.arange(pairs, device="cpu") / pairs)
    return torch.outer(torch.arange(positions, device="cpu").float(), speeds)


Positions = LearnedPositions | SinusoidalPositions | RotaryPositions

POSITIONS = {
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
    "rotary": RotaryPositions,
}
