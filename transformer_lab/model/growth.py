"""New tokens for a model that is there: its tables grow by a row for each.

Tables are the embedding, and the head where that has weights of its own. Each new row begins as the
mean of all rows: then a new token is at first no likelier than the others are on average, and every
other probability falls by at most log(1 + new / old) nats.
Source: Hewitt 2021, "Initializing new word embeddings for pretrained language models".

Shapes: V vocabulary, D width, n new tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

TABLES = ("embedding", "head")
HIDDEN = ".parametrizations."  # in the names of a table of which only some rows learn


def grown(weights: Mapping[str, Tensor], kept: Sequence[int], size: int) -> dict[str, Tensor]:
    """Weights whose tables have `size` rows; row i of before stands at `kept[i]`, unchanged."""
    found = dict(weights)
    for name in TABLES:
        if (rows := weights.get(f"{name}.weight")) is not None:
            table = rows.mean(dim=0).repeat(size, 1)
            table[torch.as_tensor(kept, dtype=torch.int64)] = rows
            found[f"{name}.weight"] = table
    return found


class NewRows(nn.Module):
    """A frozen table of which some rows learn: (V, D) -> (V, D)"""

    def __init__(self, table: Tensor, places: Sequence[int]) -> None:
        super().__init__()
        where = torch.tensor(list(places), device=table.device)
        self.register_buffer("places", where, persistent=False)
        self.rows = nn.Parameter(table.detach()[where].clone())  # (n, D)

    def forward(self, table: Tensor) -> Tensor:
        """The table with its new rows as they are now."""
        places: Any = self.places
        return table.index_copy(0, places, self.rows)


def let_rows_learn(model: nn.Module, places: Sequence[int]) -> None:
    """Let the rows of new tokens learn in tables that are frozen; their other rows stay."""
    for part in tables(model).values() if places else ():
        if not part.weight.requires_grad:
            parametrize.register_parametrization(part, "weight", NewRows(part.weight, places))


def tables(model: nn.Module) -> dict[str, Any]:
    """The parts of a model with a row for each token, by their names."""
    found = {name: getattr(model, name, None) for name in TABLES}
    return {name: part for name, part in found.items() if part is not None}
