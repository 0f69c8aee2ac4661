"""What a learner has besides the lab: their name in the corner, notices, and the Class tab."""

from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.lab.classroom.classroom import Classroom
from transformer_lab.lab.classroom.notices import Notice
from transformer_lab.lab.classroom.people import Person
from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import polling
from transformer_lab.ui.classroom import ids, pages
from transformer_lab.ui.classroom.sharing import Sharing
from transformer_lab.ui.web.access import Gate

NOTICE_POLL = 3000  # milliseconds
HELD = "Your teacher has paused all trainings. They go on from the same step."


class LearnerVisit:
    """A learner's page."""

    def __init__(
        self, classroom: Classroom, person: Person, gate: Gate, base_path: str = ""
    ) -> None:
        self.gate = gate
        self.tab = LearnerTab(classroom, person, base_path)
        self._leave = f"{base_path}{pages.LEAVE}"
        self._person = person

    def corner(self) -> list[Component]:
        """The learner's name, which leads to where they leave."""
        return [who(self._person.name, self._leave)]

    def notice(self) -> list[Component]:
        """What the teacher says to everybody."""
        return [
            dcc.Interval(id=ids.NOTICE_TICK, interval=NOTICE_POLL),
            dcc.Store(id=ids.NOTICE_SEEN, data={}),
            dcc.Store(id=ids.NOTICE_CLOSED, storage_type="session", data=0),
            html.Div(
                [
                    html.Div(id=ids.NOTICE, role="status"),
                    html.Button("Close", id=ids.NOTICE_CLOSE, className="link", hidden=True),
                ],
                className="class-notice",
            ),
        ]


def who(name: str, leave: str) -> Component:
    """A name in the corner, as a link to where its workspace is left."""
    return html.A(
        [html.I(className="bi bi-person", **{"aria-hidden": "true"}), f" {name}"],
        href=leave,
        className="class-who",
        title=f"You work as {name}. Leave here, if others use this browser too.",
    )


class LearnerTab:
    """The Class tab of a learner."""

    TITLE = "Class"

    def __init__(self, classroom: Classroom, person: Person, base_path: str = "") -> None:
        self._classroom, self._person, self._base = classroom, person, base_path
        self._sharing = Sharing(classroom, person, self.TITLE)

    def layout(self, lab: Lab) -> Component:
        """Who they are, what is theirs, and what others share."""
        words = (
            f"You work as {self._person.name}. Your runs, texts and experiments are yours: no "
            "other learner can see or change them, unless you share a copy. Your teacher sees how "
            "your trainings stand."
        )
        return html.Div(
            [
                dcc.Interval(id=ids.PEOPLE_TICK, interval=NOTICE_POLL),
                html.Section(
                    [html.H2("Your workspace"), html.P(words), html.P(self._has(), id=ids.USED)],
                    className="card",
                ),
                self._sharing.layout(lab),
            ],
            className="pane class-pane",
        )

    def _has(self) -> str:
        """What this person has of what they may have."""
        used, quota = self._classroom.used(self._person), self._classroom.limits.quota
        return (
            f"You have {used.runs:,} of {quota.runs:,} runs, {used.nbytes / 1e6:,.0f} of "
            f"{quota.nbytes / 1e6:,.0f} MB, and have trained {used.seconds / 60:,.1f} of "
            f"{quota.seconds / 60:,.0f} minutes."
        )

    def register(self, app: Dash, lab: Lab) -> None:
        """The callbacks of this tab, and of the notice above all tabs."""
        self._sharing.register(app, lab)
        self._register_notice(app)

        @app.callback(
            output={"used": Output(ids.USED, "children")},
            inputs={
                "tick": Input(ids.PEOPLE_TICK, "n_intervals"),
                "opened": Input(shared_ids.TABS, "active_tab"),
            },
            state={"known": State(ids.USED, "children")},
        )
        def poll(tick: int | None, opened: str | None, known: object) -> dict[str, Any]:
            del tick
            if opened != self.TITLE or known == self._has():
                raise PreventUpdate
            return {"used": self._has()}

    def _register_notice(self, app: Dash) -> None:
        @app.callback(
            output={
                "notice": Output(ids.NOTICE, "children"),
                "close": Output(ids.NOTICE_CLOSE, "hidden"),
                "closed": Output(ids.NOTICE_CLOSED, "data"),
                "seen": Output(ids.NOTICE_SEEN, "data"),
            },
            inputs={
                "tick": Input(ids.NOTICE_TICK, "n_intervals"),
                "pressed": Input(ids.NOTICE_CLOSE, "n_clicks"),
            },
            state={
                "closed": State(ids.NOTICE_CLOSED, "data"),
                "seen": State(ids.NOTICE_SEEN, "data"),
            },
        )
        def notice(
            tick: int | None, pressed: int | None, closed: int | None, seen: object
        ) -> dict[str, Any]:
            del tick
            sent = self._classroom.notice
            if pressed and sent and ctx.triggered_id == ids.NOTICE_CLOSE:
                closed = sent.number
            shown = sent if sent and sent.number != closed else None
            parts = {"notice": self._said(shown), "close": shown is None, "closed": closed}
            fresh, digests = polling.changed(parts, seen)
            return {**fresh, "seen": digests}

    def _said(self, notice: Notice | None) -> list[Component]:
        """Whether all trainings rest, and what the teacher sent."""
        said: list[Component] = [html.P(HELD)] if self._classroom.held else []
        if notice:
            link = html.A("Open it here", href=f"{self._base}/?{notice.query}")
            said.append(html.P([f"{notice.words} ", link]))
        return said
