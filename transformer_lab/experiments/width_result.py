"""What was measured of wide networks, and how it is shown."""

from dataclasses import dataclass
from typing import Any

from transformer_lab.experiments.by_seed import cell, differences, having, lines, listed, part_of
from transformer_lab.experiments.experiment import Plot, Reference, Table, to_draw
from transformer_lab.experiments.paired import Judged, all_worded, judged
from transformer_lab.experiments.statistics import over_seeds, spread, verdict_table
from transformer_lab.settings import Config, knob

SHALLOW = 4  # layers, beside the depth that is chosen
WIDTHS = (8, 32, 128, 512)
LONG, SHORT, STANDARD = "long", "short", "standard"
WORDS = ("farther", "nearer")


@dataclass(frozen=True, kw_only=True)
class WidthSettings(Config):
    """The knobs of the experiment on wide networks."""

    GROUP = "pcn_width"

    steps: int = knob(600, 2, 5000, "Inference Steps", "T: settling steps of states.")
    step_size: float = knob(0.2, 0.001, 1.0, "Step Size", "How far each of them moves the states.")
    layers: int = knob(12, 3, 32, "Layers", "L: of the deeper network; the other has 4 or fewer.")
    widest: int = knob(
        128, 32, 512, "Widest", "N: 8, 32, 128 and 512 units are tried, up to this many."
    )
    seeds: int = knob(3, 1, 20, "Seeds", "Independent repetitions, from weights to pictures.")

    @property
    def widths(self) -> list[int]:
        """How many units are tried, from few to many."""
        return [width for width in WIDTHS if width <= self.widest]

    @property
    def depths(self) -> list[int]:
        """How many layers are tried."""
        return sorted({min(SHALLOW, self.layers), self.layers})

    @property
    def short(self) -> int:
        """Steps that are too few for the error to reach the first layer of the deeper network."""
        return min(self.steps, self.layers // 2)


@dataclass(frozen=True, kw_only=True)
class WidthLook:
    """One network: its lowest cosine with backpropagation, and its settled energy over the loss.

    `way` is `long` or `short` settling with muPC, or `standard`, settled long without it.
    """

    seed: int
    way: str
    layers: int
    width: int
    cosine: float
    energy: float


@dataclass(frozen=True, kw_only=True)
class WidthResult:
    """The looks so far."""

    settings: WidthSettings
    looks: list[WidthLook]

    def of(self, way: str, layers: int, width: int) -> dict[int, WidthLook]:
        """The looks at one kind of network, by seed."""
        return having(self.looks, way=way, layers=layers, width=width)

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences of the lowest cosine, paired by seed."""
        narrow, wide = self.settings.widths[0], self.settings.widths[-1]
        shallow, deep = self.settings.depths[0], self.settings.layers
        pairs = {
            f"L = {deep}: {wide} units, against {narrow}": (
                (LONG, deep, wide),
                (LONG, deep, narrow),
            ),
            f"{wide} units: L = {shallow}, against L = {deep}": (
                (LONG, shallow, wide),
                (LONG, deep, wide),
            ),
            f"L = {deep}, {wide} units: T = {self.settings.steps}, against "
            f"T = {self.settings.short}": ((LONG, deep, wide), (SHORT, deep, wide)),
            f"L = {deep}, {wide} units: muPC, against standard": (
                (LONG, deep, wide),
                (STANDARD, deep, wide),
            ),
        }
        return judged(
            {
                name: differences(*(part_of(self.of(*kind), "cosine") for kind in kinds))
                for name, kinds in pairs.items()
            }
        )

    def plots(self) -> list[Plot]:
        """The lowest cosine and the settled energy against the width."""
        drawn = [
            self._lines("Lowest cosine with backpropagation over the layers", "cosine"),
            self._lines("Settled energy, over backpropagation's loss", "energy"),
        ]
        return to_draw(drawn)

    def _lines(self, title: str, part: str) -> Plot:
        widths = self.settings.widths
        series = []
        for way, words in ways(self.settings).items():
            for layers in self.settings.depths if way == LONG else [self.settings.layers]:
                found = [self.of(way, layers, width) for width in widths]
                series += over_seeds(
                    f"L = {layers}, {words}",
                    lines(found, part, self.settings.seeds),
                    [float(width) for width in widths],
                )
        return Plot(
            title=title,
            kind="line",
            x_label="units of each hidden layer, N",
            x_log=True,
            y_label=part,
            series=series,
            references=[Reference(name="the same as backpropagation", y=1.0)],
        )


def ways(settings: WidthSettings) -> dict[str, str]:
    """How networks are looked at, in words."""
    return {
        LONG: f"muPC, T = {settings.steps}",
        SHORT: f"muPC, T = {settings.short}, too few",
        STANDARD: f"standard, T = {settings.steps}",
    }


def answer(result: WidthResult) -> int | None:
    """Which option of the question is right."""
    found = result.of(LONG, result.settings.layers, result.settings.widths[-1])
    if not found:
        return None
    mean = spread(one.cosine for one in found.values()).mean
    return 0 if mean > 0.99 else 1 if mean > 0.9 else 2


def verdict(result: WidthResult) -> str:
    """What the numbers say."""
    found = result.compared()
    if len(found) < 4:
        return "Not yet enough: no seed has all of its networks settled."
    layers, wide = result.settings.layers, result.settings.widths[-1]
    ends = [
        spread(one.cosine for one in result.of(LONG, layers, width).values()).mean
        for width in (result.settings.widths[0], wide)
    ]
    energy = spread(one.energy for one in result.of(LONG, layers, wide).values()).mean
    said = all_worded(found, "cosine", 3, WORDS)
    return (
        f"With {layers} layers the lowest cosine with backpropagation's gradient is {ends[0]:.3f} "
        f"at {result.settings.widths[0]} units and {ends[1]:.3f} at {wide}, where the settled "
        f"energy is {energy:.3f} times backpropagation's loss. Seed by seed: {said}."
    )


def tables(result: WidthResult) -> list[Table]:
    """Cosines and energies by width; and what is compared."""
    widths = result.settings.widths
    kinds = [
        (way, layers)
        for way in ways(result.settings)
        for layers in (result.settings.depths if way == LONG else [result.settings.layers])
    ]
    body = [
        [f"L = {layers}, {ways(result.settings)[way]}", *(
            cell(result.of(way, layers, width), "{:.4f} ({:.3f})", "cosine", "energy")
            for width in widths
        )]
        for way, layers in kinds
    ]  # fmt: skip
    return [
        Table(
            title="Lowest cosine with backpropagation over the layers (settled energy over its "
            "loss), mean over seeds",
            columns=["network", *(f"N = {width}" for width in widths)],
            rows=body,
        ),
        verdict_table(result.compared(), "cosine", 3, WORDS),
    ]


def rows(result: WidthResult) -> list[dict[str, Any]]:
    """Every measured number, a row each, for the download."""
    return listed(
        result.looks,
        {
            "seed": "seed",
            "way": "settled",
            "layers": "layers",
            "width": "width",
            "cosine": "lowest_cosine",
            "energy": "energy_over_loss",
        },
    )
