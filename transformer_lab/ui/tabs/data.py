"""The Data tab: which text, what is in it, and how it turns into numbers.

Its layout is in `ui/data_layout.py`.
"""

from typing import Any

from dash import Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.jobs import Job
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.study import Study, study
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import ConfigError, checked
from transformer_lab.text import DataConfig
from transformer_lab.text.bpe import BytePairTokenizer
from transformer_lab.text.corpora import CorpusMissingError, read_text_file
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.ui import data_layout as draw
from transformer_lab.ui import ids
from transformer_lab.ui.charts.text import rank_count_figure
from transformer_lab.ui.data_layout import layout

__all__ = ["TITLE", "layout", "register"]

TITLE = "Data"
LONGEST_SENTENCE = 2000  # characters of the sentence that is shown token by token
CORPUS = ids.setting("data", "corpus")


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_library(app, lab)
    _register_study(app, lab)
    _register_findings(app, lab)
    _register_sentence(app, lab)
    _register_training(app, lab)


def _register_library(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.TEXT, "value"),
        Output(ids.TEXT, "options"),
        Output(CORPUS, "options", allow_duplicate=True),
        Output(ids.TEXT_MESSAGE, "children"),
        Input(ids.UPLOADED, "data"),
        Input(ids.PASTE, "n_clicks"),
        Input(ids.ADD_PATH, "n_clicks"),
        Input(ids.RENAME, "n_clicks"),
        Input(ids.DELETE, "n_clicks"),
        Input(ids.DOWNLOAD, "n_clicks"),
        State(ids.TEXT, "value"),
        State(ids.PASTE_NAME, "value"),
        State(ids.PASTE_TEXT, "value"),
        State(ids.PATH, "value"),
        State(ids.NEW_NAME, "value"),
        State(CORPUS, "value"),
        running=[(Output(ids.DOWNLOAD, "disabled"), True, False)],
        prevent_initial_call=True,
    )
    def change(*args: Any) -> tuple[Any, Any, Any, Any]:
        """Add, rename or delete a text, or say in one sentence why not."""
        uploaded, *_, text, paste_name, paste_text, path, new_name, trained_on = args
        library, chosen = lab.texts.library, text
        try:
            if ctx.triggered_id == ids.UPLOADED:
                chosen, message = _uploaded(lab, uploaded)
            elif ctx.triggered_id == ids.PASTE:
                data = str(paste_text or "").encode("utf-8", "replace")
                entry = library.add(data, str(paste_name or "Pasted text"), "pasted")
                chosen, message = entry.id, f"{entry.name} was added."
            elif ctx.triggered_id == ids.ADD_PATH:
                chosen, message = _from_path(lab, str(path or ""))
            elif ctx.triggered_id == ids.DOWNLOAD:
                message = f"{lab.texts.corpus(str(text), download=True).title} is here now."
            elif ctx.triggered_id == ids.RENAME:
                message = _rename(lab, text, str(new_name or ""))
            else:
                lab.delete_text(str(text))
                chosen, message = "tiny_shakespeare", "The text was deleted."
        except (ConfigError, LabError) as error:
            return no_update, no_update, no_update, str(error)
        titles = lab.texts.titles()
        trained = {**titles} if trained_on in titles else {**titles, trained_on: trained_on}
        return chosen, draw.options(titles), draw.options(trained), draw.done(message)


def _uploaded(lab: Lab, data: Any) -> tuple[str, str]:
    entry = lab.texts.library.find(str((data or {}).get("id", "")))
    if entry is None:
        raise LabError(str((data or {}).get("error", "The upload did not arrive.")))
    return entry.id, f"{entry.name} was added."


def _from_path(lab: Lab, path: str) -> tuple[str, str]:
    """A file of this computer becomes a text of the library, as it is now."""
    if not path.strip():
        raise LabError("Type the path of a text file on the computer that runs the lab.")
    corpus = read_text_file(draw.expanded(path))
    entry = lab.texts.library.add(corpus.text.encode(), corpus.title, f"file {corpus.title}")
    return entry.id, f"{entry.name} was added."


def _rename(lab: Lab, text: Any, name: str) -> str:
    entry = lab.texts.library.find(str(text))
    if entry is None:
        raise LabError("Only texts you added yourself can be renamed.")
    if not name.strip():
        raise LabError("Type the new name first.")
    return f"It is called {lab.texts.library.rename(entry, name).name} now."


def _register_study(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.TEXT_FACTS, "children"),
        Output(ids.TEXT_PREVIEW, "children"),
        Output(ids.TEXT_OWN, "hidden"),
        Output(ids.NEW_NAME, "value"),
        Output(ids.STUDY, "data"),
        Output(ids.TEXT_VOCABULARY, "disabled"),
        Output(ids.TEXT_PROBLEM, "children"),
        Output(ids.DOWNLOAD, "hidden"),
        Input(ids.TEXT, "value"),
        Input(ids.TEXT_TOKENIZER, "value"),
        Input(ids.TEXT_VOCABULARY, "value"),
        Input(ids.TABS, "active_tab"),
        Input(ids.TEXT, "options"),
        State(ids.STUDY, "data"),
    )
    def look(
        text: Any, tokenizer: Any, size: Any, tab: Any, titles: Any, known: Any
    ) -> tuple[Any, ...]:
        """A text or a tokenizer was chosen: show the text, and begin to study its tokens."""
        if tab != TITLE:
            raise PreventUpdate
        _stop(lab, known)
        try:
            config = _config(text, tokenizer, size)
            corpus = lab.texts.corpus(config.corpus)
        except ConfigError as error:
            missing = isinstance(error, CorpusMissingError)
            return [], "", True, "", None, no_update, str(error), not missing
        entry = lab.texts.library.find(config.corpus)
        job = lab.jobs.start("Looking at the tokens", study(lab.texts, config))
        begun = {"job": job.id, "config": vars(config)}
        fixed = config.tokenizer not in ("bpe", "words")
        name = entry.name if entry else ""
        facts, preview = draw.facts(corpus), draw.preview(corpus)
        return facts, preview, entry is None, name, begun, fixed, "", True


def _register_findings(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.STUDY_STATE, "children"),
        Output(ids.RANKS, "figure"),
        Output(ids.FREQUENT, "children"),
        Output(ids.VERIFIED, "children"),
        Output(ids.STUDY_TICK, "disabled"),
        Output(ids.STUDIED, "data"),
        Input(ids.STUDY, "data"),
        Input(ids.STUDY_TICK, "n_intervals"),
        State(ids.STUDIED, "data"),
        prevent_initial_call=True,
    )
    def show(begun: Any, tick: Any, shown: Any) -> tuple[Any, ...]:
        """What the study has found so far."""
        job = _job(lab, begun)
        if job is None:
            return "", no_update, no_update, no_update, True, None
        if job.stopped:  # another study has taken its place
            raise PreventUpdate
        over = job.done  # before what it has found is read, or the last could be missed
        found, _ = job.since()
        last = found[-1] if found else "beginning"
        if job.error:
            return job.error, no_update, no_update, no_update, True, None
        if not isinstance(last, Study):
            return f"{last} …", no_update, no_update, no_update, over, no_update
        if shown == begun:
            raise PreventUpdate
        return (
            draw.summary(last, begun["config"]["tokenizer"]),
            rank_count_figure(last.counts),
            draw.frequent(last),
            draw.verified(last),
            True,
            begun,
        )


def _register_sentence(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.TOKENS, "children"),
        Output(ids.COSTS, "children"),
        Output(ids.MERGE, "max"),
        Output(ids.MERGE, "value"),
        Output(ids.MERGES, "hidden"),
        Input(ids.SENTENCE, "value"),
        Input(ids.STUDIED, "data"),
        prevent_initial_call=True,
    )
    def cut(sentence: Any, studied: Any) -> tuple[Any, Any, int, int, bool]:
        """The sentence token by token, and what it costs under each tokenizer."""
        if not studied:
            raise PreventUpdate
        sentence, config = str(sentence or "")[:LONGEST_SENTENCE], DataConfig(**studied["config"])
        tokenizer = lab.texts.tokenizer(config)
        rows = []
        for kind in TOKENIZERS:
            other = lab.texts.tokenizer(DataConfig(**(studied["config"] | {"tokenizer": kind})))
            rows.append((kind, other))
        steps = 0
        if isinstance(tokenizer, BytePairTokenizer):
            steps = len(list(tokenizer.steps(sentence))) - 1
        costs = draw.costs(sentence, rows, config.tokenizer)
        hidden = not isinstance(tokenizer, BytePairTokenizer)
        return draw.tokens(tokenizer, sentence), costs, max(steps, 1), steps, hidden

    @app.callback(
        Output(ids.MERGED, "children"),
        Input(ids.MERGE, "value"),
        State(ids.SENTENCE, "value"),
        State(ids.STUDIED, "data"),
        prevent_initial_call=True,
    )
    def replay(step: Any, sentence: Any, studied: Any) -> Any:
        """The sentence after so many of the merges that change it."""
        if not studied or not isinstance(step, int | float):
            raise PreventUpdate
        tokenizer = lab.texts.tokenizer(DataConfig(**studied["config"]))
        if not isinstance(tokenizer, BytePairTokenizer):
            raise PreventUpdate
        steps = list(tokenizer.steps(str(sentence or "")[:LONGEST_SENTENCE]))
        return draw.merged(steps, int(step))


def _register_training(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(CORPUS, "value", allow_duplicate=True),
        Output(ids.setting("data", "tokenizer"), "value", allow_duplicate=True),
        Output(ids.setting("data", "vocabulary_size"), "value", allow_duplicate=True),
        Output(ids.TABS, "active_tab"),
        Input(ids.TRAIN_ON, "n_clicks"),
        State(ids.TEXT, "value"),
        State(ids.TEXT_TOKENIZER, "value"),
        State(ids.TEXT_VOCABULARY, "value"),
        prevent_initial_call=True,
    )
    def train_on(pressed: Any, text: Any, tokenizer: Any, size: Any) -> tuple[Any, ...]:
        """Put this text and this tokenizer into the Train form."""
        return text, tokenizer, size, "Train"


def _config(text: Any, tokenizer: Any, size: Any) -> DataConfig:
    return DataConfig(
        corpus=checked(SETTINGS["data.corpus"], text),
        tokenizer=checked(SETTINGS["data.tokenizer"], tokenizer),
        vocabulary_size=checked(SETTINGS["data.vocabulary_size"], size),
    )


def _job(lab: Lab, begun: Any) -> Job | None:
    return lab.jobs.find(begun["job"]) if isinstance(begun, dict) and "job" in begun else None


def _stop(lab: Lab, begun: Any) -> None:
    job = _job(lab, begun)
    if job is not None:
        job.stop()
