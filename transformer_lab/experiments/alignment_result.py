"""What was measured of target alignment, and how it is shown."""

from dataclasses import dataclass
from typing import Any

from transformer_lab.experiments.by_seed import cell, differences, having, lines, listed, part_of
from transformer_lab.experiments.experiment import Plot, Reference, Table, to_draw
from transformer_lab.experiments.paired import Judged, all_worded, judged, option_of
from transformer_lab.experiments.statistics import over_seeds, spread, verdict_table
from transformer_lab.settings import Config, knob

DEPTHS = (2, 4, 8)
RULES = {
    "backpropagation": "backpropagation",
    "states": "PC",
    "errors": "ePC",
    "zil": "Z-IL",
    "still": "PC, T = 0",
}
WORDS = ("less aligned", "more aligned")


@dataclass(frozen=True, kw_only=True)
class AlignmentSettings(Config):
    """The knobs of the experiment on target alignment."""

    GROUP = "pcn_alignment"

    steps: int = knob(500, 1, 5000, "Inference Steps", "T: settling steps of predictive coding.")
    step_size: float = knob(0.1, 0.001, 1.0, "Step Size", "How far each of them goes.")
    narrow: int = knob(10, 2, 256, "Narrow Width", "Units of each hidden layer.")
    wide: int = knob(64, 2, 256, "Wide Width", "The same of the network it is compared with.")
    seeds: int = knob(5, 1, 20, "Seeds", "Independent repetitions, from weights to pictures.")

    @property
    def widths(self) -> list[int]:
        """The widths tried."""
        return sorted({self.narrow, self.wide})


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """One network and rule: the mean cosine over pictures, and how far y_hat came on the way.

    `gain` is the share of y - y_hat that the step covers along it, over backpropagation's.
    """

    seed: int
    rule: str
    layers: int
    width: int
    cosine: float
    gain: float


@dataclass(frozen=True, kw_only=True)
class AlignmentResult:
    """What was found so far."""

    settings: AlignmentSettings
    found: list[Aligned]

    def of(self, rule: str, layers: int, width: int) -> dict[int, Aligned]:
        """One rule in one kind of network, by seed."""
        return having(self.found, rule=rule, layers=layers, width=width)

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences of the mean cosine, paired by seed."""
        pairs = {
            f"{width} units, {layers} layers: PC, against backpropagation": self.differences(
                layers, width
            )
            for width in self.settings.widths
            for layers in DEPTHS
        }
        return judged(pairs)

    def differences(self, layers: int, width: int) -> list[float]:
        """PC minus backpropagation, of every seed."""
        rules = ("states", "backpropagation")
        return differences(*(part_of(self.of(rule, layers, width), "cosine") for rule in rules))

    def largest_gap(self) -> float | None:
        """The control: the largest difference of Z-IL from backpropagation, in cosine."""
        gaps = [
            abs(one.cosine - self.of("backpropagation", one.layers, one.width)[one.seed].cosine)
            for one in self.found
            if one.rule == "zil" and one.seed in self.of("backpropagation", one.layers, one.width)
        ]
        return max(gaps) if gaps else None

    def plots(self) -> list[Plot]:
        """Alignment against depth, for each width."""
        drawn = [self._lines(width) for width in self.settings.widths]
        return to_draw(drawn)

    def _lines(self, width: int) -> Plot:
        return Plot(
            title=f"Does the answer move to the target? {width} units",
            kind="line",
            x_label="layers",
            y_label="cosine of the change with what is missing",
            series=[
                series
                for rule, words in RULES.items()
                for series in over_seeds(
                    words,
                    lines(
                        [self.of(rule, layers, width) for layers in DEPTHS],
                        "cosine",
                        self.settings.seeds,
                    ),
                    [float(layers) for layers in DEPTHS],
                )
            ],
            references=[Reference(name="straight to the target", y=1.0)],
        )


def answer(result: AlignmentResult) -> int | None:
    """Which option of the question is right, in the deepest narrow network."""
    found = result.compared().get(
        f"{result.settings.widths[0]} units, {DEPTHS[-1]} layers: PC, against backpropagation"
    )
    return option_of(found)


def verdict(result: AlignmentResult) -> str:
    """What the numbers say."""
    found, gap = result.compared(), result.largest_gap()
    if len(found) < len(result.settings.widths) * len(DEPTHS) or gap is None:
        return "Not yet enough: no seed has taken its step in all networks."
    if gap > 1e-6:
        return (
            f"Do not believe this: Z-IL differs from backpropagation by up to {gap:.1g} in cosine, "
            "so something besides the rule differs."
        )
    said = all_worded(found, "cosine", 3, WORDS)
    narrow = result.settings.widths[0]
    still = result.of("still", DEPTHS[-1], narrow).values()
    return (
        f"Seed by seed, of the cosine of the answer's change with what is missing: {said}. With "
        f"T = 0 that cosine is {spread(one.cosine for one in still).mean:.3f} in {DEPTHS[-1]} "
        f"layers of {narrow}, by {spread(one.gain for one in still).mean:.2g} times "
        "backpropagation's way to the target: alignment alone is not learning. Z-IL equals "
        f"backpropagation to {gap:.0e}."
    )


def tables(result: AlignmentResult) -> list[Table]:
    """Alignment by width and depth; and what is compared."""
    kinds = [(width, layers) for width in result.settings.widths for layers in DEPTHS]
    return [
        Table(
            title="Cosine of the change of the answer with y - y_hat (way covered, over "
            "backpropagation's), mean over pictures and seeds",
            columns=["rule", *(f"{width} units, L = {layers}" for width, layers in kinds)],
            rows=[
                [
                    words,
                    *(
                        cell(result.of(rule, layers, width), "{:.3f} ({:.2g})", "cosine", "gain")
                        for width, layers in kinds
                    ),
                ]
                for rule, words in RULES.items()
            ],
        ),
        verdict_table(result.compared(), "cosine", 3, WORDS),
    ]


def rows(result: AlignmentResult) -> list[dict[str, Any]]:
    """Every measured number, a row each, for the download."""
    return listed(
        result.found,
        {
            "seed": "seed",
            "rule": "rule",
            "layers": "layers",
            "width": "width",
            "cosine": "alignment",
            "gain": "way_over_backpropagations",
        },
    )
