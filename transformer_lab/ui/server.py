"""The Dash application: who may ask, what is served, and the frame around the tabs."""

import json
import logging
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import dash_bootstrap_components as dbc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, set_props
from dash.exceptions import DependencyException, PreventUpdate
from flask import Flask, Response, abort, request, send_from_directory

from transformer_lab.lab.lab import Lab
from transformer_lab.packaged import packaged
from transformer_lab.ui import downloads, ids, moment_bar, upload
from transformer_lab.ui.tabs import data, generate, learn, look, pcn, runs, train

log = logging.getLogger(__name__)

TABS = (train, runs, data, generate, look, pcn, learn)
LATE = (
    runs,
    look,
    pcn,
)  # made when they are first opened, for a page that opens with less is faster
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LARGEST_BODY = 2_000_000  # bytes
CALLBACKS = "/_dash-update-component"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%favicon%}
<link rel="stylesheet" href="/vendor/css/bootstrap.min.css">
<link rel="stylesheet" href="/vendor/css/font/bootstrap-icons.min.css">
{%css%}
<script>
  const stored = localStorage.getItem("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = stored || (dark ? "dark" : "light");
</script>
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def create_app(lab: Lab, *, allowed_hosts: Sequence[str] = ()) -> Dash:
    """The page over a lab. `allowed_hosts` are names it answers to besides this computer's own."""
    app = Dash(
        __name__,
        title="Transformer Lab",
        update_title=None,
        assets_folder=str(packaged("assets")),
        index_string=PAGE,
        on_error=report,
        enable_mcp=False,
        suppress_callback_exceptions=True,  # some parts are made late; a test looks for them
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    guard(app, [*LOOPBACK, *allowed_hosts])
    serve_bootstrap(app.server)
    upload.serve_uploads(app.server, lab)
    downloads.serve_downloads(app.server, lab)
    app.layout = lambda: layout(lab)
    moment_bar.register(app, lab)
    for tab in TABS:
        tab.register(app, lab)
    for tab in LATE:
        _make_late(app, lab, tab)
    app.clientside_callback(
        ClientsideFunction("lab", "ticked"),
        Output(ids.TICK, "max_intervals"),
        Input(ids.TICK, "n_intervals"),
    )
    return app


def layout(lab: Lab) -> html.Div:
    """The frame: name, tabs, the headline of what is running, and the theme switch."""
    return html.Div(
        [
            html.A("Skip to the page", href="#main", className="skip"),
            html.Header(
                [
                    html.H1("Transformer Lab", className="brand"),
                    html.Div(id=ids.HEADLINE, className="headline", role="status"),
                    html.Button(
                        html.I(className="bi bi-circle-half", **{"aria-hidden": "true"}),
                        id="theme",
                        className="btn btn-sm theme",
                        title="Light or dark",
                        **{"aria-label": "Switch between light and dark"},
                    ),
                ],
                className="top",
            ),
            html.Main(
                [
                    moment_bar.layout(lab),
                    dbc.Tabs(
                        [
                            dbc.Tab(
                                html.Div(id=ids.late(tab.TITLE), className="late")
                                if tab in LATE
                                else tab.layout(lab),
                                label=tab.TITLE,
                                tab_id=tab.TITLE,
                            )
                            for tab in TABS
                        ],
                        id=ids.TABS,
                        active_tab=TABS[0].TITLE,
                    ),
                ],
                id="main",
            ),
            html.Div(id="trouble", role="alert"),
            dcc.Interval(id=ids.TICK, interval=1000),
        ]
    )


def _make_late(app: Dash, lab: Lab, tab: Any) -> None:
    """Fill a tab when it is first opened. What is in it stays, whatever is opened then."""

    @app.callback(
        Output(ids.late(tab.TITLE), "children"),
        Output(ids.late(tab.TITLE), "className"),
        Input(ids.TABS, "active_tab"),
        State(ids.late(tab.TITLE), "className"),
    )
    def make(opened: Any, empty: Any) -> tuple[Any, str]:
        if opened != tab.TITLE or not empty:
            raise PreventUpdate
        return tab.layout(lab), ""


def report(error: Exception) -> None:
    """A callback failed: log it, and say so on the page without the traceback."""
    log.error("a callback failed", exc_info=error)
    words = f"Something went wrong ({type(error).__name__}). Reload the page; the training goes on."
    set_props("trouble", {"children": words})


def serve_bootstrap(server: Flask) -> None:
    """Serve Bootstrap's style sheet and icons from the installed Bootstrap-Flask package."""
    folder = Path(str(files("flask_bootstrap"))) / "static" / "bootstrap5"

    @server.get("/vendor/<path:name>")
    def vendor(name: str) -> Response:
        if not name.endswith((".min.css", ".woff", ".woff2")):
            abort(404)
        return send_from_directory(folder, name, max_age=86_400)


def guard(app: Dash, hosts: Sequence[str]) -> None:
    """Refuse requests that no page of ours would send, before Dash sees them.

    A foreign Host or Origin is how another web site would reach a lab on this computer.
    """
    server = app.server
    server.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY

    @server.before_request
    def check() -> None:
        host = request.host
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name.lower() not in hosts:
            abort(403, f"This lab does not answer to {name}: start it with --allow-host {name}.")
        origin = request.headers.get("Origin")
        if origin and origin.split("://", 1)[-1].lower() != host.lower():
            abort(403, "This request comes from another site.")
        if request.method not in ("GET", "HEAD", "POST"):
            abort(405)
        if request.method == "POST":
            check_post(app)

    @server.errorhandler(DependencyException)
    def unknown_file(error: Exception) -> tuple[str, int]:
        return "There is no such file.", 404

    @server.after_request
    def protect(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers["Referrer-Policy"] = "same-origin"
        return response


def check_post(app: Dash) -> None:
    """Only well-formed callback requests pass; anything else is a 4xx."""
    if request.path in (upload.PATH, downloads.BRING_IN):
        bring_in = request.path == downloads.BRING_IN
        request.max_content_length = downloads.LARGEST_RUN if bring_in else upload.LARGEST_BODY
        if request.mimetype != "application/octet-stream":
            abort(415, "A file is sent as it is, as application/octet-stream.")
        return
    if request.path != CALLBACKS:
        abort(405)
    if request.mimetype != "application/json":
        abort(415, "Only JSON is understood here.")
    try:
        body = json.loads(request.get_data(cache=True))
    except (ValueError, RecursionError):
        abort(400, "This is not JSON.")
    if not is_callback(app, body):
        abort(400, "This is not a request of the page.")


def is_callback(app: Dash, body: Any) -> bool:
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
        and isinstance(changed, list)
        and all(isinstance(item, str) and "." in item for item in changed)
    )


def _outputs(output: str) -> list[dict[str, str]]:
    """The parts of Dash's name for a callback, `..a.children...b.value..`."""
    names = output[2:-2].split("...") if output.startswith("..") else [output]
    parts = [name.rsplit(".", 1) for name in names]
    return [{"id": part_id, "property": prop.split("@")[0]} for part_id, prop in parts]


def _are(given: Any, known: list[dict[str, str]]) -> bool:
    """Whether the given dependencies are the known ones, in order."""
    return (
        isinstance(given, list)
        and len(given) == len(known)
        and all(_is(one, expected) for one, expected in zip(given, known, strict=True))
    )


def _is(given: Any, known: dict[str, str]) -> bool:
    pattern = json.loads(known["id"]) if known["id"].startswith("{") else known["id"]
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


def _has(given: Any, prop: str) -> bool:
    """Whether it is an {id, property}; Dash adds @... to a property that several callbacks set."""
    return (
        isinstance(given, dict)
        and "id" in given
        and isinstance(given.get("property"), str)
        and given["property"].split("@")[0] == prop
    )
