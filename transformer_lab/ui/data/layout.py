"""How the Data tab is laid out."""

import dash_bootstrap_components as dbc
from dash import dcc, html
from dash.development.base_component import Component

from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import SETTINGS, load_recipes
from transformer_lab.text import DataConfig
from transformer_lab.text.decoding import LARGEST
from transformer_lab.ui import form
from transformer_lab.ui.charts.training import GRAPH
from transformer_lab.ui.data import ids
from transformer_lab.ui.train.layout import opening

TITLE = "Data"
EXAMPLE = "To be, or not to be: that is the question. Antidisestablishmentarianism, naïve, 東京, 🙂"


def layout(lab: Lab) -> html.Div:
    """Texts on the left; the text and its tokens on the right."""
    setup = opening(lab, load_recipes())[1]
    text = lab.texts.at_hand(setup.data.corpus)
    return html.Div(
        [
            dcc.Store(id=ids.UPLOADED),
            dcc.Store(id=ids.STUDY),
            dcc.Store(id=ids.STUDIED),
            dcc.Store(id=ids.UNREAD),
            dcc.Store(id=ids.FETCH),
            dcc.Interval(id=ids.FETCH_TICK, interval=500, disabled=True),
            dcc.Interval(id=ids.STUDY_TICK, interval=300),
            html.Section(_texts(lab, text), className="column controls card"),
            html.Section(
                [
                    html.Div(
                        [
                            html.H2("The text"),
                            html.Pre(id=ids.TEXT_PREVIEW, className="sample", tabIndex=0),
                        ],
                        className="card preview-card",
                    ),
                    html.Div(_tokens(setup.data), className="card"),
                    html.Div(
                        [
                            html.Div(
                                [
                                    html.H2("Most frequent tokens"),
                                    html.Div(id=ids.FREQUENT, className="table-box", tabIndex=0),
                                ],
                                className="card",
                            ),
                            dcc.Graph(id=ids.RANKS, config=GRAPH, className="card chart ranks"),
                        ],
                        className="two-cards",
                    ),
                ],
                className="column",
            ),
        ],
        className="pane data",
    )


def _texts(lab: Lab, corpus: str) -> list[Component]:
    return [
        form.field(
            "Text",
            dbc.Select(
                id=ids.TEXT, options=form.options(lab.texts.titles()), value=corpus, size="sm"
            ),
            "The text that is shown here: those that come with the lab, then your own.",
        ),
        html.Dl(id=ids.TEXT_FACTS, className="pairs"),
        html.Div(id=ids.TEXT_PROBLEM, className="message", role="alert"),
        html.Button(
            "Download it",
            id=ids.DOWNLOAD,
            className="btn btn-outline-primary",
            hidden=True,
        ),
        html.Button(
            "Train on this text",
            id=ids.TRAIN_ON,
            className="btn btn-primary",
            title="Choose it as the Corpus of the Train tab",
        ),
        _own_text(),
        html.H2("Add a text", className="add-title"),
        *_upload(),
        _paste(),
        _path(lab),
        html.Div(id=ids.TEXT_MESSAGE, className="message", role="alert"),
        _encodings(),
    ]


def _upload() -> list[Component]:
    return [
        html.Label(
            [
                html.I(className="bi bi-file-earmark-arrow-up", **{"aria-hidden": "true"}),
                html.Span("Choose a file, or drop one here"),
                html.Span(f"Any plain text, up to {LARGEST // 10**6} MB", className="quiet"),
                dcc.Input(id=ids.UPLOAD, type="file", className="visually-hidden"),
            ],
            className="drop",
            id="drop",
            title="It is copied into the lab, and its encoding is recognized",
        ),
        html.Div(
            html.Div(id="upload-bar"), className="progress-line", id="upload-line", hidden=True
        ),
    ]


def _encodings() -> html.Div:
    """For a file that is no UTF-8 text: how it reads in each encoding that fits."""
    return html.Div(
        [
            html.H2("Which of these reads right?"),
            dbc.RadioItems(id=ids.ENCODING, options=[], className="encodings"),
            html.Button("Read it so", id=ids.READ_AS, className="btn btn-outline-primary"),
        ],
        id=ids.ENCODINGS,
        hidden=True,
    )


def _own_text() -> html.Div:
    """Rename or delete a text that the learner added."""
    return html.Div(
        [
            form.field(
                "Name",
                dbc.Input(id=ids.NEW_NAME, size="sm", maxLength=80),
                "What your text is called in the lists of texts.",
            ),
            html.Button(
                "Rename",
                id=ids.RENAME,
                className="btn btn-outline-secondary",
                title="Give your text this name",
            ),
            html.Button(
                "Delete",
                id=ids.DELETE,
                className="btn btn-outline-secondary",
                title="Take your text out of the lab; runs that learned from it stay",
            ),
        ],
        id=ids.TEXT_OWN,
        className="own-text",
        hidden=True,
    )


def _paste() -> html.Details:
    return html.Details(
        [
            html.Summary("Paste text"),
            form.field(
                "Name",
                dbc.Input(id=ids.PASTE_NAME, value="Pasted text", size="sm"),
                "What it is called in the lists of texts.",
            ),
            form.field(
                "Text",
                dbc.Textarea(id=ids.PASTE_TEXT, rows=5, size="sm"),
                "The text itself; the longer, the better a model can learn from it.",
            ),
            html.Button(
                "Add this text",
                id=ids.PASTE,
                className="btn btn-outline-primary",
                title="Keep it in the lab as a text to train on",
            ),
        ]
    )


def _path(lab: Lab) -> html.Details:
    return html.Details(
        [
            html.Summary("Add a file of the lab's computer"),
            form.field(
                "Path",
                dbc.Input(id=ids.PATH, size="sm", placeholder="~/books/emma.txt"),
                "Where the file lies on the computer on which the lab runs.",
            ),
            html.Button(
                "Add this file",
                id=ids.ADD_PATH,
                className="btn btn-outline-primary",
                title="Copy it into the lab as a text to train on",
            ),
        ],
        hidden=not lab.texts.paths_allowed,
    )


def _tokens(data: DataConfig) -> list[Component]:
    return [
        html.H2("How it becomes numbers"),
        html.Div(_tokenizer(data), className="token-choice"),
        html.Div(id=ids.STUDY_STATE, className="study-state", role="status"),
        html.Div(id=ids.VERIFIED, className="quiet"),
        form.field(
            "A sentence to try",
            dbc.Textarea(id=ids.SENTENCE, value=EXAMPLE, rows=2, size="sm"),
            "How this sentence is cut into tokens stands below.",
        ),
        html.Div(id=ids.TOKENS, className="tokens", tabIndex=0),
        _merges(),
        html.H2("The same sentence under each tokenizer"),
        html.Div(id=ids.COSTS, className="table-box", tabIndex=0),
    ]


def _tokenizer(data: DataConfig) -> list[Component]:
    tokenizer, size = SETTINGS["data.tokenizer"], SETTINGS["data.vocabulary_size"]
    kind = dbc.Select(
        id=ids.TEXT_TOKENIZER,
        options=form.options(tokenizer.choices or {}),
        value=data.tokenizer,
        size="sm",
    )
    vocabulary = dbc.Input(
        id=ids.TEXT_VOCABULARY,
        value=str(data.vocabulary_size),
        size="sm",
        inputmode="numeric",
        debounce=True,
    )
    return [
        form.field(tokenizer.label, kind, tokenizer.help),
        form.field(size.label, vocabulary, size.help),
    ]


def _merges() -> html.Div:
    """The merges of byte pairs in the sentence, replayed by a slider."""
    step = dcc.Slider(
        id=ids.MERGE,
        min=0,
        max=1,
        step=1,
        value=1,
        marks=None,
        allow_direct_input=False,
        tooltip={"placement": "bottom"},
    )
    head = html.H2("How byte pairs grew, one merge at a time")
    return html.Div([head, step, html.Div(id=ids.MERGED)], id=ids.MERGES, hidden=True)
