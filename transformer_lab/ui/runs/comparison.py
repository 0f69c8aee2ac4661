"""Several runs that are chosen: their curves in one chart, and what differs between them."""

from collections.abc import Callable, Mapping
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update

from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import SETTINGS, setup_from
from transformer_lab.runs.run import Run
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui import words
from transformer_lab.ui.charts.comparison import MOST_POINTS, RunCurve, overlay_figure, run_colors
from transformer_lab.ui.runs import ids

MOST_COMPARED = 10
MANIFEST_FACTS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "Text's sha256": lambda manifest: manifest["corpus"]["sha256"][:12],
    "Device": lambda manifest: manifest["device"]["name"],
    "PyTorch": lambda manifest: manifest["environment"]["torch"],
    "Python": lambda manifest: manifest["environment"]["python"],
}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks that compare runs."""
    _register_chips(app)

    @app.callback(
        output={
            "figure": Output(ids.OVERLAY, "figure"),
            "differences": Output(ids.DIFFERENCES, "children"),
            "hidden": Output(ids.OVERLAY_CARD, "hidden"),
            "colors": Output(ids.RUNS_COLORS, "data"),
        },
        inputs={
            "chosen": Input(ids.RUNS_PICKED, "data"),
            "known": Input(ids.RUNS_KNOWN, "data"),
            "axis": Input(ids.OVERLAY_AXIS, "value"),
            "shown": Input(ids.OVERLAY_SHOWN, "value"),
            "smooth": Input(ids.OVERLAY_SMOOTH, "value"),
        },
        state={"comparison": State(ids.RUNS_COMPARISON, "data")},
        prevent_initial_call=True,
    )
    def compared(
        chosen: list[str] | None,
        known: dict[str, int] | None,
        axis: str,
        shown: str,
        smooth: str,
        comparison: str | None,
    ) -> dict[str, object]:
        """Several runs were chosen, or another way to draw them."""
        if len(chosen or []) < 2 or comparison:  # which has a card of its own
            unchanged = {"figure": no_update, "differences": no_update}
            return unchanged | {"hidden": True, "colors": {}}
        summaries = [run for run in lab.runs.all() if run.id in (chosen or [])][:MOST_COMPARED]
        summaries = [run for run in summaries if run.state != "damaged"]
        window = int(smooth)
        curves = [_curve(lab.runs.open(run.id), run, axis, window) for run in summaries]
        return {
            "figure": overlay_figure(curves, axis, shown, window),
            "differences": differences(lab, summaries),
            "hidden": False,
            "colors": run_colors(run.id for run in summaries),
        }


def _register_chips(app: Dash) -> None:
    """Beside its name in the list a run has the colour of its curve."""
    app.clientside_callback(
        ClientsideFunction("runs", "chips"),
        Output(ids.RUNS, "className"),
        Input(ids.RUNS_COLORS, "data"),
        prevent_initial_call=True,
    )


def _curve(run: Run, summary: RunSummary, axis: str, window: int) -> RunCurve:
    setup = setup_from(run.manifest["setup"])
    points, evaluated = (
        run.thinned(MOST_POINTS, window) if window > 1 else run.envelope(MOST_POINTS)
    )
    each = setup.train.batch_size * setup.model.sequence_length
    place = {
        "tokens": lambda point: point.step * each,
        "seconds": lambda point: point.seconds,
    }.get(axis, lambda point: point.step)
    seam = run.step_at(run.seams[-1].step) if run.seams else None
    return RunCurve(
        run=run.id,
        name=summary.name,
        x=[place(point) for point in points],
        train=[point.train_loss for point in points],
        validation_x=[place(point) for point in evaluated],
        validation=[p.validation_loss for p in evaluated if p.validation_loss is not None],
        seam=place(seam) if seam else None,
    )


def differences(lab: Lab, summaries: list[RunSummary]) -> html.Table:
    """A table of only what differs between runs, their results first."""
    best, *rest = _rows(summaries, [lab.runs.open(run.id) for run in summaries])
    differing = [best, *(row for row in rest if len(set(row[1])) > 1)]
    colors = run_colors(run.id for run in summaries)
    head = [
        html.Th([html.Span("●", style={"color": colors[run.id]}, **{"aria-hidden": "true"}),
                 f" {run.name}"])
        for run in summaries
    ]  # fmt: skip
    body = [html.Tr([html.Th(name), *map(html.Td, cells)]) for name, cells in differing]
    return html.Table(
        [html.Thead(html.Tr([html.Th("setting"), *head])), html.Tbody(body)],
        className="numbers differences",
    )


def _rows(summaries: list[RunSummary], opened: list[Run]) -> list[tuple[str, list[str]]]:
    """Results, settings and surroundings of runs, a cell for each run."""
    manifests = [run.manifest for run in opened]
    values = [setup_from(manifest["setup"]).values() for manifest in manifests]
    best = ["–" if run.best_loss is None else f"{run.best_loss:.3f}" for run in summaries]
    return [
        ("Best validation loss", best),
        ("Steps taken", [f"{run.step:,}" for run in summaries]),
        ("Parameters", [f"{run.parameters:,}" for run in summaries]),
        *(
            (setting.label, [words.value(one[key], setting) for one in values])
            for key, setting in SETTINGS.items()
        ),
        *((name, [str(fact(m)) for m in manifests]) for name, fact in MANIFEST_FACTS.items()),
        ("CPU threads", [str(run.threads()) for run in opened]),
    ]
