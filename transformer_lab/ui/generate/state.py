"""What the page remembers of its generated texts; `ui/web/values.py` checks it before it comes."""

from typing import TypedDict

from transformer_lab.lab.lab import UNTRAINED, Lab
from transformer_lab.lab.writing import Writing
from transformer_lab.ui.moment_bar import At


class Shown(TypedDict, total=False):
    """The texts on the page, by id: one, or two side by side.

    While checkpoints are played, `at` says which, and `failed` that nothing could be generated.
    """

    shown: list[str]
    at: At
    failed: bool


class Leaf(TypedDict):
    """One text of the tree of branches."""

    id: str
    parent: str | None
    label: str


class Read(TypedDict):
    """How many tokens of a text are on the page."""

    id: str
    n: int


class Token(TypedDict):
    """The token that is looked at."""

    writing: str
    place: str


class Given(TypedDict):
    """The prompt for a run, to be put in place of another one."""

    run: str
    prompt: str
    replaces: str


def leaf(writing: Writing) -> Leaf:
    """A text as the page remembers it."""
    who = f"{writing.snapshot.run_id or UNTRAINED}, step {writing.snapshot.step:,}"
    begin = " ".join(writing.config.prompt.split())[:16]
    label = f"{begin} … · {who}"
    if writing.parent:
        left = writing.since()[0][: writing.at + 1]
        label = f"…{''.join(one.text for one in left[-8:])}".replace("\n", "⏎")
    return {"id": writing.id, "parent": writing.parent, "label": label}


def picked(lab: Lab, at: Token | None) -> tuple[Writing | None, int]:
    """The text that is looked into, and the place in it; -1 for none."""
    if not at:
        return None, -1
    return lab.writings.find(at["writing"]), int(at["place"]) if at["place"].isdigit() else -1


def stop(lab: Lab, shown: Shown | None) -> None:
    """End the generation of the texts on the page."""
    for name in (shown or {}).get("shown", []):
        if writing := lab.writings.find(name):
            writing.job.stop()
