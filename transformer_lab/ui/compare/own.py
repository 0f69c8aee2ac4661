"""A question made by hand: from the controls of the Compare tab to a comparison."""

import re
from dataclasses import dataclass
from typing import Any

from transformer_lab.experiments.comparison import Comparison, comparison_from
from transformer_lab.experiments.comparison_lanes import OWN
from transformer_lab.experiments.questions import find_question
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import ConfigError, Setting, checked, exact, plain
from transformer_lab.ui.web.values import Scalar

SLUG = "own"
NOTHING = "none"  # is varied besides the first setting
# What makes no question: where and how it is computed, and what the learner types.
LEFT_OUT = OWN | {
    "data.corpus", "train.device", "train.where", "train.workers", "train.shard",
    "train.micro_batch",
    "train.compile", "train.save_every", "train.save_minutes", "train.threads",
    "train.evaluation_batches", "train.keep_best",
}  # fmt: skip
VARIED: dict[str, Setting] = {
    key: setting
    for key, setting in SETTINGS.items()
    if setting.group != "sample" and key not in LEFT_OUT
}
BUDGETS = {"steps": "steps", "tokens": "tokens", "seconds": "seconds of computing"}
PRESETS = {"quick": "Quick: minutes", "thorough": "Thorough"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """What stands in the controls, right or wrong."""

    preset: Scalar
    seeds: Scalar
    recipe: Scalar
    setting: Scalar
    values: Scalar
    second: Scalar
    second_values: Scalar
    budget: Scalar
    amount: Scalar
    where: Scalar = "thread"


STANDARD = Form(
    preset="quick", seeds="3", recipe="quick_start", setting="model.layers", values="1, 2, 4",
    second=NOTHING, second_values="", budget="steps", amount="60",
)  # fmt: skip


def form_of(comparison: Comparison | None) -> Form:
    """What stands in the controls when the tab opens: the last question made by hand."""
    if comparison is None:
        return STANDARD
    content = comparison.content
    compare, base = content.get("compare", {}), content.get("base", {})
    varied = [
        (key, ", ".join(map(_typed, values))) for key, values in content.get("vary", {}).items()
    ]
    kind = next((kind for kind in BUDGETS if kind in compare), "steps")
    first, second = (*varied, (NOTHING, ""), (NOTHING, ""))[:2]
    form = Form(
        preset="quick", seeds=str(compare.get("seeds", 3)), recipe=base.get("recipe"),
        setting=first[0], values=first[1], second=second[0], second_values=second[1],
        budget=kind, amount=str(compare.get(kind, "")), where=base.get("train.where", "thread"),
    )  # fmt: skip
    try:
        return form if asked_for(SLUG, form).content == comparison.asked else STANDARD
    except ConfigError:  # a recipe that is gone, or one that was no question of these controls
        return STANDARD


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return exact(value) if isinstance(value, int | float) else str(value)


def asked_for(slug: str, form: Form) -> Comparison:
    """The question that is chosen, as the form has it. Raises ConfigError."""
    one = _question(slug, form)
    return one.trained(str(form.where)) if form.where in ("process", "cluster") else one


def _question(slug: str, form: Form) -> Comparison:
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


def _amount(kind: str, given: Scalar) -> str:
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
