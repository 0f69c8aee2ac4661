"""Feed-forward networks: what each token does, on its own, with what attention brought it."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F


class FeedForward(nn.Module):
    """Two linear maps with a non-linearity between them.

    Source: arXiv:1706.03762, eq. 2.
    """

    def __init__(
        self, width: int, hidden: int, bias: bool, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden, bias=bias)
        self.contract = nn.Linear(hidden, width, bias=bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.contract(self.activation(self.expand(x)))


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)²: like ReLU, with a slope that grows. Source: arXiv:2109.08668, section 3."""
    return F.relu(x).square()


FEEDFORWARDS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "relu": partial(FeedForward, activation=F.relu),
    "gelu": partial(FeedForward, activation=F.gelu),
    "relu_squared": partial(FeedForward, activation=relu_squared),
}
