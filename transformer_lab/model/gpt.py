"""A GPT: reads tokens, and scores at every position which token comes next.

    tokens -> embedding + positions -> block -> block -> ... -> norm -> head -> logits

Each block is attention (tokens look back at one another) and a feed-forward (each token works
alone), and each of the two only *adds* to the stream of vectors that runs through the whole model.

Shapes: B batch, T time, D width, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.attention import ATTENTIONS, KeyValueCache
from transformer_lab.model.config import ModelConfig
from transformer_lab.model.dropout import Dropout
from transformer_lab.model.feedforward import FEEDFORWARDS
from transformer_lab.model.norms import NORMS
from transformer_lab.model.positions import POSITIONS, Positions, Recent
from transformer_lab.model.predictive import ARCHITECTURES, PredictiveHierarchy


class Cache:
    """What has been read so far, so that reading one more token costs one token's work."""

    def __init__(self, layers: int, capacity: int) -> None:
        self.layers = [KeyValueCache(capacity) for _ in range(layers)]
        self.embeddings: Tensor | None = None  # the last ones, (B, reach, D), when Smear wants them
        self.recent = Recent()

    @property
    def length(self) -> int:
        """How many tokens have been read."""
        return self.layers[0].length


class Smear(nn.Module):
    """Adds to each token's embedding a learned share, number by number, of those just before it.

    So the first layer already sees a few letters at once. Its shares start at zero.
    """

    def __init__(self, reach: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(reach, width))

    def forward(self, x: Tensor, cache: Cache | None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        B, T, D = x.shape
        reach = len(self.weight)
        before = cache.embeddings if cache else None
        if before is None:
            before = x.new_zeros(B, reach, D)
        known = torch.cat([before, x], dim=1)  # (B, reach + T, D)
        if cache:
            cache.embeddings = known[:, -reach:]
        for back, share in enumerate(self.weight, start=1):
            x = x + share * known[:, reach - back : reach - back + T]
        return x


class Block(nn.Module):
    """One layer: attention, then feed-forward, each with a norm and a way around it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.attention = ATTENTIONS[config.attention](
            width, config.heads, config.dropout, config.bias, config.qk_norm
        )
        self.feedforward = FEEDFORWARDS[config.feedforward](
            width, config.feedforward_multiple * width, config.bias, config.settling
        )
        self.norm_1 = NORMS[config.norm](width, config.bias)
        self.norm_2 = NORMS[config.norm](width, config.bias)
        self.dropout = Dropout(config.dropout)


class PreNormBlock(Block):
    """Norms stand before the sub-layers: the stream itself is never squeezed."""

    def forward(self, x: Tensor, positions: Positions, cache: KeyValueCache | None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        x = x + self.dropout(self.attention(self.norm_1(x), positions, cache))
        return x + self.dropout(self.feedforward(self.norm_2(x)))


class PostNormBlock(Block):
    """Norms stand on the stream, after each sum, as in the 2017 paper."""

    def forward(self, x: Tensor, positions: Positions, cache: KeyValueCache | None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        x = self.norm_1(x + self.dropout(self.attention(x, positions, cache)))
        return self.norm_2(x + self.dropout(self.feedforward(x)))


class GPT(nn.Module):
    """A decoder-only transformer. Its initial weights are set in `weights.py`, all in one place."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        width = config.embedding_dim
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.smear = Smear(config.smear, width) if config.smear else None
        self.positions = POSITIONS[config.positions](
            config.sequence_length, width, width // config.heads, config.settling
        )
        self.dropout = Dropout(config.dropout)
        hierarchical = config.architecture == "pc_hierarchical"
        self.hierarchy = PredictiveHierarchy(config) if hierarchical else None
        ordinary = PreNormBlock if config.norm_place == "pre" else PostNormBlock
        block = ARCHITECTURES[config.architecture]
        self.blocks = nn.ModuleList(block(config, n, ordinary) for n in range(config.layers))
        if config.norm_place == "pre":
            self.norm: nn.Module = NORMS[config.norm](width, config.bias)
        else:
            self.norm = nn.Identity()  # the last block has just normalized
        if not config.tied_head:
            self.head = nn.Linear(width, vocabulary_size, bias=False)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T) token ids -> (B, T, V) logits, the unnormalized log probability of each next token

        With a cache (see `new_cache`), tokens follow those read before.
        """
        x = self.embed(tokens, cache)
        for layer, block in enumerate(self.blocks):
            x = block(x, self.positions, cache.layers[layer] if cache else None)
        return self.score(x)

    def embed(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """What the first block reads: (B, T) -> (B, T, D)

        Tokens may be on any device: they follow the model to its own.
        """
        start = cache.length if cache else 0
        x = self.embedding(tokens.to(self.embedding.weight.device))  # (B, T, D)
        if self.smear is not None:
            x = self.smear(x, cache)
        x = self.dropout(self.positions(x, start, cache.recent if cache else None))
        return x if self.hierarchy is None else self.hierarchy(x)

    def score(self, x: Tensor) -> Tensor:
        """The stream after the last block -> logits: (B, T, D) -> (B, T, V)"""
        x = self.norm(x)
        return F.linear(x, self.embedding.weight) if self.config.tied_head else self.head(x)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token: (B, T), (B, T) -> ()"""
        logits = self(tokens)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten().to(logits.device))

    def new_cache(self) -> Cache:
        """An empty cache, as long as the model can see."""
        return Cache(len(self.blocks), self.config.sequence_length)
