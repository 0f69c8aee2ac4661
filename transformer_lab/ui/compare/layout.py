"""How the Compare tab is laid out: the questions, the guess, the race and what it showed."""

from collections.abc import Mapping
from itertools import groupby

import dash_bootstrap_components as dbc
from dash import dcc, html
from dash.development.base_component import Component

from transformer_lab.experiments.comparison import MOST_SEEDS, Comparison
from transformer_lab.experiments.comparison_lanes import MOST_LANES
from transformer_lab.experiments.comparison_result import AXES
from transformer_lab.experiments.questions import load_questions
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import SETTINGS, load_recipes
from transformer_lab.ui.compare import ids, rates, scaling
from transformer_lab.ui.compare.own import BUDGETS, NOTHING, PRESETS, SLUG, VARIED, Form, form_of
from transformer_lab.ui.form import field
from transformer_lab.ui.results import layout as frame
from transformer_lab.ui.web.values import Scalar

PLACES = 5  # for charts
TOOLS = {rates.TOOL: rates.TITLE, scaling.TOOL: scaling.TITLE}
SAFE_GROUP = "Safe: each trains a small model of its own, and changes nothing else."
PAGE = ids.COMPARE_PARTS
HELP = {  # the sentence beside each control
    ids.COMPARE_PRESET: "How large the models of the race are, and how long they train.",
    ids.COMPARE_SEEDS: "How often each lane is trained, each time from other random weights.",
    ids.COMPARE_WHERE: "In turn, step by step; each lane in a process of its own: one on each GPU, "
    "on a CPU as many as At once on the Runs tab says; or each on a computer of the cluster, where "
    "the lab was started with --ray.",
    ids.COMPARE_RECIPE: "The settings that all lanes share.",
    ids.COMPARE_SETTING: "The setting in which the lanes differ.",
    ids.COMPARE_VALUES: "One lane for each value, separated by commas.",
    ids.COMPARE_SECOND: "A second setting: one lane for each pair of values.",
    ids.COMPARE_SECOND_VALUES: "The values of the second setting, separated by commas.",
    ids.COMPARE_BUDGET: "What every lane may spend, so that the comparison is fair. Seconds are "
    "turned into steps by the speed measured here, so their numbers hold for this computer.",
    ids.COMPARE_AMOUNT: "How much of it each lane gets.",
    ids.COMPARE_AXIS: "Along which the curves are drawn.",
}


def layout(lab: Lab) -> html.Div:
    """The questions on the left, one of them on the right."""
    newest = lab.comparisons.newest()
    questions = load_questions()
    known = newest is not None and newest.comparison.slug in [*questions, SLUG]
    shown = newest.comparison.slug if newest and known else next(iter(questions))
    own = lab.comparisons.newest(SLUG)
    form = form_of(own.comparison if own else None)
    return html.Div(
        [
            dcc.Store(id=ids.COMPARE_QUESTION, data=shown),
            dcc.Store(id=ids.COMPARE_GUESSES, storage_type="session"),
            dcc.Store(id=ids.COMPARE_TOOL, data=""),
            *frame.stores(PAGE),
            _list(questions, shown),
            html.Div(
                [
                    frame.head(ids.COMPARE_TITLE, ids.COMPARE_LOOK),
                    html.Div(
                        [frame.guess_card(PAGE), _settings(form, lab)],
                        className="experiment-asked",
                    ),
                    _results(),
                ],
                id=ids.COMPARE_ASKED,
                className="column experiment-column",
            ),
            rates.panel(),
            scaling.panel(),
        ],
        className="pane pcn compare",
    )


def _list(questions: Mapping[str, Comparison], shown: str) -> html.Nav:
    parts: list[Component] = [html.H2("Questions")]
    ordered = sorted(questions.values(), key=lambda one: one.order)
    for group, found in groupby(ordered, key=lambda one: one.group):
        listed = list(found)
        entries = [_entry(one.slug, one.title, one.slug == shown) for one in listed]
        safe = [html.P(SAFE_GROUP, className="quiet")] if listed[0].broken else []
        parts += [html.H3(group), *safe, html.Ol(entries, className="experiment-list")]
    own = _entry(SLUG, "Vary one setting, or two", shown == SLUG)
    parts += [html.H3("By hand"), html.Ol([own], className="experiment-list")]
    tools = [_tool(tool, title) for tool, title in TOOLS.items()]
    parts += [html.H3("Tools"), html.Ol(tools, className="experiment-list")]
    return html.Nav(parts, className="card experiment-nav", **{"aria-label": "Questions"})


def _entry(slug: str, title: str, chosen: bool) -> html.Li:
    return frame.entry(
        title,
        ids.compare_button(slug),
        ids.compare_badge(slug),
        chosen=chosen,
        help="Open this question",
    )


def _tool(tool: str, title: str) -> html.Li:
    """The entry of a tool, which is no question."""
    name = html.Span(title, className="experiment-name")
    return html.Li(
        html.Button(
            name,
            id=ids.compare_tool(tool),
            className="experiment-entry",
            title="Open this tool",
            **{"aria-current": "false"},
        )
    )


def _select(
    label: str, control: str, options: Mapping[str, str], value: Scalar, *below: Component
) -> html.Div:
    listed = [{"value": key, "label": words} for key, words in options.items()]
    return _field(label, dbc.Select(id=control, options=listed, value=value, size="sm"), *below)


def _typed(label: str, control: str, value: Scalar, problem: str) -> html.Div:
    box = dbc.Input(id=control, value=value, type="text", autocomplete="off", size="sm")
    return _field(label, box, _problem(problem))


def _problem(name: str) -> html.Div:
    """Where it is said what is wrong at a control."""
    return html.Div(id=name, className="field-error", role="alert")


def _field(label: str, control: Component, *below: Component) -> html.Div:
    return field(label, control, HELP[control.id], *below)


def _settings(form: Form, lab: Lab) -> html.Section:
    seeds = {str(n): str(n) for n in range(1, MOST_SEEDS + 1)}
    where = dict(SETTINGS["train.where"].choices or {})
    if lab.trainings.cluster is None:
        where.pop("cluster")
    place = form.where if form.where in where else "thread"
    return html.Section(
        [
            html.H2("The race"),
            html.Div(
                [
                    html.Div(
                        _select("Preset", ids.COMPARE_PRESET, PRESETS, "quick"),
                        id=ids.COMPARE_READY,
                    ),
                    _select("Seeds, 3 for a verdict", ids.COMPARE_SEEDS, seeds, form.seeds),
                    html.Div(
                        _select("Where it trains", ids.COMPARE_WHERE, where, place),
                        hidden=lab.trainings.processes is None,
                    ),
                ],
                className="compare-fields",
            ),
            html.Div(_own(form), id=ids.COMPARE_OWN, className="compare-own", hidden=True),
            *frame.commands(PAGE, _buttons()),
        ],
        className="card experiment-settings",
        **{"aria-label": "The race"},
    )


def _buttons() -> list[html.Button]:
    rest, quiet = "Rest after this step, or go on from there", "outline-secondary"
    return [
        frame.button("Start", PAGE.start, "primary", "Train all lanes"),
        frame.button("Pause", ids.COMPARE_PAUSE, quiet, rest),
        frame.button("Stop", PAGE.stop, quiet, "End the race; what has come so far stays"),
        frame.button(
            "Go on", ids.COMPARE_GO_ON, "outline-primary", "Race the seeds that are not whole yet"
        ),
    ]


def _own(form: Form) -> list[Component]:
    recipes = {slug: recipe.title for slug, recipe in load_recipes().items()}
    groups = {"data": "Text", "model": "Model", "train": "Training"}
    two, problem = form.second_values, ids.COMPARE_SECOND_PROBLEM
    problems = ids.COMPARE_RECIPE_PROBLEM
    varied = {key: f"{groups[one.group]}: {one.label}" for key, one in VARIED.items()}
    also = {NOTHING: "nothing else", **varied}
    return [
        _select("Base recipe", ids.COMPARE_RECIPE, recipes, form.recipe, _problem(problems)),
        html.Div(
            [
                _select("Vary", ids.COMPARE_SETTING, varied, form.setting),
                _typed("Values", ids.COMPARE_VALUES, form.values, ids.COMPARE_VALUES_PROBLEM),
                _select("And", ids.COMPARE_SECOND, also, form.second),
                _typed("Its values", ids.COMPARE_SECOND_VALUES, two, problem),
                _select("Budget in", ids.COMPARE_BUDGET, BUDGETS, form.budget),
                _typed(
                    "For every lane", ids.COMPARE_AMOUNT, form.amount, ids.COMPARE_AMOUNT_PROBLEM
                ),
            ],
            className="compare-fields",
        ),
        html.Div(id=ids.COMPARE_VALUES_HELP, className="quiet"),
        html.Div(f"At most {MOST_LANES} lanes in all.", className="quiet"),
    ]  # fmt: skip


def _results() -> html.Section:
    axes: dict[str, str] = {axis: f"over {words.partition(' ')[0]}" for axis, words in AXES.items()}
    axis = html.Div(_select("Curves", ids.COMPARE_AXIS, axes, "steps"), className="compare-axis")
    return frame.results(PAGE, PLACES, [axis])
