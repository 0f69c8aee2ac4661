"""Attention: each token gathers what it needs from the tokens before it.

Shapes: B batch, T time, D width, H heads, G key/value heads, K head width (D = H K), S keys.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.cache import KeyValueCache, LayerCache, SumCache
from transformer_lab.model.dropout import Dropout, attention_with_dropout
from transformer_lab.model.linear import DEVIATION, Linear
from transformer_lab.model.norms import unit_size
from transformer_lab.model.positions import Positions


@dataclass(frozen=True, kw_only=True)
class AttentionShape:
    """What an attention needs to know.

    `key_value_heads` divides `heads`; `window` is how many tokens a sliding window sees; `capacity`
    how many a cache must hold; `deviation` that of the output matrix's first weights. Without
    `causal` every token sees all others, which breaks a model that predicts the next one.
    """

    width: int
    heads: int
    key_value_heads: int
    window: int
    capacity: int
    dropout: float
    bias: bool
    qk_norm: bool
    deviation: float = DEVIATION
    causal: bool = True


class MultiHeadAttention(nn.Module):
    """Causal multi-head self-attention: softmax(Q Kᵀ / √K) V in every head, side by side.

    With fewer key/value heads than heads, several heads of queries share one of keys and values:
    grouped-query attention, or multi-query attention with a single one.
    Source: arXiv:1706.03762, eq. 1 and section 3.2.2; arXiv:2305.13245, section 2.2.
    """

    softmax = True  # whether the pattern is a softmax of the scores

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        self.shape = shape
        self.heads = shape.heads
        self.head_width = shape.width // shape.heads
        H, G, K = shape.heads, shape.key_value_heads, self.head_width
        heights = (H * K, G * K, G * K)
        self.query_key_value = Linear(shape.width, sum(heights), shape.bias, stacked=heights)
        self.output = Linear(shape.width, shape.width, shape.bias, shape.deviation)
        self.dropout = Dropout(shape.dropout)

    def forward(self, x: Tensor, positions: Positions, cache: LayerCache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)

        With a cache, x holds the tokens that follow those in it: any number into an empty cache,
        then one at a time.
        """
        q, k, v = self.queries_keys_values(x, positions, cache.length if cache else 0)
        if cache is not None:
            assert isinstance(cache, KeyValueCache)
            k, v = cache.extend(k, v)
        mixed = self.mix(q, self.for_every_head(k), self.for_every_head(v), positions)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def queries_keys_values(
        self, x: Tensor, positions: Positions, start: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> (B, H, T, K) and two of (B, G, T, K), as they go into the products

        `start` is the position of the first of these tokens.
        """
        B, T, _ = x.shape
        H, G = self.heads, self.shape.key_value_heads
        split = self.query_key_value(x).view(B, T, H + 2 * G, self.head_width).transpose(1, 2)
        queries_keys, v = split.tensor_split([H + G], dim=1)
        queries_keys = positions.rotate(queries_keys, start)
        if self.shape.qk_norm:
            queries_keys = unit_size(queries_keys)
        q, k = queries_keys.tensor_split([H], dim=1)
        return q, k, v

    def for_every_head(self, x: Tensor) -> Tensor:
        """Keys or values, each given to all heads that share it: (B, G, S, K) -> (B, H, S, K)"""
        share = self.heads // self.shape.key_value_heads
        return x if share == 1 else x.repeat_interleave(share, dim=1)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, positions: Positions) -> Tensor:
        """(B, H, T, K), (B, H, S, K), (B, H, S, K) -> (B, H, T, K): the fast way

        The queries belong to the last T of the S tokens.
        """
        bias = self.score_bias(q.shape[2], k.shape[2], positions)
        dropout = self.shape.dropout if self.training else 0.0
        if dropout and q.device.type == "cpu" and self.shape.causal:
            return attention_with_dropout(q, k, v, dropout, bias)
        if bias is not None:
            return F.scaled_dot_product_attention(
                q, k, v, bias.to(q.dtype).expand(len(q), -1, -1, -1), dropout
            )
        # A single newest token may look at everything.
        return F.scaled_dot_product_attention(q, k, v, None, dropout, is_causal=q.shape[2] > 1)

    def score_bias(self, queries: int, keys: int, positions: Positions) -> Tensor | None:
        """What is added to the scores, -inf where a query must not look: (H or 1, T, S)

        None where that is only the future.
        """
        bias = positions.score_bias(queries, keys)
        if bias is None:
            if self.shape.causal:
                return None
            bias = self.query_key_value.weight.new_zeros(1, queries, keys)
        return bias.masked_fill(~self.visible(queries, keys, bias.device), -math.inf)

    def visible(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """Which of all keys each of the last queries may look at: (T, S) booleans"""
        everything = torch.ones(queries, keys, dtype=torch.bool, device=device)
        return everything.tril(keys - queries) if self.shape.causal else everything

    def new_cache(self) -> LayerCache:
        """An empty cache."""
        return KeyValueCache(self.shape.capacity)

    # --- written out, for those who look inside ---------------------------------------------------

    def scores(self, q: Tensor, k: Tensor, positions: Positions) -> Tensor:
        """Q Kᵀ / √K: (B, H, T, K), (B, H, S, K) -> (B, H, T, S), before anything is masked"""
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_width)
        bias = positions.score_bias(q.shape[-2], k.shape[-2])
        return scores if bias is None else scores + bias

    def pattern(self, scores: Tensor) -> Tensor:
        """How much each query takes from each key: (B, H, T, S) -> (B, H, T, S), rows sum to 1"""
        T, S = scores.shape[-2:]
        return scores.masked_fill(~self.visible(T, S, scores.device), -math.inf).softmax(-1)


class WrittenOutAttention(MultiHeadAttention):
    """The same attention in plain lines, one step after the other: slow, made for reading."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, positions: Positions) -> Tensor:
        """softmax(Q Kᵀ / √K) V: (B, H, T, K), (B, H, S, K), (B, H, S, K) -> (B, H, T, K)"""
        scores = self.scores(q, k, positions)  # (B, H, T, S): each query against each key
        pattern = self.pattern(scores)  # shares of 1, none for tokens that are yet to come
        return self.dropout(pattern) @ v  # each token's mixture of the values


class SlidingWindowAttention(MultiHeadAttention):
    """Each token sees only itself and those shortly before it, `window` in all.

    Layers above see further, since what they read has already been mixed.
    Source: arXiv:2004.05150, section 3.1, with the window on one side.
    """

    def score_bias(self, queries: int, keys: int, positions: Positions) -> Tensor | None:
        """0 or what positions add, and -inf outside of the window: (H or 1, T, S)"""
        weight = self.query_key_value.weight
        visible = self.visible(queries, keys, weight.device)
        bias = positions.score_bias(queries, keys)
        if bias is None:
            bias = weight.new_zeros(1, queries, keys)
        return bias.masked_fill(~visible, -math.inf)

    def visible(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """(T, S) booleans: what the mask allows, but for what lies further back than the window"""
        near = super().visible(queries, keys, device)
        return near.triu(keys - queries - self.shape.window + 1)


class LinearAttention(MultiHeadAttention):
    """Attention without softmax: a sum that is carried along instead of a look back at every token.

        out_t = Σ_{s≤t} φ(q_t)·φ(k_s) v_s / Σ_{s≤t} φ(q_t)·φ(k_s)      φ(x) = elu(x) + 1

    φ(q_t) can be taken out of both sums, so the cache is two sums, however long the text.
    Source: arXiv:2006.16236, eqs. 7 to 12.
    """

    softmax = False

    def forward(self, x: Tensor, positions: Positions, cache: LayerCache | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        q, k, v = self.queries_keys_values(x, positions, cache.length if cache else 0)
        k, v = self.for_every_head(k), self.for_every_head(v)
        if isinstance(cache, SumCache) and cache.length:
            mixed = self.step(q, k, v, cache)
        else:
            mixed = self.mix(q, k, v, positions)
        if isinstance(cache, SumCache):
            self.remember(k, v, cache)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, positions: Positions) -> Tensor:
        """All tokens at once: (B, H, T, K) each -> (B, H, T, K)"""
        return self.dropout(self.pattern(self.scores(q, k, positions))) @ v

    def scores(self, q: Tensor, k: Tensor, positions: Positions) -> Tensor:
        """φ(Q) φ(K)ᵀ, never negative: (B, H, T, K), (B, H, S, K) -> (B, H, T, S)"""
        return feature(q) @ feature(k).transpose(-2, -1)

    def pattern(self, scores: Tensor) -> Tensor:
        """(B, H, T, S) -> (B, H, T, S), rows sum to 1"""
        T, S = scores.shape[-2:]
        seen = scores * self.visible(T, S, scores.device)
        return seen / seen.sum(-1, keepdim=True).clamp(min=1e-6)

    def step(self, q: Tensor, k: Tensor, v: Tensor, cache: SumCache) -> Tensor:
        """One more token, by the sums alone: (B, H, 1, K) each -> (B, H, 1, K)"""
        assert cache.memory is not None
        assert cache.weight is not None
        q, k = feature(q), feature(k)
        memory = cache.memory + k.transpose(-2, -1) @ v  # (B, H, K, K)
        weight = (cache.weight + k[:, :, 0])[..., None]  # (B, H, K, 1)
        return (q @ memory) / (q @ weight).clamp(min=1e-6)

    def remember(self, k: Tensor, v: Tensor, cache: SumCache) -> None:
        """Add (B, H, t, K) keys and values to the sums."""
        k = feature(k)
        memory, weight = k.transpose(-2, -1) @ v, k.sum(2)
        cache.memory = memory if cache.memory is None else cache.memory + memory
        cache.weight = weight if cache.weight is None else cache.weight + weight
        cache.length += k.shape[2]

    def new_cache(self) -> LayerCache:
        """An empty cache."""
        return SumCache()


def feature(x: Tensor) -> Tensor:
    """φ(x) = elu(x) + 1, above 0 everywhere: (...) -> (...). Source: arXiv:2006.16236, eq. 7."""
    return F.elu(x) + 1


# A subclass that overrides `scores` and `pattern` where its own differ can be looked into, too.
ATTENTIONS: dict[str, type[MultiHeadAttention]] = {
    "multi_head": MultiHeadAttention,
    "written_out": WrittenOutAttention,
    "sliding_window": SlidingWindowAttention,
    "linear": LinearAttention,
}
