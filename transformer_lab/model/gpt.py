"""A GPT: reads tokens, and scores at every position which token comes next.

    tokens -> embedding + positions -> block -> block -> ... -> norm -> head -> logits

Each block is attention (tokens look back at one another) and a feed-forward (each token works
alone), and each of the two only *adds* to the residual stream, the vectors that run through the
whole model.

Shapes: B batch, T time, D width, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.architectures import ARCHITECTURES
from transformer_lab.model.attention import MultiHeadAttention
from transformer_lab.model.block import AttentionBlock, standard_block
from transformer_lab.model.cache import Cache
from transformer_lab.model.config import ModelConfig
from transformer_lab.model.dropout import Dropout
from transformer_lab.model.linear import Embedding, Linear
from transformer_lab.model.ngrams import NGrams
from transformer_lab.model.norms import NORMS
from transformer_lab.model.positions import POSITIONS
from transformer_lab.model.predictive import DualStreamBlock, PredictiveBlock, PredictiveHierarchy
from transformer_lab.model.smear import Smear


class GPT(nn.Module):
    """A decoder-only transformer; each part is made, and its first weights are named, in its file.

    Source: arXiv:1706.03762, the decoder alone, as in GPT-2.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        D = config.embedding_dim
        self.embedding = Embedding(vocabulary_size, D, config.embedding_deviation)
        longest, rows = config.ngrams, config.ngram_rows
        self.ngrams = NGrams(longest, rows, D) if longest > 1 else None
        self.smear = Smear(config.smear, D) if config.smear else None
        self.positions = POSITIONS[config.positions](config.position_shape)
        self.dropout = Dropout(config.dropout)
        hierarchical = config.architecture == "pc_hierarchical"
        self.hierarchy = PredictiveHierarchy(config) if hierarchical else None
        kinds = [ARCHITECTURES[config.architecture](layer) for layer in range(config.layers)]
        self.blocks = nn.ModuleList(BLOCKS[kind](config) for kind in kinds)
        # Post-norm blocks end in a norm of their own.
        self.norm = NORMS[config.norm](D, config.bias) if config.ends_in_norm else nn.Identity()
        if config.tied_head:
            self._soften_last_norm()
        else:
            self.head = Linear(D, vocabulary_size, bias=False, deviation=config.head_deviation)

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
        tokens = tokens.to(self.embedding.weight.device)
        x = self.embedding(tokens)  # (B, T, D)
        if self.ngrams is not None:
            x = self.ngrams(x, tokens, cache)
        if self.smear is not None:
            x = self.smear(x, cache)
        x = self.dropout(self.positions(x, cache))
        return x if self.hierarchy is None else self.hierarchy(x)

    def score(self, x: Tensor) -> Tensor:
        """The stream after the last block -> logits: (B, T, D) -> (B, T, V)"""
        x = self.norm(x)
        logits = F.linear(x, self.embedding.weight) if self.config.tied_head else self.head(x)
        cap = self.config.logit_softcap
        return logits if cap == 0 else cap * torch.tanh(logits / cap)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token: (B, T), (B, T) -> ()"""
        logits = self(tokens)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten().to(logits.device))

    def new_cache(self) -> Cache:
        """An empty cache, as long as the model can see."""
        return Cache(
            next(
                (p.new_cache() for p in block.modules() if isinstance(p, MultiHeadAttention)), None
            )
            for block in self.blocks
        )

    def _soften_last_norm(self) -> None:
        """Before a tied head a token's own embedding would score high: let its norm start small."""
        config = self.config
        last = self.norm if config.ends_in_norm else self.blocks[-1]
        for name, part in last.named_modules():
            if isinstance(getattr(part, "gain", None), float) and not name.endswith("norm_1"):
                part.gain = min(1.0, 0.32 / (config.embedding_dim * config.embedding_deviation))


# The blocks that architectures name.
BLOCKS: dict[str, Callable[[ModelConfig], nn.Module]] = {
    "standard": standard_block,
    "attention": AttentionBlock,
    "predictive": PredictiveBlock,
    "dual": DualStreamBlock,
}
