"""What a poll of a tab with results sends: of its parts, badges and charts only what changed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypedDict

from dash import ALL, Output, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.experiments.experiment import Plot
from transformer_lab.ui import polling
from transformer_lab.ui.charts import experiments as charts
from transformer_lab.ui.ids import ComponentId
from transformer_lab.ui.results.ids import ResultIds

FAST, SLOW, RESTING = 500, 2000, 3_600_000  # milliseconds between polls; RESTING on another tab
CLOCK = "tick_interval"  # the part that says how often
PLACE = ("hidden", "figure", "style", "note")


class Seen(TypedDict, total=False):
    """What is on the page: of what it is, and the digest of every part."""

    of: str
    stamp: int
    parts: dict[str, int]


def outputs(
    page: ResultIds, badge: Mapping[str, Any], parts: Mapping[str, Output]
) -> dict[str, Any]:
    """The outputs of a poll; `badge` is the pattern of all badges in the list."""
    return {
        "hidden": Output(page.place("plot", ALL), "hidden"),
        "figure": Output(page.place("chart", ALL), "figure"),
        "style": Output(page.place("chart", ALL), "style"),
        "note": Output(page.place("note", ALL), "children"),
        "badges": Output(badge, "children"),
        "parts": {**parts, CLOCK: Output(page.tick, "interval")},
        "seen": Output(page.seen, "data"),
    }


def listed(name: str) -> list[ComponentId]:
    """The ids of the components that an output of the callback stands for."""
    return [item["id"] for item in ctx.outputs_grouping[name]]


def answer(
    of: str,
    parts: Mapping[str, Any],
    badges: Sequence[str],
    plots: Sequence[Plot],
    *,
    key: str,
    busy: bool,
    seen: Seen | None,
    stamp: int = 0,
) -> dict[str, Any]:
    """What the page does not have yet. Raises PreventUpdate where that is nothing.

    `of` says what is asked; of another question every part is sent. Charts keep their zoom while
    `key` stays the same. `stamp` is the caller's, and stands in what was seen.
    """
    places = _places()
    before = seen or {}
    known = before.get("parts") if before.get("of") == of else {}
    drawn = [asdict(plot) for plot in plots[:places]]
    whole = {
        **parts,
        CLOCK: FAST if busy else SLOW,
        **{f"badge {place}": words for place, words in enumerate(badges)},
        **{
            f"plot {place}": [key, drawn[place]] if place < len(drawn) else None
            for place in range(places)
        },
    }
    fresh, digests = polling.changed(whole, known)
    if all(value is no_update for value in fresh.values()):
        raise PreventUpdate
    columns = [
        (no_update,) * len(PLACE)
        if fresh[f"plot {place}"] is no_update
        else _drawn(plots[place] if place < len(plots) else None, key)
        for place in range(places)
    ]
    return {
        **{name: [column[at] for column in columns] for at, name in enumerate(PLACE)},
        "badges": [fresh[f"badge {place}"] for place in range(len(badges))],
        "parts": {name: fresh[name] for name in (*parts, CLOCK)},
        "seen": {"of": of, "stamp": stamp, "parts": digests},
    }


def rest(seen: Seen | None) -> dict[str, Any]:
    """While another tab is open the clock rests; it is set again when this one is opened."""
    before: Seen = seen or {}
    known = before.get("parts") or {}
    if CLOCK not in known:
        raise PreventUpdate
    return {
        **{name: [no_update] * len(listed(name)) for name in (*PLACE, "badges")},
        "parts": {
            name: RESTING if name == CLOCK else no_update for name in ctx.outputs_grouping["parts"]
        },
        "seen": before
        | {"stamp": 0, "parts": {name: known[name] for name in known if name != CLOCK}},
    }


def _places() -> int:
    """How many charts the page has room for."""
    counts = {len(ctx.outputs_grouping[name]) for name in PLACE}
    if len(counts) != 1:
        raise PreventUpdate
    return counts.pop()


def _drawn(plot: Plot | None, key: str) -> tuple[Any, ...]:
    """Whether a place is hidden, its chart, the chart's style, and the note."""
    if plot is None:
        return True, no_update, no_update, no_update
    figure = charts.figure(plot, f"{key} {plot.title}")
    return False, figure, {"height": charts.height(plot)}, plot.note
