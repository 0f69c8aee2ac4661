"""A comparison that is open in Runs: its curves over seeds, its verdict, and how to take it away.

A race of PCN Experiments is one too; what is said of it comes from its runs.
"""

from collections.abc import Sequence

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.experiments.comparison_words import tables, verdict
from transformer_lab.lab.lab import Lab
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui import polling, words
from transformer_lab.ui.charts.experiments import figure, height
from transformer_lab.ui.charts.training import GRAPH, blank
from transformer_lab.ui.results import layout as frame
from transformer_lab.ui.results import parts as results
from transformer_lab.ui.runs import ids
from transformer_lab.ui.runs.folding import lanes_of, title_of

PARTS = {
    "title": Output(ids.RACE_TITLE, "children"),
    "facts": Output(ids.RACE_FACTS, "children"),
    "away": Output(ids.RACE_AWAY, "children"),
    "verdict": Output(ids.RACE_VERDICT, "children"),
    "curves": Output(ids.RACE_CURVES, "figure"),
    "style": Output(ids.RACE_CURVES, "style"),
    "tables": Output(ids.RACE_TABLES, "children"),
}
NOTHING = "No result yet: none of its runs has been evaluated on the validation text."


def card() -> html.Div:
    """What stands below the list while the row of a comparison is chosen."""
    return html.Div(
        [
            dcc.Store(id=ids.RACE_SEEN, data={}),
            frame.verdict_card(
                ids.RACE_VERDICT,
                ids.RACE_AWAY,
                [html.H2(id=ids.RACE_TITLE), html.Div(id=ids.RACE_FACTS, className="quiet")],
            ),
            html.Div(
                dcc.Graph(id=ids.RACE_CURVES, figure=blank(""), config=GRAPH), className="card"
            ),
            frame.tables(ids.RACE_TABLES),
        ],
        id=ids.RACE_CARD,
        className="column",
        hidden=True,
    )


def register(app: Dash, lab: Lab) -> None:
    """The callback that shows a comparison."""

    @app.callback(
        output={
            "parts": PARTS,
            "hidden": Output(ids.RACE_CARD, "hidden"),
            "seen": Output(ids.RACE_SEEN, "data"),
        },
        inputs={
            "chosen": Input(ids.RUNS_COMPARISON, "data"),
            "known": Input(ids.RUNS_KNOWN, "data"),
        },
        state={"seen": State(ids.RACE_SEEN, "data")},
        prevent_initial_call=True,
    )
    def opened(
        chosen: str | None, known: dict[str, int] | None, seen: dict[str, int] | None
    ) -> dict[str, object]:
        """The row of a comparison was chosen, or its runs went on."""
        name = chosen if isinstance(chosen, str) else ""
        runs = lanes_of(name, lab.runs.all())
        if not runs:
            unchanged = dict.fromkeys(PARTS, no_update)
            return {"parts": unchanged, "hidden": True, "seen": {}}
        parts, digests = polling.changed(_parts(lab, name, runs), seen)
        if all(part is no_update for part in parts.values()):
            raise PreventUpdate
        return {"parts": parts, "hidden": False, "seen": digests}


def _parts(lab: Lab, name: str, runs: Sequence[RunSummary]) -> dict[str, object]:
    """Everything that is said of a comparison, named as in PARTS."""
    outcome = lab.comparisons.measured(name)
    title = title_of(name, runs)
    whole: dict[str, object] = {
        "title": [title, html.Span(f" {name}" if title != name else "", className="quiet")],
        "facts": _facts(runs),
    }
    plots = outcome.plots() if outcome else []
    if outcome is None or not plots:
        return whole | {
            "away": "",
            "verdict": NOTHING,
            "curves": blank(""),
            "style": {"display": "none"},
            "tables": [],
        }
    return whole | {
        "away": results.comparison_away(name),
        "verdict": verdict(outcome),
        "curves": figure(plots[0], f"race {name}"),
        "style": {"height": height(plots[0])},
        "tables": results.tables(tables(outcome)),
    }


def _facts(runs: Sequence[RunSummary]) -> str:
    lanes, races = {run.lane for run in runs}, {run.race for run in runs}
    facts = [
        f"{len(lanes)} lanes",
        "1 seed" if len(races) == 1 else f"{len(races)} seeds",
        "1 run" if len(runs) == 1 else f"{len(runs)} runs",
        f"{words.clock(sum(run.seconds for run in runs))} of training",
    ]
    return " · ".join(facts)
