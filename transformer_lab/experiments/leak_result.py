"""What the leak microscope measured: its settings, its curves, and how they are shown."""

from dataclasses import dataclass, field
from typing import Any

from transformer_lab.experiments.by_seed import differences
from transformer_lab.experiments.experiment import Plot, Series, Table
from transformer_lab.experiments.generative import GenerativeSettings
from transformer_lab.experiments.paired import Judged, interval, judged, worded
from transformer_lab.experiments.pictures import PICTURES
from transformer_lab.experiments.statistics import (
    Chance,
    Spread,
    bars,
    chance_reference,
    over_seeds,
    spread,
    verdict_table,
)
from transformer_lab.settings import choice, knob

NETWORKS = {
    "untrained": "never trained",
    "trained": "trained",
    "shuffled": "trained on shuffled labels",
}
# The control that can score high: another kind of network, asked by the same function.
DISCRIMINATIVE = {
    "discriminative": "discriminative, trained",
    "discriminative_shuffled": "discriminative, trained on shuffled labels",
}
ASKED = {**NETWORKS, **DISCRIMINATIVE}
TRUE, RANDOM, NOISE, HONEST = "leaky_true", "leaky_random", "leaky_noise", "honest"
TRIED = "each_label_tried"
EVALUATIONS = {
    TRUE: "label given, true labels",
    RANDOM: "label given, random labels",
    NOISE: "label given, noise pictures and random labels",
    HONEST: "label not given",
    TRIED: "each label tried, the one of least energy kept",
}
# What is compared, seed by seed.
LEAKS = "a network that never learned, noise and random labels: label given, against not given"
READ_OUT = "label not given, for long: trained, against trained on shuffled labels"
LEAST = "each label tried: trained, against trained on shuffled labels"
CAN = "label not given, discriminative network: trained, against trained on shuffled labels"
WORSE_BETTER = ("lower", "higher")
COLUMNS = ("trained", "shuffled", "untrained", "discriminative", "discriminative_shuffled")
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
    single pictures that were halved because their energy would have risen, `training_refused` those
    of the training before it.
    """

    seed: int
    network: str
    evaluation: str
    accuracy: list[float] = field(default_factory=list)
    latent_energy: list[float] = field(default_factory=list)
    supervised_energy: list[float] = field(default_factory=list)
    refused: int = 0
    training_refused: int = 0


@dataclass(frozen=True, kw_only=True)
class LeakResult:
    """The curves so far. Each seed has other test pictures."""

    settings: LeakSettings
    tests: int
    chance: Chance
    curves: list[Curve]

    def by_seed(self, network: str, evaluation: str, steps: int) -> dict[int, float]:
        """Accuracy after so many steps, of every seed that got there."""
        return {
            curve.seed: curve.accuracy[steps]
            for curve in self.curves
            if (curve.network, curve.evaluation) == (network, evaluation)
            and len(curve.accuracy) > steps
        }

    def at(self, network: str, evaluation: str, steps: int) -> Spread | None:
        """Accuracy over seeds after so many steps, or None when none is there yet."""
        found = self.by_seed(network, evaluation, steps)
        return spread(found.values()) if found else None

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences in points, paired by seed."""
        short, long = self.settings.steps, self.settings.long_steps
        pairs = {
            LEAKS: (("untrained", NOISE, short), ("untrained", HONEST, short)),
            READ_OUT: (("trained", HONEST, long), ("shuffled", HONEST, long)),
            LEAST: (("trained", TRIED, short), ("shuffled", TRIED, short)),
            CAN: (
                ("discriminative", HONEST, short),
                ("discriminative_shuffled", HONEST, short),
            ),
        }
        return judged(
            {
                name: differences(self.by_seed(*one), self.by_seed(*other))
                for name, (one, other) in pairs.items()
            }
        )

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
            for network, words in ASKED.items()
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


LINES = (
    ("trained", TRUE),
    ("untrained", NOISE),
    ("trained", HONEST),
    ("trained", TRIED),
    ("discriminative", HONEST),
)


def line(result: LeakResult, network: str, evaluation: str, what: str) -> list[Series]:
    """One number against the steps of settling, over seeds, up to T."""
    end = result.settings.steps + 1
    return over_seeds(
        f"{ASKED[network]}; {EVALUATIONS[evaluation]}",
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
    in_training = sum(curve.training_refused for curve in result.curves)
    if not refused and not in_training:
        return ""
    return (
        f"{refused:,} of {taken:,} steps of single test pictures, and "
        f"{in_training:,} in training, would have raised the energy (the step size is "
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
    """What the numbers say: the leak, what honesty finds, and that honesty can find something."""
    steps, found = result.settings.steps, result.compared()
    with_label = result.at("untrained", NOISE, steps)
    honest = result.at("trained", HONEST, steps)
    if with_label is None or honest is None or len(found) < 4:
        return "Not yet enough: neither evaluation has come to its end for all networks."
    leaks = found[LEAKS]
    begins = (
        "The label leaks."
        if leaks.clear and leaks.found.mean > 0
        else "No clear leak at these settings."
    )
    said = [
        f"{begins} With the label given, a network that never learned is right on {with_label} % "
        f"of noise pictures with random labels: against the same without it "
        f"{worded(leaks, 'points', 1)}.",
        f"Without it, the trained one is right on {honest} % of real ones. Guessing gives "
        f"{result.chance.low:.1f} to {result.chance.high:.1f} %. Settled for "
        f"{result.settings.long_steps} steps, what the training labels add to that is "
        f"{worded(found[READ_OUT], 'points', 1)}; with each label tried, "
        f"{worded(found[LEAST], 'points', 1)}.",
        f"The same function, label not given, can find a class where there is one: "
        f"{result.at('discriminative', HONEST, steps)} % of a discriminative network, "
        f"{interval(found[CAN].found, 1)} points above shuffled labels.",
    ]
    return " ".join(said)


def tables(result: LeakResult) -> list[Table]:
    """Accuracy by network and evaluation: mean and range over seeds; and what is compared."""
    rows = [
        [
            label,
            *(
                str(spot) if (spot := result.at(network, evaluation, steps)) else "-"
                for network in COLUMNS
            ),
        ]
        for label, evaluation, steps in columns(result)
    ]
    return [
        Table(
            title=f"Accuracy in percent on {result.tests:,} test pictures, others each seed; "
            f"chance {result.chance.low:.1f} to {result.chance.high:.1f}",
            columns=["evaluation", *(ASKED[network] for network in COLUMNS)],
            rows=rows,
        ),
        verdict_table(result.compared(), "points", 1, WORSE_BETTER),
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
