"""What may be said of a comparison: the answer to its guess, its verdict, its tables.

The verdict is that of `paired.py`: every lane against the base, paired over the seeds, in which
both saw the same text, corrected by Holm's method for the number of lanes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_guess import BETTER, FAILED, UNCLEAR, WORSE
from transformer_lab.experiments.comparison_result import Cell, Outcome, whose
from transformer_lab.experiments.experiment import Table
from transformer_lab.experiments.paired import interval, worded
from transformer_lab.experiments.statistics import spread
from transformer_lab.text.split import bits_per_byte

WORDS = ("better", "worse")  # of a lower loss, of a higher one


def answer(result: Outcome) -> int | None:
    """Which option of the guess is right; None while nothing can be said."""
    guess = result.comparison.guess
    outcome = _how_it_does(result, guess.lane) if guess.lane else _best(result)
    return None if outcome is None else guess.right(outcome)


def _how_it_does(result: Outcome, lane: str) -> str | None:
    """One lane against the base: better, unclear, worse or failed."""
    if result.trouble(lane) and not result.ended[lane]:
        return FAILED
    if lane not in result.compared:
        return None
    found = result.compared[lane]
    if not found.clear:
        return UNCLEAR
    return WORSE if found.found.mean > 0 else BETTER


def ending(result: Outcome) -> str:
    """What the curves of the lane in question show, from what was measured; empty before that."""
    one = result.comparison
    lane = one.guess.lane
    outcome = _how_it_does(result, lane) if one.ending else None
    if outcome is None:
        return ""
    curves = [_curve(result, name) for name in (lane, one.control_of(lane))]
    audits = [
        f"The leak audit of “{cell.variant}”, seed {cell.seed + 1}: {cell.audited}. {cell.audit}"
        for cell in result.of(lane)
        if cell.audit
    ]
    return " ".join([*filter(None, curves), one.ending[outcome], *audits])


def _curve(result: Outcome, lane: str) -> str:
    """Its first and its last look at the validation text, in the mean over seeds."""
    found = [(cell, losses) for cell in result.of(lane) if (losses := result.losses(cell))]
    if not found:
        return ""
    first, last = (spread(losses[at] for _, losses in found).mean for at in (0, -1))
    steps = [sorted({cell.steps[at] for cell, _ in found}) for at in (0, -1)]
    begin, end = (f"{one[0]:,}" if len(one) == 1 else f"{one[0]:,} to {one[-1]:,}" for one in steps)
    return (
        f"“{lane}” went from {first:.3f} {result.unit} after {begin} steps to {last:.3f} after "
        f"{end}: {last - first:+.3f}."
    )


def _best(result: Outcome) -> str | None:
    """The lane of the lowest loss, if that is clear of all that belong to other answers."""
    if len(result.ranked) < 2:
        return None
    best = result.ranked[0]
    same = next((when for when in result.comparison.guess.when if best in when), ())
    others = [found for name, found in result.against(best).items() if name not in same]
    return best if all(found.clear for found in others) else UNCLEAR


def verdict(result: Outcome) -> str:
    """What the numbers say, in a few sentences."""
    one = result.comparison
    if not result.ranked:
        return " ".join(["Not yet enough: no lane has come to its last step.", *result.ends()])
    best = result.ranked[0]
    lowest = (
        f"After {one.budget} of {one.stream}, “{best}” has the lowest validation loss, "
        f"{_range(result, best)} {result.unit}."
    )
    clear = [
        f"“{name}” against “{one.control_of(name)}”: "
        f"{worded(result.compared[name], result.unit, 3, WORDS)}."
        for name in result.ranked
        if name in result.compared and result.compared[name].clear
    ]
    unclear = [name for name, found in result.compared.items() if not found.clear]
    return " ".join(
        [lowest, *clear, *_unclear(result, unclear), *result.ends(), *_timed(result.comparison)]
    )


def _timed(one: Comparison) -> Iterator[str]:
    """Of a budget in seconds, what it came to."""
    if one.seconds and one.paced:
        steps = ", ".join(
            f"{setup.train.steps:,} for “{name}”" for name, setup in one.lanes.items()
        )
        yield (
            f"In that time this computer takes {steps} steps, as measured before the start: on "
            "another one, or a busier one, the numbers would differ. What each lane really took "
            "stands in the table."
        )


def _unclear(result: Outcome, names: list[str]) -> Iterator[str]:
    if not names:
        return
    base = whose(result.comparison)
    first, *others = names
    said = worded(result.compared[first], result.unit, 3, WORDS)
    yield f"Whether “{first}” differs from {base}: {said}."
    if others:
        base = "their controls" if result.comparison.controls else base
        listed = ", ".join(
            f"“{name}” {interval(result.compared[name].found, 3)}" for name in others
        )
        yield f"No clear difference from {base} either: {listed}."


def _range(result: Outcome, lane: str) -> str:
    found = spread(result.ended[lane].values())
    if found.count == 1:
        return f"{found.mean:.3f} (one seed)"
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def tables(result: Outcome) -> list[Table]:
    """All lanes in the order of their losses, the ended ones last; and what they write."""
    one = result.comparison
    rest = [name for name in one.lanes if name not in result.ranked and result.of(name)]
    rows = [
        [_rank(result, name), name, *_numbers(result, name), _difference(result, name)]
        for name in (*result.ranked, *rest)
    ]
    texts = [
        [cell.variant, " ".join(cell.text.split())]
        for cell in result.cells
        if cell.seed == 0 and cell.text
    ]
    seeds = "1 seed" if one.seeds == 1 else f"{one.seeds} seeds"
    text = f" on {one.base.corpus}, fine-tuned from {one.base.run}," if one.base else ""
    return [
        Table(
            title=f"Validation loss{text} in {result.unit} after {one.budget} of {one.stream}, "
            f"{seeds}",
            columns=[
                "place", "lane", "loss, mean and range", result.sizes, "seconds",
                f"above {whose(one)}, mean and 95 % interval",
            ],
            rows=rows,
        ),
        Table(title="What they write, first seed", columns=["lane", "text"], rows=texts),
        Table(
            title="The leak audit of these very models",
            columns=["lane", "seed", "outcome", "verdict"],
            rows=[
                [cell.variant, str(cell.seed + 1), cell.audited, cell.audit]
                for cell in result.cells
                if cell.audit
            ],
        ),
    ]  # fmt: skip


def _rank(result: Outcome, lane: str) -> str:
    return f"{result.ranked.index(lane) + 1}." if lane in result.ranked else "–"


def _numbers(result: Outcome, lane: str) -> list[str]:
    """Loss, parameters and seconds, as far as they are known."""
    cells = result.of(lane)
    parameters = max((cell.parameters for cell in cells), default=0)
    size = f"{parameters:,}" if parameters else ""
    if lane not in result.ranked:
        return ["", size, ""]
    seconds = spread(cell.seconds[-1] for cell in result.last_cells(lane)).mean
    return [_range(result, lane), size, f"{seconds:.1f}"]


def _difference(result: Outcome, lane: str) -> str:
    failed = [
        f"seed {seed + 1} was ended: {reason}" for seed, reason in result.trouble(lane).items()
    ]
    if lane in result.compared:
        control = result.comparison.control_of(lane)
        than = f" (than “{control}”)" if result.comparison.controls else ""
        failed.insert(0, f"{worded(result.compared[lane], result.unit, 3, WORDS)}{than}")
    return "; ".join(failed)


def rows(result: Outcome) -> list[dict[str, Any]]:
    """Every look at the validation text, and one line for each cell that was ended before one."""
    return [row for cell in result.cells for row in _rows_of(result, cell)]


def _rows_of(result: Outcome, cell: Cell) -> Iterator[dict[str, Any]]:
    about = {"lane": cell.variant, "seed": cell.seed + 1, "parameters": cell.parameters}
    each, text = result.comparison.per_step[cell.variant], cell.bytes_per_token
    for step, seconds, loss in zip(cell.steps, cell.seconds, cell.losses, strict=True):
        yield about | {
            "step": step,
            "tokens": step * each,
            "flops": step * each * cell.flops or "",
            "seconds": seconds,
            "validation_nats": loss,
            "bits_per_byte": bits_per_byte(loss, text) if text else "",
            "ended": cell.failed,
        }
    if cell.failed and not cell.steps:
        measured = ("step", "tokens", "flops", "seconds", "validation_nats", "bits_per_byte")
        yield about | dict.fromkeys(measured, "") | {"ended": cell.failed}


def summary(result: Outcome) -> dict[str, Any]:
    """All that was found, as plain values."""
    one = result.comparison
    right = answer(result)
    lanes: list[Mapping[str, Any]] = [
        {
            "lane": name,
            "place": result.ranked.index(name) + 1 if name in result.ranked else None,
            "losses": result.ended[name],
            "against": one.control_of(name),
            "difference": found.found.mean if (found := result.compared.get(name)) else None,
            "clear": bool(found and found.clear),
            "failed": result.trouble(name),
        }
        for name in one.lanes
    ]
    return {
        "question": one.slug,
        "title": one.title,
        "unit": result.unit,
        "budget": one.budget,
        "seeds": one.seeds,
        "against": one.against,
        "lanes": lanes,
        "verdict": verdict(result),
        "ending": ending(result),
        "audits": {cell.variant: cell.audit for cell in result.cells if cell.audit},
        "guess": one.guess.prompt,
        "answer": None if right is None else one.guess.options[right],
    }
