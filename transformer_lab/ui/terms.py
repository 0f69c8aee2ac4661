"""Terms of the glossary on the page: their meaning shows on hover, focus and tap."""

from typing import Any

from dash import html

from transformer_lab import glossary


def term(key: str, words: str = "", more: str = "") -> html.Span:
    """A term of the glossary, in its own words or others, with its meaning and what is `more`."""
    found = glossary.terms()[key]
    title = f"{found.meaning} {more}".strip()
    return html.Span(words or found.term, className="term", title=title, tabIndex=0)


def terms_line(*keys: str) -> html.P:
    """The terms that a part of the page uses, in one quiet line."""
    parts: list[Any] = ["Terms: "]
    for place, key in enumerate(keys):
        parts += [", "] * bool(place) + [term(key)]
    return html.P(parts, className="quiet terms")
