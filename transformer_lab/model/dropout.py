"""Dropout: while a model trains, a random share of numbers is set to zero and the rest enlarged.

The enlarging keeps every number's expectation. Source: Srivastava et al. 2014 (JMLR 15), section 4.

On a CPU drawing the mask is what costs, so here four decisions are cut from each 64 random bits.
A share is therefore a multiple of 1/65,536; what is kept is enlarged by exactly that share.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16  # different values of 16 random bits


def kept(shape: Sequence[int], share: float) -> Tensor:
    """A mask of booleans, each false with probability `share`, from torch's default generator."""
    count = math.prod(shape)
    bits = torch.empty(math.ceil(count / 4), dtype=torch.int64).random_(-(2**63), None)
    return bits.view(torch.int16)[:count].view(*shape) >= round(share * LEVELS) - LEVELS // 2


def enlargement(share: float) -> float:
    """What the numbers that are kept are multiplied by."""
    return LEVELS / (LEVELS - round(share * LEVELS))


class Dropout(nn.Module):
    """Sets a share of the numbers it is given to zero, in training only."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)"""
        if not self.training or self.share == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.share)
        return x * kept(x.shape, self.share) * enlargement(self.share)
