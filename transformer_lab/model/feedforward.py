"""Feed-forward networks: what each token does, on its own, with what attention brought it."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.settling import Settling, SettlingRule


class FeedForward(nn.Module):
    """Two linear maps with a non-linearity between them.

    Source: arXiv:1706.03762, eq. 2.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        bias: bool,
        rule: SettlingRule,
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden, bias=bias)
        self.contract = nn.Linear(hidden, width, bias=bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.contract(self.activation(self.expand(x)))


class PredictiveFeedForward(nn.Module):
    """A feed-forward whose hidden units settle before they are read (PC-FFN).

    For each token, with u its vector:

        h_0 = gelu(A u)        E(h) = ½ ‖u - D h‖² + (π/2) ‖h - h_0‖²
        h_{t+1} = h_t - η ∂E/∂h        output B h_T

    So the hidden units move until they explain the token they were made from. With T = 0 it is the
    gelu feed-forward. Its weights learn by backpropagation through the T steps, which is not local.
    """

    def __init__(self, width: int, hidden: int, bias: bool, rule: SettlingRule) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden, bias=bias)  # A
        self.settling = Settling((width, hidden), rule)  # D
        self.contract = nn.Linear(hidden, width, bias=bias)  # B

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        (settled,) = self.settling(x, [F.gelu(self.expand(x))])
        return self.contract(settled)


def matched(width: int, hidden: int, bias: bool, rule: SettlingRule) -> FeedForward:
    """A gelu feed-forward as large as a predictive one: without a D, but with more hidden units."""
    return FeedForward(width, matched_hidden(width, hidden, bias), bias, rule, activation=F.gelu)


def matched_hidden(width: int, hidden: int, bias: bool) -> int:
    """So many hidden units cost without a D what `hidden` cost with it (half a unit aside)."""
    return round(hidden * (3 * width + bias) / (2 * width + bias))


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)²: like ReLU, with a slope that grows. Source: arXiv:2109.08668, section 3."""
    return F.relu(x).square()


FEEDFORWARDS: dict[str, Callable[[int, int, bool, SettlingRule], nn.Module]] = {
    "relu": partial(FeedForward, activation=F.relu),
    "gelu": partial(FeedForward, activation=F.gelu),
    "relu_squared": partial(FeedForward, activation=relu_squared),
    "pc": PredictiveFeedForward,
    "gelu_matched": matched,
}
