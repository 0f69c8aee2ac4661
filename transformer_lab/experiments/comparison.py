"""A comparison: one question, asked of models that differ in what the question is about.

Each lane is a base recipe with some settings changed. One setting is varied, or two (a grid), or
lanes are named one by one. All have the same budget and, of each seed, the same batches; where
lanes have other batch sizes or sequence lengths, the same stream of text and as many tokens.

As a file: [about] [base] [vary] or [lanes.NAME] [controls] [compare] [quick] [guess] [ending], and
[finetune] where all lanes fine-tune a run; see recipes/questions/. Its parts are read in
`comparison_lanes.py`, `comparison_tuned.py`, `budget.py` and `comparison_guess.py`.
"""

from collections.abc import Callable, Mapping
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
from transformer_lab.experiments.comparison_guess import Guess, ending_from, guess_from, known_only
from transformer_lab.experiments.comparison_lanes import (
    Made,
    check_different,
    controls_from,
    flat,
    lanes_from,
    refuse_own,
)
from transformer_lab.experiments.comparison_tuned import Base, base_from, tuned_lane
from transformer_lab.recipes import Setup, find_recipe
from transformer_lab.settings import ConfigError, shown, unknown_key
from transformer_lab.training.finetune import FineTuning

MOST_SEEDS, MOST_OF_EXPERIMENT = 5, 20
SECTIONS = (
    "about", "base", "finetune", "vary", "lanes", "controls", "compare", "quick", "guess", "ending",
    "experiment",
)  # fmt: skip
ABOUT = ("title", "look_for", "group", "order", "broken")
COMPARE = ("steps", "tokens", "seconds", "paces", "seeds", "against", "audit")
SHARED: Mapping[str, Any] = {"train.save_minutes": 0.0, "train.save_every": 0, "sample.length": 120}
SAVE_MINUTES = 2.0  # of a lane on a cluster
NO_SECONDS = (
    "Seconds are fair only where lanes take turns in the lab: choose a budget in steps or tokens, "
    "or let The lab train them."
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One question in full. `lanes` are setups by name, with the budget but without a seed.

    A budget of `seconds` (0: it is in steps or tokens) becomes steps once it is known how long a
    step of each lane takes on this computer; until then it is not `paced`, and they have one step.

    A lane is compared with its own control where `controls` names one, else with `against`. With
    `audit` the models of the first seed go through the leak audit. `ending` says what an outcome of
    the lane to guess means. Where lanes fine-tune a `base`, `tunings` has what each does to it.
    `content` is what it was made from.
    """

    slug: str
    title: str
    look_for: str
    group: str
    order: int
    broken: bool
    lanes: Mapping[str, Setup]
    tunings: Mapping[str, FineTuning]
    base: Base | None
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

    @property
    def where(self) -> str:
        """Where the lanes are to train (`train.where`): in the lab, unless all name another."""
        return _where(self.lanes)

    def trained(self, where: str) -> "Comparison":
        """The same question, each lane in a process of its own ("process") or on a computer of
        the cluster ("cluster"). Raises ConfigError."""
        base = {**self.content.get("base", {}), "train.where": where}
        if where == "cluster":  # whose computers may be lost
            base = {"train.save_minutes": SAVE_MINUTES, **base}
        return comparison_from({**self.content, "base": base}, self.slug, quick=self.quick)

    def control_of(self, lane: str) -> str:
        """The lane with which this one is compared."""
        return self.controls.get(lane, self.against)

    def with_paces(self, paces: Mapping[str, float]) -> "Comparison":
        """The same question, where a step of each lane takes so many seconds. Raises ConfigError"""
        compare = {**self.content.get("compare", {}), "paces": dict(paces)}
        content = {**self.content, "compare": compare}
        return comparison_from(content, self.slug, quick=self.quick)

    def with_base(self, run: str, step: int, setup: Mapping[str, Any]) -> "Comparison":
        """The same question, of fine-tunings of that run. Raises ConfigError."""
        base = {**self.content["finetune"], "run": run, "step": step, "setup": setup}
        content = {**self.content, "finetune": base}
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
    _check_sections(content)
    about = content.get("about", {})
    known_only("about", about, ABOUT)
    base, compare = _base_and_compare(content, quick=quick)
    known_only("compare", compare, COMPARE)
    tuned = base_from(content.get("finetune"), compare)
    made, usual = lanes_from(content, _maker(content, base))
    if "experiment" not in content:  # its controls may have the same settings
        check_different(made)
    lanes = with_budget({name: setup for name, (setup, _) in made.items()}, compare)
    against = _against(compare, usual, lanes)
    guess = guess_from(content.get("guess"), lanes, against)
    if "seconds" in compare and _where(lanes) != "thread":
        raise ConfigError("compare.seconds", NO_SECONDS)
    return Comparison(
        slug=slug,
        title=str(about.get("title", slug.replace("_", " ").capitalize())),
        look_for=str(about.get("look_for", "")),
        group=str(about.get("group", "")),
        order=whole("about.order", about.get("order", 100), 0, 10_000),
        broken=about.get("broken", False) is True,
        lanes=lanes,
        tunings={name: tuning for name, (_, tuning) in made.items() if tuning},
        base=tuned,
        against=against,
        controls=controls_from(content.get("controls", {}), lanes),
        seeds=_seeds(content, compare),
        seconds=_seconds(compare),
        paced="seconds" not in compare or "paces" in compare,
        guess=guess,
        audit=_switch("compare.audit", compare.get("audit", False)),
        ending=ending_from(content.get("ending", {}), guess),
        content=content,
        quick=quick,
    )


def _base_and_compare(
    content: Mapping[str, Any], *, quick: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """[base], its settings by dotted name, and [compare]; with what [quick] changes of both."""
    base, compare = flat(content.get("base", {})), dict(content.get("compare", {}))
    if not quick:
        return base, compare
    for key, value in flat(content.get("quick", {})).items():
        (compare if "." not in key else base)[key] = value
    own = set(BUDGETS) & content.get("quick", {}).keys()
    for kind in set(BUDGETS) - own if own else ():  # the quick one's budget is what counts
        compare.pop(kind, None)
    return base, compare


def _against(compare: Mapping[str, Any], usual: str, lanes: Mapping[str, Setup]) -> str:
    against = str(compare.get("against", usual))
    if against not in lanes:
        raise ConfigError(
            "compare.against", f"There is no lane {against!r}: choose {', '.join(lanes)}."
        )
    return against


def _seeds(content: Mapping[str, Any], compare: Mapping[str, Any]) -> int:
    """Over how many seeds; those made from an experiment's settings may take as many as it may."""
    most = MOST_OF_EXPERIMENT if "experiment" in content else MOST_SEEDS
    return whole("compare.seeds", compare.get("seeds", 3), 1, most)


def _seconds(compare: Mapping[str, Any]) -> int:
    if "seconds" not in compare:
        return 0
    return whole("compare.seconds", compare["seconds"], 1, LONGEST)


def _check_sections(content: Mapping[str, Any]) -> None:
    for name, values in content.items():
        if name not in SECTIONS:
            raise unknown_key("", str(name), SECTIONS)
        if not isinstance(values, Mapping):
            raise ConfigError(name, f"{name} must be a section [{name}], not {shown(values)}.")


def _where(lanes: Mapping[str, Setup]) -> str:
    places = {setup.train.where for setup in lanes.values()}
    return places.pop() if len(places) == 1 else "thread"


def _switch(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(key, f"{key} is {shown(value)}: use true or false.")
    return value


def _maker(content: Mapping[str, Any], base: dict[str, Any]) -> Callable[[Mapping[str, Any]], Made]:
    """What makes a lane from its changes of the recipe, or of the run that is fine-tuned."""
    recipe = base.pop("recipe", "quick_start")
    if not isinstance(recipe, str):
        raise ConfigError("base.recipe", f"base.recipe is {shown(recipe)}: it must be a name.")
    refuse_own("base", base)
    setup, common = find_recipe(recipe).setup, {**SHARED, **base}
    if "finetune" in content:
        tuned = tuned_lane(content["finetune"], setup)
        return lambda values: tuned({**common, **values})
    shared = setup.with_values(common)
    return lambda values: (shared.with_values(values), None)
