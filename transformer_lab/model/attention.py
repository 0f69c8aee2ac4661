"""Attention: each token gathers what it needs from the tokens before it.

Shapes: B batch, T time, D width, H heads, K head width (D = H K).
"""

from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.dropout import enlargement, kept
from transformer_lab.model.positions import Positions

QUERIES = 64  # looked after at once where attention is written out


class KeyValueCache:
    """One layer's keys and values of tokens already read; `length` counts them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, H, t, K) new keys and values; return all of them, (B, H, length, K)."""
        if self._keys is None or self._values is None:
            B, H, _, K = keys.shape
            self._keys = keys.new_empty(B, H, self.capacity, K)
            self._values = keys.new_empty(B, H, self.capacity, K)
        end = self.length + keys.shape[2]
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]


class MultiHeadAttention(nn.Module):
    """Causal multi-head self-attention: softmax(Q Kᵀ / √K) V in every head, side by side.

    Source: arXiv:1706.03762, eq. 1 and section 3.2.2.
    """

    several = MappingProxyType({"query_key_value.weight": 3})  # matrices, one above the other

    def __init__(
        self, width: int, heads: int, dropout: float, bias: bool, qk_norm: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qk_norm = qk_norm
        self.query_key_value = nn.Linear(width, 3 * width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)

    def forward(
        self, x: Tensor, positions: Positions, cache: KeyValueCache | None = None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D)

        With a cache, x holds the tokens that follow those in it: any number into an empty cache,
        then one at a time.
        """
        B, T, D = x.shape
        start = cache.length if cache else 0
        q, k, v = self.queries_keys_values(x, positions, start)
        if cache is not None:
            assert start == 0 or T == 1
            k, v = cache.extend(k, v)
        dropout = self.dropout if self.training else 0.0
        if dropout and q.device.type == "cpu":
            mixed = attention_with_dropout(q, k, v, dropout)  # (B, H, T, K)
        else:
            mixed = F.scaled_dot_product_attention(
                q,
                k,
                v,
                dropout_p=dropout,
                is_causal=T > 1,  # a single newest token may look at everything
            )
        return self.output(mixed.transpose(1, 2).reshape(B, T, D))

    def queries_keys_values(
        self, x: Tensor, positions: Positions, start: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> three of (B, H, T, K), turned and scaled as they go into the products

        `start` is the position of the first of these tokens.
        """
        B, T, D = x.shape
        qkv = self.query_key_value(x).view(B, T, 3, self.heads, D // self.heads)
        queries_keys, v = qkv.permute(2, 0, 3, 1, 4).tensor_split([2])  # each (..., B, H, T, K)
        queries_keys = positions.rotate(queries_keys, start)
        if self.qk_norm:
            queries_keys = F.rms_norm(queries_keys, queries_keys.shape[-1:])
        q, k = queries_keys
        return q, k, v[0]


def attention_with_dropout(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Causal attention written out, where a share of the looks back is dropped.

    (B, H, T, K), (B, H, T, K), (B, H, T, K) -> (B, H, T, K)

    PyTorch's own is slow on a CPU once there is dropout. This one takes a few queries at a time, so
    that most of what they may not see is never computed.
    """
    T, K = q.shape[2:]
    q = q * K**-0.5
    hidden = torch.full((QUERIES, QUERIES), -torch.inf).triu(1)  # from the queries' own block
    mixed = []
    for begin in range(0, T, QUERIES):
        end = min(begin + QUERIES, T)
        scores = q[:, :, begin:end] @ k[:, :, :end].transpose(2, 3)  # (B, H, t, end)
        scores[:, :, :, begin:] += hidden[: end - begin, : end - begin]
        weights = scores.softmax(3)
        mixed.append((weights * kept(weights.shape, dropout)) @ v[:, :, :end])
    return torch.cat(mixed, dim=2) * enlargement(dropout)


# Where `heads`, `queries_keys_values` and `output` are as above, a variant can be looked into too.
ATTENTIONS = {
    "multi_head": MultiHeadAttention,
}
