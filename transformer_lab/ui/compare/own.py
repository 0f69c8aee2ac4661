"""A question made by hand: from the controls of the Compare tab to a comparison."""

import re
from dataclasses import dataclass
from typing import Any

from transformer_lab.experiments.comparison import OWN, Comparison, comparison_from
from transformer_lab.experiments.questions import find_question
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import ConfigError, Setting, checked, plain

SLUG = "own"
NOTHING = "none"  # is varied besides the first setting
# What makes no question: where and how it is computed, and what the learner types.
LEFT_OUT = OWN | {
    "data.corpus", "train.device", "train.micro_batch", "train.compile", "train.save_every",
    "train.save_minutes", "train.threads", "train.evaluation_batches", "train.keep_best",
}  # fmt: skip
VARIED: dict[str, Setting] = {
    key: setting
    for key, setting in SETTINGS.items()
    if setting.group != "sample" and key not in LEFT_OUT
}
BUDGETS = {"steps": "steps", "tokens": "tokens"}
PRESETS = {"quick": "Quick: minutes", "thorough": "Thorough"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """What stands in the controls; a page may send anything."""

    preset: Any
    seeds: Any
    recipe: Any
    setting: Any
    values: Any
    second: Any
    second_values: Any
    budget: Any
    amount: Any


def asked_for(slug: str, form: Form) -> Comparison:
    """The question that is chosen, as the form has it. Raises ConfigError."""
    seeds = str(form.seeds or "")
    if slug != SLUG:
        quick = form.preset != "thorough"
        return find_question(slug, quick=quick).with_seeds(seeds)
    kind = form.budget if form.budget in list(BUDGETS) else "steps"
    content = {
        "about": {"title": "Your own question"},
        "base": {"recipe": str(form.recipe or "")},
        "vary": _varied(form),
        "compare": {kind: _amount(kind, form.amount), "seeds": seeds},
    }
    return comparison_from(content, SLUG)


def _amount(kind: str, given: Any) -> Any:
    words = str(given if given is not None else "").strip()
    if not words:
        raise ConfigError(f"compare.{kind}", f"How many {kind} every lane has is empty.")
    return words


def _varied(form: Form) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for key, written in ((form.setting, form.values), (form.second, form.second_values)):
        if key == NOTHING:
            continue
        if key not in list(VARIED) or key in found:
            raise ConfigError("vary", "Choose one setting to vary, or two different ones.")
        found[key] = _values(VARIED[key], str(written if written is not None else ""))
    return found


def _values(setting: Setting, written: str) -> list[Any]:
    """The values that are listed, apart by commas or spaces, none of which a label has."""
    words = [word for word in re.split(r"[,;\s]+", written.strip()) if word]
    if not words:
        raise ConfigError(setting.key, f"{setting.label}: list values, such as {example(setting)}.")
    return [checked(setting, word) for word in words]


def example(setting: Setting) -> str:
    """What may stand there."""
    if setting.choices is not None:
        return ", ".join(setting.choices)
    if setting.kind is bool:
        return "true, false"
    return f"{plain(setting.default)}, any from {plain(setting.low)} to {plain(setting.high)}"
