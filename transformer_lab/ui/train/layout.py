"""How the Train tab is laid out: settings and buttons, charts, sample and status."""

import dash_bootstrap_components as dbc
from dash import dcc, html
from dash.development.base_component import Component

from transformer_lab.lab.device import has_gpu
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import SETTINGS, Recipe, Setup, load_recipes
from transformer_lab.ui import form
from transformer_lab.ui.charts.training import GRAPH, blank
from transformer_lab.ui.terms import terms_line
from transformer_lab.ui.train import (
    actions,
    after,
    coach_card,
    ids,
    live,
    milestones,
    sections,
    settling_card,
    strip,
)

# What is learned from, how it is cut, and how much of it the model sees at once.
TEXT = ("data.corpus", "data.tokenizer", "model.sequence_length")


def opening(lab: Lab, recipes: dict[str, Recipe]) -> tuple[Recipe, Setup]:
    """What the form opens on: the run under way, else the recipe for this computer."""
    run = lab.trainings.current
    if run is not None:
        return recipes.get(run.recipe, recipes["quick_start"]), run.setup
    recipe = recipes["tiny_shakespeare" if has_gpu() else "quick_start"]
    return recipe, recipe.setup


def layout(lab: Lab) -> html.Div:
    """Three columns: settings and buttons, charts, sample and status."""
    recipes = load_recipes()
    recipe, setup = opening(lab, recipes)
    return html.Div(
        [
            dcc.Store(id=ids.CURSOR, data={}),
            dcc.Store(id=ids.REFRESH, data=0),
            dcc.Store(id=ids.PLAN),
            dcc.Store(id=ids.UNUSED),
            dcc.Store(id=ids.BRANCH),
            dcc.Store(id=ids.RESUME_DISMISSED, data=""),
            dcc.Store(id=ids.RUN_SHOWN, data=""),
            dcc.Store(id=ids.RUN_BEFORE, data=""),
            html.Section(_settings(lab, recipes, recipe, setup), className="column settings"),
            html.Section(_charts(lab), className="column charts", **{"aria-label": "Charts"}),
            html.Section(_aside(), className="column aside", **{"aria-label": "Model and status"}),
        ],
        className="pane train",
    )


def _settings(
    lab: Lab, recipes: dict[str, Recipe], recipe: Recipe, setup: Setup
) -> list[Component]:
    values = setup.values()
    controls = {
        item.key: form.control(
            item,
            values[item.key],
            choices=_corpora(lab, setup) if item.key == "data.corpus" else None,
        )
        for item in form.FORM
    }
    main = [key for key in controls if not SETTINGS[key].advanced and key not in TEXT]
    advanced = [key for key in controls if key not in (*main, *TEXT)]
    corpus, *text = (controls[key] for key in TEXT)
    return [
        html.Div(
            [
                html.Div(_recipe(recipes, recipe), className="field wide"),
                corpus,
                html.Div(id=ids.CORPUS_NOTE, className="note wide", role="status"),
                html.Div(
                    [
                        html.Span(id=ids.BRANCH_LINE),
                        html.Button("cancel", id=ids.BRANCH_CANCEL, className="link", hidden=True),
                    ],
                    className="note wide",
                    role="status",
                ),
                *text,
                *[controls[key] for key in main],
                _advanced({key: controls[key] for key in advanced}),
            ],
            className="fields scroll",
        ),
        actions.layout(),
    ]


def _advanced(controls: dict[str, html.Div]) -> html.Details:
    """The settings of each section, each with what it needs to have an effect; and a search."""

    def field(key: str) -> html.Div:
        needed = sections.needs(key, SETTINGS)
        return html.Div(
            [controls[key], html.Div(needed, className="setting-needs")],
            className="setting-field",
            **{"data-key": key},
        )

    def section(title: str) -> html.Section:
        keys = [key for key in controls if sections.section_of(SETTINGS[key]) == title]
        fields = html.Div([field(key) for key in keys], className="fields")
        return html.Section([html.H3(title), fields], className="section")

    search = form.field(
        "Search settings",
        dbc.Input(id=ids.SETTINGS_SEARCH, type="search", size="sm", autocomplete="off"),
        "Words of a name or its help. It also finds settings that have no effect now.",
    )
    return html.Details(
        [
            html.Summary("Advanced"),
            search,
            html.Div(id=ids.SETTINGS_FOUND, className="note", role="status"),
            *[section(title) for title in sections.SECTIONS],
        ],
        className="wide advanced",
    )


def _corpora(lab: Lab, setup: Setup) -> dict[str, str]:
    found = lab.texts.titles()
    return found | ({} if setup.data.corpus in found else {setup.data.corpus: setup.data.corpus})


def _recipe(recipes: dict[str, Recipe], recipe: Recipe) -> list[Component]:
    options = [
        {"value": slug, "label": f"{item.group} · {item.title}" if item.group else item.title}
        for slug, item in recipes.items()
    ]
    return [
        html.Div(
            [
                html.Label("Recipe", htmlFor=ids.RECIPE, className="field-label"),
                html.Span(
                    [
                        html.Span(id=ids.MODIFIED),
                        html.Button(
                            "undo",
                            id=ids.UNDO,
                            className="link",
                            hidden=True,
                            title="Put the recipe's own settings back",
                        ),
                    ],
                    className="modified",
                ),
            ],
            className="label-line",
        ),
        dbc.Select(id=ids.RECIPE, options=options, value=recipe.slug, size="sm"),
        html.Div(
            "Complete settings for one lesson each; every one of them can be changed below.",
            className="field-help",
            role="note",
        ),
        html.P(recipe.summary, id=ids.RECIPE_SUMMARY, className="summary"),
        html.P(id=ids.LOCKED_NOTE, className="summary locked-note", role="note"),
        html.Div(id=ids.DIFFERS, className="differs"),
    ]


def _charts(lab: Lab) -> list[Component]:
    perplexity = _chart(ids.PERPLEXITY, "Perplexity, tokens")
    rate = _chart(ids.RATE, "Learning rate")
    loss = _chart(ids.LOSS, "Loss, nats per token", "chart-loss")
    return [
        _resume_offer(),
        _state_row(lab),
        after.layout(),
        strip.layout(),
        html.Div([loss, _smoothing()], className="chart-box"),
        html.Div([perplexity, rate], className="two"),
    ]


def _chart(chart_id: str, title: str, kind: str = "") -> dcc.Graph:
    classes = f"card chart {kind}".strip()
    return dcc.Graph(id=chart_id, figure=blank(title), config=GRAPH, className=classes)


def _resume_offer() -> html.Div:
    return html.Div(
        [
            html.Span(id=ids.RESUME_WORDS),
            html.Button("Resume", id=ids.RESUME_NOW, className="btn btn-primary btn-sm"),
            html.Button(
                "Later",
                id=ids.RESUME_LATER,
                className="btn btn-outline-secondary btn-sm",
                title="It stays on the Runs tab",
            ),
        ],
        id=ids.RESUME_OFFER,
        className="card resume-offer",
        role="status",
        hidden=True,
    )


def _state_row(lab: Lab) -> html.Div:
    choice = dbc.Select(
        id=ids.RUN, options=live.run_options(lab.runs.all()), value=live.LATEST, size="sm"
    )
    return html.Div(
        [
            html.Div(id=ids.STATE, className="state-line"),
            html.Label(
                [html.Span("Run shown", className="visually-hidden"), choice],
                className="run-choice",
                title="Whose charts and text are shown; it changes nothing else",
            ),
        ],
        className="state-row",
    )


def _smoothing() -> html.Label:
    words = {"off": "no smoothing", "light": "light smoothing", "strong": "strong smoothing"}
    return html.Label(
        [
            html.Span("Smoothing of the train loss", className="visually-hidden"),
            dbc.Select(
                id=ids.SMOOTHING,
                options=[{"value": key, "label": label} for key, label in words.items()],
                value="off",
                size="sm",
                persistence=True,
            ),
        ],
        className="smoothing",
        title="Smoothing of the train loss: a running mean to both sides; the curve itself stays, "
        "faintly. Nothing but this drawing changes.",
    )


def _aside() -> list[Component]:
    return [
        html.Div(
            [
                html.Div(
                    [html.H2("Sample"), html.Span(id=ids.SAMPLE_STEP, className="quiet")],
                    className="card-head",
                ),
                html.Pre(id=ids.SAMPLE, className="sample", tabIndex=0),
            ],
            className="card sample-card",
        ),
        coach_card.layout(),
        milestones.layout(),
        settling_card.layout(),
        html.Div(
            [
                html.H2("Status"),
                html.Dl(id=ids.PANEL, className="pairs"),
                html.Dl(
                    html.Div([html.Dt("Memory"), html.Dd(id="memory")], className="row-pair"),
                    className="pairs",
                ),
                html.Details(
                    [html.Summary("Parameters by part"), html.Dl(id="breakdown")],
                    className="breakdown",
                ),
                terms_line("cross_entropy", "random_guessing", "perplexity", "checkpoint"),
            ],
            className="card status-card",
        ),
    ]
