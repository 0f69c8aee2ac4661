"""A sentence as coloured pieces: its tokens, or what merges of byte pairs made of it."""

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from transformer_lab.text.tokenizers import Tokenizer, WordTokenizer

MOST_TOKENS = 600  # of a sentence, drawn one by one
COLOURS = 6  # token-0 .. token-5 in the style sheet


def tokens(tokenizer: Tokenizer, sentence: str) -> list[Component]:
    """A sentence in coloured pieces; each shows its id on hover and focus."""
    unknown = tokenizer.unknown(sentence)
    encoded = tokenizer.encode(readable(tokenizer, sentence))
    drawn: list[Component] = [
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


def merged(steps: Sequence[list[bytes]], step: int) -> list[Component]:
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
    style = f"token token-{place % COLOURS}"
    if not label:
        return html.Span(visible(piece), className=style)
    return html.Span(visible(piece), className=style, tabIndex=0, **{"data-id": label})


def visible(piece: bytes) -> str:
    """A token's text, with what cannot be seen made visible; bytes of half a character in hex."""
    try:
        shown = piece.decode("utf-8")
    except UnicodeDecodeError:
        return " ".join(f"{byte:02x}" for byte in piece)
    return shown.replace("\n", "↵").replace("\t", "⇥").replace(" ", "·")
