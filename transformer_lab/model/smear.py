"""Smear: each embedding takes a share of those before it. Shapes: B batch, T time, D width."""

import torch
from torch import Tensor, nn

from transformer_lab.model.cache import Cache


class Smear(nn.Module):
    """Adds to each token's embedding a learned share, number by number, of those just before it.

    So the first layer already sees a few letters at once. Its shares start at zero.
    """

    def __init__(self, reach: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(reach, width))

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Start as if it were not there."""
        self.weight.zero_()

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        B, T, D = x.shape
        reach = len(self.weight)
        before = cache.smeared if cache else None
        if before is None:
            before = x.new_zeros(B, reach, D)
        known = torch.cat([before, x], dim=1)  # (B, reach + T, D)
        if cache:
            cache.smeared = known[:, -reach:]
        for back, share in enumerate(self.weight, start=1):
            x = x + share * known[:, reach - back : reach - back + T]
        return x
