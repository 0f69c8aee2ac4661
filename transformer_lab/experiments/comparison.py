"""A comparison: one question, asked of models that differ in what the question is about.

Each lane is a base recipe with some settings changed. One setting is varied, or two (a grid), or
lanes are named one by one. All have the same budget and, of each seed, the same batches; where
lanes have other batch sizes or sequence lengths, the same stream of text and as many tokens.

As a file: [about] [base] [vary] or [lanes.NAME] [controls] [compare] [quick] [guess] [ending]; see
recipes/questions/.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from transformer_lab.experiments.budget import (
    BUDGETS,
    LONGEST,
    tokens_per_step,
    whole,
    with_budget,
)
from transformer_lab.experiments.experiment import Question
from transformer_lab.recipes import SETTINGS, Setup, find_recipe
from transformer_lab.settings import ConfigError, Setting, plain, shown, unknown_key

MOST_LANES, MOST_SEEDS, MOST_OPTIONS = 24, 5, 25
UNCLEAR, BETTER, WORSE, FAILED = "unclear", "better", "worse", "failed"
OUTCOMES = (BETTER, UNCLEAR, WORSE, FAILED)
SECTIONS = ("about", "base", "vary", "lanes", "controls", "compare", "quick", "guess", "ending")
ABOUT = ("title", "look_for", "group", "order", "broken")
COMPARE = ("steps", "tokens", "seconds", "paces", "seeds", "against", "audit")
OWN = {"train.steps", "train.evaluate_every", "train.seed", "train.piece"}  # the comparison sets
SHARED: Mapping[str, Any] = {"train.save_minutes": 0.0, "train.save_every": 0, "sample.length": 120}


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What is asked first. An option is right when the measurement says one of its `when`.

    With a `lane` they are how that lane does against the base: better, unclear, worse or failed.
    Without, they are names of lanes, the best of which is sought, or unclear.
    """

    prompt: str
    options: tuple[str, ...]
    when: tuple[tuple[str, ...], ...]
    lane: str = ""

    @property
    def question(self) -> Question:
        """As experiments have it."""
        return Question(prompt=self.prompt, options=self.options)

    def right(self, outcome: str) -> int | None:
        """The option that holds an outcome."""
        return next((place for place, when in enumerate(self.when) if outcome in when), None)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One question in full. `lanes` are setups by name, with the budget but without a seed.

    A budget of `seconds` (0: it is in steps or tokens) becomes steps once it is known how long a
    step of each lane takes on this computer; until then it is not `paced`, and they have one step.

    A lane is compared with its own control where `controls` names one, else with `against`. With
    `audit` the models of the first seed go through the leak audit. `ending` says what an outcome of
    the lane to guess means. `content` is what it was made from.
    """

    slug: str
    title: str
    look_for: str
    group: str
    order: int
    broken: bool
    lanes: Mapping[str, Setup]
    against: str
    controls: Mapping[str, str]
    seeds: int
    seconds: int
    paced: bool
    guess: Guess
    audit: bool
    ending: Mapping[str, str]
    content: Mapping[str, Any]
    quick: bool

    def setups(self, seed: int) -> dict[str, Setup]:
        """The settings of every lane, the first seed being 0."""
        return {
            name: replace(setup, train=replace(setup.train, seed=1 + seed))
            for name, setup in self.lanes.items()
        }

    def with_seeds(self, seeds: Any) -> "Comparison":
        """The same question over so many seeds. Raises ConfigError."""
        compare = {**self.content.get("compare", {}), "seeds": seeds}
        content = {**self.content, "compare": compare}
        if self.quick and "quick" in content:
            content["quick"] = {**content["quick"], "seeds": seeds}
        return comparison_from(content, self.slug, quick=self.quick)

    def control_of(self, lane: str) -> str:
        """The lane with which this one is compared."""
        return self.controls.get(lane, self.against)

    def with_paces(self, paces: Mapping[str, float]) -> "Comparison":
        """The same question, where a step of each lane takes so many seconds. Raises ConfigError"""
        compare = {**self.content.get("compare", {}), "paces": dict(paces)}
        content = {**self.content, "compare": compare}
        return comparison_from(content, self.slug, quick=self.quick)

    @property
    def asked(self) -> Mapping[str, Any]:
        """`content` without what was measured of this computer: equal for the same question."""
        compare = dict(self.content.get("compare", {}))
        compare.pop("paces", None)
        return {**self.content, "compare": compare}

    @cached_property
    def per_step(self) -> dict[str, int]:
        """Tokens of one step, by lane."""
        return {name: tokens_per_step(setup) for name, setup in self.lanes.items()}

    @property
    def bits(self) -> bool:
        """Whether losses are shown in bits per byte, because the tokenizers differ."""
        return len({setup.data for setup in self.lanes.values()}) > 1

    @property
    def budget(self) -> str:
        """What every lane has to learn from, in words."""
        if self.seconds:
            return f"{self.seconds:,} s of computing"
        steps = {setup.train.steps for setup in self.lanes.values()}
        tokens = {self.per_step[name] * self.lanes[name].train.steps for name in self.lanes}
        return f"{max(steps):,} steps" if len(steps) == 1 else f"{max(tokens):,} tokens"

    @property
    def stream(self) -> str:
        """What of the text is the same for all, in words."""
        if self.seconds:
            return "the same text, as far as each came"
        if self.bits:
            return "as many tokens of the same texts, each cut in its own way"
        piece = next(iter(self.lanes.values())).train.piece
        return "the same stream of text" if piece else "the same batches"


def comparison_from(
    content: Mapping[str, Any], slug: str = "own", *, quick: bool = False
) -> Comparison:
    """A comparison from plain values, as a TOML file has them. Raises ConfigError with the key."""
    for name, values in content.items():
        if name not in SECTIONS:
            raise unknown_key("", str(name), SECTIONS)
        if not isinstance(values, Mapping):
            raise ConfigError(name, f"{name} must be a section [{name}], not {shown(values)}.")
    about, compare = content.get("about", {}), dict(content.get("compare", {}))
    _known_only("about", about, ABOUT)
    base = flat(content.get("base", {}))
    if quick:
        for key, value in flat(content.get("quick", {})).items():
            (compare if "." not in key else base)[key] = value
        own = set(BUDGETS) & content.get("quick", {}).keys()
        for kind in set(BUDGETS) - own if own else ():  # the quick one's budget is what counts
            compare.pop(kind, None)
    _known_only("compare", compare, COMPARE)
    lanes, usual = _lanes(content, _base(base))
    lanes = with_budget(lanes, compare)
    _check_different(lanes)
    against = str(compare.get("against", usual))
    if against not in lanes:
        raise ConfigError(
            "compare.against", f"There is no lane {against!r}: choose {', '.join(lanes)}."
        )
    guess = _guess(content.get("guess"), lanes, against)
    return Comparison(
        slug=slug,
        title=str(about.get("title", slug.replace("_", " ").capitalize())),
        look_for=str(about.get("look_for", "")),
        group=str(about.get("group", "")),
        order=whole("about.order", about.get("order", 100), 0, 10_000),
        broken=about.get("broken", False) is True,
        lanes=lanes,
        against=against,
        controls=_controls(content.get("controls", {}), lanes),
        seeds=whole("compare.seeds", compare.get("seeds", 3), 1, MOST_SEEDS),
        seconds=whole("compare.seconds", compare["seconds"], 1, LONGEST)
        if "seconds" in compare
        else 0,
        paced="seconds" not in compare or "paces" in compare,
        guess=guess,
        audit=_switch("compare.audit", compare.get("audit", False)),
        ending=_ending(content.get("ending", {}), guess),
        content=content,
        quick=quick,
    )


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested sections as dotted names, for TOML reads model.layers = 2 as a section."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{before}{key}.") if inner else {f"{before}{key}": value}
    return found


def _known_only(group: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in values:
        if key not in known:
            raise unknown_key(group, str(key), known)


def _switch(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(key, f"{key} is {shown(value)}: use true or false.")
    return value


def _base(base: dict[str, Any]) -> Setup:
    """The recipe and what the question changes of it."""
    recipe = base.pop("recipe", "quick_start")
    if not isinstance(recipe, str):
        raise ConfigError("base.recipe", f"base.recipe is {shown(recipe)}: it must be a name.")
    _refuse_own("base", base)
    return find_recipe(recipe).setup.with_values({**SHARED, **base})


def _refuse_own(group: str, keys: Iterable[str]) -> None:
    for key in keys:
        if key in OWN:
            raise ConfigError(
                f"{group}.{key}",
                f"{key} is set by the comparison itself: leave it out, and choose steps or tokens, "
                "and seeds, under [compare].",
            )


# --- lanes ----------------------------------------------------------------------------------------


def _lanes(content: Mapping[str, Any], base: Setup) -> tuple[dict[str, Setup], str]:
    """The setups by name, and the one that the others are compared with unless it is said."""
    varied, named = flat(content.get("vary", {})), content.get("lanes", {})
    if bool(varied) == bool(named):
        raise ConfigError(
            "vary", "A comparison has either one or two settings under [vary], or [lanes.NAME]."
        )
    changes = _grid(varied) if varied else _named(named)
    if not 2 <= len(changes) <= MOST_LANES:
        key = "vary" if varied else "lanes"
        raise ConfigError(
            key, f"These are {len(changes)} lanes: choose 2 to {MOST_LANES}, by fewer values."
        )
    lanes = {}
    for name, values in changes.items():
        _refuse_own("vary" if varied else f"lanes.{name}", values)
        try:
            lanes[name] = base.with_values(values)
        except ConfigError as error:
            raise ConfigError(error.field, f"Lane “{name}”: {error}") from error
    own = base.values()
    usual = (
        name
        for name, values in changes.items()
        if all(lanes[name].values()[key] == own[key] for key in values)
    )
    return lanes, next(usual, next(iter(lanes)))


def _controls(content: Mapping[str, Any], lanes: Mapping[str, Setup]) -> dict[str, str]:
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


def _grid(varied: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every combination of the values of one or two settings, by what tells them apart."""
    if len(varied) > 2:
        raise ConfigError("vary", f"{len(varied)} settings are varied: choose one or two.")
    for key, values in varied.items():
        if key not in SETTINGS:
            raise unknown_key("", key, SETTINGS)
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
            value_words(SETTINGS[key], value, alone=len(varied) == 1)
            for key, value in changes.items()
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


def _check_different(lanes: Mapping[str, Setup]) -> None:
    seen: dict[Setup, str] = {}
    for name, setup in lanes.items():
        if setup in seen:
            raise ConfigError(
                "lanes",
                f"Lanes “{seen[setup]}” and “{name}” are the same: change or leave out one.",
            )
        seen[setup] = name


# --- the guess ------------------------------------------------------------------------------------


def _guess(content: Any, lanes: Mapping[str, Setup], against: str) -> Guess:
    """What is asked; where nothing is said, which lane is the best."""
    if content is None:
        names = tuple(lanes)
        return Guess(
            prompt="Which has the lowest validation loss in the end?",
            options=(*names, "There is no clear difference"),
            when=(*((name,) for name in names), (UNCLEAR,)),
        )
    _known_only("guess", content, ("question", "lane", "options"))
    lane = str(content.get("lane", ""))
    if lane and (lane not in lanes or lane == against):
        others = ", ".join(name for name in lanes if name != against)
        raise ConfigError("guess.lane", f"There is no lane {lane!r} to guess: choose {others}.")
    options = content.get("options")
    if not isinstance(options, list) or not 2 <= len(options) <= MOST_OPTIONS:
        raise ConfigError("guess.options", f"guess.options are 2 to {MOST_OPTIONS} tables.")
    known = list(OUTCOMES) if lane else [*lanes, UNCLEAR]
    pairs = [_option(one, known) for one in options]
    said = [outcome for _, when in pairs for outcome in when]
    for outcome in known:
        if said.count(outcome) != 1:
            raise ConfigError(
                "guess.options",
                f"{outcome!r} stands in {said.count(outcome)} options of the guess: every outcome "
                f"belongs to exactly one ({', '.join(known)}).",
            )
    return Guess(
        prompt=str(content.get("question", "Which is best?")),
        options=tuple(words for words, _ in pairs),
        when=tuple(when for _, when in pairs),
        lane=lane,
    )


def _ending(content: Mapping[str, Any], guess: Guess) -> dict[str, str]:
    """What every outcome of the lane that is guessed means, where that is said."""
    if not content:
        return {}
    if not guess.lane:
        raise ConfigError("ending", "An [ending] is of one lane: name it as guess.lane.")
    _known_only("ending", content, OUTCOMES)
    for outcome in OUTCOMES:
        if not isinstance(content.get(outcome), str):
            raise ConfigError(f"ending.{outcome}", f"ending.{outcome} must be a sentence.")
    return {outcome: " ".join(content[outcome].split()) for outcome in OUTCOMES}


def _option(one: Any, known: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    when = one.get("when") if isinstance(one, Mapping) else None
    if not isinstance(when, list) or not isinstance(one.get("words"), str):
        raise ConfigError("guess.options", "An option of the guess has words and a list `when`.")
    for outcome in when:
        if outcome not in known:
            raise ConfigError(
                "guess.options", f"There is no outcome {outcome!r}: choose {', '.join(known)}."
            )
    return one["words"], tuple(when)
