"""Sharing on the Class tab: a copy of a run is put there, copied by others, and taken back."""

from typing import Any

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, ctx, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.exchange import ImportRefusedError
from transformer_lab.lab.classroom.classroom import Classroom
from transformer_lab.lab.classroom.people import Person
from transformer_lab.lab.classroom.shared import TEACHER, SharedRun
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.ui import form, polling
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.classroom import ids

POLL = 3000  # milliseconds
HEADS = ("Run", "Of", "Text", "Steps", "Val. loss", "Size")
PATIENCE = 300.0  # seconds for a copy


class Sharing:
    """What is shared with one person, a learner or (None) the teacher; `tab` must be open."""

    def __init__(self, classroom: Classroom, person: Person | None, tab: str) -> None:
        self._classroom, self._person, self._tab = classroom, person, tab
        self._owner = person.id if person else TEACHER
        self._by = person.name if person else "Teacher"

    def layout(self, lab: Lab) -> Component:
        """What is shared, and the buttons."""
        parts = self._parts(lab)
        own = "Everybody gets to see a copy of it, as it is now: weights, curves, samples, notes."
        other = "A copy becomes a run of your own; the shared one stays as it is."
        buttons = {
            ids.TAKE: ("Copy to my runs", "primary"),
            ids.SHARE_BACK: ("Take back", "secondary"),
        }
        return html.Section(
            [
                dcc.Interval(id=ids.SHARED_TICK, interval=POLL),
                dcc.Store(id=ids.SHARED_SEEN, data={}),
                html.H2("Shared runs"),
                html.Div(parts["table"], id=ids.SHARED_TABLE, className="class-people", tabIndex=0),
                _choice("Shared Run", ids.SHARED, parts["shared"], other),
                html.Div(
                    [_button(name, *what) for name, what in buttons.items()],
                    className="class-buttons",
                ),
                _choice("Run of Yours", ids.OWN_RUN, parts["own"], own),
                _button(ids.SHARE, "Share with the class", "primary"),
                html.Div(id=ids.SHARED_SAID, className="class-said", role="status"),
            ],
            className="card",
        )

    def register(self, app: Dash, lab: Lab) -> None:
        """The callbacks of this part."""

        @app.callback(
            output={
                "table": Output(ids.SHARED_TABLE, "children"),
                "shared": Output(ids.SHARED, "options"),
                "own": Output(ids.OWN_RUN, "options"),
                "seen": Output(ids.SHARED_SEEN, "data"),
            },
            inputs={
                "tick": Input(ids.SHARED_TICK, "n_intervals"),
                "opened": Input(shared_ids.TABS, "active_tab"),
            },
            state={"seen": State(ids.SHARED_SEEN, "data")},
        )
        def poll(tick: int | None, opened: str | None, seen: object) -> dict[str, Any]:
            del tick
            if opened != self._tab:
                raise PreventUpdate
            fresh, digests = polling.changed(self._parts(lab), seen)
            return {**fresh, "seen": digests}

        @app.callback(
            output={"said": Output(ids.SHARED_SAID, "children")},
            inputs={
                "share": Input(ids.SHARE, "n_clicks"),
                "take": Input(ids.TAKE, "n_clicks"),
                "back": Input(ids.SHARE_BACK, "n_clicks"),
            },
            state={"own": State(ids.OWN_RUN, "value"), "shared": State(ids.SHARED, "value")},
            prevent_initial_call=True,
        )
        def act(
            share: int | None, take: int | None, back: int | None, own: object, shared: object
        ) -> dict[str, Any]:
            if not (share or take or back):
                raise PreventUpdate
            try:
                said = self._do(lab, str(ctx.triggered_id), str(own or ""), str(shared or ""))
            except (LabError, ImportRefusedError) as error:
                return {"said": html.Span(str(error), className="wrong")}
            except TimeoutError:
                return {"said": "This takes long; it goes on, and will stand in the list."}
            return {"said": said}

    def _do(self, lab: Lab, button: str, own: str, shared: str) -> str:
        """What a button asks for, and what became of it, in a sentence."""
        store = self._classroom.shared
        if button == ids.SHARE:
            made = lab.jobs.ask(lambda: store.share(lab, own, self._owner, self._by), PATIENCE)
            return f"The class sees a copy of {made.title} now."
        if button == ids.SHARE_BACK:
            return f"{store.take_back(shared, self._owner).title} is no longer shared."
        found = store.find(shared)
        if self._person and found:
            refused = self._classroom.refuses(self._person, found.nbytes, run=True)
            if refused:
                raise LabError(refused)
        return f"It is {lab.jobs.ask(lambda: store.take(lab, shared), PATIENCE)} among your runs."

    def _parts(self, lab: Lab) -> dict[str, Any]:
        runs = self._classroom.shared.all()
        own = {run.id: run.name for run in lab.runs.all() if run.state != "damaged"}
        return {
            "table": _table(runs),
            "shared": form.options({one.id: f"{one.title} ({one.by})" for one in runs}),
            "own": form.options(own),
        }


def _choice(label: str, select: str, options: list[dict[str, str]], help: str) -> Component:
    return form.field(label, dbc.Select(id=select, options=options, size="sm"), help)


def _button(name: str, said: str, kind: str) -> Component:
    return dbc.Button(said, id=name, size="sm", outline=True, color=kind)


def _table(runs: list[SharedRun]) -> Component:
    if not runs:
        return html.P("Nobody shares a run yet.", className="quiet")
    heads = html.Tr([html.Th(head, scope="col") for head in HEADS])
    rows = [
        html.Tr(
            [
                html.Th(one.title, scope="row"),
                html.Td(one.by),
                html.Td(one.corpus),
                html.Td(f"{one.step:,}"),
                html.Td("" if one.loss is None else f"{one.loss:.3f}"),
                html.Td(f"{one.nbytes / 1e6:,.1f} MB"),
            ]
        )
        for one in runs
    ]
    return html.Table([html.Thead(heads), html.Tbody(rows)], className="class-table")
