"""Blocks that think by predictive coding, and the architectures built of them.

In all of them latents settle on the energy of `settling.py`: no target stands in it, and each token
settles alone, so a block of them is as causal as a feed-forward. Their weights learn as the
training says; by backpropagation that is through all steps, which is not local learning.

Shapes: B batch, T time, D width.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.attention import ATTENTIONS, KeyValueCache
from transformer_lab.model.dropout import Dropout
from transformer_lab.model.norms import NORMS
from transformer_lab.model.positions import Positions
from transformer_lab.model.settling import Settling

if TYPE_CHECKING:
    from transformer_lab.model.config import ModelConfig


class PredictiveStack(nn.Module):
    """Levels of latents above each token, which settle together; the top ones are handed on.

    A sweep upward makes the first guesses, a_l = gelu(A_l a_{l-1}) from a_0 = the token. Then each
    level is pulled from both sides: to predict the level below, and to be what the one above
    predicts. With one level this is a PC-FFN whose hidden width is the embedding's.
    """

    def __init__(self, config: "ModelConfig") -> None:
        super().__init__()
        width, levels = config.embedding_dim, config.pc_levels
        self.suggest = nn.ModuleList(
            nn.Linear(width, width, bias=config.bias) for _ in range(levels)
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

    def __init__(self, config: "ModelConfig") -> None:
        super().__init__()
        self.norm = NORMS[config.norm](config.embedding_dim, config.bias)
        self.stack = PredictiveStack(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.stack(self.norm(x))


class SingleBlock(nn.Module):
    """One sub-layer with a norm and a way around it."""

    def __init__(self, config: "ModelConfig") -> None:
        super().__init__()
        self.norm = NORMS[config.norm](config.embedding_dim, config.bias)
        self.dropout = Dropout(config.dropout)
        self.norm_place = config.norm_place

    def around(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        if self.norm_place == "pre":
            return x + self.dropout(sublayer(self.norm(x)))
        return self.norm(x + self.dropout(sublayer(x)))


class AttentionBlock(SingleBlock):
    """Attention alone."""

    def __init__(self, config: "ModelConfig") -> None:
        super().__init__(config)
        self.attention = ATTENTIONS[config.attention](
            config.embedding_dim, config.heads, config.dropout, config.bias, config.qk_norm
        )

    def forward(self, x: Tensor, positions: Positions, cache: KeyValueCache | None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.around(x, lambda normed: self.attention(normed, positions, cache))


class PredictiveBlock(SingleBlock):
    """Predictive coding alone: what a stack has settled on is written into the stream."""

    def __init__(self, config: "ModelConfig") -> None:
        super().__init__(config)
        self.stack = PredictiveStack(config)
        self.output = nn.Linear(config.embedding_dim, config.embedding_dim, bias=config.bias)

    def forward(self, x: Tensor, positions: Positions, cache: KeyValueCache | None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.around(x, lambda normed: self.output(self.stack(normed)))


class DualStreamBlock(nn.Module):
    """An ordinary block and a predictive one side by side, mixed number by number.

    g ordinary(x) + (1 - g) predictive(x), where the gate g = sigmoid(w) is learned and starts at ½.
    """

    def __init__(self, config: "ModelConfig", ordinary: nn.Module) -> None:
        super().__init__()
        self.ordinary = ordinary
        self.predictive = PredictiveBlock(config)
        self.gate = nn.Parameter(torch.empty(config.embedding_dim))

    def forward(self, x: Tensor, positions: Positions, cache: KeyValueCache | None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        share = self.gate.sigmoid()
        settled = self.predictive(x, positions, cache)
        return share * self.ordinary(x, positions, cache) + (1 - share) * settled


OrdinaryBlock = Callable[["ModelConfig"], nn.Module]


def standard(config: "ModelConfig", layer: int, ordinary: OrdinaryBlock) -> nn.Module:
    """Ordinary blocks throughout."""
    return ordinary(config)


def alternating(config: "ModelConfig", layer: int, ordinary: OrdinaryBlock) -> nn.Module:
    """Attention alone, predictive coding alone, attention alone, ..."""
    return PredictiveBlock(config) if layer % 2 else AttentionBlock(config)


def dual_stream(config: "ModelConfig", layer: int, ordinary: OrdinaryBlock) -> nn.Module:
    """Both kinds side by side in every layer."""
    return DualStreamBlock(config, ordinary(config))


# What stands in each layer, by the name of the architecture. The hierarchical one has ordinary
# blocks too; its PredictiveHierarchy comes before them.
ARCHITECTURES: dict[str, Callable[[Any, int, OrdinaryBlock], nn.Module]] = {
    "standard": standard,
    "pc_alternating": alternating,
    "pc_hierarchical": standard,
    "pc_dual": dual_stream,
}
