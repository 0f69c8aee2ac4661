"""How the facts about a text and its tokens are shown."""

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from transformer_lab.lab.text.study import Study
from transformer_lab.recipes import SETTINGS
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.ui.data.pieces import readable, visible

PREVIEW = 3000  # characters
WARN_OVERLAP = 0.05


def facts(corpus: Corpus) -> list[Component]:
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


def _pair(name: str, value: Component | str) -> html.Div:
    return html.Div([html.Dt(name), html.Dd(value)], className="row-pair")


def preview(corpus: Corpus) -> str:
    """The beginning of a text."""
    more = corpus.characters - PREVIEW
    return corpus.text[:PREVIEW] + (f"\n… and {more:,} characters more" if more > 0 else "")


def summary(found: Study, kind: str) -> list[Component | str]:
    """The numbers of a text under a tokenizer, and a warning where one is due."""
    lines: list[Component | str] = [
        f"{found.tokens:,} tokens of {found.vocabulary_size:,} kinds, "
        f"{found.characters_per_token:.2f} characters per token."
    ]
    if found.unknown_share:
        lines.append(
            html.Div(
                f"{found.unknown_share:.1%} of the validation tokens stand for unknown words: "
                "their text is lost.",
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


def _table(heads: Sequence[str], rows: Sequence[html.Tr]) -> html.Table:
    return html.Table(
        [html.Thead(html.Tr([html.Th(head, scope="col") for head in heads])), html.Tbody(rows)],
        className="numbers",
    )
