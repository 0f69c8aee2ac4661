"""What the leak microscope measured: its settings, its curves, and how they are shown."""

from dataclasses import dataclass, field

from transformer_lab.experiments.by_seed import differences
from transformer_lab.experiments.experiment import Plot, Series, to_draw
from transformer_lab.experiments.generative import GenerativeSettings
from transformer_lab.experiments.paired import Judged, judged
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
        return to_draw(drawn)


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
