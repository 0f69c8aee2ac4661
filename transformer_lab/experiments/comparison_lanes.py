"""The lanes of a comparison: a base recipe with other values of one or two settings, or by name."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.settings import ConfigError, Setting, plain, shown, unknown_key
from transformer_lab.training.finetune import FINETUNE_SETTINGS, FineTuning

MOST_LANES = 24
OWN = {"train.steps", "train.evaluate_every", "train.seed", "train.piece"}  # the comparison sets
Made = tuple[Setup, FineTuning | None]  # the settings of a lane, and of one that is fine-tuned


def lanes_from(
    content: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Made]
) -> tuple[dict[str, Made], str]:
    """The lanes by name, and the one that the others are compared with unless it is said.

    `make` makes a lane from what it changes.
    """
    varied, named = flat(content.get("vary", {})), content.get("lanes", {})
    if bool(varied) == bool(named):
        raise ConfigError(
            "vary", "A comparison has either one or two settings under [vary], or [lanes.NAME]."
        )
    own = settings_in(make({}))
    changes = _grid(varied, own) if varied else _named(named)
    if not 2 <= len(changes) <= MOST_LANES:
        key = "vary" if varied else "lanes"
        raise ConfigError(
            key, f"These are {len(changes)} lanes: choose 2 to {MOST_LANES}, by fewer values."
        )
    lanes = {}
    for name, values in changes.items():
        refuse_own("vary" if varied else f"lanes.{name}", values)
        try:
            lanes[name] = make(values)
        except ConfigError as error:
            raise ConfigError(error.field, f"Lane “{name}”: {error}") from error
    usual = (
        name
        for name, values in changes.items()
        if all(settings_in(lanes[name])[key] == own[key] for key in values)
    )
    return lanes, next(usual, next(iter(lanes)))


def settings_in(lane: Made) -> dict[str, Any]:
    """All settings of a lane by dotted name."""
    setup, tuning = lane
    groups = tuning.to_mapping() if tuning else {}
    return setup.values() | flat(groups)


def controls_from(content: Mapping[str, Any], lanes: Mapping[str, Any]) -> dict[str, str]:
    """Which lane is the matched control of another."""
    for lane, control in content.items():
        if lane not in lanes or control not in lanes or lane == control:
            raise ConfigError(
                f"controls.{lane}",
                f"The control of “{lane}” is {shown(control)}: both must be lanes, and two "
                f"different ones of {', '.join(lanes)}.",
            )
    return {str(lane): str(control) for lane, control in content.items()}


def _named(named: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    for name, values in named.items():
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"lanes.{name}", f"lanes.{name} must be a section of settings, not {shown(values)}."
            )
    return {str(name): flat(values) for name, values in named.items()}


def _grid(varied: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every combination of the values of one or two settings, by what tells them apart.

    `own` has all settings that a lane of this comparison has.
    """
    known = {key: one for key, one in (SETTINGS | FINETUNE_SETTINGS).items() if key in own}
    if len(varied) > 2:
        raise ConfigError("vary", f"{len(varied)} settings are varied: choose one or two.")
    for key, values in varied.items():
        if key not in known:
            raise unknown_key("", key, known)
        if not isinstance(values, list | tuple) or not values:
            raise ConfigError(
                f"vary.{key}", f"vary.{key} is {shown(values)}: give a list of values."
            )
    count = math.prod(len(values) for values in varied.values())
    if count > MOST_LANES:
        raise ConfigError(
            "vary", f"These are {count:,} lanes: choose 2 to {MOST_LANES}, by fewer values."
        )
    found: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*varied.values()):
        changes = dict(zip(varied, values, strict=True))
        name = ", ".join(
            value_words(known[key], value, alone=len(varied) == 1) for key, value in changes.items()
        )
        if name in found:
            raise ConfigError("vary", f"{name} stands there twice: give each value once.")
        found[name] = changes
    return found


def value_words(setting: Setting, value: Any, *, alone: bool) -> str:
    """A value as the name of a lane: with its setting beside it unless that is the only one."""
    if setting.choices is not None and isinstance(value, str) and value in setting.choices:
        words = setting.choices[value]
    elif isinstance(value, bool):
        words = "on" if value else "off"
    else:
        words = plain(value) if isinstance(value, int | float) else str(value).strip()
    return words if alone else f"{setting.label} {words}"


def check_different(lanes: Mapping[str, Made]) -> None:
    """Raises ConfigError where two lanes have the very same settings."""
    seen: dict[Made, str] = {}
    for name, lane in lanes.items():
        if lane in seen:
            raise ConfigError(
                "lanes",
                f"Lanes “{seen[lane]}” and “{name}” are the same: change or leave out one.",
            )
        seen[lane] = name


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested sections as dotted names, for TOML reads model.layers = 2 as a section."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{before}{key}.") if inner else {f"{before}{key}": value}
    return found


def refuse_own(group: str, keys: Iterable[str]) -> None:
    """Raises ConfigError for a setting that the comparison itself sets."""
    for key in keys:
        if key in OWN:
            raise ConfigError(
                f"{group}.{key}",
                f"{key} is set by the comparison itself: leave it out, and choose steps or tokens, "
                "and seeds, under [compare].",
            )
