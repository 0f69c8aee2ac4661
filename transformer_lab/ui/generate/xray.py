"""Generated text, each token marked by its probability, and one token taken apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dash import html
from dash.development.base_component import Component
from numpy.typing import NDArray

from transformer_lab.lab.writing import Writing, Written
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.ui.generate import ids

MOST_MARKED = 3000  # tokens that can be looked at one by one; the rest is plain text
ALTERNATIVES = 10


@dataclass(frozen=True)
class Level:
    """A step of surprise: tokens the model found less likely than `below`."""

    below: float
    words: str


LEVELS = (
    Level(1.01, "over 80 %"),
    Level(0.8, "to 40 %"),
    Level(0.4, "to 15 %"),
    Level(0.15, "to 3 %"),
    Level(0.03, "less: high surprisal"),
)


def level_of(probability: float) -> int:
    """Which level a probability belongs to."""
    return max(k for k, level in enumerate(LEVELS) if probability < level.below)


def marked(writing: Writing, tokens: Sequence[Written], first: int) -> list[Component | str]:
    """Tokens as parts of the page; `first` is the place of the first of them."""
    spans: list[Component | str] = []
    for place, one in enumerate(tokens, start=first):
        if place >= MOST_MARKED:
            return [*spans, "".join(later.text for later in tokens[place - first :])]
        kind = "tok" + (" chosen" if writing.parent and place == writing.at else "")
        spans.append(
            html.Span(
                one.text or "\N{DOTTED CIRCLE}",
                className=f"{kind} s{level_of(one.probability)}",
                tabIndex=0 if place == 0 else -1,  # one stop for Tab, arrow keys from there
                **{"data-writing": writing.id, "data-place": str(place)},
            )
        )
    return spans


def shown(text: str) -> str:
    """A token as it can be seen: spaces and line ends have signs."""
    return text.replace("\n", "⏎").replace(" ", "␣").replace("\t", "⇥") or "∅"


def name_of(token: int, tokenizer: Tokenizer) -> str:
    """A token of a tokenizer as it can be seen."""
    return shown(tokenizer.token_bytes(token).decode("utf-8", "replace"))


def token_head(writing: Writing, place: int, one: Written) -> str:
    """Where the token stands."""
    return f"token {place + 1:,}, after step {writing.snapshot.step:,}"


def token_logits(one: Written) -> dict[str, list[float]]:
    """What a token was drawn from, for the sliders: the listed alternatives first."""
    top = one.top
    order = np.lexsort((top.tokens, -top.logits))  # as `token_body` lists them
    return {
        "tokens": top.tokens[order].tolist(),
        "logits": _short(top.logits[order]),
        "levels": _short(top.levels),
        "counts": top.counts.tolist(),
    }


def _short(values: NDArray[np.float32]) -> list[float]:
    """Nine digits say which float32 it is."""
    return [float(f"{value:.9g}") for value in values.tolist()]


def token_body(writing: Writing, one: Written) -> list[Component]:
    """What was likely in that place, to branch from; the page adds what temperature and cuts do."""
    tokenizer = writing.snapshot.tokenizer
    facts = [
        f"“{shown(one.text)}” had {one.probability:.1%}; the model was undecided by "
        f"{one.entropy:.2f} nats."
    ]
    logits = token_logits(one)
    shares = one.top.spread().softmax(0)
    rows = [
        _row(place, int(token), float(shares[int(token)]), one.token, tokenizer)
        for place, token in enumerate(logits["tokens"][:ALTERNATIVES])
    ]
    head = html.Tr([html.Th("token"), html.Th("model"), html.Th("drawn from"), html.Th("")])
    return [
        html.P(facts, className="token-facts"),
        html.Table([html.Thead(head), html.Tbody(rows)], className="numbers alternatives"),
    ]


def _row(place: int, token: int, share: float, written: int, tokenizer: Tokenizer) -> html.Tr:
    name = name_of(token, tokenizer)
    taken = token == written
    button = html.Button(
        "branch",
        id=ids.alternative(token),
        className="link",
        title=f"Write on with {name} here",
    )
    return html.Tr(
        [
            html.Td(html.Code(name)),
            html.Td(_bar(share)),
            html.Td(id=ids.token_chance(place)),
            html.Td("written" if taken else button),
        ],
        className="chosen" if taken else "",
    )


def _bar(share: float) -> html.Div:
    words = f"{share:.1%}" if share >= 0.001 else "<0.1%"
    width = {"width": f"{100 * share:.1f}%"}
    return html.Div([html.Div(style=width), html.Span(words)], className="share")
