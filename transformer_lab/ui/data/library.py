"""The texts on offer: one is added, renamed or deleted; an unknown encoding is asked about."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.settings import ConfigError
from transformer_lab.text.decoding import EncodingError
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.data import ids
from transformer_lab.ui.form import options
from transformer_lab.ui.web.upload import offered

CORPUS = shared_ids.setting("data", "corpus")
GUESSED = {"encoding", "label", "preview"}
FROM_UPLOAD = "upload"  # in the place of a path: the page holds the file that could not be read
CHANGED = {
    "text": Output(ids.TEXT, "value"),
    "texts": Output(ids.TEXT, "options"),
    "corpora": Output(CORPUS, "options", allow_duplicate=True),
    "message": Output(ids.TEXT_MESSAGE, "children"),
    "encodings_hidden": Output(ids.ENCODINGS, "hidden"),
    "encodings": Output(ids.ENCODING, "options"),
    "encoding": Output(ids.ENCODING, "value"),
    "unread": Output(ids.UNREAD, "data"),
}
NO_CHANGE = {"text": no_update, "texts": no_update, "corpora": no_update}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks that change the texts on offer."""
    _register_change(app, lab)
    app.clientside_callback(
        ClientsideFunction("lab", "read_as"),
        Output(ids.UPLOADED, "data", allow_duplicate=True),
        Input(ids.READ_AS, "n_clicks"),
        State(ids.ENCODING, "value"),
        State(ids.UNREAD, "data"),
        prevent_initial_call=True,
    )


def _register_change(app: Dash, lab: Lab) -> None:
    @app.callback(
        output=CHANGED,
        inputs={
            "uploaded": Input(ids.UPLOADED, "data"),
            "presses": [
                Input(button, "n_clicks")
                for button in (ids.ADD_PATH, ids.READ_AS, ids.RENAME, ids.DELETE)
            ],
        },
        state={
            "text": State(ids.TEXT, "value"),
            "path": State(ids.PATH, "value"),
            "encoding": State(ids.ENCODING, "value"),
            "unread": State(ids.UNREAD, "data"),
            "new_name": State(ids.NEW_NAME, "value"),
            "corpus": State(CORPUS, "value"),
        },
        prevent_initial_call=True,
    )
    def change(
        uploaded: dict[str, object] | None,
        presses: list[int | None],
        text: str | None,
        path: str | None,
        encoding: str | None,
        unread: str | None,
        new_name: str | None,
        corpus: str | None,
    ) -> dict[str, object]:
        """Add, rename or delete a text, or say in one sentence why not."""
        if ctx.triggered_id == ids.READ_AS and unread == FROM_UPLOAD:
            raise PreventUpdate  # the page sends the file again
        path = unread if ctx.triggered_id == ids.READ_AS else path
        actions: dict[str, Callable[[], tuple[str, str]]] = {
            ids.UPLOADED: lambda: _uploaded(lab, uploaded or {}),
            ids.ADD_PATH: lambda: _from_path(lab, str(path or "")),
            ids.READ_AS: lambda: _from_path(lab, str(path or ""), str(encoding or "")),
            ids.RENAME: lambda: _rename(lab, str(text), str(new_name or "")),
            ids.DELETE: lambda: _delete(lab, str(text)),
        }
        try:
            chosen, message = actions[str(ctx.triggered_id)]()
        except EncodingError as error:
            return NO_CHANGE | {"message": str(error)} | _question(offered(error), str(path))
        except _UnreadError as error:
            return NO_CHANGE | {"message": str(error)} | _question(error.offered, FROM_UPLOAD)
        except (ConfigError, LabError) as error:
            return NO_CHANGE | {"message": str(error)} | _question([], "")
        said = {"text": chosen, "message": html.Span(message, className="done")}
        return said | choices(lab, corpus) | _question([], "")


class _UnreadError(LabError):
    """An upload that is no UTF-8 text, and the encodings that fit."""

    def __init__(self, words: str, offered: Sequence[Mapping[str, str]]) -> None:
        super().__init__(words)
        self.offered = offered


def _question(guesses: Sequence[Mapping[str, str]], source: str) -> dict[str, object]:
    """The question for an encoding of `source`; hidden when there is no guess."""
    whole = [one for one in guesses if one.keys() == GUESSED]
    return {
        "encodings_hidden": not whole,
        "encodings": [
            {
                "value": one["encoding"],
                "label": html.Span([one["label"], html.Span(one["preview"], className="quiet")]),
            }
            for one in whole
        ],
        "encoding": whole[0]["encoding"] if whole else None,
        "unread": source,
    }


def choices(lab: Lab, corpus: str | None) -> dict[str, object]:
    """The texts on offer here, and on the Train tab, where one may be chosen by its path."""
    titles = lab.texts.titles()
    by_path = {corpus: corpus} if corpus and corpus not in titles else {}
    return {"texts": options(titles), "corpora": options(titles | by_path)}


def _uploaded(lab: Lab, data: Mapping[str, object]) -> tuple[str, str]:
    entry = lab.texts.library.find(str(data.get("id", "")))
    if entry is None:
        words = str(data.get("error", "The upload did not arrive."))
        listed = data.get("encodings")
        raise _UnreadError(words, listed if isinstance(listed, list) else [])
    return entry.id, entry.arrival


def _from_path(lab: Lab, path: str, encoding: str = "") -> tuple[str, str]:
    """A file of this computer becomes a text of the library, as it is now."""
    if not path.strip():
        raise LabError("Type the path of a text file on the computer that runs the lab.")
    place = Path(path.strip().strip("\"'")).expanduser()
    entry = lab.texts.add_file(place, encoding=encoding)
    return entry.id, entry.arrival


def _rename(lab: Lab, text: str, name: str) -> tuple[str, str]:
    entry = lab.texts.library.find(text)
    if entry is None:
        raise LabError("Only texts you added yourself can be renamed.")
    if not name.strip():
        raise LabError("Type the new name first.")
    return text, f"It is called {lab.texts.rename(entry, name).name} now."


def _delete(lab: Lab, text: str) -> tuple[str, str]:
    lab.delete_text(text)
    return "tiny_shakespeare", "The text was deleted."
