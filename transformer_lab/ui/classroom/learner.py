"""What a learner has besides the lab: their name in the corner, and the Class tab."""

from dash import Dash, html
from dash.development.base_component import Component

from transformer_lab.lab.classroom.classroom import Classroom
from transformer_lab.lab.classroom.people import Person
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.classroom import pages
from transformer_lab.ui.web.access import Gate


class LearnerVisit:
    """A learner's page."""

    def __init__(
        self, classroom: Classroom, person: Person, gate: Gate, base_path: str = ""
    ) -> None:
        self.gate = gate
        self._leave = f"{base_path}{pages.LEAVE}"
        self.tab = LearnerTab(classroom, person)
        self._person = person

    def corner(self) -> list[Component]:
        """The learner's name, which leads to where they leave."""
        return [who(self._person.name, self._leave)]

    def notice(self) -> list[Component]:
        """Nothing."""
        return []


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

    def __init__(self, classroom: Classroom, person: Person) -> None:
        self._classroom, self._person = classroom, person

    def layout(self, lab: Lab) -> Component:
        """Who they are, and what is theirs."""
        del lab
        words = (
            f"You work as {self._person.name}. Your runs, texts and experiments are yours: no "
            "other learner can see or change them. Your teacher sees how your trainings stand."
        )
        return html.Div(
            html.Section([html.H2("Class"), html.P(words)], className="card"),
            className="pane class-pane",
        )

    def register(self, app: Dash, lab: Lab) -> None:
        """Nothing to answer."""
