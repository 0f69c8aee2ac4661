"""The text that is chosen, and what a study of its tokens has found so far."""

from collections.abc import Mapping
from typing import Any

from dash import Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.text.study import Study, study
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import ConfigError, checked
from transformer_lab.text import DataConfig
from transformer_lab.text.corpora import SIZES
from transformer_lab.text.errors import CorpusMissingError
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.charts.text import rank_count_figure
from transformer_lab.ui.data import findings, ids
from transformer_lab.ui.data.fetching import job_of
from transformer_lab.ui.data.layout import TITLE

LEARNED = ("bpe", "words")  # tokenizers whose vocabulary has a size to choose
TEXT = {
    "facts": Output(ids.TEXT_FACTS, "children"),
    "preview": Output(ids.TEXT_PREVIEW, "children"),
    "own_hidden": Output(ids.TEXT_OWN, "hidden"),
    "name": Output(ids.NEW_NAME, "value"),
    "study": Output(ids.STUDY, "data"),
    "size_disabled": Output(ids.TEXT_VOCABULARY, "disabled"),
    "problem": Output(ids.TEXT_PROBLEM, "children"),
    "download_hidden": Output(ids.DOWNLOAD, "hidden"),
    "download": Output(ids.DOWNLOAD, "children"),
}
FOUND = {
    "state": Output(ids.STUDY_STATE, "children"),
    "ranks": Output(ids.RANKS, "figure"),
    "frequent": Output(ids.FREQUENT, "children"),
    "verified": Output(ids.VERIFIED, "children"),
    "tick_disabled": Output(ids.STUDY_TICK, "disabled"),
    "studied": Output(ids.STUDIED, "data"),
}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the text and of its study."""
    _register_choice(app, lab)
    _register_findings(app, lab)


def _register_choice(app: Dash, lab: Lab) -> None:
    @app.callback(
        output=TEXT,
        inputs={
            "text": Input(ids.TEXT, "value"),
            "tokenizer": Input(ids.TEXT_TOKENIZER, "value"),
            "size": Input(ids.TEXT_VOCABULARY, "value"),
            "tab": Input(shared_ids.TABS, "active_tab"),
            "titles": Input(ids.TEXT, "options"),
        },
        state={"known": State(ids.STUDY, "data")},
    )
    def look(
        text: str | None,
        tokenizer: str | None,
        size: str | None,
        tab: str | None,
        titles: list[dict[str, str]],
        known: dict[str, Any] | None,
    ) -> dict[str, object]:
        """A text or a tokenizer was chosen: show the text, and begin to study its tokens."""
        if tab != TITLE:
            raise PreventUpdate
        if (job := job_of(lab, known)) is not None:
            job.stop()
        try:
            begun = _begun(lab, _config(text, tokenizer, size))
        except ConfigError as error:
            return {
                "facts": [],
                "preview": "",
                "own_hidden": True,
                "name": "",
                "study": None,
                "size_disabled": no_update,
                "problem": str(error),
                "download_hidden": not isinstance(error, CorpusMissingError),
                "download": f"Download it ({SIZES.get(str(text), '?')})",
            }
        # Of the same text as before: another name may be on its way, typed and not yet given.
        return begun | {"name": no_update} if _of(known) == text else begun


def _of(known: Mapping[str, Any] | None) -> str | None:
    """The text that a study is of."""
    return known["config"]["corpus"] if known else None


def _begun(lab: Lab, config: DataConfig) -> dict[str, object]:
    """A text as it is shown, with the study of its tokens that has begun. Raises ConfigError."""
    corpus = lab.texts.corpus(config.corpus)
    entry = lab.texts.library.find(config.corpus)
    job = lab.jobs.start("Looking at the tokens", study(lab.texts, config))
    return {
        "facts": findings.facts(corpus),
        "preview": findings.preview(corpus),
        "own_hidden": entry is None,
        "name": entry.name if entry else "",
        "study": {"job": job.id, "config": vars(config)},
        "size_disabled": config.tokenizer not in LEARNED,
        "problem": "",
        "download_hidden": True,
        "download": no_update,
    }


def _config(text: str | None, tokenizer: str | None, size: str | None) -> DataConfig:
    return DataConfig(
        corpus=checked(SETTINGS["data.corpus"], text),
        tokenizer=checked(SETTINGS["data.tokenizer"], tokenizer),
        vocabulary_size=checked(SETTINGS["data.vocabulary_size"], size),
    )


def _register_findings(app: Dash, lab: Lab) -> None:
    @app.callback(
        output=FOUND,
        inputs={
            "begun": Input(ids.STUDY, "data"),
            "tick": Input(ids.STUDY_TICK, "n_intervals"),
        },
        state={"shown": State(ids.STUDIED, "data")},
        prevent_initial_call=True,
    )
    def show(
        begun: dict[str, Any] | None, tick: int | None, shown: dict[str, Any] | None
    ) -> dict[str, object]:
        """What the study has found so far."""
        job = job_of(lab, begun)
        if job is None or begun is None:
            return _unfinished("", over=True) | {"studied": None}
        if job.stopped:  # another study has taken its place
            raise PreventUpdate
        over = job.done  # before what it has found is read, or the last could be missed
        found, _ = job.since()
        last = found[-1] if found else "beginning"
        if job.error:
            return _unfinished(job.error, over=True) | {"studied": None}
        if not isinstance(last, Study):
            return _unfinished(f"{last} …", over=over)
        if shown == begun:
            raise PreventUpdate
        return _finished(last, begun)


def _unfinished(state: str, *, over: bool) -> dict[str, object]:
    """How far a study is; `over` when no more will come."""
    return dict.fromkeys(FOUND, no_update) | {"state": state, "tick_disabled": over}


def _finished(found: Study, begun: Mapping[str, Any]) -> dict[str, object]:
    return {
        "state": findings.summary(found, begun["config"]["tokenizer"]),
        "ranks": rank_count_figure(found.counts),
        "frequent": findings.frequent(found),
        "verified": findings.verified(found),
        "tick_disabled": True,
        "studied": begun,
    }
