"""The Class tab of the teacher: everybody, pause all, and what is sent to everybody."""

from typing import Any

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, ctx, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.lab.classroom.classroom import REMOVED, Classroom
from transformer_lab.lab.classroom.notices import LONGEST, LONGEST_ADDRESS, Notice
from transformer_lab.lab.classroom.people import CODE_SECONDS, Person
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.ui import form, polling
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.charts.training import GRAPH
from transformer_lab.ui.classroom import everybody, ids
from transformer_lab.ui.classroom.sharing import Sharing
from transformer_lab.ui.web.access import Gate

POLL = 2000  # milliseconds
HELD = "All trainings rest. They go on from the same step."


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
        """Nothing: the teacher sends them."""
        return []


class TeacherTab:
    """The Class tab."""

    TITLE = "Class"

    def __init__(self, classroom: Classroom) -> None:
        self._classroom = classroom
        self._sharing = Sharing(classroom, None, self.TITLE)

    def layout(self, lab: Lab) -> Component:
        """Everybody, and what the teacher can do."""
        everyone = [
            html.H2("Everybody"),
            html.Div(
                everybody.table(self._classroom),
                id=ids.PEOPLE,
                className="class-people",
                tabIndex=0,
            ),
            dcc.Graph(
                id=ids.CURVES,
                figure=everybody.curves(self._classroom),
                config=GRAPH,
                className="chart class-chart",
            ),
            _all_at_once(held=self._classroom.held),
        ]
        return html.Div(
            [
                dcc.Interval(id=ids.PEOPLE_TICK, interval=POLL),
                dcc.Store(id=ids.PEOPLE_SEEN, data={}),
                html.Section(everyone, className="card class-everybody"),
                html.Section(_sending(self._classroom.notice), className="card"),
                self._sharing.layout(lab),
                html.Section(
                    [html.H2("Let in again"), *_let_in(self._choices())], className="card"
                ),
            ],
            className="pane class-pane",
        )

    def register(self, app: Dash, lab: Lab) -> None:
        """The callbacks of this tab."""
        self._sharing.register(app, lab)
        self._register_people(app)
        self._register_code(app)
        self._register_hold(app)
        self._register_more_time(app)
        self._register_sending(app)

    def _register_people(self, app: Dash) -> None:
        @app.callback(
            output={
                "people": Output(ids.PEOPLE, "children"),
                "curves": Output(ids.CURVES, "figure"),
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
            parts = {
                "people": everybody.table(self._classroom),
                "curves": everybody.curves(self._classroom),
                "choices": self._choices(),
            }
            fresh, digests = polling.changed(parts, seen)
            return {**fresh, "seen": digests}

    def _register_code(self, app: Dash) -> None:
        @app.callback(
            output={"code": Output(ids.CODE, "children")},
            inputs={
                "pressed": Input(ids.LET_IN, "n_clicks"),
                "remove": Input(ids.REMOVE, "n_clicks"),
            },
            state={"person": State(ids.AGAIN, "value")},
            prevent_initial_call=True,
        )
        def let_in(pressed: int | None, remove: int | None, person: str | None) -> dict[str, Any]:
            if not (pressed or remove):
                raise PreventUpdate
            found = self._classroom.people.find(str(person or ""))
            if found is None:
                return {"code": "Choose a person first."}
            if ctx.triggered_id == ids.REMOVE:
                return {"code": self._remove(found)}
            code = self._classroom.people.let_in(found.id)
            said = f" lets {found.name} in from another browser, once, for {CODE_SECONDS / 60:.0f}"
            return {"code": [html.B(code), f"{said} minutes. The old browser is out from then on."]}

    def _remove(self, person: Person) -> str:
        try:
            self._classroom.remove(person)
        except (ConfigError, OSError) as error:
            return f"{person.name} could not be removed: {error}"
        kept = self._classroom.people.folder / REMOVED / person.id
        return f"{person.name} is not in the class any more. The workspace is kept in {kept}."

    def _register_hold(self, app: Dash) -> None:
        @app.callback(
            output={
                "button": Output(ids.HOLD, "children"),
                "said": Output(ids.HOLD_SAID, "children"),
            },
            inputs={"pressed": Input(ids.HOLD, "n_clicks")},
            prevent_initial_call=True,
        )
        def hold(pressed: int | None) -> dict[str, Any]:
            if not pressed:
                raise PreventUpdate
            self._classroom.hold(not self._classroom.held)
            return _hold_words(held=self._classroom.held)

    def _register_more_time(self, app: Dash) -> None:
        @app.callback(
            output={"said": Output(ids.MORE_TIME_SAID, "children")},
            inputs={"pressed": Input(ids.MORE_TIME, "n_clicks")},
            prevent_initial_call=True,
        )
        def more_time(pressed: int | None) -> dict[str, Any]:
            if not pressed:
                raise PreventUpdate
            self._classroom.more_time()
            minutes = self._classroom.limits.quota.seconds / 60
            return {"said": f"Everybody may train for {minutes:,.0f} minutes from now on."}

    def _register_sending(self, app: Dash) -> None:
        @app.callback(
            output={
                "sent": Output(ids.SENT, "children"),
                "words": Output(ids.WORDS_PROBLEM, "children"),
                "address": Output(ids.SENT_ADDRESS_PROBLEM, "children"),
            },
            inputs={
                "pressed": Input(ids.SEND, "n_clicks"),
                "back": Input(ids.TAKE_BACK, "n_clicks"),
            },
            state={
                "words": State(ids.WORDS, "value"),
                "address": State(ids.SENT_ADDRESS, "value"),
            },
            prevent_initial_call=True,
        )
        def send(
            pressed: int | None, back: int | None, words: object, address: object
        ) -> dict[str, Any]:
            if not (pressed or back):
                raise PreventUpdate
            wrong = {"words": "", "address": ""}
            try:
                if ctx.triggered_id == ids.TAKE_BACK:
                    self._classroom.take_back()
                else:
                    self._classroom.send(str(words or ""), str(address or ""))
            except ConfigError as error:
                wrong[error.field] = str(error)
            return {"sent": _sent(self._classroom.notice), **wrong}

    def _choices(self) -> list[dict[str, str]]:
        return form.options({one.id: one.name for one in self._classroom.people.all()})


def _button(button_id: str, words: str, help: str = "", kind: str = "primary") -> Component:
    return dbc.Button(words, id=button_id, size="sm", outline=True, color=kind, title=help)


def _hold_words(*, held: bool) -> dict[str, str]:
    return {"button": "Let all go on" if held else "Pause all", "said": HELD if held else ""}


def _all_at_once(*, held: bool) -> Component:
    now = _hold_words(held=held)
    pause = "Every learner's training rests after the step under way; yours goes on."
    more = "Lets everybody train for as many minutes again as one may in a lesson."
    return html.Div(
        [
            _button(ids.HOLD, now["button"], pause),
            html.Span(now["said"], id=ids.HOLD_SAID, className="quiet", role="status"),
            _button(ids.MORE_TIME, "More time for everybody", more, "secondary"),
            html.Span(id=ids.MORE_TIME_SAID, className="quiet", role="status"),
        ],
        className="class-buttons",
    )


def _sending(notice: Notice | None) -> list[Component]:
    about = "A lesson, a comparison, settings: what the link at the top right copies."
    say = f"Stands above the link on each learner's page; up to {LONGEST} characters."
    text = {"type": "text", "size": "sm", "autocomplete": "off", "value": ""}
    return [
        html.H2("Send to everybody"),
        html.Div(
            [
                form.field(
                    "Address of the View",
                    dbc.Input(id=ids.SENT_ADDRESS, maxlength=LONGEST_ADDRESS, **text),
                    about,
                    html.Div(id=ids.SENT_ADDRESS_PROBLEM, className="field-error", role="alert"),
                ),
                form.field(
                    "Words with It",
                    dbc.Input(id=ids.WORDS, **text),
                    say,
                    html.Div(id=ids.WORDS_PROBLEM, className="field-error", role="alert"),
                ),
            ],
            className="class-sending",
        ),
        html.Div(
            [_button(ids.SEND, "Send"), _button(ids.TAKE_BACK, "Take back", kind="secondary")],
            className="class-buttons",
        ),
        html.Div(_sent(notice), id=ids.SENT, className="quiet", role="status"),
    ]


def _sent(notice: Notice | None) -> str:
    return f"On every page: {notice.words} (?{notice.query})" if notice else "Nothing is sent now."


def _let_in(choices: list[dict[str, str]]) -> list[Component]:
    out = "Frees the name. What trains is saved; the workspace is set aside, not deleted."
    help = "A code is for somebody who comes in from another browser, or has left."
    return [
        form.field("Who", dbc.Select(id=ids.AGAIN, options=choices, size="sm"), help),
        html.Div(
            [
                _button(ids.LET_IN, "Give a code"),
                _button(ids.REMOVE, "Remove from the class", out, "danger"),
            ],
            className="class-buttons",
        ),
        html.Div(id=ids.CODE, className="class-code", role="status"),
    ]
