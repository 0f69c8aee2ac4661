"""The cache: what has been read so far, so that one more token costs one token's work.

Shapes: B batch, T time, D width, H heads, K head width.
"""

from collections.abc import Iterable

from torch import Tensor


class KeyValueCache:
    """One layer's keys and values of the tokens already read; `length` counts them."""

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
        return self.so_far()

    def so_far(self) -> tuple[Tensor, Tensor]:
        """All keys and values, (B, H, length, K); there must be some."""
        assert self._keys is not None
        assert self._values is not None
        return self._keys[:, :, : self.length], self._values[:, :, : self.length]


class SumCache:
    """What linear attention keeps of one layer: sums that do not grow with the text.

    `memory` is Σ φ(k) vᵀ over the tokens read, (B, H, K, K), `weight` is Σ φ(k), (B, H, K).
    """

    def __init__(self) -> None:
        self.length = 0
        self.memory: Tensor | None = None
        self.weight: Tensor | None = None


LayerCache = KeyValueCache | SumCache


class Cache:
    """The caches of all layers, None where one has no attention, and what is kept of embeddings.

    `tokens` are the last ids, (B, reach), if n-grams want them; `smeared` the last embeddings,
    (B, reach, D), if Smear does; `previous` is the very last, (B, 1, D), for positions that look
    back at it.
    """

    def __init__(self, layers: Iterable[LayerCache | None]) -> None:
        self.layers = list(layers)
        self.tokens: Tensor | None = None
        self.smeared: Tensor | None = None
        self.previous: Tensor | None = None

    @property
    def length(self) -> int:
        """How many tokens have been read."""
        first = self.layers[0]
        assert first is not None  # every architecture begins with attention
        return first.length
