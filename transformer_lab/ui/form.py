"""Settings to controls, and controls back to settings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import dash_bootstrap_components as dbc
from dash import html, no_update
from dash.development.base_component import Component

from transformer_lab import glossary
from transformer_lab.recipes import SETTINGS, Recipe, Setup, changed_settings
from transformer_lab.settings import Config, ConfigError, Setting, checked, exact, plain
from transformer_lab.ui import ids

Value = str | bool | int | float | None  # what a control can hold
ConfigT = TypeVar("ConfigT", bound=Config)
FORM = [setting for setting in SETTINGS.values() if setting.group != "sample"]
NARROW = 16  # characters of a choice that half of the form shows


def written(setting: Setting, value: Value) -> Value:
    """A value as its control shows it."""
    if setting.kind in (int, float) and isinstance(value, int | float):
        return exact(value)
    return value


def unless_locked(key: str, value: object, locked: Sequence[str] | None) -> object:
    """A value for a control, or no change where a link keeps that control as it is.

    `key` is that of a setting, or `recipe`.
    """
    return no_update if key in (locked or ()) else value


class Address(TypedDict):
    """The form in the address of the page: its recipe and what differs from it.

    `samples` are the recipe's own values of the settings that stand on the Generate tab.
    """

    said: dict[str, str]
    samples: dict[str, Value]


def in_address(setup: Setup, recipe: Recipe) -> Address:
    """A valid form as the address has it."""
    values, usual = setup.values(), recipe.setup.values()
    changed = [key for key in changed_settings(setup, recipe) if not key.startswith("sample.")]
    return {
        "said": {"recipe": recipe.slug} | {key: _spelled(key, values[key]) for key in changed},
        "samples": {
            setting.name: written(setting, usual[setting.key])
            for setting in SETTINGS.values()
            if setting.group == "sample"
        },
    }


def _spelled(key: str, value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(written(SETTINGS[key], value))


def control(
    setting: Setting,
    value: Value,
    *,
    choices: Mapping[str, str] | None = None,
    control_id: ids.ComponentId | None = None,
    problem_id: ids.ComponentId | None = None,
) -> html.Div:
    """A labelled control with its sentence of help and room for its error.

    The ids are those of the Train and the Generate tab unless others are given.
    """
    is_sample = setting.group == "sample"
    control_id = control_id or (
        ids.sample_setting(setting.name) if is_sample else ids.setting(setting.group, setting.name)
    )
    problem_id = problem_id or ids.problem(setting.group, setting.name)
    return field(
        setting.label,
        _widget(setting, control_id, written(setting, value), choices),
        _help(setting),
        html.Div(id=problem_id, className="field-error", role="alert"),
        kinds=_kinds(setting, choices or setting.choices or {}),
    )


def field(
    label: str,
    control: Component,
    help: str | list[Component | str],
    *below: Component,
    kinds: Sequence[str] = (),
) -> html.Div:
    """A control with its label and its sentence of help; `kinds` are further CSS classes."""
    return html.Div(
        [
            html.Label([html.Span(label, className="field-label"), control]),
            html.Div(help, className="field-help", role="note"),
            *below,
        ],
        className=" ".join(["field", *kinds]),
    )


def options(titles: Mapping[str, str]) -> list[dict[str, str]]:
    """Choices of a list, from what each is called."""
    return [{"value": name, "label": title} for name, title in titles.items()]


def _kinds(setting: Setting, choices: Mapping[str, str]) -> list[str]:
    """What has more to show than half of the form holds has a line of its own."""
    longest = max(map(len, choices.values()), default=0)
    wide = setting.name == "prompt" or longest > NARROW
    return ["wide"] * wide + ["field-switch"] * (setting.kind is bool)


def _widget(
    setting: Setting, control_id: ids.ComponentId, value: Value, choices: Mapping[str, str] | None
) -> Component:
    offered = choices or setting.choices
    if offered is not None:
        return dbc.Select(id=control_id, options=options(offered), value=value, size="sm")
    if setting.kind is bool:
        return dbc.Switch(id=control_id, value=value)
    if setting.name == "prompt":
        return dbc.Textarea(id=control_id, value=value, rows=3, size="sm")
    return dbc.Input(
        id=control_id,
        value=value,
        type="text",  # a number field would hide what was typed when it is not a number
        inputmode="decimal" if setting.kind in (int, float) else "text",
        autocomplete="off",
        size="sm",
    )


def _help(setting: Setting) -> list[Component | str]:
    """Its own sentence, its bounds, and what the glossary says of it."""
    bounds = "" if setting.low is None else f" {plain(setting.low)} to {plain(setting.high)}."
    meaning = glossary.meaning_of(setting.key)
    explained = [html.Div(meaning, className="field-term")] if meaning else []
    return [setting.help + bounds, *explained]


def read(
    values: Iterable[tuple[Setting, Value]], base: Setup
) -> tuple[Setup | None, dict[str, str]]:
    """A setup from what stands in the controls, and what is wrong with it by dotted name.

    `base` gives the settings that have no control in this form.
    """
    given, problems = _checked(values)
    try:
        setup = base.with_values(given)
    except ConfigError as error:
        return None, {error.field: str(error)} | problems
    return (None if problems else setup), problems


def read_config(
    config: type[ConfigT], values: Iterable[tuple[Setting, Value]]
) -> tuple[ConfigT | None, dict[str, str]]:
    """One group of settings from its controls, and what is wrong with it by dotted name."""
    given, problems = _checked(values)
    if problems:
        return None, problems
    try:
        return config(**{key.partition(".")[2]: value for key, value in given.items()}), {}
    except ConfigError as error:
        return None, {error.field: str(error)}


def _checked(values: Iterable[tuple[Setting, Value]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values that are right and problems of those that are not, both by dotted name."""
    given: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for setting, value in values:
        try:
            given[setting.key] = checked(setting, value)
        except ConfigError as error:
            problems[error.field] = str(error)
    return given, problems
