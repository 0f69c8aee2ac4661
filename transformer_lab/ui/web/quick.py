"""Polls answered without Dash, whose own work for one of them is more than what there is to say.

A callback may have a quick way beside it, which is taken for requests that its clock alone has
caused. It gets the same values, checked in the same way, and answers word for word as Dash would;
what it leaves, or fails at, Dash does.
"""

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from dash import Dash, Output
from flask import Response

log = logging.getLogger(__name__)
Values: TypeAlias = dict[str, Any]  # by component: each is asked for one property here
Quick: TypeAlias = Callable[[Values], str | None]
NAME = "quick answers"


def answer_quickly(app: Dash, output: str, clock: str, quick: Quick) -> None:
    """Answer the callback of that output by `quick`, when `clock` alone has changed.

    It returns the JSON, "" where nothing is new, or None for Dash to answer.
    """
    found = next(key for key in app.callback_map if output in key.strip(".").split("..."))
    app.server.extensions.setdefault(NAME, {})[found] = (clock, quick)


def quick_answer(app: Dash, body: dict[str, Any]) -> Response | None:
    """The quick answer to a checked request, if there is one."""
    clock, quick = app.server.extensions.get(NAME, {}).get(body["output"], ("", None))
    if quick is None or body.get("changedPropIds") != [clock]:
        return None
    try:
        text = quick({one["id"]: one.get("value") for one in body["inputs"] + body["state"]})
    except Exception:
        log.debug("a quick answer failed", exc_info=True)
        return None  # Dash asks again, and reports what is wrong
    if text is None:
        return None
    return Response(text, 200 if text else 204, mimetype="application/json")


def said(parts: Iterable[tuple[Output, str]]) -> str:
    """Properties and their values, which are JSON already, as Dash tells the page."""
    found: dict[str, list[str]] = {}
    for output, written in parts:
        part = f"{json.dumps(output.component_property)}:{written}"
        found.setdefault(output.component_id_str(), []).append(part)
    response = ",".join(f"{json.dumps(one)}:{{{','.join(of)}}}" for one, of in found.items())
    return f'{{"multi":true,"response":{{{response}}}}}'
