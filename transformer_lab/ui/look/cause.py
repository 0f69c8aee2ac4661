"""Cause: switch parts off, or give them what they did on another text, and see what changes."""

from typing import TypedDict

import dash_bootstrap_components as dbc
from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.ablation import Site
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.causes import WRITTEN, Effect, is_stream
from transformer_lab.lab.looking.interventions import Intervention
from transformer_lab.lab.looking.subjects import Open
from transformer_lab.ui import form
from transformer_lab.ui.charts.predictions import next_token_figure
from transformer_lab.ui.look import ids, importance, induction
from transformer_lab.ui.look.parts import (
    button,
    chart,
    choice,
    is_dark,
    named,
    number,
    opened,
    pieces_of,
    place_in,
    quoted,
    table,
    tried,
    trouble,
)
from transformer_lab.ui.look.state import Opened, Place
from transformer_lab.ui.terms import term

NAME = "Cause"
ANY_SITE = {"type": "site-button", "index": ALL}
WAYS = {
    "zero": "zero ablation: output set to 0",
    "mean": "mean ablation: output set to its mean",
    "patch": "activation patching: output of another text",
}
WAY_HELP = (
    "Zero ablation removes all of a component's output. Mean ablation, over the validation text, "
    "keeps its average and removes what varies. Patching puts in its output on another text."
)
SOURCE_HELP = "Its activations go into the chosen parts, place by place."
WHERE = {"here": "at the chosen token only", "everywhere": "at every place both texts have"}
WHERE_HELP = "Where activations of the other text are put in: click a token of the text to choose."

MOST_WIDE = 40  # heads side by side, beyond which buttons are only numbers


class Change(TypedDict):
    """The controls that say what is done to the model."""

    off: list[int] | None
    kind: str | None
    source: str | None
    where: str | None


def layout() -> html.Div:
    """The parts as buttons, what to do to them, and what comes of it; below, what takes longer."""
    return html.Div(
        [
            dcc.Store(id=ids.CAUSE_PARTS),
            dcc.Store(id=ids.CAUSE_OFF, data=[]),
            html.Div([_parts(), importance.layout()], className="column"),
            html.Div([_effect(), induction.layout()], className="column"),
        ],
        className="look-part cause-columns",
    )


def _parts() -> html.Section:
    clear = button("Undo all", ids.CAUSE_CLEAR, "The model as it is")
    source = dbc.Textarea(
        id=ids.CAUSE_SOURCE, value="", rows=2, size="sm", maxLength=20_000, debounce=400
    )
    return html.Section(
        [
            html.Div(
                [
                    html.H2([term("ablation"), " and ", term("activation_patching", "patching")]),
                    clear,
                ],
                className="card-head",
            ),
            choice("Pressed components", ids.CAUSE_KIND, WAYS, "zero", WAY_HELP),
            html.Div(
                [
                    form.field("Other text", source, SOURCE_HELP),
                    choice("Where", ids.CAUSE_WHERE, WHERE, "here", WHERE_HELP),
                ],
                id=ids.CAUSE_SOURCE_BOX,
                className="cause-source",
                hidden=True,
            ),
            html.Div(
                id=ids.CAUSE_GRID,
                className="cause-grid",
                role="group",
                **named("Parts of the model: pressed ones are changed"),
            ),
        ],
        className="card cause-parts",
    )


def _effect() -> html.Section:
    return html.Section(
        [
            html.H2("Before and after"),
            trouble(ids.CAUSE_PROBLEM),
            html.Div(id=ids.CAUSE_EFFECT, role="status"),
            chart(ids.CAUSE_CHART, "Next-token probabilities", "short"),
            html.Div(id=ids.CAUSE_WRITING),
        ],
        className="card cause-effect",
    )


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this part."""
    _register_parts(app, lab)
    _register_pressed(app)
    _register_effect(app, lab)
    importance.register(app, lab)
    induction.register(app, lab)


def _register_parts(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "grid": Output(ids.CAUSE_GRID, "children"),
            "labels": Output(ids.CAUSE_PARTS, "data"),
        },
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
        },
        state={"known": State(ids.CAUSE_PARTS, "data")},
        prevent_initial_call=True,
    )
    def drawn(
        data: Opened | None, sub_tab: str | None, known: list[str] | None
    ) -> dict[str, object]:
        """The parts of this model."""
        what = opened(data, sub_tab, NAME)
        sites, _ = tried(lambda: lab.inspector.interventions.parts(what))
        labels = [what.run, *(site.label for site in sites or [])]
        if sites is None or labels == known:
            raise PreventUpdate
        return {"grid": _grid(sites), "labels": labels}


def _register_pressed(app: Dash) -> None:
    @app.callback(
        output={
            "off": Output(ids.CAUSE_OFF, "data"),
            "pressed": Output(ANY_SITE, "aria-pressed"),
        },
        inputs={
            "clicks": Input(ANY_SITE, "n_clicks"),
            "clear": Input(ids.CAUSE_CLEAR, "n_clicks"),
            "parts": Input(ids.CAUSE_PARTS, "data"),
        },
        state={"off": State(ids.CAUSE_OFF, "data")},
        prevent_initial_call=True,
    )
    def pressed(
        clicks: list[int | None],
        clear: int | None,
        parts: list[str] | None,
        off: list[int] | None,
    ) -> dict[str, object]:
        """A part was pressed, or all were released."""
        shown = [number(item["id"]["index"], -1) for item in ctx.outputs_grouping["pressed"]]
        chosen = set(off or [])
        if isinstance(ctx.triggered_id, dict):
            if not ctx.triggered[0]["value"]:
                raise PreventUpdate
            chosen ^= {number(ctx.triggered_id["index"], -1)}
        else:
            chosen = set()
        states = ["true" if place in chosen else "false" for place in shown]
        return {"off": sorted(chosen), "pressed": states}

    @app.callback(
        output={
            "source_hidden": Output(ids.CAUSE_SOURCE_BOX, "hidden"),
            "grid_class": Output(ids.CAUSE_GRID, "className"),
        },
        inputs={"kind": Input(ids.CAUSE_KIND, "value")},
        prevent_initial_call=True,
    )
    def way(kind: str | None) -> dict[str, object]:
        """A patch needs another text, and can also go into the stream."""
        patching = kind == "patch"
        return {"source_hidden": not patching, "grid_class": "cause-grid" + " patching" * patching}


def _grid(sites: list[Site]) -> html.Table:
    """A row for each layer: its heads, its feed-forward, what else writes, and the stream after."""
    layers: dict[int, list[tuple[int, Site]]] = {}
    for place, site in enumerate(sites):
        layers.setdefault(site.layer or 0, []).append((place, site))
    wide = max(sum(site.head is not None for _, site in row) for row in layers.values())
    rows = []
    for layer, row in layers.items():
        heads = [_site(place, site, wide) for place, site in row if site.head is not None]
        others = [_site(place, site, wide) for place, site in row if site.head is None]
        rows.append(
            html.Tr(
                [
                    html.Th(f"layer {layer + 1}", scope="row"),
                    html.Td(heads, className="heads"),
                    html.Td(others, className="others"),
                ]
            )
        )
    return html.Table(html.Tbody(rows))


def _site(place: int, site: Site, wide: int) -> html.Button:
    if site.head is not None:
        words = f"head {site.head + 1}" if wide <= 4 else str(site.head + 1)
    elif is_stream(site):
        words = "stream"
    else:
        words = site.label.partition(" of ")[0]
    return html.Button(
        words,
        id=ids.site_button(str(place)),
        className="btn btn-outline-secondary btn-sm site" + (" stream" * is_stream(site)),
        title=site.label,
        **{"aria-pressed": "false", "aria-label": site.label},
    )


def _register_effect(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "losses": Output(ids.CAUSE_EFFECT, "children"),
            "figure": Output(ids.CAUSE_CHART, "figure"),
            "writing": Output(ids.CAUSE_WRITING, "children"),
            "problem": Output(ids.CAUSE_PROBLEM, "children"),
        },
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "change": {
                "off": Input(ids.CAUSE_OFF, "data"),
                "kind": Input(ids.CAUSE_KIND, "value"),
                "source": Input(ids.CAUSE_SOURCE, "value"),
                "where": Input(ids.CAUSE_WHERE, "value"),
            },
            "place": Input(ids.LOOK_PLACE, "data"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        prevent_initial_call=True,
    )
    def changed(
        data: Opened | None,
        change: Change,
        place: Place | None,
        sub_tab: str | None,
        theme: str | None,
    ) -> dict[str, object]:
        """The model before and after the change."""
        what = opened(data, sub_tab, NAME)
        trial = _trial(change, place_in(place, what.tokens))
        found, problem = tried(lambda: lab.inspector.interventions.effect(what, trial))
        if found is None:
            kept = dict.fromkeys(("losses", "figure", "writing"), no_update)
            return kept | {"problem": problem}
        names = pieces_of(lab.inspector.pieces(what, found.tokens))
        figure = next_token_figure(
            names,
            found.before.probabilities[found.tokens],
            found.after.probabilities[found.tokens],
            dark=is_dark(theme),
        )
        return {
            "losses": _losses(lab, what, found, trial),
            "figure": figure,
            "writing": _writing(found),
            "problem": "",
        }


def _trial(change: Change, place: int) -> Intervention:
    return Intervention(
        kind=change["kind"] if change["kind"] in WAYS else "zero",
        parts=tuple(change["off"] or []),
        position=place,
        source=str(change["source"] or ""),
        everywhere=change["where"] == "everywhere",
    )


def _losses(lab: Lab, what: Open, found: Effect, trial: Intervention) -> list[Component]:
    before, after = found.before, found.after
    rows = [
        _pair("Loss on validation text", before.validation, after.validation),
        _pair("Loss on this text", before.text, after.text),
    ]
    at = trial.position
    (piece,) = pieces_of(lab.inspector.pieces(what, [what.tokens[at]]))
    words = "Press parts to change them: the numbers follow at once."
    if trial.parts:
        words = (
            f"{len(trial.parts)} part{'s' * (len(trial.parts) != 1)} changed. What is expected "
            f"after {quoted(piece)} (token {at + 1}) moved by KL {found.divergence:.3f} nats."
        )
    return [
        table(["nats per token", "before", "after", "change"], rows, "effect"),
        html.Div(words, className="quiet"),
    ]


def _pair(name: str, before: float | None, after: float | None) -> list[str]:
    if before is None or after is None:
        return [name, "–", "–", "not at hand" if "validation" in name else "one token"]
    return [name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"]


def _writing(found: Effect) -> html.Div:
    """How the text goes on, before and after; what differs is marked."""
    texts = found.before.written, found.after.written
    same = 0
    while same < min(map(len, texts)) and texts[0][same] == texts[1][same]:
        same += 1
    shown = [
        html.Div(
            [
                html.Div(f"{name}, {WRITTEN} tokens", className="quiet"),
                html.Pre([text[:same], html.Mark(text[same:])], className="sample", tabIndex=0),
            ]
        )
        for name, text in zip(("It goes on before", "after"), texts, strict=True)
    ]
    return html.Div(shown, className="two-texts")
