"""Attention: who looks at whom, and what kind of head that makes.

Shapes: L layers with attention, H heads, T time (queries, then sources), K head width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.inspection.capture import Capture, capture, part_path
from transformer_lab.model import GPT
from transformer_lab.settings import ConfigError

PATTERN = "blocks.{layer}.attention.pattern"
REPEATED = 32  # tokens that are repeated to look for induction
REPETITIONS = 4  # such sequences, over which its score is a mean


def patterns(captured: Capture) -> Tensor:
    """How much every query takes from every source, in every head: (L, H, T, T)

    L counts the layers with attention, `captured.attentions`: all of them, except in variants.
    Raises ConfigError when there are none.
    """
    if not captured.attentions:
        raise ConfigError("inspection.attention", "This model has no attention to look at.")
    return torch.stack([captured[f"{path}.pattern"] for path in captured.attentions])


def entropy(pattern: Tensor) -> Tensor:
    """-Σ_s p_s ln p_s in nats, the mean over all queries but the first: (..., T, T) -> (...)"""
    return torch.special.entr(pattern).sum(-1)[..., 1:].mean(-1)


def previous_token_share(pattern: Tensor) -> Tensor:
    """What goes to the token just before, the mean over all queries but the first."""
    return pattern.diagonal(-1, -2, -1).mean(-1)


def first_token_share(pattern: Tensor) -> Tensor:
    """What goes to the first token, the mean over all queries but the first."""
    return pattern[..., 1:, 0].mean(-1)


def own_token_share(pattern: Tensor) -> Tensor:
    """What each query keeps for its own token, the mean over all queries but the first."""
    return pattern.diagonal(0, -2, -1)[..., 1:].mean(-1)


def distance(pattern: Tensor) -> Tensor:
    """How many tokens back it looks, Σ_s p_s (t - s), the mean over all queries but the first."""
    places = torch.arange(pattern.shape[-1], dtype=pattern.dtype, device=pattern.device)
    return (places - pattern @ places)[..., 1:].mean(-1)


def induction_score(pattern: Tensor) -> Tensor:
    """On a sequence of n tokens and the same n again: what goes to the token that came next then.

    From token t of the second copy, what followed its earlier occurrence is token t - n + 1. The
    mean over the second copy: (..., 2n, 2n) -> (...)

    Source: arXiv:2209.11895, "prefix matching", measured on random repeated tokens.
    """
    n = pattern.shape[-1] // 2
    return pattern.diagonal(1 - n, -2, -1)[..., 1:].mean(-1)


@dataclass(frozen=True, kw_only=True)
class HeadMeasure:
    """One number for a head. `function` takes patterns (..., T, T) and gives (...).

    `repeated` says that the patterns must be those of a random sequence written twice.
    """

    label: str
    definition: str
    function: Callable[[Tensor], Tensor]
    repeated: bool = False


HEAD_MEASURES: dict[str, HeadMeasure] = {
    "entropy": HeadMeasure(
        label="Entropy, nats",
        definition="How widely a head spreads its attention: 0 is all on one token, ln t is evenly "
        "over t tokens; the mean over all queries but the first.",
        function=entropy,
    ),
    "previous_token": HeadMeasure(
        label="Previous token",
        definition="Share of attention that goes to the token just before, over all queries but "
        "the first.",
        function=previous_token_share,
    ),
    "first_token": HeadMeasure(
        label="First token",
        definition="Share of attention that goes to the first token, over all queries but the "
        "first; heads with nothing to do often rest there.",
        function=first_token_share,
    ),
    "own_token": HeadMeasure(
        label="Own token",
        definition="Share of attention that stays on the token itself, over all queries but the "
        "first.",
        function=own_token_share,
    ),
    "distance": HeadMeasure(
        label="Distance, tokens",
        definition="How many tokens back a head looks, weighted by attention, over all queries but "
        "the first.",
        function=distance,
    ),
    "induction": HeadMeasure(
        label="Induction",
        definition="On random tokens written twice: share of attention that goes from a token of "
        "the second copy to the one that followed it in the first.",
        function=induction_score,
        repeated=True,
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadMeasures:
    """Every measure for every head, (L, H) on the CPU, by its key in `HEAD_MEASURES`.

    `even` is what a head would get that looks at all it may see alike: a number to compare with.
    """

    values: dict[str, Tensor]
    even: dict[str, float]


def head_measures(model: GPT, captured: Capture, generator: torch.Generator) -> HeadMeasures:
    """Measure every head on captured tokens, and induction on random ones from `generator`.

    Raises ConfigError for a single token, which leaves nothing to choose.
    """
    own = patterns(captured)
    if own.shape[-1] < 2:
        raise ConfigError(
            "inspection.tokens", "Measures of heads need at least 2 tokens: write a longer text."
        )
    repeated = [
        patterns(capture(model, tokens, only={PATTERN}))
        for tokens in repeated_tokens(model, generator)
    ]
    values, even = {}, {}
    for key, measure in HEAD_MEASURES.items():
        seen = repeated if measure.repeated else [own]
        values[key] = torch.stack([measure.function(each) for each in seen]).mean(0).cpu()
        even[key] = float(measure.function(even_pattern(seen[0].shape[-1])))
    return HeadMeasures(values=values, even=even)


def repeated_tokens(model: GPT, generator: torch.Generator, count: int = REPETITIONS) -> Tensor:
    """Random tokens, each sequence written twice: (count, 2n)

    No token comes twice within a copy, so what it is to be followed by is clear; a vocabulary of
    fewer than n tokens makes the copies shorter.
    """
    n = min(REPEATED, model.config.sequence_length // 2, model.vocabulary_size)
    drawn = [torch.randperm(model.vocabulary_size, generator=generator)[:n] for _ in range(count)]
    once = torch.stack(drawn)
    return torch.cat([once, once], dim=1)


def even_pattern(T: int) -> Tensor:
    """A head that takes the same from every token it may see: (T, T)"""
    seen = torch.ones(T, T).tril()
    return seen / seen.sum(1, keepdim=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryReading:
    """How one query of one head comes to its result, step by step.

        products = q · k_s        scaled = products / √K
        masked = scaled + bias, where what may not be looked at is -∞
        weights = softmax(masked)        result = Σ_s weights_s values_s

    Positions turn queries and keys first where they are rotary, and QK-norm scales them; `query`
    and `keys` are as they go into the product. `bias` is what positions add, zero but for ALiBi.
    Source: arXiv:1706.03762, eq. 1.
    """

    query: Tensor  # (K,)
    keys: Tensor  # (T, K)
    products: Tensor  # (T,)
    scaled: Tensor  # (T,)
    bias: Tensor  # (T,)
    masked: Tensor  # (T,)
    weights: Tensor  # (T,)
    values: Tensor  # (T, K)
    result: Tensor  # (K,)


def one_query(captured: Capture, layer: int, head: int, position: int) -> QueryReading:
    """The numbers of one query, all counted from 0, on the CPU. Raises ConfigError."""
    path = part_path(captured.attentions, layer, "attention")
    if not captured.softmax:
        raise ConfigError(
            "inspection.query",
            "This attention takes no softmax of scores, so its steps are others than those shown "
            "here; its pattern stands above.",
        )
    if not captured.causal:
        raise ConfigError(
            "inspection.query",
            "This model has no causal mask, so its steps are others than those shown here; its "
            "pattern stands above.",
        )
    queries, keys, values, scores, pattern = (
        captured[f"{path}.{name}"].cpu()
        for name in ("queries", "keys", "values", "scores", "pattern")
    )
    H, T, K = queries.shape
    if not (0 <= head < H and 0 <= position < T):
        raise ConfigError(
            "inspection.query",
            f"There is no head {head + 1} at token {position + 1}: this capture has {H} heads and "
            f"{T} tokens.",
        )
    products = keys[head] @ queries[head, position]
    scaled = products * K**-0.5
    weights = pattern[head, position]
    return QueryReading(
        query=queries[head, position],
        keys=keys[head],
        products=products,
        scaled=scaled,
        bias=scores[head, position] - scaled,
        masked=scores[head, position].masked_fill(weights == 0, -torch.inf),
        weights=weights,
        values=values[head],
        result=weights @ values[head],
    )
