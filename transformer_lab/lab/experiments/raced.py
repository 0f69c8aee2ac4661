"""What the runs of a race tell by themselves, where no result was kept."""

from collections.abc import Sequence
from typing import Any

from transformer_lab.experiments.budget import tokens_per_step
from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_guess import guess_from
from transformer_lab.experiments.comparison_result import Cell, Outcome
from transformer_lab.lab.cost.estimate import flops_per_step
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.run import UNREADABLE, Run
from transformer_lab.runs.store import RunStore
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.text.tokenizers import tokenizer_from_json

UNDER_WAY = ("running", "paused", "preparing", "starting", "pausing", "stopping", "finished")


def outcome_of_runs(name: str, runs: Sequence[RunSummary], store: RunStore) -> Outcome | None:
    """The comparison of that name as its runs have it; None where none of them can be read."""
    lanes: dict[str, Setup] = {}
    cells: list[Cell] = []
    for summary in sorted(runs, key=lambda run: (int(run.race.rpartition(".")[2]), run.order)):
        try:
            run = store.open(summary.id)
            lanes.setdefault(summary.lane, setup_from(run.manifest["setup"]))
            cells.append(_cell(summary, run))
        except UNREADABLE:
            continue
    if len(lanes) < 2:
        return None
    return Outcome(comparison=_comparison(name, lanes, cells), cells=cells)


def _cell(summary: RunSummary, run: Run) -> Cell:
    """One lane and one seed, from what the run has recorded."""
    looks = run.evaluated()
    losses = [point.validation_loss for point in looks if point.validation_loss is not None]
    ended = summary.state not in UNDER_WAY
    return Cell(
        variant=summary.lane,
        seed=int(summary.race.rpartition(".")[2]) - 1,
        steps=[point.step for point in looks],
        losses=losses,
        seconds=[point.seconds for point in looks],
        failed=(summary.reason or f"it was {summary.state}") if ended else "",
        stopped=ended and summary.state != "failed",
        **facts_of(run),
    )


def facts_of(run: Run) -> dict[str, Any]:
    """What of a lane is known from its first step on."""
    tuned = run.manifest.get("finetune")
    setup = setup_from(run.manifest["setup"])
    size = tokenizer_from_json(run.manifest["tokenizer"]).vocabulary_size
    return {
        "parameters": int(tuned["trained"]) if tuned else int(run.manifest["parameters"]),
        "bytes_per_token": run.bytes_per_token() or 0.0,
        "flops": 0.0 if tuned else flops_per_step(setup, size) / tokens_per_step(setup),
    }


def _comparison(name: str, lanes: dict[str, Setup], cells: Sequence[Cell]) -> Comparison:
    """The question as far as the runs know it: the first lane is what others are compared with."""
    against = next(iter(lanes))
    return Comparison(
        slug=name,
        title=name,
        look_for="",
        group="",
        order=0,
        broken=False,
        lanes=lanes,
        tunings={},
        base=None,
        against=against,
        controls={},
        seeds=len({cell.seed for cell in cells}),
        seconds=0,
        paced=True,
        guess=guess_from(None, lanes, against),
        audit=False,
        ending={},
        content={},
        quick=False,
    )
