"""Runs of one comparison fold into one row of the list, to be opened and deleted together."""

from collections.abc import Iterable, Sequence

from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui.runs.grid import row

PREFIX = "comparison:"
ACTIVE = ("running", "paused", "preparing", "starting", "pausing", "stopping")


def comparison_of(run: RunSummary) -> str:
    """The comparison a run is a lane of; its race is called deeper-1.2, deeper-1 being that."""
    name, dot, seed = run.race.rpartition(".")
    return name if dot and seed.isdecimal() else ""


def rows(runs: Iterable[RunSummary], *, folded: bool) -> dict[str, dict[str, object]]:
    """The lines of the list by id; a comparison stands where its newest run would."""
    found: dict[str, dict[str, object]] = {}
    lanes: dict[str, list[RunSummary]] = {}
    for run in runs:
        name = comparison_of(run) if folded else ""
        key = f"{PREFIX}{name}" if name else run.id
        if name:
            lanes.setdefault(key, []).append(run)
        found[key] = {} if name else row(run)
    return {key: line or _folded(key, lanes[key]) for key, line in found.items()}


def _folded(key: str, runs: Sequence[RunSummary]) -> dict[str, object]:
    """One line for all runs of a comparison: its best loss, and what they took together."""
    best = min(
        (run for run in runs if run.best_loss is not None),
        key=lambda run: run.best_loss or 0.0,
        default=runs[0],
    )
    name = key.removeprefix(PREFIX)
    count = f"{len(runs)} run" + "s" * (len(runs) != 1)
    lanes = ", ".join(dict.fromkeys(run.lane for run in reversed(runs)))
    return row(best) | {
        "id": key,
        "name": f"{name} ({count})",
        "pinned": any(run.pinned for run in runs),
        "state": _state([run.state for run in runs]),
        "step": sum(run.step for run in runs),
        "steps": sum(run.steps for run in runs),
        "seconds": sum(run.seconds for run in runs),
        "recipe": "comparison",
        "race": lanes,
        "created": max(run.created for run in runs),
        "audit": "",
        "notes": "",
    }


def _state(states: Sequence[str]) -> str:
    """That of the comparison: what is under way first, then what went wrong."""
    order = (*ACTIVE, "interrupted", "damaged", "failed", "stopped", "finished")
    return next((state for state in order if state in states), states[0])


def unfolded(chosen: Iterable[str], runs: Iterable[RunSummary]) -> list[str]:
    """The ids of runs that are chosen, those of a comparison when its row is."""
    lanes: dict[str, list[str]] = {}
    for run in runs:
        if name := comparison_of(run):
            lanes.setdefault(f"{PREFIX}{name}", []).append(run.id)
    found: list[str] = []
    for key in chosen:
        found += lanes.get(key, []) if key.startswith(PREFIX) else [key]
    return found
