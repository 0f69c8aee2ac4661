"""Embeddings: how tokens and positions lie in the space the model made for them.

Shapes: N rows of a table, D width, C components, T positions.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.model import GPT
from transformer_lab.settings import ConfigError

POSITIONS_SHOWN = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """A table seen along the few directions in which its rows differ most.

    `points` is (N, C); `shares` (C,) is the part of all variance each component carries;
    `components` (C, D) are the directions, of length 1. On the CPU.
    """

    points: Tensor
    shares: Tensor
    components: Tensor


def principal_components(table: Tensor, count: int = 2) -> Projection:
    """Project (N, D) rows on their first principal components, from the SVD of the centred table.

    An SVD may flip any component; here its largest number is positive, so a picture of a table does
    not mirror itself from one step of a training to the next. Where there are fewer than `count`
    directions the rest is 0.
    """
    rows = table.detach().float().cpu()
    centred = rows - rows.mean(0)
    _, lengths, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * torch.where(largest < 0, -1.0, 1.0)
    variances = lengths.square()
    shares = variances[:count] / variances.sum().clamp(min=1e-30)
    missing = count - len(directions)
    return Projection(
        points=F.pad(centred @ directions.T, (0, missing)),
        shares=F.pad(shares, (0, missing)),
        components=F.pad(directions, (0, 0, 0, missing)),
    )


def similarities(table: Tensor) -> Tensor:
    """Cosine of the angle between every two rows: (N, D) -> (N, N), on the CPU"""
    unit = F.normalize(table.detach().float().cpu(), dim=-1)
    return unit @ unit.T


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A row near another: `cosine` 1 is the same direction, 0 none in common, -1 the opposite."""

    token: int
    cosine: float


def nearest(table: Tensor, token: int, count: int = 10) -> list[Neighbour]:
    """The rows of (N, D) that point most nearly where this one does, nearest first.

    Raises ConfigError for a token that is not in the table.
    """
    rows = table.detach().float().cpu()
    if not 0 <= token < len(rows):
        raise ConfigError(
            "inspection.token",
            f"There is no token id {token}: this model knows 0 to {len(rows) - 1:,}.",
        )
    cosines = F.normalize(rows, dim=-1) @ F.normalize(rows[token], dim=0)
    cosines[token] = -torch.inf  # a token is not its own neighbour
    found = cosines.topk(min(count, len(rows) - 1))
    return [
        Neighbour(token=int(row), cosine=float(cosine))
        for cosine, row in zip(found.values, found.indices, strict=True)
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class PositionSimilarity:
    """How alike positions are to the model, (T, T) on the CPU; `meaning` says in what sense."""

    similarity: Tensor
    meaning: str


ADDED = "Cosine between the vectors that are added at two positions."
TURNED = (
    "Rotary positions add nothing: they turn queries and keys. Shown is the mean cosine between a "
    "vector turned for one position and the same one turned for the other, over all directions it "
    "may have: how much of a score remains when the two stand that far apart."
)


def position_similarity(model: GPT, count: int = POSITIONS_SHOWN) -> PositionSimilarity:
    """Compare the first `count` positions the model can read.

    Raises ConfigError where what a position adds depends on the token that stands there, and where
    positions have no vectors.
    """
    T = min(count, model.config.sequence_length)
    with torch.no_grad():
        added = _added(model, T)
        if added.any():
            return PositionSimilarity(similarity=similarities(added), meaning=ADDED)
        turned = _turned(model, T)
        if torch.allclose(turned, turned[:1]):
            raise ConfigError(
                "model.positions",
                f"Positions are {model.config.positions}: they neither add to embeddings nor turn "
                "queries and keys, so positions have no vectors to compare.",
            )
        return PositionSimilarity(similarity=similarities(turned), meaning=TURNED)


def _added(model: GPT, T: int) -> Tensor:
    """What positions add to nothing, (T, D), once it is sure that they add that to anything."""
    table = model.embedding.weight
    tokens = torch.arange(T, device=table.device) % len(table)
    embedded = table[tokens][None]
    added = model.positions(torch.zeros_like(embedded))
    if not torch.allclose(model.positions(embedded) - embedded, added, atol=1e-4, rtol=1e-3):
        raise ConfigError(
            "model.positions",
            f"Positions are {model.config.positions}: what they add depends on the token that "
            "stands there, so two positions have no similarity of their own.",
        )
    return added[0]


def _turned(model: GPT, T: int) -> Tensor:
    """Each position's rotation as one row, (T, K K).

    The cosine of two such rows is trace(R_sᵀ R_t) / K, which is the mean of (R_s u) · (R_t u) over
    all directions u.
    """
    K = model.config.embedding_dim // model.config.heads
    basis = torch.eye(K, device=model.embedding.weight.device)
    positions: Any = model.positions
    turned = positions.rotate(basis[:, None].expand(K, T, K))  # (K, T, K)
    return turned.transpose(0, 1).reshape(T, K * K)
