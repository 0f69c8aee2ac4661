"""Feed-forward networks: what each token does, on its own, with what attention brought it.

Shapes: B batch, T time, D width, F hidden units.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from transformer_lab.model.linear import DEVIATION, Linear
from transformer_lab.model.settling import FIRST_GUESS, Settling, SettlingRule


@dataclass(frozen=True, kw_only=True)
class FeedForwardShape:
    """What a feed-forward needs to know.

    `deviation` is that of its last matrix's first weights, `settling` is for predictive coding.
    """

    width: int
    hidden: int
    bias: bool
    deviation: float = DEVIATION
    settling: SettlingRule = FIRST_GUESS


class FeedForward(nn.Module):
    """Two linear maps with a non-linearity between them: W₂ f(W₁ x).

    Source: arXiv:1706.03762, eq. 2.
    """

    def __init__(self, shape: FeedForwardShape, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.expand = Linear(shape.width, shape.hidden, shape.bias)
        self.contract = Linear(shape.hidden, shape.width, shape.bias, shape.deviation)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.contract(self.activation(self.expand(x)))


class SwiGLU(nn.Module):
    """Hidden units that are multiplied by a gate: W₂ (swish(W₁ x) · V x).

    swish(x) = x / (1 + e^-x). With three matrices, two thirds of the hidden units cost as much.
    Source: arXiv:2002.05202, eq. 6.
    """

    def __init__(self, shape: FeedForwardShape) -> None:
        super().__init__()
        hidden = max(1, round(shape.hidden * 2 / 3))
        both = (hidden, hidden)  # W₁ and V
        self.expand = Linear(shape.width, sum(both), shape.bias, stacked=both)
        self.contract = Linear(hidden, shape.width, shape.bias, shape.deviation)  # W₂

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        gate, hidden = self.expand(x).chunk(2, dim=-1)  # (B, T, F) each
        return self.contract(F.silu(gate) * hidden)


class PredictiveFeedForward(nn.Module):
    """A feed-forward whose hidden units settle before they are read (PC-FFN).

    For each token, with u its vector:

        h_0 = gelu(A u)        E(h) = ½ ‖u - D h‖² + (π/2) ‖h - h_0‖²
        h_{t+1} = h_t - η ∂E/∂h        output B h_T

    So the hidden units move until they explain the token they were made from. With T = 0 it is the
    gelu feed-forward. Its weights learn by backpropagation through the T steps, which is not local.
    """

    def __init__(self, shape: FeedForwardShape) -> None:
        super().__init__()
        self.expand = Linear(shape.width, shape.hidden, shape.bias)  # A
        self.settling = Settling((shape.width, shape.hidden), shape.settling)  # D
        self.contract = Linear(shape.hidden, shape.width, shape.bias, shape.deviation)  # B

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        (settled,) = self.settling(x, [F.gelu(self.expand(x))])
        return self.contract(settled)


def matched(shape: FeedForwardShape) -> FeedForward:
    """A gelu feed-forward as large as a predictive one: without a D, but with more hidden units."""
    hidden = matched_hidden(shape.width, shape.hidden, shape.bias)
    return FeedForward(replace(shape, hidden=hidden), activation=F.gelu)


def matched_hidden(width: int, hidden: int, bias: bool) -> int:
    """So many hidden units cost without a D what `hidden` cost with it (half a unit aside)."""
    return round(hidden * (3 * width + bias) / (2 * width + bias))


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)²: like ReLU, with a slope that grows. Source: arXiv:2109.08668, section 3."""
    learns = torch.is_grad_enabled() and x.requires_grad
    return SquaredReLU.apply(x) if learns else F.relu(x).square()


class SquaredReLU(torch.autograd.Function):
    """max(x, 0)² and its slope, 2 max(x, 0): the same numbers as by autograd, which takes five
    passes over memory backward where two are enough.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (gradients[0] * positive).mul_(2)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by way of tanh, as GPT-2 computes it. Source: arXiv:1606.08415, section 2."""
    return F.gelu(x, approximate="tanh")


FEEDFORWARDS: dict[str, Callable[[FeedForwardShape], nn.Module]] = {
    "relu": partial(FeedForward, activation=F.relu),
    "gelu": partial(FeedForward, activation=F.gelu),
    "gelu_tanh": partial(FeedForward, activation=gelu_tanh),
    "relu_squared": partial(FeedForward, activation=relu_squared),
    "swiglu": SwiGLU,
    "pc": PredictiveFeedForward,
    "gelu_matched": matched,
}
