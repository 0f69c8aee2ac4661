"""How everybody of a class stands: a table, and all curves in one chart."""

import plotly.graph_objects as go
from dash import html
from dash.development.base_component import Component

from transformer_lab.lab.classroom.classroom import Classroom
from transformer_lab.lab.classroom.people import Person
from transformer_lab.lab.lab import Lab
from transformer_lab.ui import words
from transformer_lab.ui.charts.comparison import RunCurve, overlay_figure

AWAY = 20.0  # seconds without a request after which a person is away
POINTS = 120  # of one curve
HEADS = ("Name", "Is", "Training", "Val. loss", "Runs", "Size", "Trained")


def table(classroom: Classroom) -> Component:
    """A row for each person."""
    people = classroom.people.all()
    if not people:
        return html.P("Nobody has come in yet: give the class its link.", className="quiet")
    heads = html.Tr([html.Th(head, scope="col") for head in HEADS])
    rows = [html.Tr(_row(classroom, person)) for person in people]
    return html.Table([html.Thead(heads), html.Tbody(rows)], className="class-table")


def _row(classroom: Classroom, person: Person) -> list[Component]:
    idle, lab = classroom.seconds_idle(person), classroom.opened(person)
    is_here = idle is not None and idle < AWAY
    view = lab.runs.view() if lab else None
    used = classroom.used(person)
    loss = view.validation_loss if view else None
    facts = (
        words.headline(view) if view else "",
        "" if loss is None else f"{loss:.3f}",
        f"{used.runs:,}" if lab else "",
        words.size(used.nbytes) if used.nbytes else "",
        f"{used.seconds / 60:.1f} min" if used.seconds else "",
    )
    return [
        html.Th(person.name, scope="row"),
        html.Td("here" if is_here else "away", className="" if is_here else "quiet"),
        *map(html.Td, facts),
    ]


def curves(classroom: Classroom) -> go.Figure:
    """The validation losses of what each person trains now, or trained last."""
    found = [
        _curve(person, lab)
        for person in classroom.people.all()
        if (lab := classroom.opened(person)) is not None
    ]
    shown = [curve for curve in found if curve.validation]
    return overlay_figure(shown, "steps", "validation", 1)


def _curve(person: Person, lab: Lab) -> RunCurve:
    _, evaluated, _ = lab.runs.envelope(lab.runs.shown(), POINTS)
    stride = max(1, len(evaluated) // POINTS)
    kept = [*evaluated[::stride], *evaluated[-1:]] if stride > 1 else evaluated
    return RunCurve(
        run=person.id,
        name=person.name,
        x=[],
        train=[],
        validation_x=[point.step for point in kept],
        validation=[float(point.validation_loss or 0.0) for point in kept],
    )
