"""Running a comparison: its lanes race, one seed after another."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_result import Cell, Outcome
from transformer_lab.experiments.experiment import Partial, Tick, paced
from transformer_lab.experiments.transformers import AUDITING, Racing, Seen, note


def compare(
    comparison: Comparison, racing: Racing, kept: Sequence[Cell] = ()
) -> Iterator[Partial[Outcome]]:
    """One race for each seed that is not in `kept` yet, and what has been measured so far."""
    cells = list(kept)

    def snapshot() -> Outcome:
        return Outcome(comparison=comparison, cells=copy.deepcopy(cells))

    return paced(_work(comparison, racing, cells), snapshot)


def whole_seeds(result: Outcome) -> list[Cell]:
    """The cells of seeds in which every lane has ended by itself: they need not be raced again."""
    ended = {
        (cell.variant, cell.seed)
        for cell in result.cells
        if cell.seed in result.ended[cell.variant] or (cell.failed and not cell.stopped)
    }
    lanes = result.comparison.lanes
    return [cell for cell in result.cells if all((name, cell.seed) in ended for name in lanes)]


def _work(comparison: Comparison, racing: Racing, cells: list[Cell]) -> Iterator[Tick]:
    """Everything that is left to measure; adds to `cells`."""
    done = {cell.seed for cell in cells}
    for seed in range(comparison.seeds):
        if seed in done:
            continue
        setups = comparison.setups(seed)
        fresh = {name: Cell(variant=name, seed=seed) for name in setups}
        cells += fresh.values()
        for standing in racing(setups):
            for name, seen in standing.items():
                _grow(fresh[name], seen)
            share = sum(map(_share, standing.values(), _steps(comparison, standing))) / len(setups)
            yield (seed + share) / comparison.seeds, _doing(comparison, seed, standing)


def _grow(cell: Cell, seen: Seen) -> None:
    note(cell, seen)
    cell.bytes_per_token = seen.bytes_per_token or cell.bytes_per_token
    cell.flops = seen.flops or cell.flops
    cell.stopped = seen.stopped
    cell.audited, cell.audit = seen.audited, seen.audit
    if cell.losses and not all(map(math.isfinite, cell.losses)):
        cell.failed = cell.failed or "Its validation loss was no longer a finite number."
        whole = next(i for i, loss in enumerate(cell.losses) if not math.isfinite(loss))
        del cell.steps[whole:], cell.losses[whole:], cell.seconds[whole:]


def _steps(comparison: Comparison, standing: Mapping[str, Seen]) -> list[int]:
    return [comparison.lanes[name].train.steps for name in standing]


def _share(seen: Seen, steps: int) -> float:
    return 1.0 if seen.failed else len(seen.metrics) / steps


def _doing(comparison: Comparison, seed: int, standing: Mapping[str, Seen]) -> str:
    if not standing:
        return "waiting until nothing else is training"
    begun = sum(bool(seen.metrics) for seen in standing.values())
    which = f"seed {seed + 1} of {comparison.seeds}"
    if audited := next((name for name, seen in standing.items() if seen.audited == AUDITING), ""):
        return f"{which}, the leak audit of “{audited}”"
    return f"{which}, {begun} of {len(comparison.lanes)} lanes under way"
