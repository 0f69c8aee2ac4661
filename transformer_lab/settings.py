"""How a setting is declared, checked and described: once, on a frozen dataclass.

From one `knob(...)`, `choice(...)`, `flag(...)` or `text(...)` follow its bounds check, its control
and help on the page, its command-line name and its key in a recipe.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar


class ConfigError(ValueError):
    """A setting that cannot be used: `field` is its dotted name, the message says the way out."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one setting: enough to check it, draw it and explain it.

    `kind` is int, float, bool or str; `low` and `high` bound the numbers (inclusive); `choices`
    maps each allowed value to the words shown for it.
    """

    group: str
    name: str
    kind: type
    default: Any
    label: str
    help: str
    low: float | None = None
    high: float | None = None
    choices: Mapping[str, str] | None = None
    advanced: bool = False

    @property
    def key(self) -> str:
        """The dotted name, as in `model.heads`."""
        return f"{self.group}.{self.name}"


def knob(
    default: float, low: float, high: float, label: str, help: str, *, advanced: bool = False
) -> Any:
    """A number: its default, its bounds, its label and the sentence shown beside its control."""
    return field(
        default=default,
        metadata={"low": low, "high": high, "label": label, "help": help, "advanced": advanced},
    )


def choice(
    default: str,
    variants: Iterable[str],
    label: str,
    help: str,
    *,
    words: Mapping[str, str] | None = None,
    advanced: bool = False,
) -> Any:
    """One of the keys of a dict of variants; `words` gives a key another spelling on the page."""
    spelled = {key: (words or {}).get(key, key.replace("_", " ").capitalize()) for key in variants}
    return field(
        default=default,
        metadata={"choices": spelled, "label": label, "help": help, "advanced": advanced},
    )


def flag(default: bool, label: str, help: str, *, advanced: bool = False) -> Any:
    """On or off."""
    return field(default=default, metadata={"label": label, "help": help, "advanced": advanced})


def text(default: str, label: str, help: str, *, advanced: bool = False) -> Any:
    """Free text."""
    return field(default=default, metadata={"label": label, "help": help, "advanced": advanced})


class Config:
    """Base of every group of settings: a frozen dataclass that checks itself when it is made."""

    GROUP: ClassVar[str]

    def __post_init__(self) -> None:
        """Check every value; subclasses add the rules that tie settings together."""
        for setting in settings_of(type(self)):
            object.__setattr__(self, setting.name, checked(setting, getattr(self, setting.name)))


ConfigT = TypeVar("ConfigT", bound=Config)


_DECLARED: dict[type, tuple[Setting, ...]] = {}  # by config, once looked up


def settings_of(config: type[Config]) -> tuple[Setting, ...]:
    """The settings a config declares, in the order of its source."""
    if config not in _DECLARED:
        _DECLARED[config] = tuple(
            Setting(
                group=config.GROUP,
                name=item.name,
                kind=type(item.default),
                default=item.default,
                **item.metadata,
            )
            for item in fields(config)  # type: ignore[arg-type]
        )
    return _DECLARED[config]


def from_mapping(config: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build a config from plain values, as read from TOML, JSON or a form.

    Raises ConfigError for a key that does not exist, naming the nearest one that does.
    """
    known = [setting.name for setting in settings_of(config)]
    for key in values:
        if key not in known:
            raise unknown_key(config.GROUP, str(key), known)
    return config(**values)


def unknown_key(group: str, key: str, known: Iterable[str]) -> ConfigError:
    """The error for an unknown key."""
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(known)}."
    dotted = f"{group}.{key}" if group else key
    return ConfigError(dotted, f"There is no setting {dotted}: {hint}")


def checked(setting: Setting, value: Any) -> Any:
    """The value as the setting's own type, within its bounds.

    Text such as "3e-4", "10,000" or "true" is read as a number or a switch, so a form, a command
    line and a recipe file all pass through here. Text that may mean two numbers, such as "0,001",
    is refused with what to write instead. Raises ConfigError.
    """
    if setting.kind is bool:
        return _switch(setting, value)
    if setting.kind is str:
        return _words(setting, value)
    return _number(setting, value)


def _switch(setting: Setting, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
    if isinstance(value, str) and value.strip().lower() in known:
        return known[value.strip().lower()]
    raise ConfigError(setting.key, f"{setting.label} is {shown(value)}: use true or false.")


def _words(setting: Setting, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(setting.key, f"{setting.label} is {shown(value)}: it must be text.")
    if setting.choices is not None and value not in setting.choices:
        raise ConfigError(
            setting.key,
            f"{setting.label} is {shown(value)}: choose one of {', '.join(setting.choices)}.",
        )
    return value


def _number(setting: Setting, value: Any) -> float:
    number = _as_number(setting, value)
    whole = setting.kind is int
    if whole and not math.isinf(number) and (math.isnan(number) or number != int(number)):
        raise _not_a_choice(setting, value, "a whole number,")
    if not _within(setting, number):
        raise _not_a_choice(setting, value, "a number from")
    return int(number) if whole else number


def _not_a_choice(setting: Setting, value: Any, wanted: str) -> ConfigError:
    limits = f"{plain(setting.low)} to {plain(setting.high)}"
    return ConfigError(setting.key, f"{setting.label} is {shown(value)}: choose {wanted} {limits}.")


def _within(setting: Setting, number: float) -> bool:
    low, high = setting.low, setting.high
    return low is not None and high is not None and low <= number <= high  # never for nan


def _as_number(setting: Setting, value: Any) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ConfigError(
            setting.key,
            f"{setting.label} is empty: choose a number "
            f"from {plain(setting.low)} to {plain(setting.high)}.",
        )
    if isinstance(value, str):
        return _written_number(setting, value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return math.nan


# Half of the world writes 0,5 and 1.000 where the other half writes 0.5 and 1,000. Here a point is
# the decimal mark and a comma groups three digits; what could be meant otherwise is refused.
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
ONE_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")
ANY_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([.,'\u2019\s])\d{3}(\1\d{3})*")
ANY_DECIMAL = re.compile(r"([+-]?[\d.,'\u2019\s]*)([.,])(\d+(?:[eE][+-]?\d+)?)?")


def _written_number(setting: Setting, words: str) -> float:
    """The number that stands there, nan where there is none. Raises ConfigError for two of them."""
    number = _unmistakable(words, whole=setting.kind is int)
    if number is not None:
        return number
    likely = dict.fromkeys(
        exact(number)
        for number in _readings(words)
        if _within(setting, number) and (setting.kind is float or number == int(number))
    )
    if likely:
        raise ConfigError(
            setting.key, f"{setting.label} is {shown(words)}: write {' or '.join(likely)}."
        )
    return math.nan


def _unmistakable(words: str, *, whole: bool) -> float | None:
    """The number, where it can be read in one way only: 1,000 for a whole one, 1.000 for others."""
    group = ONE_GROUP.fullmatch(words)
    if group and group[1] == ("." if whole else ","):
        return None
    try:
        return float(words.replace(",", "") if THOUSANDS.fullmatch(words) else words)
    except ValueError:
        return None


def _readings(words: str) -> Iterator[float]:
    """What a number may mean that is written in the way of another country."""
    if ANY_GROUPS.fullmatch(words):
        yield float(re.sub(r"[^\d+-]", "", words))
    decimal = ANY_DECIMAL.fullmatch(words)
    if decimal and decimal[2] not in decimal[1] and re.search(r"\d", words):
        yield float(re.sub(r"[^\d+-]", "", decimal[1]) + "." + (decimal[3] or "0"))


def exact(number: float) -> str:
    """A number as it is typed: without commas, and with every digit that it has."""
    written = plain(number).replace(",", "")
    return written if float(written) == number else repr(number)


def plain(number: float | None) -> str:
    """A number as people write it: 10,000, 0.1, 3e-4."""
    if number is None:
        return "?"
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    if abs(number) >= 1e-3:
        return f"{number:.6g}"
    mantissa, exponent = f"{number:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def shown(value: Any, limit: int = 60) -> str:
    """A value as it stands in an error message, cut when it is long."""
    if isinstance(value, float) and math.isfinite(value):
        return plain(value) if float(plain(value).replace(",", "")) == value else repr(value)
    words = repr(value) if not isinstance(value, int) or isinstance(value, bool) else f"{value:,}"
    return words if len(words) <= limit else words[: limit - 1] + "…"
