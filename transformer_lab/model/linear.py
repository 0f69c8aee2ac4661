"""Linear maps and embeddings: PyTorch's own, which also know the weights they begin with.

Every module that holds weights has `init_weights(generator)`, so where a weight is made one can
read what it starts as. `weights.py` calls them all, in order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transformer_lab.model.products import linear

DEVIATION = 0.02  # GPT-2's standard deviation for matrices


class Linear(nn.Linear):
    """y = x Wᵀ + b, (..., inputs) -> (..., outputs)

    W starts normal with standard deviation `deviation`, b at zero. Where W is several matrices, one
    above the other, `stacked` are their heights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        deviation: float = DEVIATION,
        stacked: Sequence[int] = (),
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.deviation = deviation
        self.stacked = tuple(stacked) or (outputs,)

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)"""
        return linear(input, self.weight, self.bias)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw W, and set b to zero."""
        normal(self.weight, self.deviation, generator)
        if self.bias is not None:
            self.bias.zero_()


class Embedding(nn.Embedding):
    """A table with a vector for each token: (B, T) ids -> (B, T, D)"""

    def __init__(self, tokens: int, width: int, deviation: float = DEVIATION) -> None:
        super().__init__(tokens, width)
        self.deviation = deviation

    def reset_parameters(self) -> None:
        """Leave to `init_weights` what PyTorch would draw here.

        On the "meta" device, where models are laid out, drawing it loads a compiler: a second.
        """

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw every vector."""
        normal(self.weight, self.deviation, generator)


@torch.no_grad()
def normal(weight: torch.Tensor, deviation: float, generator: torch.Generator) -> None:
    """Fill a weight with normal numbers of mean 0; with a deviation of 0 draw none."""
    if deviation == 0:
        weight.zero_()
    else:
        weight.normal_(0.0, deviation, generator=generator)
