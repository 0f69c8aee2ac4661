"""The runs of a lab as points of a scaling law: how large, how much computed, which loss."""

from collections.abc import Iterator
from dataclasses import dataclass

from transformer_lab.experiments.budget import tokens_per_step
from transformer_lab.lab.cost.estimate import flops_per_step
from transformer_lab.lab.training.stored_runs import Runs
from transformer_lab.recipes import setup_from
from transformer_lab.runs.run import UNREADABLE
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.text.tokenizers import tokenizer_from_json

MOST = 300  # runs that are looked at, the newest


@dataclass(frozen=True, kw_only=True)
class ScalingPoint:
    """One run at its last step: the loss in bits per byte of the validation text of `corpus`.

    `flops` are those of its whole training, `tokens` those it has read.
    """

    run: str
    name: str
    corpus: str
    parameters: int
    flops: float
    tokens: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A run that is no point, and why."""

    name: str
    corpus: str
    why: str


class Scaling:
    """Points of all runs; a run's is kept until it has gone on."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._known: dict[tuple[str, int], ScalingPoint | LeftOut] = {}

    def points(self) -> tuple[list[ScalingPoint], list[LeftOut]]:
        """Those of the newest runs, and what was left out."""
        found = list(self._found())
        return (
            [one for one in found if isinstance(one, ScalingPoint)],
            [one for one in found if isinstance(one, LeftOut)],
        )

    def _found(self) -> Iterator[ScalingPoint | LeftOut]:
        for run in self._runs.all()[:MOST]:
            why = _not_a_point(run)
            if why:
                yield LeftOut(name=run.name, corpus=run.corpus, why=why)
                continue
            key = (run.id, run.step)
            if key not in self._known:
                self._known[key] = self._read(run)
            yield self._known[key]

    def _read(self, run: RunSummary) -> ScalingPoint | LeftOut:
        try:
            manifest = self._runs.open(run.id).manifest
            setup = setup_from(manifest["setup"])
            size = tokenizer_from_json(manifest["tokenizer"]).vocabulary_size
        except UNREADABLE as error:
            return LeftOut(name=run.name, corpus=run.corpus, why=f"it cannot be read: {error}")
        for broken, why in (
            (not setup.model.causal, "it has no causal mask"),
            (setup.model.zero_weights, "all its weights began at zero"),
        ):
            if broken:
                return LeftOut(name=run.name, corpus=run.corpus, why=why)
        return ScalingPoint(
            run=run.id,
            name=f"{run.name} ({run.lane})" if run.lane else run.name,
            corpus=run.corpus,
            parameters=run.parameters,
            flops=flops_per_step(setup, size) * run.step,
            tokens=tokens_per_step(setup) * run.step,
            loss=run.bits_per_byte or 0.0,
        )


def _not_a_point(run: RunSummary) -> str:
    """Why a run says nothing of scaling; empty where it may."""
    if run.state in ("damaged", "failed"):
        return f"it is {run.state}" + (f": {run.reason}" if run.reason else "")
    if run.state != "finished":
        return f"it is {run.state}: only those that have come to their last step count"
    if run.base or run.parent:
        return "it goes on from another run"
    if not run.bits_per_byte:
        return "it has no validation loss"
    return ""
