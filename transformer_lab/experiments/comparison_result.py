"""What a comparison measured, how it is shown, and what may be said of it.

The verdict is that of `paired.py`: every lane against the base, paired over the seeds, in which
both saw the same text, corrected by Holm's method for the number of lanes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from transformer_lab.experiments.comparison import (
    BETTER,
    FAILED,
    UNCLEAR,
    WORSE,
    Comparison,
)
from transformer_lab.experiments.experiment import Plot, Reference, Series, Table
from transformer_lab.experiments.paired import Paired, cannot_tell, holm, interval, paired
from transformer_lab.experiments.statistics import bars, over_seeds, spread
from transformer_lab.experiments.transformers_result import Lane
from transformer_lab.text.split import bits_per_byte

Axis = Literal["steps", "tokens", "flops", "seconds"]
AXES: Mapping[Axis, str] = {  # and what each is called
    "steps": "steps",
    "tokens": "tokens",
    "flops": "FLOPs",
    "seconds": "seconds of its own training",
}


COUNTED = (
    "FLOPs are counted from the shape of the model: those of its products, forward and backward."
)


@dataclass(kw_only=True)
class Cell(Lane):
    """One lane (its name is `variant`) and one seed, growing.

    `flops` are the multiplications and additions that it learns a token by, 0 where that is not
    known; `stopped` says that a person ended it. `audited` is the outcome of the leak audit of its
    model, empty where there was none, and `audit` its verdict in words.
    """

    bytes_per_token: float = 0.0
    flops: float = 0.0
    stopped: bool = False
    audited: str = ""
    audit: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The cells so far, of every lane and seed."""

    comparison: Comparison
    cells: list[Cell]

    def of(self, lane: str) -> list[Cell]:
        """Its cells, in the order of the seeds."""
        return [cell for cell in self.cells if cell.variant == lane]

    @property
    def unit(self) -> str:
        """Of every loss that is shown."""
        return "bits per byte" if self.comparison.bits else "nats"

    def losses(self, cell: Cell) -> list[float]:
        """A cell's validation losses in that unit."""
        if not self.comparison.bits:
            return cell.losses
        if not cell.bytes_per_token:
            return []
        return [bits_per_byte(loss, cell.bytes_per_token) for loss in cell.losses]

    @cached_property
    def ended(self) -> dict[str, dict[int, float]]:
        """The last loss of every cell that came to its last step, by lane and seed."""
        return {
            name: {
                cell.seed: losses[-1]
                for cell in self.of(name)
                if cell.last == setup.train.steps and (losses := self.losses(cell))
            }
            for name, setup in self.comparison.lanes.items()
        }

    def differences(self, lane: str, other: str) -> list[float]:
        """Its last loss minus the other's, for every seed that has both."""
        ours, theirs = self.ended[lane], self.ended[other]
        return [loss - theirs[seed] for seed, loss in ours.items() if seed in theirs]

    def against(self, base: str) -> dict[str, tuple[Paired, bool]]:
        """Every lane against one: the paired difference, and whether it is clear."""
        return self._against({name: base for name in self.comparison.lanes if name != base})

    def _against(self, pairs: Mapping[str, str]) -> dict[str, tuple[Paired, bool]]:
        """Lanes, each against another."""
        found = {
            name: paired(values)
            for name, base in pairs.items()
            if (values := self.differences(name, base))
        }
        corrected = holm([one.p for one in found.values()])
        return {
            name: (one, one.clear(p))
            for (name, one), p in zip(found.items(), corrected, strict=True)
        }

    @cached_property
    def compared(self) -> dict[str, tuple[Paired, bool]]:
        """Every lane against its control, which is the base unless it has one of its own."""
        one = self.comparison
        pairs = {name: one.control_of(name) for name in one.lanes}
        return self._against({name: base for name, base in pairs.items() if name != base})

    @cached_property
    def ranked(self) -> list[str]:
        """The lanes that came to the end with a seed, the lowest mean loss first."""
        found = {name: spread(ends.values()).mean for name, ends in self.ended.items() if ends}
        return sorted(found, key=lambda name: found[name])

    def trouble(self, lane: str) -> dict[int, str]:
        """Why cells of a lane came to no end, by seed."""
        return {cell.seed: cell.failed for cell in self.of(lane) if cell.failed}

    def places(self, cell: Cell, axis: Axis) -> list[float]:
        """Where the looks of a cell stand on an axis."""
        if axis in ("tokens", "flops"):
            each = self.comparison.per_step[cell.variant] * (cell.flops if axis == "flops" else 1)
            return [float(step * each) for step in cell.steps]
        return [float(place) for place in (cell.seconds if axis == "seconds" else cell.steps)]

    def plots(self, axis: Axis = "steps") -> list[Plot]:
        """Curves, the gap to the base, and loss against time and size."""
        found = [self._curves(axis), self._gaps(), self._cost("seconds"), self._cost("parameters")]
        return [plot for plot in found if plot.series]

    def _curves(self, axis: Axis) -> Plot:
        seeds = max((len(self.of(name)) for name in self.comparison.lanes), default=0)
        known = axis != "flops" or all(cell.flops for cell in self.cells if cell.steps)
        return Plot(
            title=f"Validation loss over {AXES[axis].partition(' ')[0]}",
            kind="line",
            x_label=AXES[axis],
            y_label=f"{self.unit}, mean and range over seeds" if seeds > 1 else self.unit,
            series=[
                series
                for name in self.comparison.lanes
                if known
                for series in over_seeds(
                    name,
                    [self.losses(cell) for cell in self.of(name)],
                    _mean_places([self.places(cell, axis) for cell in self.of(name)]),
                )
            ],
            note=" ".join([*self.ends(), *([COUNTED] if axis == "flops" else [])]),
        )

    def ends(self) -> Iterator[str]:
        """A sentence on each lane of which a seed came to no end."""
        for name in self.comparison.lanes:
            if trouble := self.trouble(name):
                seeds = " and ".join(str(seed + 1) for seed in trouble)
                yield f"{name}, seed {seeds}, was ended: {next(iter(trouble.values()))}"

    def _gaps(self) -> Plot:
        one = self.comparison
        pairs = {name: one.control_of(name) for name in one.lanes}
        found = [
            (name, spread(self.differences(name, base)) if name in self.compared else None)
            for name, base in pairs.items()
            if name != base
        ]
        return Plot(
            title=f"Last validation loss, above or below that of {_whose(one)}",
            kind="bar",
            y_label=f"difference in {self.unit}",
            series=bars("mean and range over seeds", found),
            references=[Reference(name="no difference", y=0.0)],
        )

    def _cost(self, what: Literal["seconds", "parameters"]) -> Plot:
        """One mark for each lane that has come to an end."""
        series = []
        for name in self.comparison.lanes:
            if name not in self.ranked:
                continue
            last, losses = self.last_cells(name), list(self.ended[name].values())
            paid = {
                "seconds": spread(cell.seconds[-1] for cell in last).mean,
                "parameters": float(last[0].parameters),
            }[what]
            found, ranged = spread(losses), len(losses) > 1
            series.append(
                Series(
                    name=name,
                    x=[paid],
                    y=[found.mean],
                    low=[found.low] if ranged else [],
                    high=[found.high] if ranged else [],
                )
            )
        return Plot(
            title=f"Last validation loss against {what}",
            kind="points",
            x_label={"seconds": "seconds of training", "parameters": "parameters"}[what],
            y_label=self.unit,
            series=series,
        )

    def last_cells(self, lane: str) -> list[Cell]:
        """The cells of a lane that came to its last step."""
        return [cell for cell in self.of(lane) if cell.seed in self.ended[lane]]


def _whose(one: Comparison) -> str:
    """With what lanes are compared, in words."""
    return "its control" if one.controls else f"“{one.against}”"


def _mean_places(lines: list[list[float]]) -> list[float]:
    length = max(map(len, lines), default=0)
    return [spread(line[i] for line in lines if len(line) > i).mean for i in range(length)]


# --- what may be said -----------------------------------------------------------------------------


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
    found, clear = result.compared[lane]
    if not clear:
        return UNCLEAR
    return WORSE if found.mean > 0 else BETTER


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
    return best if all(clear for _, clear in others) else UNCLEAR


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
        f"“{name}” is clearly {'worse' if found.mean > 0 else 'better'} than "
        f"“{one.control_of(name)}”: "
        f"{interval(found, 3)}."
        for name in result.ranked
        if name in result.compared
        for found, sure in [result.compared[name]]
        if sure
    ]
    unclear = [name for name, (_, sure) in result.compared.items() if not sure]
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
    base = _whose(result.comparison)
    why = cannot_tell(result.compared[names[0]][0], result.unit, 3)
    listed = ", ".join(f"“{name}”" for name in names)
    if len(names) == 1:
        yield f"Whether {listed} differs from {base}: {why}."
    else:
        yield f"No clear difference from {base}: {listed} (of the first: {why})."


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
    return [
        Table(
            title=f"Validation loss in {result.unit} after {one.budget} of {one.stream}, {seeds}",
            columns=[
                "place", "lane", "loss, mean and range", "parameters", "seconds",
                f"above {_whose(one)}, mean and 95 % interval",
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
        found, clear = result.compared[lane]
        words = "clear" if clear else cannot_tell(found, result.unit, 3)
        control = result.comparison.control_of(lane)
        than = f" (than “{control}”)" if result.comparison.controls else ""
        failed.insert(0, f"{interval(found, 3)}{than}: {words}")
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
            "difference": found[0].mean if (found := result.compared.get(name)) else None,
            "clear": bool(found and found[1]),
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
