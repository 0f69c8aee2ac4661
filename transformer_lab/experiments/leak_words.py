"""What was found under the label leak, in words and tables."""

from typing import Any

from transformer_lab.experiments.experiment import Table
from transformer_lab.experiments.leak_result import (
    ASKED,
    CAN,
    COLUMNS,
    HONEST,
    LEAKS,
    LEAST,
    NOISE,
    READ_OUT,
    WORSE_BETTER,
    LeakResult,
    columns,
)
from transformer_lab.experiments.paired import interval, worded
from transformer_lab.experiments.statistics import verdict_table


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
