"""The Dash application: who may ask, what is served, and the frame around the tabs."""

import logging
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, dcc, html, set_props
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from flask import Flask, Response, abort, send_from_directory

from transformer_lab.lab.lab import Lab
from transformer_lab.packaged import packaged
from transformer_lab.ui import address, ids, languages, moment_bar
from transformer_lab.ui.compare import callbacks as compare
from transformer_lab.ui.data import callbacks as data
from transformer_lab.ui.experiments import callbacks as pcn
from transformer_lab.ui.finetune import callbacks as finetune
from transformer_lab.ui.frame import frame, headers_of
from transformer_lab.ui.generate import callbacks as generate
from transformer_lab.ui.learn import callbacks as learn
from transformer_lab.ui.look import callbacks as look
from transformer_lab.ui.runs import callbacks as runs
from transformer_lab.ui.train import callbacks as train
from transformer_lab.ui.web import downloads, upload
from transformer_lab.ui.web.access import Access, Gate
from transformer_lab.ui.web.compress import compress_answers
from transformer_lab.ui.web.guard import (
    CALLBACKS,
    LARGEST_CALLBACK,
    LENGTHY,
    LOOPBACK,
    Body,
    Guard,
    install,
)
from transformer_lab.ui.web.requests import check_requests

log = logging.getLogger(__name__)


class Tab(Protocol):
    """The module of a tab."""

    TITLE: str

    def layout(self, lab: Lab) -> Component:
        """What the tab shows."""

    def register(self, app: Dash, lab: Lab) -> None:
        """What it answers to."""


TABS: tuple[Tab, ...] = (train, runs, compare, data, generate, look, finetune, pcn, learn)
LATE: tuple[Tab, ...] = (
    finetune,
    runs,
    compare,
    look,
    pcn,
    learn,
)  # made when they are first opened, for a page that opens with less is faster
SKIP = "Skip to the page"
OPENING = "Opening this tab …"


class Visit(Protocol):
    """What the page has besides for one person of a class: who may ask, a tab, and notices."""

    @property
    def gate(self) -> Gate: ...
    @property
    def tab(self) -> "Tab": ...

    def corner(self) -> list[Component]:
        """What stands in the corner: who this is."""

    def notice(self) -> list[Component]:
        """What stands below the tabs, whichever is open."""


BODIES = {  # what may be posted, by address
    CALLBACKS: Body("application/json", LARGEST_CALLBACK, LENGTHY),
    upload.PATH: upload.BODY,
    downloads.BRING_IN: downloads.BODY,
}


def create_app(
    lab: Lab,
    *,
    allowed_hosts: Sequence[str] = (),
    base_path: str = "",
    trust_proxy: bool = False,
    token: str = "",
    debug: bool = False,
    visit: Visit | None = None,
) -> Dash:
    """The page over a lab. `allowed_hosts` are names it answers to besides this computer's own.

    `base_path`, such as /lab, is where a reverse proxy shows it; with `trust_proxy` the proxy's
    X-Forwarded-Host and -Proto are believed, when it runs on this computer. With a `token` only
    those are answered who bring it. `debug` leaves out the policy that Dash's developer tools do
    not keep to. `visit` adds what one person of a class has besides, whose gate is asked instead.
    """
    app = Dash(
        __name__,
        title="Transformer Lab",
        update_title=None,
        assets_folder=str(packaged("assets")),
        requests_pathname_prefix=f"{base_path}/",
        routes_pathname_prefix="/",
        on_error=report,
        enable_mcp=False,
        suppress_callback_exceptions=True,  # some parts are made late; a test looks for them
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    gate: Gate | None = Access(token) if token else None
    tabs, late = TABS, LATE
    if visit:
        gate, tabs, late = visit.gate, (*TABS, visit.tab), (*LATE, visit.tab)
    titles = [tab.TITLE for tab in tabs]
    guard = Guard([*LOOPBACK, *allowed_hosts], base_path, trust_proxy, BODIES, gate)
    install(app.server, guard, headers_of(app, strict=not debug))
    check_requests(app)
    serve_bootstrap(app.server)
    compress_answers(app.server)
    upload.serve_uploads(app.server, lab)
    downloads.serve_downloads(app.server, lab)
    app.server.config["TABS"] = titles  # for lessons that speak of them
    app.layout = lambda: layout(lab, tabs, late, visit)
    address.register(app)
    moment_bar.register(app, lab)
    owners = _register(app, lab, tabs, late)
    app.index_string = frame(base_path, BODIES, owners, titles)
    return app


def _register(app: Dash, lab: Lab, tabs: Sequence[Tab], late: Sequence[Tab]) -> dict[str, str]:
    """The callbacks of every tab; whose those are that wait until it is open, by first output."""
    owners: dict[str, str] = {}
    for tab in tabs:
        before = set(app.callback_map)
        tab.register(app, lab)
        if tab in late:
            _make_late(app, lab, tab)
        waiting = _waiting_to_be_opened(app, set(app.callback_map) - before)
        owners |= dict.fromkeys(waiting, tab.TITLE)
    return owners


def _waiting_to_be_opened(app: Dash, outputs: Iterable[str]) -> list[str]:
    """Of a tab's callbacks those that listen to which tab is open, by their first output.

    While another one is, they have nothing to do, and the page does not ask for them.
    """
    return [
        output.removeprefix("..").split("...")[0].removesuffix("..")
        for output in sorted(outputs)
        if any(one["id"] == ids.TABS for one in app.callback_map[output]["inputs"])
        and "callback" in app.callback_map[output]
    ]


def layout(
    lab: Lab,
    tabs: Sequence[Tab] = TABS,
    late: Sequence[Tab] = LATE,
    visit: Visit | None = None,
) -> html.Div:
    """The frame: name, tabs, the headline of what is running, and the theme switch.

    What stands in it is what the address of the page says.
    """
    opened = address.asked(lab, [tab.TITLE for tab in tabs])
    language = opened.places.get("lang", languages.ENGLISH)
    made = html.Div(
        [
            html.A(languages.say(language, SKIP), href="#main", className="skip"),
            _header(language, visit),
            html.Main(
                [moment_bar.layout(lab), _tabs(lab, tabs, late, language)],
                id="main",
            ),
            *(visit.notice() if visit else ()),
            *address.layout(opened),
            html.Div(id="trouble", role="alert"),
            dcc.Interval(id=ids.TICK, interval=1000),
        ],
        className="frame",
    )
    return address.put(made, opened)


def _header(language: str, visit: Visit | None) -> html.Header:
    """The name, the headline of what is running, and the corner."""
    return html.Header(
        [
            html.H1("Transformer Lab", className="brand"),
            html.Div(id=ids.HEADLINE, className="headline"),
            html.Div(id=ids.SPOKEN, className="visually-hidden", role="status"),
            html.Div(
                [
                    *(visit.corner() if visit else ()),
                    *languages.put(_corner(language), language),
                ],
                className="corner",
            ),
        ],
        className="top",
    )


def _tabs(lab: Lab, tabs: Sequence[Tab], late: Sequence[Tab], language: str) -> dbc.Tabs:
    """Every tab, the late ones with room for what is made when they are opened."""

    def content(tab: Tab) -> Component:
        if tab not in late:
            return tab.layout(lab)
        opening = html.P(languages.say(language, OPENING), role="status")
        return html.Div(opening, id=ids.late(tab.TITLE), className="late")

    return dbc.Tabs(
        [
            dbc.Tab(content(tab), label=languages.say(language, tab.TITLE), tab_id=tab.TITLE)
            for tab in tabs
        ],
        id=ids.TABS,
        active_tab=TABS[0].TITLE,
    )


def _corner(language: str) -> list[Component]:
    def button(button_id: str, icon: str, name: str, title: str) -> html.Button:
        return html.Button(
            html.I(className=f"bi bi-{icon}", **{"aria-hidden": "true"}),
            id=button_id,
            className="btn btn-sm",
            title=title,
            **{"aria-label": name},
        )

    what = "Copy a link to what the page shows now: tab, settings, model, text"
    choice = dbc.Select(
        id=ids.LANGUAGE_CHOICE,
        options=[
            {"value": code, "label": code.upper()}
            for code in (languages.ENGLISH, *languages.languages())
        ],
        value=language,
        size="sm",
    )
    hidden = html.Span("Language", className="visually-hidden")
    help = "Language of the frame and of the lessons that have it"
    return [
        html.Span(id="copied", className="quiet", role="status"),
        html.Label([hidden, choice], className="language", title=help),
        button(ids.COPY_ADDRESS, "link-45deg", "Copy a link to this view", what),
        button("theme", "circle-half", "Switch between light and dark", "Light or dark"),
    ]


def _make_late(app: Dash, lab: Lab, tab: Tab) -> None:
    """Fill a tab when it is first opened. What is in it stays, whatever is opened then."""

    @app.callback(
        output={
            "made": Output(ids.late(tab.TITLE), "children"),
            "kind": Output(ids.late(tab.TITLE), "className"),
        },
        inputs={"opened": Input(ids.TABS, "active_tab")},
        state={
            "empty": State(ids.late(tab.TITLE), "className"),
            "places": State(ids.ADDRESS_PLACES, "data"),
            "language": State(ids.LANGUAGE, "data"),
        },
    )
    def make(
        opened: str | None,
        empty: str | None,
        places: dict[str, str] | None,
        language: str | None,
    ) -> dict[str, Component | str]:
        if opened != tab.TITLE or not empty:
            raise PreventUpdate
        known, _ = address.read_places(lab, places or {}, [])
        made = address.put_places(tab.layout(lab), known)
        spoken = languages.known(language) if tab is learn else languages.ENGLISH
        return {"made": languages.put(made, spoken), "kind": ""}


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
