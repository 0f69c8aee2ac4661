"""A base or an adapter from elsewhere: a Hugging Face folder, uploaded or named by its path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.exchange import ImportRefusedError
from transformer_lab.lab.lab import UNTRAINED, Lab
from transformer_lab.ui.finetune import ids
from transformer_lab.ui.form import field
from transformer_lab.ui.web.values import Scalar

NO_PATH = "Type the path of a Hugging Face folder on the computer that runs the lab."


def elsewhere(*, paths_allowed: bool) -> html.Details:
    """The controls that bring one."""
    return html.Details(
        [
            html.Summary("A base or an adapter from elsewhere"),
            html.P(
                "A GPT-2 in a Hugging Face folder: config.json, model.safetensors and its "
                "vocabulary. Or a PEFT adapter for the base chosen above: adapter_config.json and "
                "adapter_model.safetensors. Nothing in them is run.",
                className="quiet",
            ),
            dcc.Store(id=ids.BASE_IMPORTED),
            html.Label(
                [
                    html.I(className="bi bi-box-arrow-in-down", **{"aria-hidden": "true"}),
                    " Import it as a .zip",
                    # Not dcc.Upload, which would read the whole file: the script streams it.
                    dcc.Input(id=ids.BASE_IMPORT, type="file", className="visually-hidden"),
                ],
                className="btn btn-outline-secondary btn-sm finetune-import",
                title="The folder packed as a .zip",
            ),
            html.Div(html.Div(), id="base-import-line", className="progress-line", hidden=True),
            html.Div(_path(), className="finetune-path", hidden=not paths_allowed),
            html.Div(id=ids.BASE_MESSAGE, className="message", role="status"),
        ],
        className="wide",
    )


def _path() -> list[Any]:
    return [
        field(
            "Path of the folder",
            dbc.Input(id=ids.BASE_PATH, size="sm", placeholder="~/models/gpt2"),
            "Where it lies on the computer on which the lab runs.",
        ),
        html.Button(
            "Bring it in",
            id=ids.BASE_ADD,
            className="btn btn-outline-secondary btn-sm",
            title="Copy the model into the lab, as a run",
        ),
    ]


def register(app: Dash, lab: Lab) -> None:
    """The callback that takes it in."""

    @app.callback(
        output={
            "message": Output(ids.BASE_MESSAGE, "children"),
            "options": Output(ids.FINETUNE_BASE, "options", allow_duplicate=True),
            "base": Output(ids.FINETUNE_BASE, "value", allow_duplicate=True),
        },
        inputs={
            "imported": Input(ids.BASE_IMPORTED, "data"),
            "pressed": Input(ids.BASE_ADD, "n_clicks"),
        },
        state={
            "path": State(ids.BASE_PATH, "value"),
            "base": State(ids.FINETUNE_BASE, "value"),
        },
        prevent_initial_call=True,
    )
    def brought(
        imported: Mapping[str, object] | None, pressed: int | None, path: Scalar, base: Scalar
    ) -> dict[str, Any]:
        """Make it the base, or say in one sentence why not."""
        try:
            if ctx.triggered_id == ids.BASE_ADD:
                run_id = _from_path(lab, path, str(base or ""))
            elif imported is None:  # the tab was made just now
                raise PreventUpdate
            else:
                run_id = _uploaded(lab, imported)
        except ImportRefusedError as error:
            return {"message": str(error), "options": no_update, "base": no_update}
        writers = {key: name for key, name in lab.models.writers().items() if key != UNTRAINED}
        return {
            "message": html.Span(f"Imported as {run_id}.", className="done"),
            "options": [{"value": key, "label": name} for key, name in writers.items()],
            "base": run_id if run_id in writers else no_update,
        }


def _from_path(lab: Lab, path: Scalar, base: str) -> str:
    """Raises ImportRefusedError."""
    given = str(path or "").strip().strip("\"'")
    if not given:
        raise ImportRefusedError(NO_PATH)
    try:
        return lab.runs.bring_in_path(Path(given).expanduser(), base)
    except RuntimeError as error:  # no home of such a person
        raise ImportRefusedError(f"{error}") from error


def _uploaded(lab: Lab, answer: Mapping[str, object]) -> str:
    """The run that an upload became. Raises ImportRefusedError."""
    run_id = str(answer.get("id") or "")
    if not run_id:
        raise ImportRefusedError(str(answer.get("error") or "The upload did not arrive."))
    lab.runs.refresh()
    return run_id
