"""What the page may send to a callback: the parts it was registered with, and nothing else."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeGuard

from dash import Dash
from dash.exceptions import DependencyException
from flask import Response, abort, request

from transformer_lab.ui.web.guard import CALLBACKS
from transformer_lab.ui.web.quick import quick_answer
from transformer_lab.ui.web.values import read_json, trouble


def check_requests(app: Dash) -> None:
    """Let only what the page would ask reach Dash; anything else is a 4xx."""
    server = app.server

    @server.before_request
    def check() -> Response | None:
        if request.url_rule is not None and request.url_rule.rule == "/<path:path>":
            abort(
                404, f"There is nothing here: the lab is at {app.config.requests_pathname_prefix}"
            )
        if request.path != CALLBACKS:
            return None
        return quick_answer(app, check_callback(app, request.get_data(cache=True)))

    @server.errorhandler(DependencyException)
    def unknown_file(error: Exception) -> tuple[str, int]:
        return "There is no such file.", 404


def check_callback(app: Dash, data: bytes) -> dict[str, Any]:
    """The body of a request; one that is none of the page, or holds what it could not, is a 4xx."""
    try:
        body = read_json(data)
    except (ValueError, RecursionError):
        abort(400, "This is not JSON.")
    if not is_callback(app, body):
        abort(400, "This is not a request of the page: reload it, the lab was started anew.")
    for part in (*body["inputs"], *body.get("state", [])):
        for one in part if isinstance(part, list) else [part]:
            wrong = trouble(one, one_of_many=isinstance(part, list))
            if wrong:
                abort(400, f"The page sent what it cannot hold ({wrong}): reload it.")
    return body


def is_callback(app: Dash, body: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a body has the form of a request for a callback that exists."""
    if not isinstance(body, dict) or not isinstance(body.get("output"), str):
        return False
    known = app.callback_map.get(body["output"])
    if known is None or "callback" not in known:  # those in the browser have none
        return False
    changed = body.get("changedPropIds", [])
    outputs = body.get("outputs") if body["output"].startswith("..") else [body.get("outputs")]
    return (
        _are(body.get("inputs"), known["inputs"])
        and _are(body.get("state", []), known["state"])
        and _are(outputs, _outputs(body["output"]))
        and _agree(
            (*body["inputs"], *body.get("state", []), *(outputs or [])),
            (*known["inputs"], *known["state"], *_outputs(body["output"])),
        )
        and isinstance(changed, list)
        and all(isinstance(item, str) and "." in item for item in changed)
    )


def _agree(given: Sequence[Any], known: Sequence[dict[str, str]]) -> bool:
    """Whether lists of the same many components are of the same ones."""
    many: dict[str, list[object]] = {}
    for parts, expected in zip(given, known, strict=True):
        if isinstance(parts, list):
            names = [one["id"] for one in parts]
            if many.setdefault(expected["id"], names) != names:
                return False
    return True


@cache  # only ever of a callback that there is
def _outputs(output: str) -> list[dict[str, str]]:
    """The parts of Dash's name for a callback, `..a.children...b.value..`."""
    names = output[2:-2].split("...") if output.startswith("..") else [output]
    parts = [name.rsplit(".", 1) for name in names]
    return [{"id": part_id, "property": prop.split("@")[0]} for part_id, prop in parts]


def _are(given: object, known: list[dict[str, str]]) -> bool:
    """Whether the given dependencies are the known ones, in order."""
    return given == known or (
        isinstance(given, list)
        and len(given) == len(known)
        and all(_is(one, expected) for one, expected in zip(given, known, strict=True))
    )


@cache
def _named(known_id: str) -> str | dict[str, Any]:
    """The id of a component, or the pattern that stands for many, as Dash spells it in a name."""
    return json.loads(known_id) if known_id.startswith("{") else known_id


def _is(given: object, known: dict[str, str]) -> bool:
    pattern = _named(known["id"])
    if isinstance(pattern, dict) and ["ALL"] in pattern.values():  # stands for a list of them
        return isinstance(given, list) and all(
            _has(one, known["property"])
            and isinstance(one["id"], dict)
            and one["id"].keys() == pattern.keys()
            and all(
                isinstance(part, str) and pattern[key] in (["ALL"], part)
                for key, part in one["id"].items()
            )
            for one in given
        )
    return _has(given, known["property"]) and given["id"] == pattern


def _has(given: object, prop: str) -> TypeGuard[dict[str, object]]:
    """Whether it is an {id, property}; Dash adds @... to a property that several callbacks set."""
    return (
        isinstance(given, dict)
        and "id" in given
        and isinstance(given.get("property"), str)
        and given["property"].split("@")[0] == prop
    )
