"""What the form of the Train tab comes to: a checked setup, and the model it would make."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from transformer_lab.lab.device import choose_device
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.views import describe_corpus
from transformer_lab.model import parameter_breakdown
from transformer_lab.recipes import SETTINGS, Recipe, Setup, load_recipes, setup_from
from transformer_lab.settings import ConfigError
from transformer_lab.ui import form
from transformer_lab.ui import ids as shared_ids


class FormPlan(TypedDict):
    """What the form would make: its settings, and the size of the model on this text."""

    setup: Mapping[str, Any]
    vocabulary_size: int
    tokens: float
    corpus: str
    breakdown: dict[str, int]
    device: str
    device_reason: str


class Branch(TypedDict):
    """The run and the checkpoint from which a branch begins."""

    run: str
    checkpoint: str


class Controls(NamedTuple):
    """The form as the page sends it: the values of the controls, their ids, and the recipe."""

    values: Sequence[form.Value]
    ids: Sequence[shared_ids.ComponentId]
    recipe: Recipe

    def value(self, key: str) -> form.Value:
        """What stands in the control of one setting; None where it has none."""
        found = zip(self.values, self.ids, strict=True)
        return next((value for value, where in found if shared_ids.key_of(where) == key), None)


def plan(lab: Lab, setup: Setup) -> FormPlan:
    """What a checked setup would make."""
    facts = lab.texts.facts(setup)
    device = choose_device(setup.train.device)
    return {
        "setup": setup.to_mapping(),
        "vocabulary_size": facts.vocabulary_size,
        "tokens": facts.tokens,
        "corpus": describe_corpus(facts.corpus),
        "breakdown": dict(parameter_breakdown(setup.model, facts.vocabulary_size)),
        "device": device.name,
        "device_reason": device.reason,
    }


def planned(plan: FormPlan | None) -> Setup | None:
    """The setup the form holds, when it is a valid one."""
    return setup_from(plan["setup"]) if plan else None


def recipe_named(slug: str | None) -> Recipe:
    """A recipe by its name; Quick start where there is none of that name."""
    recipes = load_recipes()
    return recipes.get(slug or "", recipes["quick_start"])


def read(lab: Lab, controls: Controls) -> tuple[Setup | None, dict[str, str]]:
    """The setup in the controls and what is wrong with it, the text and the device included."""
    keys = [shared_ids.key_of(where) for where in controls.ids]
    given = [(SETTINGS[k], v) for k, v in zip(keys, controls.values, strict=True) if k in SETTINGS]
    setup, problems = form.read(given, controls.recipe.setup)
    if setup is not None:
        try:
            lab.trainings.check(setup)
        except ConfigError as error:
            return setup, {error.field: str(error)}
    return setup, problems
