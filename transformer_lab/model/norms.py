"""Normalizations, and the two places in a block where they may stand."""

from collections.abc import Callable

import torch
from torch import nn

Norm = Callable[[int, bool], nn.Module]


class LayerNorm(nn.LayerNorm):
    """Centre each token's vector and scale it to unit variance: (..., D) -> (..., D)

    Source: arXiv:1607.06450, eq. 4.
    """

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__(width, bias=bias)
        self.gain = 1.0  # what every weight starts as

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Start with the plain norm, times `gain`."""
        self.weight.fill_(self.gain)
        if self.bias is not None:
            self.bias.zero_()


class RMSNorm(nn.RMSNorm):
    """Scale each token's vector to unit mean square, without centring: (..., D) -> (..., D)

    It never has a bias. Source: arXiv:1910.07467, eq. 4.
    """

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__(width, eps=1e-5)
        self.gain = 1.0  # what every weight starts as

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Start with the plain norm, times `gain`."""
        self.weight.fill_(self.gain)


class NoNorm(nn.Identity):
    """Leave every vector as it is, to see what norms are for: (..., D) -> (..., D)"""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()


NORMS: dict[str, Norm] = {
    "layer_norm": LayerNorm,
    "rms_norm": RMSNorm,
    "none": NoNorm,
}

NORM_PLACES = ("pre", "post")
