"""Normalizations, and the two places in a block where they may stand."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

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


def unit_size(x: Tensor) -> Tensor:
    """Each vector at unit mean square, without weights: (..., K) -> (..., K)"""
    if x.dtype == torch.float32 and torch.is_grad_enabled() and x.requires_grad:
        return UnitSize.apply(x)
    return F.rms_norm(x, x.shape[-1:])


class UnitSize(torch.autograd.Function):
    """y = x s and its gradient, s (dy - y mean(y dy)), with s = 1 / sqrt(mean(x²) + ε): as by
    autograd, in about half of its passes over memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        squared = length.square_().div_(x.shape[-1]).add_(torch.finfo(x.dtype).eps)
        scale = squared.rsqrt_()
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        along = (y * gradients[0]).mean(-1, keepdim=True)
        return torch.addcmul(gradients[0], y, along, value=-1).mul_(scale)


NORMS: dict[str, Norm] = {
    "layer_norm": LayerNorm,
    "rms_norm": RMSNorm,
    "none": NoNorm,
}

NORM_PLACES = ("pre", "post")
