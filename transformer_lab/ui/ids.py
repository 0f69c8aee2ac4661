"""Names of the parts of the page that belong to no tab, or to several."""

from collections.abc import Mapping

ComponentId = Mapping[str, str]  # the id of one of many components, such as a setting's control

TABS = "tabs"


def late(title: str) -> str:
    """Where a tab is put that is made when it is first opened."""
    return f"late-{title.lower().replace(' ', '-')}"


TICK = "tick"
HEADLINE = "headline"
SPOKEN = "spoken"  # the state alone, for screen readers: the headline changes too often

LANGUAGE_CHOICE = "language-choice"
LANGUAGE = "language"  # of the page's frame and of lessons
ADDRESS_PLACES = "address-places"  # what an address says is open, by name
ADDRESS_FORM = "address-form"  # the form as an address has it
ADDRESS_WRITTEN = "address-written"  # stays empty: a script writes the address
ADDRESS_LOCKED = "address-locked"  # names of the controls that a link keeps as they are
ADDRESS_PROBLEM = "address-problem"
COPY_ADDRESS = "copy-address"

WRITER = "writer"
MOMENT_BAR = "moment-bar"
MOMENT = "moment"
MOMENT_GOAL = "moment-goal"  # {"run", "step"}: the moment that an address names
MOMENT_FOUND = "moment-found"  # the last answer, be it of a model that is no longer chosen
MOMENT_STEPS = "moment-steps"
MOMENT_ASKED = "moment-asked"
MOMENT_AT = "moment-at"  # {"run", "step", "newest"}: which weights Generate and Look inside show
MOMENT_LABEL = "moment-label"
MOMENT_TICK = "moment-tick"
PLAY = "play"
PLAY_TICK = "play-tick"


def setting(group: str, name: str) -> dict[str, str]:
    """The control of one setting."""
    return {"type": "setting", "group": group, "name": name}


def key_of(component: ComponentId) -> str:
    """The setting that a control, its field or its error belongs to, as group.name."""
    return f"{component.get('group', 'sample')}.{component['name']}"


def sample_setting(name: str) -> dict[str, str]:
    """The control of one setting of Generate."""
    return {"type": "sample-setting", "name": name}


def problem(group: str, name: str) -> dict[str, str]:
    """Where the error of one setting is shown."""
    kind = "sample-problem" if group == "sample" else "problem"
    return {"type": kind, "group": group, "name": name}
