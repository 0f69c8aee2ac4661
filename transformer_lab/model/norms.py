"""Normalizations, and the two places in a block where they may stand."""

from collections.abc import Callable

from torch import nn

Norm = Callable[[int, bool], nn.Module]


def layer_norm(width: int, bias: bool) -> nn.Module:
    """Centre each token's vector and scale it to unit variance. Source: arXiv:1607.06450, eq. 4."""
    return nn.LayerNorm(width, bias=bias)


def rms_norm(width: int, bias: bool) -> nn.Module:
    """Scale each token's vector to unit mean square, without centring; it never has a bias.

    Source: arXiv:1910.07467, eq. 4.
    """
    return nn.RMSNorm(width, eps=1e-5)


NORMS: dict[str, Norm] = {
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
}

NORM_PLACES = ("pre", "post")
