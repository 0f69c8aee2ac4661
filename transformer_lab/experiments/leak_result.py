"""What the leak microscope measured: its settings, its curves, and how they are shown."""

from dataclasses import dataclass, field
from typing import Any

from transformer_lab.experiments.experiment import Plot, Series, Table
from transformer_lab.experiments.generative import GenerativeSettings
from transformer_lab.experiments.pictures import PICTURES
from transformer_lab.experiments.statistics import (
    Chance,
    Spread,
    bars,
    chance_reference,
    over_seeds,
    spread,
)
from transformer_lab.settings import choice, knob

NETWORKS = {
    "untrained": "never trained",
    "trained": "trained",
    "shuffled": "trained on shuffled labels",
}
TRUE, RANDOM, NOISE, HONEST = "leaky_true", "leaky_random", "leaky_noise", "honest"
EVALUATIONS = {
    TRUE: "label given, true labels",
    RANDOM: "label given, random labels",
    NOISE: "label given, noise pictures and random labels",
    HONEST: "label not given",
}
LONGEST = 1000  # steps of the honest evaluation, which gets ten times as many


@dataclass(frozen=True, kw_only=True)
class LeakSettings(GenerativeSettings):
    """The knobs of the leak microscope."""

    GROUP = "pcn_leak"

    pictures: str = choice(
        "digits",
        PICTURES,
        "Pictures",
        "Digits come with the lab; CIFAR-10, the paper's, must lie in the data folder.",
        words={"digits": "Handwritten digits, 8 x 8", "cifar10": "CIFAR-10, 32 x 32 in colour"},
        advanced=True,
    )
    training_pictures: int = knob(
        1347,
        10,
        50_000,
        "Training Pictures",
        "The first so many are learned from; all of CIFAR-10 takes hours.",
        advanced=True,
    )
    test_pictures: int = knob(
        450,
        10,
        10_000,
        "Test Pictures",
        "The first so many are tested on; there are 450 digits and 10,000 photos.",
        advanced=True,
    )

    @property
    def long_steps(self) -> int:
        """How many steps the honest evaluation takes: many more than T, to be beyond doubt."""
        return max(self.steps, min(10 * self.steps, LONGEST))


@dataclass(kw_only=True)
class Curve:
    """One network under one evaluation, after 0, 1, 2 ... steps of settling; it grows.

    Accuracy in percent; energies are means over the test pictures. `refused` counts the steps of
    single pictures that were halved because their energy would have risen.
    """

    seed: int
    network: str
    evaluation: str
    accuracy: list[float] = field(default_factory=list)
    latent_energy: list[float] = field(default_factory=list)
    supervised_energy: list[float] = field(default_factory=list)
    refused: int = 0


@dataclass(frozen=True, kw_only=True)
class LeakResult:
    """The curves so far; `training_refused` counts what was halved while networks trained."""

    settings: LeakSettings
    tests: int
    chance: Chance
    curves: list[Curve]
    training_refused: int

    def at(self, network: str, evaluation: str, steps: int) -> Spread | None:
        """Accuracy over seeds after so many steps, or None when none is there yet."""
        found = [
            curve.accuracy[steps]
            for curve in self.curves
            if (curve.network, curve.evaluation) == (network, evaluation)
            and len(curve.accuracy) > steps
        ]
        return spread(found) if found else None

    def plots(self) -> list[Plot]:
        """Bars of all networks and evaluations, then accuracy and both energies against T."""
        drawn = [network_bars(self), accuracy_lines(self), *energy_lines(self)]
        return [plot for plot in drawn if plot.series]


def columns(result: LeakResult) -> list[tuple[str, str, int]]:
    """What each bar is: its words, its evaluation and after how many steps."""
    steps, long = result.settings.steps, result.settings.long_steps
    short = [(f"{EVALUATIONS[name]}, T = {steps}", name, steps) for name in EVALUATIONS]
    if long == steps:
        return short
    return [*short, (f"{EVALUATIONS[HONEST]}, T = {long}", HONEST, long)]


def network_bars(result: LeakResult) -> Plot:
    """Accuracy of every network under every evaluation."""
    return Plot(
        title="Who is right, and how it was asked",
        kind="bar",
        x_label="evaluation",
        y_label="accuracy, %",
        series=[
            series
            for network, words in NETWORKS.items()
            for series in bars(
                words,
                (
                    (label, result.at(network, evaluation, steps))
                    for label, evaluation, steps in columns(result)
                ),
            )
        ],
        references=[chance_reference(result.chance)],
        note=refusals(result),
    )


LINES = (("trained", TRUE), ("trained", RANDOM), ("untrained", NOISE), ("trained", HONEST))


def line(result: LeakResult, network: str, evaluation: str, what: str) -> list[Series]:
    """One number against the steps of settling, over seeds, up to T."""
    end = result.settings.steps + 1
    return over_seeds(
        f"{NETWORKS[network]}; {EVALUATIONS[evaluation]}",
        (
            getattr(curve, what)[:end]
            for curve in result.curves
            if (curve.network, curve.evaluation) == (network, evaluation)
        ),
    )


def accuracy_lines(result: LeakResult) -> Plot:
    """Accuracy against T."""
    return Plot(
        title="Accuracy as the latents settle",
        kind="line",
        x_label="steps of settling, T",
        y_label="accuracy, %",
        series=[
            series
            for network, evaluation in LINES
            for series in line(result, network, evaluation, "accuracy")
        ],
        references=[chance_reference(result.chance)],
    )


def energy_lines(result: LeakResult) -> list[Plot]:
    """The energy of the latents and that of the label against T, with the label and without."""
    names = {
        "latent_energy": "Energy of the latents, trained network",
        "supervised_energy": "Energy of the label, trained network",
    }
    return [
        Plot(
            title=title,
            kind="line",
            x_label="steps of settling, T",
            y_label="energy per picture",
            series=[
                series
                for evaluation in (TRUE, HONEST)
                for series in line(result, "trained", evaluation, what)
            ],
        )
        for what, title in names.items()
    ]


def refusals(result: LeakResult) -> str:
    """What had to be done so that no energy rose; empty when nothing."""
    refused = sum(curve.refused for curve in result.curves)
    taken = result.tests * sum(max(len(curve.accuracy) - 1, 0) for curve in result.curves)
    if not refused and not result.training_refused:
        return ""
    return (
        f"{refused:,} of {taken:,} steps of single test pictures, and "
        f"{result.training_refused:,} in training, would have raised the energy (the step size is "
        "too large there, or a kink of ReLU was crossed): they were refused and halved."
    )


def answer(result: LeakResult) -> int | None:
    """Which option of the question is right: near chance, in between, or most of them."""
    spot = result.at("untrained", NOISE, result.settings.steps)
    if spot is None:
        return None
    if spot.mean <= result.chance.high:
        return 0
    return 1 if spot.mean < 60 else 2


def verdict(result: LeakResult) -> str:
    """One sentence, from the numbers."""
    steps = result.settings.steps
    with_label = result.at("untrained", NOISE, steps)
    honest = result.at("trained", HONEST, steps)
    if with_label is None or honest is None:
        return "Not yet enough: neither evaluation has come to its end for all networks."
    numbers = (
        f"With the label given, a network that never learned is right on {with_label} % of noise "
        f"pictures with random labels; without it, the trained one is right on {honest} % of real "
        f"ones. Guessing gives {result.chance.low:.1f} to {result.chance.high:.1f} %."
    )
    if with_label.low > result.chance.high:
        return f"The label leaks. {numbers}"
    return f"No clear leak at these settings. {numbers}"


def tables(result: LeakResult) -> list[Table]:
    """Accuracy by network and evaluation: mean and range over seeds."""
    rows = [
        [
            label,
            *(
                str(spot) if (spot := result.at(network, evaluation, steps)) else "-"
                for network in ("trained", "shuffled", "untrained")
            ),
        ]
        for label, evaluation, steps in columns(result)
    ]
    return [
        Table(
            title=f"Accuracy in percent on {result.tests:,} test pictures; "
            f"chance {result.chance.low:.1f} to {result.chance.high:.1f}",
            columns=["evaluation", "trained", "trained on shuffled labels", "never trained"],
            rows=rows,
        )
    ]


def rows(result: LeakResult) -> list[dict[str, Any]]:
    """Every step up to T, and every T steps after that."""
    every = result.settings.steps
    return [
        {
            "seed": curve.seed,
            "network": curve.network,
            "evaluation": curve.evaluation,
            "steps": step,
            "accuracy_percent": accuracy,
            "latent_energy": latent,
            "supervised_energy": supervised,
        }
        for curve in result.curves
        for step, (accuracy, latent, supervised) in enumerate(
            zip(curve.accuracy, curve.latent_energy, curve.supervised_energy, strict=True)
        )
        if step <= every or step % every == 0
    ]
