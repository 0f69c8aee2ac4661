"""N-grams: each embedding takes in which tokens came just before.

Shapes: B batch, T time, D width, N the longest n-gram.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.cache import Cache

Numbers = TypeVar("Numbers", int, Tensor)
FACTOR, PRIME = 1_000_003, 2**31 - 1  # of the hash; numbers stay below 2**63


class NGrams(nn.Module):
    """Adds to each embedding those learned for the last 2, 3, ... N tokens taken together.

    So `th` and `the` need not be found out by attention. There are more n-grams than rows in the
    table: each takes the row that its hash names, and some share one. The start of the text counts
    as one more token. All rows are zero at first.
    Source: arXiv:2501.16975, section 3, with one table for all n.
    """

    def __init__(self, longest: int, rows: int, width: int) -> None:
        super().__init__()
        self.longest = longest
        self.table = nn.Parameter(torch.empty(rows, width))

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Start as if it were not there."""
        self.table.zero_()

    def forward(self, x: Tensor, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, D) embeddings of (B, T) token ids -> (B, T, D)"""
        T, reach = tokens.shape[1], self.longest - 1
        before = cache.tokens if cache else None
        if before is None:
            before = tokens.new_full((len(tokens), reach), -1)
        known = torch.cat([before, tokens], dim=1)  # (B, reach + T)
        if cache:
            cache.tokens = known[:, -reach:]
        own = [known[:, reach - back : reach - back + T] for back in range(self.longest)]
        return x + F.embedding(torch.stack([*self.rows(own)]), self.table).sum(0)

    def rows(self, tokens: Sequence[Numbers]) -> Iterator[Numbers]:
        """Where the n-grams stand in the table, the shortest first.

        `tokens` are the ids of each token, of the one before it and so on, -1 before the start:
        numbers, or tensors of the same shape.
        """
        found, *earlier = tokens
        for token in earlier:
            found = (found * FACTOR + token + 1) % PRIME
            yield found % len(self.table)
