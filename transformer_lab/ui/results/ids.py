"""Names of the parts of a tab that shows results: the ids of Compare and of PCN Experiments."""

from dataclasses import dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class ResultIds:
    """The ids of a tab that asks for a guess, measures, and shows what came of it."""

    name: str
    prompt: str
    options: str
    guess: str
    show: str
    again: str
    guessed: str
    message: str
    start: str
    stop: str
    cost: str
    state: str
    result: str
    hint: str
    verdict: str
    tables: str
    away: str
    tick: str
    seen: str
    refresh: str

    def place(self, part: Literal["plot", "chart", "note"], place: object) -> dict[str, Any]:
        """Room for a chart and its note, the chart in it, or the note; `place` may be ALL."""
        return {"type": f"{self.name}-{part}", "place": place}


def result_ids(name: str) -> ResultIds:
    """The ids of the tab whose parts all begin with `name`."""
    parts = [one.name for one in fields(ResultIds) if one.name != "name"]
    return ResultIds(name=name, **{part: f"{name}-{part}" for part in parts})
