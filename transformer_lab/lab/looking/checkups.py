"""Health of a model at one saved step, and a projection of its embeddings.

Shapes: B batch, T time, L layers with attention, H heads, N tokens shown, D width, C cells a side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.inspection.ablation import Batch
from transformer_lab.inspection.capture import capture
from transformer_lab.inspection.embeddings import (
    Neighbour,
    nearest,
    position_similarity,
    principal_components,
)
from transformer_lab.inspection.health import (
    PartNumber,
    attention_collapse,
    dead_units,
    gradient_norms,
    gradients_of,
    stream_statistics,
    update_ratios,
)
from transformer_lab.lab.looking.looks import Numbers, numbers, per_cell
from transformer_lab.model import GPT, model_from_weights
from transformer_lab.settings import ConfigError

MOST_EMBEDDED = 600  # tokens drawn
POSITION_CELLS = 128
LEARNED = 1024  # tokens of the loss whose gradient is taken
PART_WORDS = {
    "feedforward": "feed-forward",
    "norm_1": "first norm",
    "norm_2": "second norm",
    "embedding": "token embedding",
    "norm": "final norm",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class HealthLook:
    """Signs of health at one moment.

    `deviations` is the size of the stream's numbers after every layer. `dead` of `units` hidden
    units never woke (-1 where the question makes no sense, which `dead_notes` explains).
    `entropies` (L, H) is in nats, `collapsed` (L, H) flags those near 0. `updates` are by part, per
    step since the moment before; `update_note` says why there are none. `gradients` are by part, of
    a loss of `loss` nats on `tokens` tokens.
    """

    means: Numbers
    deviations: Numbers
    dead: Numbers
    units: Numbers
    dead_layers: tuple[int, ...]
    dead_notes: tuple[str, ...]
    entropies: Numbers
    collapsed: Numbers
    attention_layers: tuple[int, ...]
    update_parts: tuple[str, ...]
    updates: Numbers
    update_note: str
    gradient_parts: tuple[str, ...]
    gradients: Numbers
    loss: float
    tokens: int
    gradient_tokens: int


def health_look(
    model: GPT, batch: Batch, before: tuple[Mapping[str, Tensor], int] | None, note: str
) -> HealthLook:
    """Examine a model on one (B, T) batch; `before` has the weights so many steps earlier."""
    captured = capture(model, batch[0][0])
    streams, dead = stream_statistics(captured), dead_units(model, batch[0])
    few = max(1, LEARNED // batch[0].shape[1])
    loss, gradients = loss_and_gradients(model, (batch[0][:few], batch[1][:few]))
    updates: list[PartNumber] = []
    if before is not None:
        updates = update_ratios(before[0], model.state_dict())
    heads = attention_collapse(captured) if captured.attentions else []
    layers = len(captured.attentions)
    shape = (layers, len(heads) // max(layers, 1))
    return HealthLook(
        means=np.array([one.mean for one in streams]),
        deviations=np.array([one.deviation for one in streams]),
        dead=np.array([-1 if one.dead is None else one.dead for one in dead]),
        units=np.array([one.units or 0 for one in dead]),
        dead_layers=tuple(one.layer or 0 for one in dead),
        dead_notes=tuple(one.note for one in dead),
        entropies=np.array([one.entropy for one in heads]).reshape(shape),
        collapsed=np.array([one.collapsed for one in heads], dtype=bool).reshape(shape),
        attention_layers=tuple(dict.fromkeys(one.layer or 0 for one in heads)),
        update_parts=tuple(part_name(one) for one in updates),
        updates=np.array([one.value / before[1] for one in updates] if before else []),
        update_note=note,
        gradient_parts=tuple(part_name(one) for one in gradients),
        gradients=np.array([one.value for one in gradients]),
        loss=loss,
        tokens=batch[0].numel(),
        gradient_tokens=batch[0][:few].numel(),
    )


def part_name(number: PartNumber) -> str:
    """What to call it, counting layers from 1."""
    name = PART_WORDS.get(number.part, number.part.replace("_", " "))
    return name if number.layer is None else f"layer {number.layer + 1} {name}"


def loss_and_gradients(model: GPT, batch: Batch) -> tuple[float, list[PartNumber]]:
    """The loss of a batch and the length of its gradient, part by part, on copied weights."""
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    copy = model_from_weights(model.config, model.vocabulary_size, weights).requires_grad_(True)
    loss = copy.loss(*batch)
    loss.backward()
    return loss.item(), gradient_norms(gradients_of(copy))


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingLook:
    """Token embeddings along the directions in which those of the newest moment differ most.

    `points` is (N, 3); `shares` (3,) how much of this moment's variance lies along each direction;
    `reach` (3, 2) from where to where the newest points go, so that axes can stay as they are.
    """

    tokens: Numbers
    points: Numbers
    shares: Numbers
    reach: Numbers


def embedding_look(table: Tensor, newest: Tensor, shown: Sequence[int]) -> EmbeddingLook:
    """(V, D) embeddings of this moment and of the newest one, for some of the tokens."""
    here, there = (each[torch.tensor(shown)].float().cpu() for each in (table, newest))
    found = principal_components(there, 3)
    centred = here - here.mean(0)
    points = centred @ found.components.T
    spread = centred.square().sum().clamp(min=1e-30)
    reach = torch.stack([found.points.min(0).values, found.points.max(0).values], dim=1)
    return EmbeddingLook(
        tokens=np.array(shown),
        points=numbers(points),
        shares=numbers(points.square().sum(0) / spread),
        reach=numbers(reach),
    )


def most_frequent(tokens: Numbers, vocabulary_size: int) -> list[int]:
    """All tokens there are, or as many as can be drawn, those first that occur most."""
    if vocabulary_size <= MOST_EMBEDDED:
        return list(range(vocabulary_size))
    counts = np.bincount(tokens, minlength=vocabulary_size)
    return np.argsort(-counts, kind="stable")[:MOST_EMBEDDED].tolist()


def neighbours(table: Tensor, token: int) -> list[Neighbour]:
    """The tokens whose embeddings point most nearly the same way. Raises ConfigError."""
    return nearest(table, token, count=12)


@dataclass(frozen=True, kw_only=True, eq=False)
class PositionLook:
    """How alike positions are, (C, C), `factor` positions to a cell; why not, if it is empty."""

    similarity: Numbers
    factor: int
    meaning: str


def position_look(model: GPT) -> PositionLook:
    """Compare positions, or say in a sentence why they cannot be compared."""
    try:
        found = position_similarity(model)
    except ConfigError as error:
        return PositionLook(similarity=np.zeros((0, 0)), factor=1, meaning=str(error))
    factor = per_cell(len(found.similarity), POSITION_CELLS)
    cells = F.avg_pool2d(found.similarity[None], factor, ceil_mode=True)[0]
    return PositionLook(similarity=numbers(cells), factor=factor, meaning=found.meaning)
