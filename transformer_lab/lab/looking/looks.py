"""Looks: what the page shows of a model that reads a text, as arrays of a size that can be sent.

Made from captures of `inspection/`; what is too large to draw cell by cell is pooled, and says so.
Shapes: L layers with attention, H heads, T time, C cells a side, K head width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.inspection.attention import (
    HEAD_MEASURES,
    QueryReading,
    head_measures,
    one_query,
    patterns,
)
from transformer_lab.inspection.capture import Capture
from transformer_lab.inspection.logit_lens import logit_lens, stream_norms
from transformer_lab.inspection.taps import layer_of, tap_of
from transformer_lab.model import GPT

Numbers = NDArray[Any]
SMALL_CELLS = 64  # a side, of each head where all are shown
SMALL_TOTAL = 160_000  # cells of all heads together
LARGE_CELLS = 256
PICTURE_CELLS = 96
LINKED = 8  # tokens named of those a token looks at, and of those that look at it
LIKELIEST = 10


def numbers(tensor: Tensor) -> Numbers:
    """A tensor as an array of 32-bit numbers."""
    return tensor.detach().float().cpu().numpy()


def per_cell(tokens: int, most: int) -> int:
    """How many tokens share a cell, so that there are at most so many cells."""
    return -(-tokens // most)


def pooled_pattern(pattern: Tensor, factor: int) -> Tensor:
    """(..., T, T) -> (..., C, C): what the queries of a cell give, on average, to its sources.

    Shares of the sources are added, so a row still sums to 1. Cells of the future are NaN, where a
    mask hides it.
    """
    length = pattern.shape[-1]
    side = -(-length // factor)
    missing = side * factor - length
    padded = F.pad(pattern, (0, missing, 0, missing))
    cells = padded.unflatten(-1, (side, factor)).sum(-1)
    cells = cells.unflatten(-2, (side, factor)).sum(-2).cpu()
    queries = torch.full((side,), float(factor))
    queries[-1] = factor - missing  # the last cell may be a smaller one
    future = torch.ones(side, side, dtype=torch.bool).triu(1)
    return (cells / queries[:, None]).masked_fill(future & (cells == 0), torch.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionLook:
    """All heads side by side. `tiles` (L, H, C, C) is 0 where masked, else 1 + 254 times the share.

    `layers` says in which layer (from 0) each of the L stands, `factor` how many tokens share a
    cell.
    """

    tiles: Numbers
    layers: tuple[int, ...]
    factor: int


def attention_look(captured: Capture) -> AttentionLook:
    """Every head's pattern, small. Raises ConfigError for a model without attention."""
    found = patterns(captured)  # (L, H, T, T)
    heads = found.shape[0] * found.shape[1]
    cells = max(4, min(SMALL_CELLS, int((SMALL_TOTAL / heads) ** 0.5)))
    factor = per_cell(found.shape[-1], cells)
    small = pooled_pattern(found, factor)
    tiles = (1 + 254 * small).nan_to_num(0.0).round().to(torch.uint8)
    return AttentionLook(
        tiles=tiles.numpy(),
        layers=tuple(layer_of(path) or 0 for path in captured.attentions),
        factor=factor,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuresLook:
    """`values` (M, L, H) of every head, in the order of HEAD_MEASURES, and `even` (M,).

    `even` is what a head would have that looks at everything alike.
    """

    values: Numbers
    even: Numbers


def measures_look(model: GPT, captured: Capture) -> MeasuresLook:
    """Measure every head. Raises ConfigError for a single token."""
    found = head_measures(model, captured, torch.Generator().manual_seed(1))
    return MeasuresLook(
        values=np.stack([numbers(found.values[key]) for key in HEAD_MEASURES]),
        even=np.array([found.even[key] for key in HEAD_MEASURES]),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadLook:
    """One head: `pattern` (C, C), NaN where masked, and who is linked with whom.

    `sources` (T, n) are the tokens each token looks at most, `given` how much, and `lookers` those
    that look at it most, with what they give in `taken`.
    """

    pattern: Numbers
    factor: int
    sources: Numbers
    given: Numbers
    lookers: Numbers
    taken: Numbers


def head_look(captured: Capture, layer: int, head: int) -> HeadLook:
    """One head, layer and head counted from 0. Raises ConfigError."""
    pattern = captured.at(layer, "attention.pattern")[head]  # (T, T)
    factor = per_cell(len(pattern), LARGE_CELLS)
    linked = min(LINKED, len(pattern))
    given, sources = pattern.topk(linked, dim=1)
    taken, lookers = pattern.T.topk(linked, dim=1)
    return HeadLook(
        pattern=numbers(pooled_pattern(pattern, factor)),
        factor=factor,
        sources=sources.cpu().numpy().astype(np.int16),
        given=numbers(given),
        lookers=lookers.cpu().numpy().astype(np.int16),
        taken=numbers(taken),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryLook:
    """`QueryReading` as arrays: how one query of one head comes to its result."""

    query: Numbers  # (K,)
    keys: Numbers  # (T, K)
    products: Numbers  # (T,)
    scaled: Numbers  # (T,)
    bias: Numbers  # (T,), what positions add
    masked: Numbers  # (T,), minus infinity in the future
    weights: Numbers  # (T,)
    values: Numbers  # (T, K)
    result: Numbers  # (K,)


def query_look(captured: Capture, layer: int, head: int, position: int) -> QueryLook:
    """The numbers of one query, all counted from 0. Raises ConfigError."""
    found: QueryReading = one_query(captured, layer, head, position)
    return QueryLook(**{name: numbers(value) for name, value in vars(found).items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class LensLook:
    """The logit lens (L + 1, T) and the lengths of vectors, row 0 before the first layer.

    `writes` (P, T) is what each part adds, `parts` their paths.
    """

    tokens: Numbers
    probabilities: Numbers
    divergences: Numbers
    note: str
    stream: Numbers
    writes: Numbers
    parts: tuple[str, ...]


def lens_look(model: GPT, captured: Capture) -> LensLook:
    """What every layer would predict, and how much each part writes."""
    lens, norms = logit_lens(model, captured), stream_norms(captured)
    return LensLook(
        tokens=lens.tokens.numpy().astype(np.int32),
        probabilities=numbers(lens.probabilities),
        divergences=numbers(lens.divergences),
        note=lens.note,
        stream=numbers(norms.stream),
        writes=np.stack([numbers(write) for write in norms.writes.values()]),
        parts=tuple(norms.writes),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class NextLook:
    """The likeliest next tokens at one place: ids and probabilities, likeliest first."""

    tokens: Numbers
    probabilities: Numbers


def next_look(captured: Capture, position: int) -> NextLook:
    """What the model expects after a place, from 0."""
    probabilities = captured["logits"][position].softmax(-1)
    likeliest = probabilities.topk(min(LIKELIEST, len(probabilities)))
    return NextLook(tokens=likeliest.indices.cpu().numpy(), probabilities=numbers(likeliest.values))


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorLook:
    """One activation of a part, in a few numbers and a picture of at most 96 by 96 cells.

    `rows` and `columns` say how many numbers share a cell of the picture.
    """

    path: str
    label: str
    meaning: str
    shape: str
    mean: float
    deviation: float
    low: float
    high: float
    picture: Numbers
    rows: int
    columns: int


def tensor_look(captured: Capture, path: str) -> TensorLook:
    """An activation by its path. Raises ConfigError when there is none."""
    tensor, tap = captured[path], tap_of(path)
    axes = ", ".join(f"{axis} {size:,}" for axis, size in zip(tap.axes, tensor.shape, strict=True))
    picture, rows, columns = _picture(tensor)
    return TensorLook(
        path=path,
        label=tap.label,
        meaning=tap.meaning,
        shape=axes,
        mean=float(tensor.mean()),
        deviation=float(tensor.std(correction=0)),
        low=float(tensor.min()),
        high=float(tensor.max()),
        picture=picture,
        rows=rows,
        columns=columns,
    )


def _picture(tensor: Tensor) -> tuple[Numbers, int, int]:
    """One row for each token, heads side by side; where there are too many numbers, their mean."""
    flat = tensor.float()
    if flat.dim() == 3:  # (H, T, K) -> (T, H K)
        flat = flat.transpose(0, 1).flatten(1)
    flat = flat if flat.dim() == 2 else flat[None]
    rows, columns = (per_cell(size, PICTURE_CELLS) for size in flat.shape)
    cells = F.avg_pool2d(flat[None], (rows, columns), ceil_mode=True, count_include_pad=False)
    return numbers(cells[0]), rows, columns
