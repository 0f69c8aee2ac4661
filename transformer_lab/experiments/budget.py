"""What every lane of a comparison may spend: steps, tokens or seconds of computing, as steps."""

import math
from collections.abc import Mapping
from typing import Any

from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.settings import ConfigError, shown

BUDGETS = ("steps", "tokens", "seconds")
LOOKS = 10  # at the validation text
WHOLE_LANES = 10_000_000_000  # tokens of a lane, at most
LONGEST = 1_000_000  # seconds of a lane, at most


def tokens_per_step(setup: Setup) -> int:
    """How much text a step sees."""
    return setup.train.batch_size * setup.model.sequence_length


def whole(key: str, value: Any, low: int, high: int) -> int:
    """A whole number within bounds, which may be typed. Raises ConfigError."""
    if isinstance(value, str) and value.strip().replace(",", "").isdecimal():
        value = int(value.replace(",", ""))
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(
            key, f"{key} is {shown(value)}: choose a whole number, {low:,} to {high:,}."
        )
    return value


def with_budget(lanes: Mapping[str, Setup], compare: Mapping[str, Any]) -> dict[str, Setup]:
    """Every lane with its steps and its looks at the validation text. Raises ConfigError."""
    if len([kind for kind in BUDGETS if kind in compare]) != 1:
        raise ConfigError(
            "compare.steps", "A comparison has a budget of either steps or tokens or seconds."
        )
    if "seconds" in compare:
        return _in_time(lanes, compare)
    each = {name: tokens_per_step(setup) for name, setup in lanes.items()}
    most = SETTINGS["train.steps"].high
    if "steps" in compare:
        steps = whole("compare.steps", compare["steps"], 1, int(most or 1))
        if len(set(each.values())) > 1:
            raise ConfigError(
                "compare.steps",
                "The lanes see different numbers of tokens in a step: give the budget in tokens, "
                "so that all of them learn from as much.",
            )
        tokens = steps * next(iter(each.values()))
    else:
        tokens = whole("compare.tokens", compare["tokens"], 1, WHOLE_LANES)
        tokens -= tokens % math.lcm(*each.values())
        if not tokens:
            raise ConfigError(
                "compare.tokens",
                f"Whole steps of every lane need at least {math.lcm(*each.values()):,} tokens: "
                f"choose that many or more, not {compare['tokens']}.",
            )
    return _trained(lanes, {name: tokens // each[name] for name in lanes})


def _trained(lanes: Mapping[str, Setup], steps: Mapping[str, int]) -> dict[str, Setup]:
    """Lanes with their steps, all judged on as much text, read from one stream where they differ"""
    each = {name: tokens_per_step(setup) for name, setup in lanes.items()}
    lengths = {setup.model.sequence_length for setup in lanes.values()}
    one_shape = len(set(each.values())) == 1 and len(lengths) == 1
    piece = 0 if one_shape else math.lcm(*lengths)
    judged = max(s.train.evaluation_batches * each[name] for name, s in lanes.items())
    return {
        name: setup.with_values(
            {
                "train.steps": steps[name],
                "train.evaluate_every": max(1, steps[name] // LOOKS),
                "train.piece": piece,
                "train.evaluation_batches": max(1, judged // each[name]) if piece
                else setup.train.evaluation_batches,
            }
        )
        for name, setup in lanes.items()
    }  # fmt: skip


def _in_time(lanes: Mapping[str, Setup], compare: Mapping[str, Any]) -> dict[str, Setup]:
    """Lanes with as many steps as they take in the time; one where that is not measured yet."""
    seconds = whole("compare.seconds", compare["seconds"], 1, LONGEST)
    paces = compare.get("paces", dict.fromkeys(lanes, float(seconds)))
    if not isinstance(paces, Mapping) or set(paces) != set(lanes):
        raise ConfigError("compare.paces", "compare.paces has the seconds of a step of every lane.")
    steps = {}
    for name, pace in paces.items():
        if isinstance(pace, bool) or not isinstance(pace, int | float) or not 0 < pace < math.inf:
            raise ConfigError("compare.paces", f"compare.paces is {shown(pace)} for “{name}”.")
        if pace > seconds:
            raise ConfigError(
                "compare.seconds",
                f"One step of “{name}” takes about {pace:.2g} s here: choose {math.ceil(pace):,} "
                f"seconds or more, not {seconds:,}.",
            )
        steps[name] = min(int(seconds / pace), int(SETTINGS["train.steps"].high or 1))
    return _trained(lanes, steps)
