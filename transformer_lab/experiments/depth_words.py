"""What was found of deep networks, in words and tables."""

from typing import Any

from transformer_lab.experiments.depth_result import (
    ARMS,
    FLOOR,
    KINDS,
    PAIRS,
    SIGNAL_SIZE,
    Arm,
    DepthResult,
    Signal,
    depths,
)
from transformer_lab.experiments.experiment import Table
from transformer_lab.experiments.paired import all_worded
from transformer_lab.experiments.statistics import Spread, spread, verdict_table

WORDS = ("worse", "better")
CLOSE, FAR = 3.0, 20.0  # points, in the question


def answer(result: DepthResult) -> int | None:
    """Which option of the question is right."""
    found = result.differences(*next(iter(PAIRS.values())))
    if not found:
        return None
    behind = -spread(found).mean
    return 0 if behind <= CLOSE else 1 if behind <= FAR else 2


def verdict(result: DepthResult) -> str:
    """What the numbers say."""
    found = result.compared()
    if len(found) < len(PAIRS):
        return "Not yet enough: no seed has come to its last epoch for all of them."
    layers = result.settings.layers
    reached = {
        rule: _lengths(result.signal("standard", rule, layers)) for rule in ("states", "errors")
    }
    finals = {name: spread(result.finals(name).values()) for name in ARMS}
    said = all_worded(found, "points", 1, WORDS, between=": ")
    plain, scaled = (
        " and ".join(str(finals[f"{kind}_{rule}"]) for rule in ("states", "backpropagation"))
        for kind in KINDS
    )
    return (
        f"In a standard network of {layers} layers, the first layer's gradient is "
        f"{reached['states']} of backpropagation's by state PC, and {reached['errors']} by ePC. "
        f"After {result.settings.epochs} epochs state PC and backpropagation are right on {plain} "
        f"% there, and with muPC on {scaled} % (chance is {result.chance.percent:.0f} %). Seed by "
        f"seed, {said}."
    )


def _lengths(found: list[Signal]) -> str:
    if not found:
        return "not measured"
    mean = spread(one.length for one in found).mean
    return f"{mean:.2g}" if mean > 10**FLOOR else "nothing"


def tables(result: DepthResult) -> list[Table]:
    """The signal by depth; accuracy by arm; and what is compared."""
    found = depths(result.settings)
    signal = [
        [Arm(kind=kind, rule=rule).words, *(_signal(result, kind, rule, depth) for depth in found)]
        for kind in KINDS
        for rule in ("states", "errors")
    ]
    accuracy = [
        [arm.words, str(_spread(result, name) or "-"), _chosen(result, name)]
        for name, arm in ARMS.items()
    ]
    return [
        Table(
            title="Gradient of layer 1 before learning: length over backpropagation's (cosine), "
            f"T = {result.settings.steps}, step size {SIGNAL_SIZE:g}",
            columns=["network", *(f"L = {depth}" for depth in found)],
            rows=signal,
        ),
        Table(
            title=f"Test accuracy in percent of {result.settings.layers} layers after "
            f"{result.settings.epochs} epochs; chance {result.chance.low:.1f} to "
            f"{result.chance.high:.1f}",
            columns=["learned by", "accuracy", "step size, by seed"],
            rows=accuracy,
        ),
        verdict_table(result.compared(), "points", 1, WORDS),
    ]


def _spread(result: DepthResult, arm: str) -> Spread | None:
    found = result.finals(arm)
    return spread(found.values()) if found else None


def _chosen(result: DepthResult, arm: str) -> str:
    return ", ".join(f"{one.chosen[arm]:g}" for one in result.trials if arm in one.chosen) or "-"


def _signal(result: DepthResult, kind: str, rule: str, layers: int) -> str:
    found = result.signal(kind, rule, layers)
    if not found:
        return "-"
    size, cosine = (spread(getattr(one, part) for one in found).mean for part in PARTS)
    return f"{size:.2g} ({cosine:.3f})" if size > 10**FLOOR else "0"


PARTS = ("length", "cosine")


def rows(result: DepthResult) -> list[dict[str, Any]]:
    """Every measured number, a row each, for the download."""
    found: list[tuple[int, str, str, float, float]] = []
    for one in result.trials:
        for signal in one.signals:
            name = f"{signal.kind}_{signal.rule}"
            found.append((one.seed, "length_by_layers", name, signal.layers, signal.length))
            found.append((one.seed, "cosine_by_layers", name, signal.layers, signal.cosine))
        for name, sizes in one.sweep.items():
            found += [(one.seed, "held_back_by_step_size", name, *pair) for pair in sizes.items()]
        for name, line in one.accuracy.items():
            found += [(one.seed, "test_by_epoch", name, *pair) for pair in enumerate(line)]
    return [
        {"seed": seed, "measured": measured, "network": name, "place": place, "value": value}
        for seed, measured, name, place, value in found
    ]
