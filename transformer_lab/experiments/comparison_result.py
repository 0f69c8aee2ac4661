"""What a comparison measured, and its charts; `comparison_words.py` has what may be said of it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_tuned import by_rate
from transformer_lab.experiments.experiment import Plot, Reference, Series, to_draw
from transformer_lab.experiments.paired import Judged, judged
from transformer_lab.experiments.statistics import bars, over_seeds, place_by_place, spread
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

    @property
    def sizes(self) -> str:
        """What the parameters of a cell are: of a fine-tuning those that learn."""
        return "trained parameters" if self.comparison.base else "parameters"

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

    def against(self, base: str) -> dict[str, Judged]:
        """Every lane against one: the paired difference, and whether it is clear."""
        return self._against({name: base for name in self.comparison.lanes if name != base})

    def _against(self, pairs: Mapping[str, str]) -> dict[str, Judged]:
        """Lanes, each against another."""
        return judged({name: self.differences(name, base) for name, base in pairs.items()})

    @cached_property
    def compared(self) -> dict[str, Judged]:
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
        found = [
            self._curves(axis),
            self._rates(),
            self._gaps(),
            self._cost("seconds"),
            self._cost("parameters"),
        ]
        return to_draw(found)

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
                    [
                        place.mean
                        for place in place_by_place(
                            [self.places(cell, axis) for cell in self.of(name)]
                        )
                    ],
                )
            ],
            note=" ".join([*self.ends(), *([COUNTED] if axis == "flops" else [])]),
        )

    def _rates(self) -> Plot:
        """The last loss over the learning rate, a line for lanes that differ in nothing else."""
        one, series = self.comparison, []
        lanes = {name: (setup, one.tunings.get(name)) for name, setup in one.lanes.items()}
        for names in by_rate(lanes):
            found = {name: spread(ends) for name in names if (ends := self.ended[name].values())}
            ranged = max((each.count for each in found.values()), default=0) > 1
            series.append(
                Series(
                    name=_in_common(names),
                    x=[one.lanes[name].train.learning_rate for name in found],
                    y=[each.mean for each in found.values()],
                    low=[each.low for each in found.values()] if ranged else [],
                    high=[each.high for each in found.values()] if ranged else [],
                )
            )
        return Plot(
            title="Last validation loss over the learning rate",
            kind="line",
            x_label="learning rate",
            y_label=self.unit,
            x_log=True,
            series=[each for each in series if each.x],
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
            title=f"Last validation loss, above or below that of {whose(one)}",
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
            title=f"Last validation loss against {self.sizes if what == 'parameters' else what}",
            kind="points",
            x_label={"seconds": "seconds of training", "parameters": self.sizes}[what],
            y_label=self.unit,
            series=series,
        )

    def last_cells(self, lane: str) -> list[Cell]:
        """The cells of a lane that came to its last step."""
        return [cell for cell in self.of(lane) if cell.seed in self.ended[lane]]


def whose(one: Comparison) -> str:
    """With what lanes are compared, in words."""
    return "its control" if one.controls else f"“{one.against}”"


def _in_common(names: list[str]) -> str:
    """What the names of lanes have in common, without the rate: LoRA, of “LoRA at 0.01”."""
    parts = [re.split(", | at ", name) for name in names]
    return ", ".join(part for part in parts[0] if all(part in other for other in parts)) or "loss"
