"""The address of the page says what it shows, so that it can be copied, reloaded and gone back to.

It is a query such as `?tab=generate&recipe=quick_start&train.steps=500&sample.prompt=To+be`.
`assets/address.js` writes it as things change; it is sent along when the page asks for its layout:
here it is read, checked by the rules of the form, and put into the components before they are sent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from flask import has_request_context, request

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.questions import ready
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.recipes import SETTINGS, Recipe, Setup, load_recipes
from transformer_lab.settings import ConfigError, checked, shown
from transformer_lab.ui import form, ids
from transformer_lab.ui.compare import ids as compare_ids
from transformer_lab.ui.compare import own
from transformer_lab.ui.experiments import ids as experiments_ids
from transformer_lab.ui.languages import ENGLISH, languages
from transformer_lab.ui.learn.lessons import load_lessons
from transformer_lab.ui.look import ids as look_ids
from transformer_lab.ui.look.layout import PARTS as LOOK_PARTS
from transformer_lab.ui.runs import ids as runs_ids
from transformer_lab.ui.train import ids as train_ids

LAYOUT = "/_dash-layout"
LONGEST = 8_000  # characters of an address that is read
LONGEST_TEXT = 2_000  # characters of a text in it
RECIPE = "recipe"
MOST_NAMED = 3  # problems of one address, or locked controls, that are named
ANY_SAMPLE = {"type": "sample-setting", "name": ALL}


@dataclass
class Address:
    """An address that was read: the form, if it has one, what is open, and what was wrong in it."""

    recipe: Recipe
    setup: Setup
    has_form: bool = False
    places: dict[str, str] = field(default_factory=dict)
    locked: list[str] = field(default_factory=list)  # keys of settings, and "recipe"
    problems: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """What of the address could not be used; empty where all could."""
        if not self.problems:
            return ""
        more = len(self.problems) - MOST_NAMED
        rest = f" And {more} more." if more > 0 else ""
        return f"Not used of the address: {' '.join(self.problems[:MOST_NAMED])}{rest}"


def layout(address: Address) -> list[Component]:
    """What the page remembers of its address, and where it says what it could not use."""
    places = address.places
    at = places.get("moment")
    goal = {"run": places.get("model"), "step": int(at)} if at else None
    return [
        dcc.Store(id=ids.ADDRESS_PLACES, data=places),
        dcc.Store(id=ids.LANGUAGE, data=places.get("lang", ENGLISH)),
        dcc.Store(id=ids.ADDRESS_FORM),
        dcc.Store(id=ids.ADDRESS_LOCKED, data=address.locked),
        dcc.Store(id=ids.ADDRESS_WRITTEN),
        dcc.Store(id=ids.MOMENT_GOAL, data=goal),
        html.Div(
            [
                html.Span(address.sentence, id=ids.ADDRESS_PROBLEM),
                html.Button("Close", className="link", title="Close this message"),
            ],
            id="address-told",
            hidden=not address.sentence,
            role="alert",
        ),
    ]


def register(app: Dash) -> None:
    """Write what changes into the address; parts of tabs made late the script reads itself."""
    app.clientside_callback(
        ClientsideFunction("address", "changed"),
        Output(ids.ADDRESS_WRITTEN, "data"),
        Input(ids.TABS, "active_tab"),
        Input(ids.ADDRESS_FORM, "data"),
        Input(train_ids.RUN, "value"),
        Input(ids.WRITER, "value"),
        Input(ids.MOMENT_AT, "data"),
        Input(ANY_SAMPLE, "value"),
        State(ANY_SAMPLE, "id"),
    )


def asked(lab: Lab, tabs: Iterable[str]) -> Address:
    """The address that the page sent as it asked for its layout. `tabs` are their titles."""
    sent = has_request_context() and request.path == LAYOUT
    return read(lab, request.query_string.decode("utf-8", "replace") if sent else "", tabs)


def read(lab: Lab, text: str, tabs: Iterable[str]) -> Address:
    """What an address says; what is wrong in it is left out and told. `tabs` are their titles."""
    recipes = load_recipes()
    usual = recipes["quick_start"]
    if len(text) > LONGEST:
        return Address(usual, usual.setup, problems=["It is too long to be one of this page."])
    given = dict(parse_qsl(text.lstrip("?"), keep_blank_values=True))
    has_form = "recipe" in given or any("." in name for name in given)
    slug = given.pop("recipe", usual.slug)
    recipe = recipes.get(slug, usual)
    address = Address(recipe, recipe.setup, has_form)
    if slug not in recipes:
        address.problems.append(f"There is no recipe {shown(slug)}.")
    _read_locked(address, given.pop("lock", ""))
    _read_settings(lab, address, {key: given.pop(key) for key in list(given) if "." in key})
    address.places, problems = read_places(lab, given, tabs)
    address.problems += problems
    return address


def _read_locked(address: Address, text: str) -> None:
    """Which controls a link keeps as they are: their names with commas between, or `all`."""
    known = [RECIPE, *[setting.key for setting in form.FORM]]
    for name in known if text == "all" else filter(None, text.split(",")):
        if name in known:
            address.locked.append(name)
        else:
            address.problems.append(f"There is no setting {shown(name)} to lock.")


def _read_settings(lab: Lab, address: Address, given: Mapping[str, str]) -> None:
    """Put the settings of an address over its recipe's, as far as they are right."""
    values: dict[str, form.Value] = {}
    for key, value in given.items():
        try:
            if key not in SETTINGS:
                raise ConfigError(key, f"There is no setting {shown(key)}.")
            values[key] = checked(SETTINGS[key], value)
        except ConfigError as error:
            address.problems.append(str(error))
    while values:
        try:
            setup = address.recipe.setup.with_values(values)
            lab.trainings.check(setup)
        except ConfigError as error:  # of settings that do not go together, one gives way
            address.problems.append(str(error))
            values.pop(error.field if error.field in values else next(reversed(values)))
        else:
            address.setup = setup
            return


def read_places(
    lab: Lab, given: Mapping[str, str], tabs: Iterable[str]
) -> tuple[dict[str, str], list[str]]:
    """What is open by its name, as far as it is right, and what is wrong with the rest."""
    titles = {title.lower().replace(" ", "-"): title for title in tabs}
    model = given.get("model", "latest")
    checks: dict[str, Callable[[str], str]] = {
        "tab": lambda value: titles[_one_of(value, titles, "tab")],
        "run": lambda value: _one_of(value, [run.id for run in lab.runs.all()], "run"),
        "model": lambda value: _one_of(value, lab.models.writers(), "model"),
        "moment": lambda value: _moment(lab, model, value),
        "look": lambda value: _one_of(
            value, [part.NAME for part in LOOK_PARTS], "part of Look inside"
        ),
        "layer": lambda value: _count(value, "layer"),
        "head": lambda value: _count(value, "head"),
        "text": lambda value: value[:LONGEST_TEXT],
        "question": lambda value: _one_of(value, [*ready(), own.SLUG], "question"),
        "experiment": lambda value: _one_of(value, EXPERIMENTS, "experiment"),
        "lesson": lambda value: _one_of(value, load_lessons(), "lesson"),
        "find": lambda value: value[:LONGEST_TEXT],
        "lang": lambda value: _one_of(value, [ENGLISH, *languages()], "language"),
    }
    places, problems = {}, []
    for name, value in given.items():
        try:
            places[name] = checks[_one_of(name, checks, "part of an address")](value)
        except LabError as error:
            problems.append(str(error))
    return places, problems


def _one_of(value: str, known: Iterable[str], kind: str) -> str:
    if value not in known:
        raise LabError(f"There is no {kind} {shown(value)} here.")
    return value


def _count(value: str, kind: str) -> str:
    if not (value.isascii() and value.isdigit()) or len(value) > 3 or int(value) < 1:
        raise LabError(f"There is no {kind} {shown(value)}: they count from 1.")
    return value


def _moment(lab: Lab, run: str, value: str) -> str:
    if value not in map(str, lab.models.moments(run)):
        raise LabError(f"There is no checkpoint {shown(value)} of {run}.")
    return value


def put(parts: Component, address: Address) -> Component:
    """The layout of the page with what an address says in it."""
    found = _by_id(parts)
    if address.has_form:
        _put_form(found, address)
    if address.locked:
        _lock(found, address.locked)
    _put_places(found, address.places)
    return parts


def put_places(parts: Component, places: Mapping[str, str]) -> Component:
    """The layout of a tab that is made late with what an address says of it."""
    _put_places(_by_id(parts), places)
    return parts


def _by_id(parts: Component) -> dict[str, Any]:
    every = [parts, *parts._traverse()]
    return {str(one.id): one for one in every if getattr(one, "id", None) is not None}


def _put_form(found: Mapping[str, Any], address: Address) -> None:
    found[train_ids.RECIPE].value = address.recipe.slug
    found[train_ids.RECIPE_SUMMARY].children = address.recipe.summary
    for key, value in address.setup.values().items():
        setting = SETTINGS[key]
        where = (
            ids.sample_setting(setting.name)
            if setting.group == "sample"
            else ids.setting(setting.group, setting.name)
        )
        control = found.get(str(where))
        if control is not None:
            control.value = form.written(setting, value)
            _offer(control, str(value))


def _lock(found: Mapping[str, Any], locked: Sequence[str]) -> None:
    names = []
    for key in locked:
        if key == RECIPE:
            found[train_ids.RECIPE].disabled = True
            names.append("Recipe")
            continue
        setting = SETTINGS[key]
        found[str(ids.setting(setting.group, setting.name))].disabled = True
        names.append(setting.label)
    more = len(names) - MOST_NAMED
    rest = f" and {more} more" if more > 0 else ""
    sentence = f"Kept as they are by the link: {', '.join(names[:MOST_NAMED])}{rest}."
    icon = html.I(className="bi bi-lock-fill", **{"aria-hidden": "true"})
    found[train_ids.LOCKED_NOTE].children = [icon, f" {sentence}"]


def _put_places(found: Mapping[str, Any], places: Mapping[str, str]) -> None:
    def has(name: str, component: str) -> bool:
        return name in places and component in found

    for name, (component, prop) in {
        "tab": (ids.TABS, "active_tab"),
        "run": (train_ids.RUN, "value"),
        "model": (ids.WRITER, "value"),
        "look": (look_ids.LOOK_TABS, "active_tab"),
        "text": (look_ids.LOOK_TEXT, "value"),
        "question": (compare_ids.COMPARE_QUESTION, "data"),
        "experiment": (experiments_ids.EXPERIMENT, "data"),
        "find": (runs_ids.RUNS_SEARCH, "value"),
    }.items():
        if has(name, component):
            setattr(found[component], prop, places[name])
            _offer(found[component], places[name])
    for name, component in (("layer", look_ids.LAYER), ("head", look_ids.HEAD)):
        if has(name, component):
            found[component].value = str(int(places[name]) - 1)
            _offer(found[component], found[component].value, places[name])
    if has("find", runs_ids.RUNS):
        found[runs_ids.RUNS].dashGridOptions["quickFilterText"] = places["find"]


def _offer(select: Any, value: str, words: str = "") -> None:
    """Put a value among the options of a select that does not list it yet."""
    listed = getattr(select, "options", None)
    if listed is not None and value not in [one["value"] for one in listed]:
        select.options = [*listed, {"value": value, "label": words or value}]
