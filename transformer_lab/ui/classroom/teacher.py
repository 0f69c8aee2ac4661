"""The Class tab of the teacher: everybody, how their trainings stand, and who comes in again."""

from typing import Any

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.lab.classroom.classroom import Classroom
from transformer_lab.lab.classroom.people import CODE_SECONDS, Person
from transformer_lab.lab.lab import Lab
from transformer_lab.ui import form, polling, words
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.classroom import ids
from transformer_lab.ui.web.access import Gate

AWAY = 20.0  # seconds without a request after which a person is away
POLL = 2000  # milliseconds


class TeacherVisit:
    """The teacher's page."""

    def __init__(self, classroom: Classroom, gate: Gate) -> None:
        self.gate = gate
        self.tab = TeacherTab(classroom)

    def corner(self) -> list[Component]:
        """Who this is."""
        icon = html.I(className="bi bi-mortarboard", **{"aria-hidden": "true"})
        help = "You came with the teacher's link."
        return [html.Span([icon, " Teacher"], className="class-who", title=help)]

    def notice(self) -> list[Component]:
        """Nothing."""
        return []


class TeacherTab:
    """The Class tab."""

    TITLE = "Class"

    def __init__(self, classroom: Classroom) -> None:
        self._classroom = classroom

    def layout(self, lab: Lab) -> Component:
        """Everybody, and what the teacher can do."""
        del lab
        return html.Div(
            [
                dcc.Interval(id=ids.PEOPLE_TICK, interval=POLL),
                dcc.Store(id=ids.PEOPLE_SEEN, data={}),
                html.Section(
                    [html.H2("Everybody"), html.Div(id=ids.PEOPLE, className="class-people")],
                    className="card",
                ),
                html.Section(
                    [html.H2("Let in again"), *_let_in(self._choices())], className="card"
                ),
            ],
            className="pane class-pane",
        )

    def register(self, app: Dash, lab: Lab) -> None:
        """The callbacks of this tab."""
        del lab
        self._register_people(app)
        self._register_code(app)

    def _register_people(self, app: Dash) -> None:
        @app.callback(
            output={
                "people": Output(ids.PEOPLE, "children"),
                "choices": Output(ids.AGAIN, "options"),
                "seen": Output(ids.PEOPLE_SEEN, "data"),
            },
            inputs={
                "tick": Input(ids.PEOPLE_TICK, "n_intervals"),
                "opened": Input(shared_ids.TABS, "active_tab"),
            },
            state={"seen": State(ids.PEOPLE_SEEN, "data")},
        )
        def poll(tick: int | None, opened: str | None, seen: object) -> dict[str, Any]:
            del tick
            if opened != self.TITLE:
                raise PreventUpdate
            parts = {"people": self._table(), "choices": self._choices()}
            fresh, digests = polling.changed(parts, seen)
            return {**fresh, "seen": digests}

    def _register_code(self, app: Dash) -> None:
        @app.callback(
            output={"code": Output(ids.CODE, "children")},
            inputs={"pressed": Input(ids.LET_IN, "n_clicks")},
            state={"person": State(ids.AGAIN, "value")},
            prevent_initial_call=True,
        )
        def let_in(pressed: int | None, person: str | None) -> dict[str, Any]:
            if not pressed:
                raise PreventUpdate
            found = self._classroom.people.find(str(person or ""))
            if found is None:
                return {"code": "Choose who comes in again."}
            code = self._classroom.people.let_in(found.id)
            said = f" lets {found.name} in from another browser, once, for {CODE_SECONDS / 60:.0f}"
            return {"code": [html.B(code), f"{said} minutes. The old browser is out from then on."]}

    def _choices(self) -> list[dict[str, str]]:
        return form.options({one.id: one.name for one in self._classroom.people.all()})

    def _table(self) -> Component:
        people = self._classroom.people.all()
        if not people:
            return html.P("Nobody has come in yet: give the class its link.", className="quiet")
        heads = html.Tr([html.Th(head, scope="col") for head in ("Name", "Is", "Training")])
        rows = [html.Tr(self._row(person)) for person in people]
        return html.Table([html.Thead(heads), html.Tbody(rows)], className="class-table")

    def _row(self, person: Person) -> list[Component]:
        idle = self._classroom.seconds_idle(person)
        is_here = idle is not None and idle < AWAY
        lab = self._classroom.opened(person)
        state = words.headline(lab.runs.view()) if lab else ""
        return [
            html.Th(person.name, scope="row"),
            html.Td("here" if is_here else "away", className="" if is_here else "quiet"),
            html.Td(state),
        ]


def _let_in(choices: list[dict[str, str]]) -> list[Component]:
    help = "Gives a code for somebody who comes in from another browser, or has left."
    return [
        form.field("Who", dbc.Select(id=ids.AGAIN, options=choices, size="sm"), help),
        dbc.Button("Give a code", id=ids.LET_IN, size="sm", outline=True, color="primary"),
        html.Div(id=ids.CODE, className="class-code", role="status"),
    ]
