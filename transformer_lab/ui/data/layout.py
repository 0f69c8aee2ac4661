"""How the Data tab is laid out and how its parts are drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dash_bootstrap_components as dbc
from dash import dcc, html

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.text.study import Study
from transformer_lab.recipes import SETTINGS, load_recipes
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.decoding import LARGEST
from transformer_lab.text.tokenizers import Tokenizer, WordTokenizer
from transformer_lab.ui import ids
from transformer_lab.ui.train.layout import GRAPH, opening

PREVIEW = 3000  # characters
MOST_TOKENS = 600  # of a sentence, drawn one by one
COLOURS = 6  # token-0 .. token-5 in the style sheet
WARN_OVERLAP = 0.05
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


def _texts(lab: Lab, corpus: str) -> list[Any]:
    return [
        _field(
            "Text",
            dbc.Select(id=ids.TEXT, options=options(lab.texts.titles()), value=corpus, size="sm"),
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
        html.Div(
            [
                _field(
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
        ),
        html.H2("Add a text", className="add-title"),
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
        html.Details(
            [
                html.Summary("Paste text"),
                _field(
                    "Name",
                    dbc.Input(id=ids.PASTE_NAME, value="Pasted text", size="sm"),
                    "What it is called in the lists of texts.",
                ),
                _field(
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
        ),
        html.Details(
            [
                html.Summary("Take a file of the lab's computer"),
                _field(
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
        ),
        html.Div(id=ids.TEXT_MESSAGE, className="message", role="alert"),
        html.Div(
            [
                html.H2("Which of these reads right?"),
                dbc.RadioItems(id=ids.ENCODING, options=[], className="encodings"),
                html.Button("Read it so", id=ids.READ_AS, className="btn btn-outline-primary"),
            ],
            id=ids.ENCODINGS,
            hidden=True,
        ),
    ]


def _tokens(data: Any) -> list[Any]:
    tokenizer, size = SETTINGS["data.tokenizer"], SETTINGS["data.vocabulary_size"]
    return [
        html.H2("How it becomes numbers"),
        html.Div(
            [
                _field(
                    tokenizer.label,
                    dbc.Select(
                        id=ids.TEXT_TOKENIZER,
                        options=options(tokenizer.choices or {}),
                        value=data.tokenizer,
                        size="sm",
                    ),
                    tokenizer.help,
                ),
                _field(
                    size.label,
                    dbc.Input(
                        id=ids.TEXT_VOCABULARY,
                        value=str(data.vocabulary_size),
                        size="sm",
                        inputmode="numeric",
                        debounce=True,
                    ),
                    size.help,
                ),
            ],
            className="token-choice",
        ),
        html.Div(id=ids.STUDY_STATE, className="study-state", role="status"),
        html.Div(id=ids.VERIFIED, className="quiet"),
        _field(
            "A sentence to try",
            dbc.Textarea(id=ids.SENTENCE, value=EXAMPLE, rows=2, size="sm"),
            "How this sentence is cut into tokens stands below.",
        ),
        html.Div(id=ids.TOKENS, className="tokens", tabIndex=0),
        html.Div(
            [
                html.H2("How byte pairs grew, one merge at a time"),
                dcc.Slider(
                    id=ids.MERGE,
                    min=0,
                    max=1,
                    step=1,
                    value=1,
                    marks=None,
                    allow_direct_input=False,
                    tooltip={"placement": "bottom"},
                ),
                html.Div(id=ids.MERGED),
            ],
            id=ids.MERGES,
            hidden=True,
        ),
        html.H2("The same sentence under each tokenizer"),
        html.Div(id=ids.COSTS, className="table-box", tabIndex=0),
    ]


def _field(label: str, control: Any, help: str) -> html.Div:
    return html.Div(
        [
            html.Label([html.Span(label, className="field-label"), control]),
            html.Div(help, className="field-help", role="note"),
        ],
        className="field",
    )


def options(titles: Mapping[str, str]) -> list[dict[str, str]]:
    """Choices of a list."""
    return [{"value": name, "label": title} for name, title in titles.items()]


def encodings(offered: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Choices of encodings, each with words as they would read."""
    return [
        {
            "value": str(one["encoding"]),
            "label": html.Span(
                [str(one["label"]), html.Span(str(one["preview"]), className="quiet")]
            ),
        }
        for one in offered
    ]


def expanded(path: str) -> Path:
    """A path as people type it."""
    return Path(path.strip().strip("\"'")).expanduser()


def done(message: str) -> html.Span:
    """A message of success."""
    return html.Span(message, className="done")


def facts(corpus: Corpus) -> list[Any]:
    """What is known of a text before it is cut into tokens."""
    size = len(corpus.text.encode("utf-8", "replace"))
    notes = [_pair("Note", corpus.note)] if corpus.note else []
    return [
        _pair("Length", f"{corpus.characters:,} characters, {size:,} bytes"),
        _pair("Alphabet", f"{corpus.distinct_characters:,} different characters"),
        _pair("Source", corpus.source),
        *notes,
        _pair("sha256", html.Span(corpus.sha256[:16] + "…", title=corpus.sha256)),
    ]


def _pair(name: str, value: Any) -> html.Div:
    return html.Div([html.Dt(name), html.Dd(value)], className="row-pair")


def preview(corpus: Corpus) -> str:
    """The beginning of a text."""
    more = corpus.characters - PREVIEW
    return corpus.text[:PREVIEW] + (f"\n… and {more:,} characters more" if more > 0 else "")


def summary(found: Study, kind: str) -> list[Any]:
    """The numbers of a text under a tokenizer, and a warning where one is due."""
    lines: list[Any] = [
        f"{found.tokens:,} tokens of {found.vocabulary_size:,} kinds, "
        f"{found.characters_per_token:.2f} characters per token."
    ]
    if found.unknown_share:
        lines.append(
            html.Div(
                f"{found.unknown_share:.1%} of the validation tokens stand for unknown words: "
                "what they said is lost.",
                className="warn",
            )
        )
    warns = found.overlap > WARN_OVERLAP
    shared = f"{found.overlap:.1%} of the validation text also occurs in the training text"
    if warns:
        shared += ": validation will look better than it is. Remove what is repeated"
    lines.append(html.Div(f"{shared} (windows of 50 characters).", className="warn" * warns))
    return lines


def verified(found: Study) -> str:
    """Whether the text came back from its tokens."""
    check = found.verification
    if check.at is None:
        return f"Verified: all {check.characters:,} characters come back from their tokens."
    return (
        f"Not the same after encoding and decoding: at character {check.at:,}, "
        f"{check.before!r} became {check.after!r}."
    )


def frequent(found: Study) -> html.Table:
    """The most frequent tokens, with their ids and counts."""
    total = max(sum(found.counts), 1)
    rows = [
        html.Tr(
            [
                html.Td(f"{rank:,}"),
                html.Td(html.Code(visible(piece))),
                html.Td(f"{token:,}"),
                html.Td(f"{count:,}"),
                html.Td(f"{count / total:.2%}"),
            ]
        )
        for rank, (token, piece, count) in enumerate(found.frequent, start=1)
    ]
    return _table(["rank", "token", "id", "count", "share"], rows)


def costs(sentence: str, tokenizers: Sequence[tuple[str, Tokenizer]], chosen: str) -> html.Table:
    """How many tokens a sentence takes under each tokenizer."""
    rows = []
    words = SETTINGS["data.tokenizer"].choices or {}
    for kind, tokenizer in tokenizers:
        unknown = tokenizer.unknown(sentence)
        count = len(tokenizer.encode(readable(tokenizer, sentence)))
        per_token = f"{len(sentence) / count:.2f}" if count else "-"
        lost = ", ".join(unknown[:6]) + (" …" if len(unknown) > 6 else "")
        rows.append(
            html.Tr(
                [
                    html.Td(words.get(kind, kind)),
                    html.Td(f"{count:,}"),
                    html.Td(per_token),
                    html.Td(f"{tokenizer.vocabulary_size:,}"),
                    html.Td(lost or "none"),
                ],
                className="chosen" if kind == chosen else "",
            )
        )
    return _table(["tokenizer", "tokens", "characters per token", "vocabulary", "unknown"], rows)


def _table(heads: Sequence[str], rows: list[Any]) -> html.Table:
    return html.Table(
        [html.Thead(html.Tr([html.Th(head, scope="col") for head in heads])), html.Tbody(rows)],
        className="numbers",
    )


def tokens(tokenizer: Tokenizer, sentence: str) -> list[Any]:
    """A sentence in coloured pieces; each shows its id on hover and focus."""
    unknown = tokenizer.unknown(sentence)
    encoded = tokenizer.encode(readable(tokenizer, sentence))
    drawn: list[Any] = [
        _piece(tokenizer.token_bytes(int(token)), place, f"id {int(token):,}")
        for place, token in enumerate(encoded[:MOST_TOKENS])
    ]
    if len(encoded) > MOST_TOKENS:
        drawn.append(html.Span(f" … {len(encoded) - MOST_TOKENS:,} more", className="quiet"))
    if unknown:
        named = ", ".join(unknown[:12])
        drawn.append(html.Div(f"Not in the vocabulary: {named}", className="quiet"))
    return drawn


def readable(tokenizer: Tokenizer, sentence: str) -> str:
    """What of a sentence can be encoded: all, where there is a token for the unknown."""
    return sentence if isinstance(tokenizer, WordTokenizer) else tokenizer.known(sentence)


def merged(steps: Sequence[list[bytes]], step: int) -> list[Any]:
    """A sentence after some merges, with what the last one joined."""
    step = max(0, min(step, len(steps) - 1))
    words = f"{len(steps[step]):,} tokens after {step:,} of {len(steps) - 1:,} merges"
    if step:
        before = set(steps[step - 1])
        new = next((piece for piece in steps[step] if piece not in before), None)
        words += f"; the last made {visible(new)!r}" if new else ""
    else:
        words += ": single bytes"
    pieces = [_piece(piece, place, "") for place, piece in enumerate(steps[step][:MOST_TOKENS])]
    return [html.Div(words, className="quiet"), html.Div(pieces, className="tokens")]


def _piece(piece: bytes, place: int, label: str) -> html.Span:
    extra: dict[str, Any] = {"data-id": label, "tabIndex": 0} if label else {}
    return html.Span(visible(piece), className=f"token token-{place % COLOURS}", **extra)


def visible(piece: bytes) -> str:
    """A token's text, with what cannot be seen made visible; bytes of half a character in hex."""
    try:
        shown = piece.decode("utf-8")
    except UnicodeDecodeError:
        return " ".join(f"{byte:02x}" for byte in piece)
    return shown.replace("\n", "↵").replace("\t", "⇥").replace(" ", "·")
