"""A text that is not on this computer is downloaded, as a job."""

from collections.abc import Mapping

from dash import Dash, Input, Output, State
from dash.exceptions import PreventUpdate

from transformer_lab.lab.jobs import Job
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.data import ids
from transformer_lab.ui.data.library import CORPUS, choices


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of a download."""

    @app.callback(
        output={
            "job": Output(ids.FETCH, "data"),
            "tick_disabled": Output(ids.FETCH_TICK, "disabled"),
            "download_disabled": Output(ids.DOWNLOAD, "disabled"),
            "message": Output(ids.TEXT_PROBLEM, "children", allow_duplicate=True),
        },
        inputs={"pressed": Input(ids.DOWNLOAD, "n_clicks")},
        state={"text": State(ids.TEXT, "value")},
        prevent_initial_call=True,
    )
    def fetch(pressed: int | None, text: str | None) -> dict[str, object]:
        """Begin to download a text; a server may take its time."""
        job = lab.jobs.start("The download", lab.texts.downloading(str(text)))
        return {
            "job": {"job": job.id},
            "tick_disabled": False,
            "download_disabled": True,
            "message": "It is being downloaded …",
        }

    @app.callback(
        output={
            "tick_disabled": Output(ids.FETCH_TICK, "disabled", allow_duplicate=True),
            "download_disabled": Output(ids.DOWNLOAD, "disabled", allow_duplicate=True),
            "texts": Output(ids.TEXT, "options", allow_duplicate=True),
            "corpora": Output(CORPUS, "options", allow_duplicate=True),
            "message": Output(ids.TEXT_MESSAGE, "children", allow_duplicate=True),
        },
        inputs={"tick": Input(ids.FETCH_TICK, "n_intervals")},
        state={"begun": State(ids.FETCH, "data"), "corpus": State(CORPUS, "value")},
        prevent_initial_call=True,
    )
    def fetched(
        tick: int | None, begun: dict[str, str] | None, corpus: str | None
    ) -> dict[str, object]:
        """Whether it has arrived; new options make the page look at the text again."""
        job = job_of(lab, begun)
        if job and not job.done:
            raise PreventUpdate
        said, _ = job.since() if job else ([], 0)
        message = said[-1] if said else (job and job.error) or "The download was cut off."
        off = {"tick_disabled": True, "download_disabled": False}
        return choices(lab, corpus) | off | {"message": message}


def job_of(lab: Lab, begun: Mapping[str, object] | None) -> Job | None:
    """The job that a store of the page names."""
    return lab.jobs.find(str(begun["job"])) if begun else None
