"""The Data tab: which text, what is in it, and how it turns into numbers.

Its layout is in `ui/data/layout.py`.
"""

from collections.abc import Callable
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.jobs import Job
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.text.study import Study, study
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import ConfigError, checked
from transformer_lab.text import DataConfig
from transformer_lab.text.bpe import BytePairTokenizer
from transformer_lab.text.corpora import SIZES
from transformer_lab.text.decoding import EncodingError
from transformer_lab.text.errors import CorpusMissingError
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.ui import ids
from transformer_lab.ui.charts.text import rank_count_figure
from transformer_lab.ui.data import layout as draw
from transformer_lab.ui.data.layout import layout
from transformer_lab.ui.web.upload import offered

__all__ = ["TITLE", "layout", "register"]

TITLE = "Data"
LONGEST_SENTENCE = 2000  # characters of the sentence that is shown token by token
CORPUS = ids.setting("data", "corpus")
GUESSED = {"encoding", "label", "preview"}
FROM_UPLOAD = "upload"  # in the place of a path: the page holds the file that could not be read


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_library(app, lab)
    _register_fetching(app, lab)
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
        Output(ids.ENCODINGS, "hidden"),
        Output(ids.ENCODING, "options"),
        Output(ids.ENCODING, "value"),
        Output(ids.UNREAD, "data"),
        Input(ids.UPLOADED, "data"),
        Input(ids.ADD_PATH, "n_clicks"),
        Input(ids.READ_AS, "n_clicks"),
        Input(ids.RENAME, "n_clicks"),
        Input(ids.DELETE, "n_clicks"),
        State(ids.TEXT, "value"),
        State(ids.PATH, "value"),
        State(ids.ENCODING, "value"),
        State(ids.UNREAD, "data"),
        State(ids.NEW_NAME, "value"),
        State(CORPUS, "value"),
        prevent_initial_call=True,
    )
    def change(*args: Any) -> tuple[Any, ...]:
        """Add, rename or delete a text, or say in one sentence why not."""
        uploaded, *_, text, path, encoding, unread, new_name, trained = args
        if ctx.triggered_id == ids.READ_AS and unread == FROM_UPLOAD:
            raise PreventUpdate  # the page sends the file again
        path = unread if ctx.triggered_id == ids.READ_AS else path
        actions: dict[str, Callable[[], tuple[str, str]]] = {
            ids.UPLOADED: lambda: _uploaded(lab, uploaded),
            ids.ADD_PATH: lambda: _from_path(lab, str(path or "")),
            ids.READ_AS: lambda: _from_path(lab, str(path or ""), str(encoding or "")),
            ids.RENAME: lambda: _rename(lab, str(text), str(new_name or "")),
            ids.DELETE: lambda: _delete(lab, str(text)),
        }
        try:
            chosen, message = actions[str(ctx.triggered_id)]()
        except EncodingError as error:
            return (no_update,) * 3 + (str(error), *_asked(offered(error), str(path)))
        except _UnreadError as error:
            return (no_update,) * 3 + (str(error), *_asked(error.offered, FROM_UPLOAD))
        except (ConfigError, LabError) as error:
            return (no_update,) * 3 + (str(error), *_asked([], ""))
        return chosen, *_choices(lab, trained), draw.done(message), *_asked([], "")


class _UnreadError(LabError):
    """An upload that is no UTF-8 text, and the encodings that fit."""

    def __init__(self, words: str, offered: Any) -> None:
        super().__init__(words)
        self.offered = offered


def _asked(which: Any, source: str) -> tuple[Any, ...]:
    """The question for an encoding and what it is about; hidden when there is none."""
    whole = [one for one in which if isinstance(one, dict) and one.keys() == GUESSED]
    options = draw.encodings(whole)
    return not options, options, options[0]["value"] if options else None, source


def _choices(lab: Lab, trained: Any) -> tuple[Any, Any]:
    """The texts on offer here, and on the Train tab, where one by its path may be chosen."""
    titles = lab.texts.titles()
    by_path = {trained: trained} if trained and trained not in titles else {}
    return draw.options(titles), draw.options(titles | by_path)


def _register_fetching(app: Dash, lab: Lab) -> None:
    app.clientside_callback(
        ClientsideFunction("lab", "read_as"),
        Output(ids.UPLOADED, "data", allow_duplicate=True),
        Input(ids.READ_AS, "n_clicks"),
        State(ids.ENCODING, "value"),
        State(ids.UNREAD, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.FETCH, "data"),
        Output(ids.FETCH_TICK, "disabled"),
        Output(ids.DOWNLOAD, "disabled"),
        Output(ids.TEXT_PROBLEM, "children", allow_duplicate=True),
        Input(ids.DOWNLOAD, "n_clicks"),
        State(ids.TEXT, "value"),
        prevent_initial_call=True,
    )
    def fetch(pressed: Any, text: Any) -> tuple[Any, ...]:
        """Begin to download a text, as a job: a server may take its time."""
        job = lab.jobs.start("The download", lab.texts.downloading(str(text)))
        return {"job": job.id}, False, True, "It is being downloaded …"

    @app.callback(
        Output(ids.FETCH_TICK, "disabled", allow_duplicate=True),
        Output(ids.DOWNLOAD, "disabled", allow_duplicate=True),
        Output(ids.TEXT, "options", allow_duplicate=True),
        Output(CORPUS, "options", allow_duplicate=True),
        Output(ids.TEXT_MESSAGE, "children", allow_duplicate=True),
        Input(ids.FETCH_TICK, "n_intervals"),
        State(ids.FETCH, "data"),
        State(CORPUS, "value"),
        prevent_initial_call=True,
    )
    def fetched(tick: Any, begun: Any, trained: Any) -> tuple[Any, ...]:
        """Whether it is here now; new options make the page look at the text again."""
        job = _job(lab, begun)
        if job and not job.done:
            raise PreventUpdate
        said, _ = job.since() if job else ([], 0)
        message = said[-1] if said else (job and job.error) or "The download was cut off."
        return True, False, *_choices(lab, trained), message


def _uploaded(lab: Lab, data: Any) -> tuple[str, str]:
    data = data if isinstance(data, dict) else {}
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
    entry = lab.texts.add_file(draw.expanded(path), encoding=encoding)
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
        Output(ids.DOWNLOAD, "children"),
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
            offer = f"Download it ({SIZES.get(str(text), '?')})"
            return [], "", True, "", None, no_update, str(error), not missing, offer
        entry = lab.texts.library.find(config.corpus)
        job = lab.jobs.start("Looking at the tokens", study(lab.texts, config))
        begun = {"job": job.id, "config": vars(config)}
        fixed = config.tokenizer not in ("bpe", "words")
        name = entry.name if entry else ""
        facts, preview = draw.facts(corpus), draw.preview(corpus)
        return facts, preview, entry is None, name, begun, fixed, "", True, no_update


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
