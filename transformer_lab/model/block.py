"""Blocks: the layers of a GPT. Read `PreNormBlock` first: it is the standard one.

Shapes: B batch, T time, D width.
"""

from collections.abc import Callable

from torch import Tensor, nn

from transformer_lab.model.attention import ATTENTIONS
from transformer_lab.model.cache import LayerCache
from transformer_lab.model.config import ModelConfig
from transformer_lab.model.dropout import Dropout
from transformer_lab.model.feedforward import FEEDFORWARDS
from transformer_lab.model.norms import NORMS
from transformer_lab.model.positions import Positions


class Block(nn.Module):
    """The parts of one layer: attention and feed-forward, each with a norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = ATTENTIONS[config.attention](config.attention_shape)
        self.feedforward = FEEDFORWARDS[config.feedforward](config.feedforward_shape)
        self.norm_1 = NORMS[config.norm](config.embedding_dim, config.bias)
        self.norm_2 = NORMS[config.norm](config.embedding_dim, config.bias)
        self.dropout = Dropout(config.dropout)


class PreNormBlock(Block):
    """Norms stand before the sub-layers, which add to the residual stream."""

    def forward(self, x: Tensor, positions: Positions, cache: LayerCache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        x = x + self.dropout(self.attention(self.norm_1(x), positions, cache))
        return x + self.dropout(self.feedforward(self.norm_2(x)))


class PostNormBlock(Block):
    """Norms stand on the residual stream, after each sum, as in the 2017 paper."""

    def forward(self, x: Tensor, positions: Positions, cache: LayerCache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        x = self.norm_1(x + self.dropout(self.attention(x, positions, cache)))
        return self.norm_2(x + self.dropout(self.feedforward(x)))


class NoResidualBlock(Block):
    """No residual connections: each sub-layer replaces what it reads. To see what they are for."""

    def forward(self, x: Tensor, positions: Positions, cache: LayerCache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        x = self.dropout(self.attention(self.norm_1(x), positions, cache))
        return self.dropout(self.feedforward(self.norm_2(x)))


class SingleBlock(nn.Module):
    """One sub-layer with a norm and a residual connection."""

    def __init__(self, config: ModelConfig) -> None:
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
    """Attention alone, without a feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.attention = ATTENTIONS[config.attention](config.attention_shape)

    def forward(self, x: Tensor, positions: Positions, cache: LayerCache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        return self.around(x, lambda normed: self.attention(normed, positions, cache))


def standard_block(config: ModelConfig) -> nn.Module:
    """The block that a config without predictive coding has in every layer."""
    return STANDARD_BLOCKS[config.block](config)


STANDARD_BLOCKS: dict[str, Callable[[ModelConfig], nn.Module]] = {
    "pre": PreNormBlock,
    "post": PostNormBlock,
    "no_residual": NoResidualBlock,
    "attention": AttentionBlock,
}
