"""Experiment 8: where width is much larger than depth, predictive coding is backpropagation.

muPC networks with ReLU settle on a few digits; the cosine of each layer's gradient with
backpropagation's is taken, and the lowest of them counts. Controls: settling that is too short,
which must break it; the standard parameterization, settled as long; and the settled energy over
the loss, which has to come to 1 with the cosines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transformer_lab.experiments.by_seed import cell, differences, having, lines, listed, part_of
from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Plot,
    Question,
    Reference,
    Table,
    Tick,
    recorded,
    seeds_in,
)
from transformer_lab.experiments.gradient_agreement import cosine
from transformer_lab.experiments.paired import Judged, judged, worded
from transformer_lab.experiments.pictures import Pictures, digits, one_hot
from transformer_lab.experiments.statistics import over_seeds, spread, verdict_table
from transformer_lab.pcn.chain import (
    by_layer,
    chain_backpropagation,
    new_chain,
    weight_gradients,
)
from transformer_lab.pcn.depth import energy_of, settle_states
from transformer_lab.pcn.energy import ACTIVATIONS
from transformer_lab.settings import Config, knob

LOOKED_AT = 16  # pictures
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
        return [plot for plot in drawn if plot.series]

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


def run(
    settings: WidthSettings,
    folders: Sequence[Path] = (),
    kept: Partial[WidthResult] | None = None,
) -> Iterator[Partial[WidthResult]]:
    """Settle networks of every width and depth, seed after seed, and compare the gradients."""
    return recorded(
        kept,
        "looks",
        lambda looks: work(settings, looks),
        lambda looks: WidthResult(settings=settings, looks=looks),
    )


def work(settings: WidthSettings, looks: list[WidthLook]) -> Iterator[Tick]:
    """Everything there is to measure; adds to `looks`. Each seed has other pictures."""
    for seed in range(seeds_in(looks), settings.seeds):
        pictures = digits(split=seed)
        networks = [
            (way, layers, width)
            for width in settings.widths
            for way in ways(settings)
            for layers in (settings.depths if way == LONG else [settings.layers])
        ]
        for place, (way, layers, width) in enumerate(networks):
            for share in look(settings, pictures, seed, way, layers, width, looks):
                progress = (seed + (place + share) / len(networks)) / settings.seeds
                yield progress, f"seed {seed + 1}: {layers} layers of {width} units"


def look(
    settings: WidthSettings,
    pictures: Pictures,
    seed: int,
    way: str,
    layers: int,
    width: int,
    looks: list[WidthLook],
) -> Iterator[float]:
    """Settle one network and compare its gradients; adds to `looks`, yields the share done"""
    images = pictures.training[:LOOKED_AT]
    label = one_hot(pictures.training_classes[:LOOKED_AT], pictures.classes)
    chain = new_chain(
        images.shape[1],
        width,
        pictures.classes,
        layers,
        torch.Generator().manual_seed(seed),
        parameterization="standard" if way == STANDARD else "mupc",
        activation=ACTIVATIONS["relu"],
    )
    steps = settings.short if way == SHORT else settings.steps
    for state in settle_states(chain, images, label, steps=steps, step_size=settings.step_size):
        if state.step == 0:
            loss = energy_of(state.errors, state.missed)  # there are no hidden errors yet
        yield state.step / (steps + 1)
    ours = weight_gradients(chain, images, state.hidden, state.errors, state.missed)
    right = chain_backpropagation(chain, images, label)
    looks.append(
        WidthLook(
            seed=seed,
            way=way,
            layers=layers,
            width=width,
            cosine=min(map(cosine, by_layer(ours), by_layer(right))),
            energy=(state.energy.sum() / loss.sum()).item(),
        )
    )
    yield 1.0


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
    said = "; ".join(f"{name} {worded(one, 'cosine', 3, WORDS)}" for name, one in found.items())
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
    """Every number."""
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


EXPERIMENT = Experiment(
    key="width",
    title="Wide networks",
    question="When does predictive coding become backpropagation by itself?",
    prediction=Question(
        prompt="A muPC network of many layers, as wide as is tried here, settles for long. How "
        "near is the layer that is farthest from backpropagation's gradient (lowest cosine)?",
        options=("Nearly the same: above 0.99", "Near: 0.9 to 0.99", "Not near: up to 0.9"),
    ),
    equations=(
        Equation(
            name="The layer that is farthest",
            latex=r"\min_l\ \cos\big(\partial E(z^*) / \partial W_l,\ "
            r"\partial \mathcal{L} / \partial W_l\big)",
            function="transformer_lab.experiments.wide_networks.look",
            source="our measure of what arXiv:2602.07697 (abstract read) says of widths",
        ),
        Equation(
            name="Settled energy comes to backpropagation's loss",
            latex=r"E(z^*) \to \tfrac12 \|y - \hat y\|^2 \quad (N \gg L)",
            function="transformer_lab.pcn.depth.energy_of",
            source="arXiv:2602.07697, proved there for linear residual networks; measured here",
        ),
        Equation(
            name="Settling by states",
            latex=r"z_l \leftarrow z_l - \eta\,"
            r"(\varepsilon_l - \mathrm{back}_l(\varepsilon_{l+1}))",
            function="transformer_lab.pcn.chain.state_gradient",
            source="as in Whittington & Bogacz 2017; tested against automatic differentiation",
        ),
    ),
    settings=WidthSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
)
