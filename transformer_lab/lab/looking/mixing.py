"""Adapters on one base: each with a strength, and two at once.

    W = W_base + Σ strength · (W_tuned - W_base)

Of LoRA the difference is (alpha/r) B A, so the strength multiplies that; of any other fine-tuning
it moves along the line from the base to what became of it. Strength 0 is the base, 1 the fine-tuned
model.
Source: arXiv:2212.04089, section 2 (differences of weights that are added).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.stored_runs import Runs
from transformer_lab.runs.checkpoint import BASE, CheckpointError
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.settings import shown

STRONGEST = 1.5


@dataclass(frozen=True)
class Adapter:
    """A fine-tuned run, and how much its change counts: 0 to 1.5."""

    run: str
    strength: float = 1.0


def siblings(runs: Runs, run_id: str) -> list[str]:
    """The fine-tuned runs that have this run as their base, or the same base as it."""
    summaries = runs.all()
    own = next((one.base for one in summaries if one.id == run_id), "")
    return [one.id for one in summaries if one.base and one.base in (own, run_id)]


def mixed(
    models: Models, runs: Runs, name: str, step: int | None, adapters: Sequence[Adapter]
) -> Snapshot:
    """A model on the bar at `step`, with these adapters in place of its own.

    Raises LabError, also for an adapter of another base.
    """
    for one in adapters:
        if not 0 <= one.strength <= STRONGEST:
            raise LabError(f"Strength is {shown(one.strength)}: choose from 0 to {STRONGEST}.")
    name = models.writer_named(name)
    plain = models.snapshot(name, step)
    base = plain if not _is_tuned(runs, name) else _base(models, runs, name)
    if [one.run for one in adapters] == [name] and adapters[0].strength == 1:
        return plain
    if not adapters:
        return base
    weights = dict(base.weights)
    for one in adapters:
        _check_base(base, _base(models, runs, one.run), one.run, name)
        tuned = models.snapshot(one.run, step if one.run == name else None)
        weights = _with(weights, base.weights, tuned.weights, one.strength)
    added = " + ".join(f"{one.strength:g} × {one.run}" for one in adapters)
    return replace(base, run_id=f"{base.run_id}, base + {added}", weights=weights, saved=False)


def _with(
    weights: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    strength: float,
) -> dict[str, Tensor]:
    """Weights and the difference of a fine-tuning; what it left alone is shared."""
    return {
        key: one
        if torch.equal(tuned[key], base[key])
        else one + strength * (tuned[key] - base[key])
        for key, one in weights.items()
    }


def _is_tuned(runs: Runs, name: str) -> bool:
    return any(one.id == name and one.base for one in runs.all())


def _base(models: Models, runs: Runs, name: str) -> Snapshot:
    """The base that a fine-tuned run keeps. Raises LabError."""
    try:
        run = runs.open(name)
        return models.stored.read(run, run.checkpoint(BASE))
    except (RunNotFoundError, CheckpointError) as error:
        raise LabError(str(error)) from error


def _check_base(base: Snapshot, its: Snapshot, adapter: str, name: str) -> None:
    """The base of an adapter must be the very weights that it is put on. Raises LabError."""
    more = its.tokenizer.vocabulary_size - base.tokenizer.vocabulary_size
    if more > 0:
        raise LabError(
            f"{adapter} has {more:,} tokens more than {name}, since its embedding grew: write with "
            "it as it is, or choose another adapter."
        )
    same = base.weights.keys() == its.weights.keys() and all(
        torch.equal(base.weights[key].cpu(), one.cpu()) for key, one in its.weights.items()
    )
    if not same:
        raise LabError(
            f"{adapter} was made for other weights than those of {name} that are chosen: choose "
            "the checkpoint that it was fine-tuned from, or another adapter."
        )
