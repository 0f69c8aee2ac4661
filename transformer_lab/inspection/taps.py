"""Taps: every place at which an activation is read, its axes and what is found there.

A path names a tap as the model names the module it belongs to. Modules are found by their names,
not by their classes: a new variant of a part is tapped as soon as it stands in the place of one.

Axes: T time, D width, H heads, Q queries and S sources (both T long), K head width, F hidden units,
V vocabulary.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One place in a model: `path` has a {layer} where there is one of it in every layer."""

    path: str
    axes: tuple[str, ...]
    label: str
    meaning: str


BLOCK = "blocks.{layer}"

_DECLARED = [
    ("embedding", "TD", "Token embedding", "The vector of each token, from the table."),
    ("ngrams", "TD", "N-grams", "What is added for each token together with those before it."),
    ("smear", "TD", "Smear", "What Smear adds: a share of the embeddings just before."),
    ("positions", "TD", "Positions", "What positions add to each vector (nothing when rotary)."),
    (f"{BLOCK}.stream_in", "TD", "Stream in", "The stream as this layer finds it."),
    (f"{BLOCK}.norm_1", "TD", "First norm", "What the layer's first norm gives."),
    (f"{BLOCK}.attention.queries", "HTK", "Queries", "What each token asks for, in every head."),
    (f"{BLOCK}.attention.keys", "HTK", "Keys", "What each token offers to be found by."),
    (f"{BLOCK}.attention.values", "HTK", "Values", "What each token passes on when looked at."),
    (
        f"{BLOCK}.attention.scores",
        "HQS",
        "Scores",
        "Query times key, divided by √K, before later tokens are masked.",
    ),
    (
        f"{BLOCK}.attention.pattern",
        "HQS",
        "Pattern",
        "Softmax of the scores: how much each query takes from each source.",
    ),
    (
        f"{BLOCK}.attention.mixed",
        "HTK",
        "Mixed values",
        "The values of the sources, weighted by the pattern and summed.",
    ),
    (
        f"{BLOCK}.attention.heads",
        "HTD",
        "Write of each head",
        "A head's mixed values through its columns of the output matrix.",
    ),
    (
        f"{BLOCK}.attention.bias",
        "D",
        "Output bias",
        "What attention writes at every token, whatever its heads find.",
    ),
    (
        f"{BLOCK}.attention.write",
        "TD",
        "Attention write",
        "What its heads write and its output bias, together.",
    ),
    (f"{BLOCK}.norm_2", "TD", "Second norm", "What the layer's second norm gives."),
    (
        f"{BLOCK}.feedforward.hidden",
        "TF",
        "Hidden units",
        "The feed-forward's hidden units, as its last matrix reads them.",
    ),
    (f"{BLOCK}.feedforward.write", "TD", "Feed-forward write", "What the feed-forward gives back."),
    (f"{BLOCK}.stream_out", "TD", "Stream out", "The stream as this layer leaves it."),
    ("stream", "TD", "Last stream", "The stream as the final norm finds it."),
    ("norm", "TD", "Final norm", "What the final norm gives to the head."),
    ("logits", "TV", "Logits", "The unnormalized log probability of each next token."),
]

TAPS: dict[str, Tap] = {
    path: Tap(path=path, axes=tuple(axes), label=label, meaning=meaning)
    for path, axes, label, meaning in _DECLARED
}


def tap_of(path: str) -> Tap:
    """The declaration that a path of a real model follows.

    blocks.3.stream_out is blocks.{layer}.stream_out, and so is the path of a part that a variant
    keeps one level deeper: blocks.3.ordinary.norm_1 is blocks.{layer}.norm_1. A part that only some
    variant has is declared by its name.
    """
    first, *rest = path.split(".")
    if first != "blocks":
        return TAPS.get(path, _other(path))
    names = (f"{BLOCK}.{'.'.join(rest[begin:])}" for begin in range(1, len(rest)))
    return next((TAPS[name] for name in names if name in TAPS), _other(path))


def layer_of(path: str) -> int | None:
    """The number of the layer a path lies in; None outside of all."""
    first, *rest = path.split(".")
    return int(rest[0]) if first == "blocks" else None


def _other(path: str) -> Tap:
    inside = path.split(".")[0 if layer_of(path) is None else 2 :]
    meaning = "What a part gives that only this variant of the model has."
    return Tap(
        path=path, axes=("T", "D"), label=f"Another part: {'.'.join(inside)}", meaning=meaning
    )
