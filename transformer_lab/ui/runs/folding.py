"""Runs of one comparison fold into one row of the list, to be opened and deleted together."""

from collections.abc import Iterable, Sequence

from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui.runs.grid import row

PREFIX = "comparison:"
ACTIVE = ("running", "paused", "preparing", "starting", "pausing", "stopping")


def rows(runs: Iterable[RunSummary], *, folded: bool) -> dict[str, dict[str, object]]:
    """The lines of the list by id; a comparison stands where its newest run would."""
    found: dict[str, dict[str, object]] = {}
    lanes: dict[str, list[RunSummary]] = {}
    for run in runs:
        name = run.comparison if folded else ""
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
    lanes = ", ".join(dict.fromkeys(run.lane for run in reversed(runs)))
    return row(best) | {
        "id": key,
        "name": title_of(key.removeprefix(PREFIX), runs),
        "holds": f"{len(runs)} run" + "s" * (len(runs) != 1),
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


def title_of(name: str, runs: Iterable[RunSummary]) -> str:
    """What a comparison is called: what the learner named it, or its name."""
    return next((run.race_title for run in runs if run.race_title), name)


def _state(states: Sequence[str]) -> str:
    """That of the comparison: what is under way first, then what went wrong."""
    order = (*ACTIVE, "interrupted", "damaged", "failed", "stopped", "finished")
    return next((state for state in order if state in states), states[0])


def lanes_of(name: str, runs: Iterable[RunSummary]) -> list[RunSummary]:
    """The runs of a comparison."""
    return [run for run in runs if name and run.comparison == name]


def unfolded(chosen: Iterable[str], runs: Sequence[RunSummary]) -> list[str]:
    """The ids of runs that are chosen, those of a comparison when its row is."""
    found: list[str] = []
    for key in chosen:
        lanes = lanes_of(key.removeprefix(PREFIX), runs)
        found += [run.id for run in lanes] if key.startswith(PREFIX) else [key]
    return found


def chosen_comparison(chosen: Sequence[str]) -> str:
    """The comparison whose row alone is chosen; empty for anything else."""
    alone = chosen[0] if len(chosen) == 1 else ""
    return alone.removeprefix(PREFIX) if alone.startswith(PREFIX) else ""


def named(run_ids: Sequence[str], runs: Sequence[RunSummary]) -> list[str]:
    """What runs are called in a sentence: a comparison by its title where it is there as a whole.

    `runs` are all there are, those named among them.
    """
    known = {run.id: run for run in runs}
    found: list[str] = []
    for run_id in run_ids:
        name = known[run_id].comparison if run_id in known else ""
        lanes = lanes_of(name, runs)
        words = run_id
        if lanes and all(lane.id in run_ids for lane in lanes):
            words = f"the comparison {title_of(name, lanes)} ({len(lanes)} runs)"
        if words not in found:
            found.append(words)
    return found
