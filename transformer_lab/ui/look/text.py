"""The text that the model reads, and its tokens: what all of Look inside is about."""

import dash_bootstrap_components as dbc
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.looking.inspector import Reading
from transformer_lab.settings import ConfigError
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.ui import form, moment_bar
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.parts import TITLE, button, named, pieces_of
from transformer_lab.ui.look.state import Given, Opened, Scalar
from transformer_lab.ui.moment_bar import At

LONGEST = 20_000  # characters
HELP = "Any text: what the model reads while you watch. It may be as long as the model can see."
KEPT: dict[str, object] = dict.fromkeys(  # what stays as it is when nothing can be read
    ("open", "tokens", "note", "text", "given", "body_hidden"), no_update
)
KEYS = "Tokens of the text: arrow keys move, the page follows"


def layout() -> html.Section:
    """The text, its tokens, and who looks at whom in a sentence."""
    return html.Section(
        [_asked(), _strip()],
        className="column look-reading",
        **named("Text"),
    )


def _asked() -> html.Div:
    text = dbc.Textarea(
        id=ids.LOOK_TEXT, value=None, rows=3, size="sm", maxLength=LONGEST, debounce=400
    )
    again = button(
        "Text of this run", ids.LOOK_AGAIN, "The beginning of the text that this run is judged on"
    )
    drop = button(
        "Drop them",
        ids.LOOK_DROP,
        "Read the text without what the model does not know",
        "primary",
        hidden=True,
    )
    return html.Div(
        [
            form.field("Text", text, HELP),
            html.Div(id=ids.LOOK_PROBLEM, className="message", role="alert"),
            html.Div([again, drop], className="look-buttons"),
            html.Div(id=ids.LOOK_NOTE, className="quiet", role="status"),
        ],
        className="card look-text",
    )


def _strip() -> html.Div:
    tokens = html.Div(
        id=ids.LOOK_TOKENS, className="tokens look-tokens", role="listbox", **named(KEYS)
    )
    return html.Div(
        [
            # The script draws among the lines.
            html.Div([html.Div(id="look-lines"), tokens], className="look-strip"),
            html.Div(id=ids.LOOK_CAPTION, className="look-caption", role="status"),
        ],
        className="card",
    )


def stores() -> list[dcc.Store]:
    """What the page remembers of it."""
    names = (
        ids.LOOK_THEME,
        ids.LOOK_OPEN,
        ids.LOOK_GIVEN,
        ids.LOOK_PLACE,
        ids.LOOK_LINKS,
        ids.LOOK_ECHO,
    )
    return [dcc.Store(id=name) for name in names]


def register(app: Dash, lab: Lab) -> None:
    """What the text answers to."""
    _register_read(app, lab)
    _register_scripts(app)


def _register_read(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "open": Output(ids.LOOK_OPEN, "data"),
            "tokens": Output(ids.LOOK_TOKENS, "children"),
            "note": Output(ids.LOOK_NOTE, "children"),
            "problem": Output(ids.LOOK_PROBLEM, "children"),
            "drop_hidden": Output(ids.LOOK_DROP, "hidden"),
            "text": Output(ids.LOOK_TEXT, "value"),
            "given": Output(ids.LOOK_GIVEN, "data"),
            "body_hidden": Output(ids.LOOK_BODY, "hidden"),
        },
        inputs={
            "at": Input(shared_ids.MOMENT_AT, "data"),
            "text": Input(ids.LOOK_TEXT, "value"),
            "tab": Input(shared_ids.TABS, "active_tab"),
            "drop": Input(ids.LOOK_DROP, "n_clicks"),
            "again": Input(ids.LOOK_AGAIN, "n_clicks"),
        },
        state={"given": State(ids.LOOK_GIVEN, "data"), "known": State(ids.LOOK_OPEN, "data")},
    )
    def read(
        at: At | None,
        text: Scalar,
        tab: str | None,
        drop: int | None,
        again: int | None,
        given: Given | None,
        known: Opened | None,
    ) -> dict[str, object]:
        """Another moment, another text: what the model reads now, or why it cannot.

        Called when the tab is made, too: the moment may have been known long before.
        """
        if tab != TITLE:
            raise PreventUpdate
        return _read(lab, at, text, given, known)


def _read(
    lab: Lab, at: At | None, text: Scalar, given: Given | None, known: Opened | None
) -> dict[str, object]:
    """What the page shows of a text that a model reads, or why it cannot read it."""
    run, step = moment_bar.chosen(at)
    shown: object = no_update
    try:
        run = lab.models.writer_named(run)
        text, given, shown = _text(lab, run, text, given)
        reading = lab.inspector.read(run, step, text)
    except (UnknownTextError, ConfigError) as error:
        unknown = isinstance(error, UnknownTextError)
        return KEPT | {
            "problem": str(error), "drop_hidden": not unknown, "text": shown, "given": given,
        }  # fmt: skip
    except LabError as error:
        return KEPT | {
            "open": None, "tokens": [], "note": "", "problem": str(error), "drop_hidden": True,
            "body_hidden": True,
        }  # fmt: skip
    fresh = _store(reading)
    same = known and (known["run"], known["tokens"]) == (fresh["run"], fresh["tokens"])
    return {
        "open": fresh,
        "tokens": no_update if same else _tokens(reading),
        "note": _note(reading),
        "problem": "",
        "drop_hidden": True,
        "text": shown,
        "given": given,
        "body_hidden": False,
    }


def _register_scripts(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("look", "theme"),
        Output(ids.LOOK_THEME, "data"),
        Input(shared_ids.TABS, "active_tab"),
        State(ids.LOOK_THEME, "data"),
    )
    app.clientside_callback(
        ClientsideFunction("look", "linked"),
        Output(ids.LOOK_ECHO, "data"),
        Input(ids.LOOK_LINKS, "data"),
        Input(ids.LOOK_TOKENS, "children"),
        Input(ids.LOOK_PLACE, "data"),
        Input(ids.LOOK_TABS, "active_tab"),
        Input(ids.LENS, "style"),  # as wide as it is now, the chosen column has to be in sight
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("look", "hovered"),
        Output(ids.LOOK_ECHO, "data", allow_duplicate=True),
        Input(ids.HEAD_CHART, "hoverData"),
        prevent_initial_call=True,
    )


def _text(
    lab: Lab, run: str, text: Scalar, given: Given | None
) -> tuple[str, Given | None, object]:
    """The text to read, what was put there for the learner, and what the control is to show."""
    untouched = text is None or (given is not None and text == given["text"])
    asked = ctx.triggered_id == ids.LOOK_AGAIN
    if asked or (untouched and (given is None or given["run"] != run)):
        text = lab.inspector.opening(run)
        return text, {"run": run, "text": text}, text
    text = str(text or "")
    if ctx.triggered_id == ids.LOOK_DROP:
        text = lab.inspector.without_unknown(run, text)
        return text, given, text
    return text[:LONGEST], given, no_update


def _store(reading: Reading) -> Opened:
    opened = reading.open
    return {
        "run": opened.run,
        "step": opened.step,
        "weights": opened.weights,
        "tokens": list(opened.tokens),
        "after": reading.step,
    }


def _note(reading: Reading) -> str:
    count = len(reading.open.tokens)
    return f"{count:,} token{'s' * (count != 1)}. {reading.note}"


def _tokens(reading: Reading) -> list[Component]:
    """Each token as a thing to point at; a line of the text ends where it does."""
    drawn: list[Component] = []
    for place, (piece, raw) in enumerate(
        zip(pieces_of(reading.pieces), reading.pieces, strict=True)
    ):
        drawn.append(
            html.Span(
                piece,
                className=f"token token-{place % 6}",
                role="option",
                tabIndex=0 if place + 1 == len(reading.pieces) else -1,  # the script moves it on
                **{"data-place": str(place), "data-id": f"{place + 1}"},
            )
        )
        if raw.endswith(b"\n"):
            drawn.append(html.Br())
    return drawn
