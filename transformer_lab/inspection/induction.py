"""Induction: does the model copy, and which heads do it?

An induction head looks from a token back to what followed that token last time, and so predicts
that it will follow again. It needs a head in an earlier layer that writes into each position which
token precedes it. Here such heads are found by their attention patterns and then tested by
ablation: without a head that copies, the loss must rise where there is something to copy.

Source: arXiv:2209.11895.
Shapes: B texts, T time, Q queries, L layers with attention, H heads.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from transformer_lab.inspection.ablation import (
    Batch,
    Importance,
    Site,
    ablated,
    heads_of,
    importance,
    mean_loss,
)
from transformer_lab.inspection.attention import PATTERN, patterns, repeated_tokens
from transformer_lab.inspection.capture import capture
from transformer_lab.model import GPT
from transformer_lab.settings import ConfigError
from transformer_lab.text.tasks import Problem
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.training.micro_batches import NOT_COUNTED

LOOKS_BACK = 0.25  # of its attention: from here on a head counts as an induction head
MISSED = 0.1  # nats by which the loss must rise before a head counts as missed
TEXTS = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Repetition:
    """A text in which something comes again: at each query the next token is the one at its source.

    `tokens` is (T,), `queries` and `sources` are places in it, (Q,) each.
    """

    tokens: Tensor
    queries: Tensor
    sources: Tensor


def random_repetitions(
    model: GPT, generator: torch.Generator, count: int = TEXTS
) -> list[Repetition]:
    """Random tokens written twice: only what came before can tell what comes next."""
    n = repeated_tokens(model, generator, 1).shape[1] // 2
    queries = torch.arange(n, 2 * n - 1)  # the second copy, but for its end
    return [
        Repetition(tokens=tokens, queries=queries, sources=queries - n + 1)
        for tokens in repeated_tokens(model, generator, count)
    ]


def copying_repetitions(
    model: GPT, tokenizer: Tokenizer, problems: Sequence[Problem], count: int = TEXTS
) -> list[Repetition]:
    """Lines of the copying task, as many in each text as the model can read.

    The queries are the letters of each answer but the last, after which the line ends. Raises
    ConfigError when a letter is not one token, or no line fits.
    """
    texts: list[list[list[int]]] = []
    left = 0
    for problem in problems:
        line = _line(tokenizer, problem)
        if len(line) > left:
            if len(texts) == count:
                break
            texts.append([])
            left = model.config.sequence_length - 1  # a line end comes first
        texts[-1].append(line)
        left -= len(line)
    if left < 0 or not texts:
        raise ConfigError(
            "model.sequence_length",
            f"No line of the copying task fits into {model.config.sequence_length} tokens.",
        )
    end = tokenizer.encode("\n").tolist()
    return [_copying(end, lines) for lines in texts]


def _line(tokenizer: Tokenizer, problem: Problem) -> list[int]:
    """n letters, the sign, the same n letters, the line end."""
    line = tokenizer.encode(f"{problem.question}{problem.answer}\n").tolist()
    n = len(problem.answer)
    if len(line) != 2 * n + 2 or line[:n] != line[n + 1 : -1]:
        raise ConfigError(
            "data.tokenizer",
            "This looks into the copying task letter by letter: choose its lines, and a tokenizer "
            "of characters.",
        )
    return line


def _copying(end: list[int], lines: list[list[int]]) -> Repetition:
    tokens, queries, sources = [*end], list[int](), list[int]()
    for line in lines:
        begin, n = len(tokens), len(line) // 2 - 1
        sources += range(begin + 1, begin + n)
        queries += range(begin + n + 1, begin + 2 * n)
        tokens += line
    return Repetition(
        tokens=torch.tensor(tokens), queries=torch.tensor(queries), sources=torch.tensor(sources)
    )


def look_back_scores(model: GPT, texts: Sequence[Repetition]) -> Tensor:
    """What goes from each query to its source, the mean over all of them, in every head: (L, H)"""
    shares = [
        patterns(capture(model, text.tokens, only={PATTERN}))[:, :, text.queries, text.sources]
        for text in texts
    ]
    return torch.cat(shares, dim=2).mean(2).cpu()


def copying_batch(model: GPT, texts: Sequence[Repetition]) -> Batch:
    """All texts as one batch, (B, T) inputs and targets, in which only the queries count."""
    inputs = pad_sequence([text.tokens for text in texts], batch_first=True)  # the end is not seen
    targets = torch.full_like(inputs, NOT_COUNTED)
    for row, text in enumerate(texts):
        targets[row, text.queries] = text.tokens[text.queries + 1]
    device = model.embedding.weight.device
    return inputs.to(device), targets.to(device)


@dataclass(frozen=True, kw_only=True, eq=False)
class InductionCheck:
    """Which heads look back for what came next, and what the model is without them.

    `scores` is (L, H), see `look_back_scores`. Losses are in nats per copied token: `baseline` of
    the model as it is, `together` without all found heads, `neighbours` without all other heads of
    their layers (None where there is none), and of `found` and `others` without each alone.
    """

    scores: Tensor
    found: tuple[Importance, ...]
    others: tuple[Importance, ...]
    baseline: float
    together: float | None
    neighbours: float | None
    confirmed: bool
    verdict: str


def induction_check(
    model: GPT, texts: Sequence[Repetition], threshold: float = LOOKS_BACK
) -> InductionCheck:
    """Find induction heads on texts with repetitions, and test them by ablation."""
    *_, check = induction_steps(model, texts, threshold)
    assert isinstance(check, InductionCheck)
    return check


def induction_steps(
    model: GPT, texts: Sequence[Repetition], threshold: float = LOOKS_BACK
) -> Iterator[Importance | InductionCheck]:
    """The same little by little: the importance of one head after another, then the check."""
    scores = look_back_scores(model, texts)
    batch = copying_batch(model, texts)
    heads = heads_of(model)
    looks_back = dict(zip(heads, scores.flatten().tolist(), strict=True))
    measured: list[Importance] = []
    for one in importance(model, [batch], heads):
        measured.append(one)
        yield one
    found = [one for one in measured if looks_back[one.site] >= threshold]
    others = [one for one in measured if looks_back[one.site] < threshold]
    layers = {one.site.path for one in found}
    together = _loss_without(model, batch, [one.site for one in found])
    baseline = measured[0].baseline
    harm = together - baseline if together is not None else 0.0
    confirmed = harm > max([MISSED, *(one.change for one in others)])
    yield InductionCheck(
        scores=scores,
        found=tuple(found),
        others=tuple(others),
        baseline=baseline,
        together=together,
        neighbours=_loss_without(
            model, batch, [one.site for one in others if one.site.path in layers]
        ),
        confirmed=confirmed,
        verdict=" ".join(_verdict(looks_back, found, others, baseline, together, confirmed)),
    )


def _loss_without(model: GPT, batch: Batch, sites: list[Site]) -> float | None:
    return mean_loss(ablated(model, sites), [batch]) if sites else None


def _verdict(
    looks_back: dict[Site, float],
    found: list[Importance],
    others: list[Importance],
    baseline: float,
    together: float | None,
    confirmed: bool,
) -> Iterator[str]:
    """The sentences that follow from the numbers."""
    if together is None:
        nearest = max(looks_back, key=lambda site: looks_back[site])
        yield (
            "No induction head was found: the most attention that goes to what came next last time "
            f"is {looks_back[nearest]:.0%}, in {nearest.label}."
        )
        return
    names = " and ".join(f"{one.site.label} ({looks_back[one.site]:.0%})" for one in found)
    yield f"Attention goes to what came next last time in {names}."
    yield (
        f"Without {'it' if len(found) == 1 else 'them'} the loss on what is copied goes from "
        f"{baseline:.3f} to {together:.3f} nats, which "
        + (
            "shows that copying needs this."
            if confirmed
            else "does not show that copying needs it."
        )
    )
    if others:
        worst = max(others, key=lambda one: one.change)
        middle = statistics.median(one.change for one in others)
        yield (
            f"Any other head alone changes it by {worst.change:.3f} at most ({worst.site.label}), "
            f"by {middle:.3f} in the median."
        )
        first = min(one.site.layer or 0 for one in found)
        if worst.change > MISSED and (worst.site.layer or 0) < first:
            yield "That one stands in an earlier layer, on whose work induction has to build."
