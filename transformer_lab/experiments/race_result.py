"""What the race of predictive coding against backpropagation measured, and how it is shown."""

from dataclasses import dataclass, field
from typing import Any

from transformer_lab.experiments import by_seed
from transformer_lab.experiments.discriminative import DiscriminativeSettings
from transformer_lab.experiments.experiment import Plot, Table, to_draw
from transformer_lab.experiments.paired import Judged, judged, worded
from transformer_lab.experiments.statistics import (
    Chance,
    Spread,
    chance_reference,
    over_seeds,
    spread,
    verdict_table,
)
from transformer_lab.pcn import PCN_LEARNING_RULES
from transformer_lab.settings import choice, knob

TWIN = "predictive_coding_t0"  # nothing settles, so that only the last layer learns
RACERS = {
    "predictive_coding": "predictive coding",
    "backpropagation": "backpropagation",
    TWIN: "predictive coding, T = 0",
    "predictive_coding_shuffled": "predictive coding, shuffled training labels",
    "backpropagation_shuffled": "backpropagation, shuffled training labels",
}
UNTRAINED = "untrained"
LEAKED = {
    "predictive_coding": "network of predictive coding",
    "backpropagation": "network of backpropagation",
    UNTRAINED: "network that never learned",
}
LEAK_STEPS = 50
LEAK_SHOWN = (0, 1, 5, 20, 50)  # steps the table shows
AGAINST = "predictive coding, against backpropagation"
SETTLING = "predictive coding, against itself with T = 0"
WORDS = ("worse", "better")
CLOSE = 3.0  # points of accuracy that count as about equal in the question


@dataclass(frozen=True, kw_only=True)
class RaceSettings(DiscriminativeSettings):
    """The knobs of predictive coding against backpropagation."""

    GROUP = "pcn_race"

    rule: str = choice(
        "settling",
        [rule for rule in PCN_LEARNING_RULES if rule != "backpropagation"],
        "Rule",
        "How predictive coding finds its gradient; the last two equal backpropagation exactly.",
        words={
            "settling": "Settle, then learn",
            "zero_divergence": "Learn as the error arrives (Z-IL)",
            "fixed_prediction": "Fixed predictions",
        },
        advanced=True,
    )
    learning_rate: float = knob(
        0.001, 1e-5, 0.1, "Learning Rate", "Of Adam, the same for both.", advanced=True
    )


@dataclass(kw_only=True)
class Race:
    """One seed, growing: accuracy in percent after 0, 1, 2 ... epochs of each racer.

    `leaked` is accuracy against labels drawn at random, by the evaluation that leaks, after
    0, 1, 2 ... steps of settling.
    """

    seed: int
    accuracy: dict[str, list[float]] = field(default_factory=dict)
    leaked: dict[str, list[float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RaceResult:
    """The races so far, one a seed."""

    settings: RaceSettings
    tests: int
    chance: Chance
    races: list[Race]

    def finals(self, racer: str) -> list[float]:
        """Accuracy after the last epoch, of every seed that got there."""
        return list(self.by_seed(racer).values())

    def by_seed(self, racer: str) -> dict[int, float]:
        """The same, by seed."""
        epochs = self.settings.epochs
        return {
            race.seed: race.accuracy[racer][epochs]
            for race in self.races
            if len(race.accuracy.get(racer, ())) > epochs
        }

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences in points, paired by seed."""
        return judged(
            {
                AGAINST: differences(self, "backpropagation"),
                SETTLING: differences(self, TWIN),
            }
        )

    def plots(self) -> list[Plot]:
        """Accuracy against epochs, and the evaluation that leaks."""
        return to_draw((learning_lines(self), leak_lines(self)))


def learning_lines(result: RaceResult) -> Plot:
    """Test accuracy against epochs."""
    return Plot(
        title="Test accuracy, by one feed-forward pass",
        kind="line",
        x_label="epoch",
        y_label="accuracy, %",
        series=[
            series
            for name, words in RACERS.items()
            for series in over_seeds(words, (race.accuracy.get(name, []) for race in result.races))
        ],
        references=[chance_reference(result.chance)],
        note=refusals(result),
    )


def leak_lines(result: RaceResult) -> Plot:
    """The evaluation that leaks, against T."""
    return Plot(
        title="The evaluation that leaks, on labels drawn at random",
        kind="line",
        x_label="steps of settling with the label clamped, T",
        y_label="agreement with the random labels, %",
        series=[
            series
            for name, words in LEAKED.items()
            for series in over_seeds(words, (race.leaked.get(name, []) for race in result.races))
        ],
        references=[chance_reference(result.chance)],
    )


def refusals(result: RaceResult) -> str:
    """What had to be done so that no energy rose; empty when nothing."""
    count = sum(sum(race.refused.values()) for race in result.races)
    if not count:
        return ""
    return (
        f"{count:,} settling steps of single pictures would have raised the energy, and were "
        "refused and halved: the step size is large for these weights."
    )


def differences(result: RaceResult, other: str) -> list[float]:
    """Predictive coding minus another learner, in points, for every seed that has both."""
    return by_seed.differences(result.by_seed("predictive_coding"), result.by_seed(other))


def answer(result: RaceResult) -> int | None:
    """Which option of the question is right."""
    found = differences(result, "backpropagation")
    if not found:
        return None
    mean = spread(found).mean
    if abs(mean) <= CLOSE:
        return 1
    return 0 if mean > 0 else 2


def verdict(result: RaceResult) -> str:
    """What the numbers say: against backpropagation, and what settling is worth."""
    found = result.compared()
    if AGAINST not in found or SETTLING not in found:
        return "Not yet enough: no seed has come to its last epoch for both."
    ours = spread(result.finals("predictive_coding"))
    theirs = spread(result.finals("backpropagation"))
    return (
        f"Judged by one feed-forward pass, predictive coding is right on {ours} % of the test "
        f"digits and backpropagation on {theirs} % (chance is {result.chance.percent:.0f} %). The "
        f"difference, seed by seed, in points: {worded(found[AGAINST], 'points', 1, WORDS)}. "
        "What settling is worth, against the same with T = 0, where only the last layer learns: "
        f"{worded(found[SETTLING], 'points', 1, WORDS)}."
    )


def tables(result: RaceResult) -> list[Table]:
    """Final accuracy of every racer, and the leak at a few T."""
    base = sum(race.seconds.get("backpropagation", 0.0) for race in result.races)
    final = [
        [
            words,
            str(spread(found)),
            f"{sum(race.seconds.get(name, 0.0) for race in result.races) / base:.1f}",
        ]
        for name, words in RACERS.items()
        if (found := result.finals(name)) and base
    ]
    guess = result.chance
    return [
        Table(
            title=f"Test accuracy in percent after {result.settings.epochs} epochs, by one "
            f"feed-forward pass; chance {guess.low:.1f} to {guess.high:.1f}",
            columns=["learned by", "accuracy", "time, of backpropagation's"],
            rows=final,
        ),
        verdict_table(result.compared(), "points", 1, WORDS),
        Table(
            title="Agreement in percent with labels drawn at random, label clamped",
            columns=["network", *(f"T = {steps}" for steps in LEAK_SHOWN)],
            rows=[
                [words, *(leak_at(result, name, steps) for steps in LEAK_SHOWN)]
                for name, words in LEAKED.items()
            ],
        ),
    ]


def leak_at(result: RaceResult, network: str, steps: int) -> str:
    """Agreement over seeds after so many steps, for people."""
    found: list[float] = [
        line[steps] for race in result.races if len(line := race.leaked.get(network, [])) > steps
    ]
    spot: Spread | None = spread(found) if found else None
    return str(spot) if spot else "-"


def rows(result: RaceResult) -> list[dict[str, Any]]:
    """Every point of every curve."""
    return [
        {
            "seed": race.seed,
            "measured": measured,
            "network": name,
            "place": place,
            "accuracy_percent": value,
        }
        for race in result.races
        for measured, curves in (("epoch", race.accuracy), ("leak_steps", race.leaked))
        for name, curve in curves.items()
        for place, value in enumerate(curve)
    ]
