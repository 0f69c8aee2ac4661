"""Attention: each token gathers what it needs from the tokens before it.

Shapes: B batch, T time, D width, H heads, K head width (D = H K).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.positions import Positions


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
        qkv = self.query_key_value(x).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, K)
        q, k = positions.rotate(q, start), positions.rotate(k, start)
        if self.qk_norm:
            q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        if cache is not None:
            assert start == 0 or T == 1
            k, v = cache.extend(k, v)
        mixed = F.scaled_dot_product_attention(  # (B, H, T, K)
            q,
            k,
            v,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=T > 1,  # a single newest token may look at everything
        )
        return self.output(mixed.transpose(1, 2).reshape(B, T, D))


ATTENTIONS = {
    "multi_head": MultiHeadAttention,
}
