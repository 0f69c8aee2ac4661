"""Dropout: while a model trains, a random share of numbers is set to zero and the rest enlarged.

The enlarging keeps every number's expectation. Source: Srivastava et al. 2014 (JMLR 15), section 4.

Below the plain formula stands a faster way for CPUs. There drawing the mask is what costs, so four
decisions are cut from each 64 random bits. A share is therefore a multiple of 1/65,536; what is
kept is enlarged by exactly that share.

Shapes: B batch, T time, H heads, K head width, S keys.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16  # different values of 16 random bits
QUERIES = 64  # looked after at once where attention is written out


class Dropout(nn.Module):
    """Sets a share of the numbers it is given to zero, in training only."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...): x · mask / (1 - share), where the mask is 0 with probability `share`"""
        if not self.training or self.share == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.share)
        return x * kept(x.shape, self.share) * enlargement(self.share)


def kept(shape: Sequence[int], share: float) -> Tensor:
    """A mask of booleans, each false with probability `share`, from torch's default generator.

    Nothing is drawn where the share is no level above 0.
    """
    if round(share * LEVELS) == 0:
        return torch.ones(tuple(shape), dtype=torch.bool)
    count = math.prod(shape)
    bits = torch.empty(math.ceil(count / 4), dtype=torch.int64).random_(-(2**63), None)
    return bits.view(torch.int16)[:count].view(*shape) >= round(share * LEVELS) - LEVELS // 2


def enlargement(share: float) -> float:
    """What the numbers that are kept are multiplied by: 1 / (1 - share), to the nearest level."""
    return LEVELS / (LEVELS - round(share * LEVELS))


def attention_with_dropout(
    q: Tensor, k: Tensor, v: Tensor, dropout: float, bias: Tensor | None = None
) -> Tensor:
    """Causal attention on a CPU, where a share of the pattern is dropped.

    (B, H, T, K), (B, H, T, K), (B, H, T, K), what is added to the scores (H or 1, T, T) or None
    -> (B, H, T, K)

    PyTorch's own is slow on a CPU once there is dropout. This one takes a few queries at a time, so
    that most of what they may not see is never computed.
    """
    T, K = q.shape[2:]
    q = q * K**-0.5
    hidden = torch.full((QUERIES, QUERIES), -torch.inf).triu(1)  # from the queries' own block
    mixed = []
    for begin in range(0, T, QUERIES):
        end = min(begin + QUERIES, T)
        scores = q[:, :, begin:end] @ k[:, :, :end].transpose(2, 3)  # (B, H, t, end)
        if bias is None:
            scores[:, :, :, begin:] += hidden[: end - begin, : end - begin]
        else:
            scores += bias[:, begin:end, :end]
        weights = scores.softmax(3)
        mixed.append((weights * kept(weights.shape, dropout)) @ v[:, :, :end])
    return torch.cat(mixed, dim=2) * enlargement(dropout)
