"""Blocks that compute by predictive coding, and the architectures built of them.

In all of them latents settle on the energy of `settling.py`: no target stands in it, and each token
settles alone, so a block of them is as causal as a feed-forward. Their weights learn as the
training says; by backpropagation that is through all steps, which is not local learning.

Shapes: B batch, T time, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.block import SingleBlock, standard_block
from transformer_lab.model.cache import LayerCache
from transformer_lab.model.config import ModelConfig
from transformer_lab.model.linear import Linear
from transformer_lab.model.norms import NORMS
from transformer_lab.model.positions import Positions
from transformer_lab.model.settling import Settling


class PredictiveStack(nn.Module):
    """Levels of latents above each token, which settle together; the top ones are handed on.

    A sweep upward makes the first guesses, a_l = gelu(A_l a_{l-1}) from a_0 = the token. Then each
    level is pulled from both sides: to predict the level below, and to be what the one above
    predicts. With one level this is a PC-FFN whose hidden width is the embedding's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, levels = config.embedding_dim, config.pc_levels
        self.suggest = nn.ModuleList(
            Linear(width, width, config.bias, deviation=width**-0.5) for _ in range(levels)
        )
        self.settling = Settling([width] * (levels + 1), config.settling)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        guesses = []
        guess = x
        for suggest in self.suggest:
            guess = F.gelu(suggest(guess))
            guesses.append(guess)
        return self.settling(x, guesses)[-1]


class PredictiveHierarchy(nn.Module):
    """Stands before ordinary blocks: settles on the embeddings, and hands on its top latents."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = NORMS[config.norm](config.embedding_dim, config.bias)
        self.stack = PredictiveStack(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.stack(self.norm(x))


class PredictiveBlock(SingleBlock):
    """Predictive coding alone: what a stack has settled on is written into the stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.stack = PredictiveStack(config)
        width = config.embedding_dim
        self.output = Linear(width, width, config.bias, config.output_deviation)

    def forward(self, x: Tensor, positions: Positions, cache: LayerCache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.around(x, lambda normed: self.output(self.stack(normed)))


class DualStreamBlock(nn.Module):
    """An ordinary block and a predictive one side by side, mixed number by number.

    g ordinary(x) + (1 - g) predictive(x), where the gate g = sigmoid(w) is learned and starts at ½.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ordinary = standard_block(config)
        self.predictive = PredictiveBlock(config)
        self.gate = nn.Parameter(torch.empty(config.embedding_dim))  # w

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Start half and half."""
        self.gate.zero_()

    def forward(self, x: Tensor, positions: Positions, cache: LayerCache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        share = self.gate.sigmoid()
        settled = self.predictive(x, positions, cache)
        return share * self.ordinary(x, positions, cache) + (1 - share) * settled
