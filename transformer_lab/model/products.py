"""Large products on a CPU whose widest instructions PyTorch's usual library leaves alone.

PyTorch multiplies float32 matrices with MKL, which on AMD's processors uses vectors of 8 numbers
even where they have 16 (Zen 4 and newer). oneDNN, which comes with PyTorch too, uses all 16 and is
about twice as fast there. The operation is the one that `torch.compile` puts in for a linear map.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_NUMBERS = 2**15  # in what is multiplied: for less, finding the program takes longer


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b: (..., inputs), (outputs, inputs), (outputs,) -> (..., outputs)"""
    if x.numel() < LEAST_NUMBERS or not (_suits(x) and _suits(weight) and wider()):
        return F.linear(x, weight, bias)
    y: Tensor = _Product.apply(x, weight)
    return y if bias is None else y + bias


def _suits(x: Tensor) -> bool:
    plain = x.dtype == torch.float32 and x.device.type == "cpu"
    return plain and not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())


@cache
def wider() -> bool:
    """Whether this is an AMD processor with vectors of 16 numbers, and oneDNN is there."""
    able = torch.backends.cpu.get_cpu_capability() == "AVX512" and "AuthenticAMD" in processor()
    return able and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions that multiply bfloat16, as far as that is known."""
    return any(flag in processor() for flag in ("avx512_bf16", "amx_bf16"))


@cache
def processor() -> str:
    """Who made the processor, and on Linux what it can do, among other words."""
    linux = Path("/proc/cpuinfo")
    return linux.read_text() if linux.exists() else platform.processor()


class _Product(torch.autograd.Function):
    """y = x Wᵀ        dx = dy W        dW = dyᵀ x, which themselves have gradients"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dy = gradients[0]
        dx = linear(dy, weight.T) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return dx, None
        return dx, linear(dy.flatten(0, -2).T, x.flatten(0, -2).T)
