"""Proofs that what comes later changes nothing: edits, gradients, training, token by token.

Shapes: B batch, T time, D width, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lab.generation import QuickReader, Reader
from transformer_lab.inspection.proof import (
    Proof,
    Subject,
    change,
    gap,
    has_cache,
    replaced,
    takes_cache,
)
from transformer_lab.model import GPT
from transformer_lab.model.attention import MultiHeadAttention
from transformer_lab.model.dropout import Dropout
from transformer_lab.training.micro_batches import in_parts

WORK = 1e11  # operations that one proof may take, about
EDITS = 64  # sequences of the whole context whose future is edited, or one for each place
SHORT, SHORT_ONES = 8, 1024  # and short ones: their length, and how many
ALONE = 8  # sequences that are edited one at a time
GRADIENTS = 32  # sequences, each with a place of its own
BEGINNINGS = 8  # lengths at which a beginning is read by itself
PAST = 8  # tokens read past the end of the context
EXACT = 1e-7  # of the largest logit: what two ways of reading may differ by in float64
ROUGH = 1e-3  # the same where the model itself rounds to fewer digits
NO_DROPOUT = 1e-9  # a share that drops nothing, but takes the way of code that dropout takes


@dataclass
class Edits:
    """What came of editing the future of some sequences."""

    sequences: int = 0
    before: int = 0
    after: int = 0
    largest: float = 0.0

    def add(self, changed: Tensor, before: Tensor) -> None:
        """Changes of logits (B, T), and which places lie before the edit (B, T)."""
        earlier = changed.where(before, 0).amax(1)
        self.sequences += len(changed)
        self.before += int((earlier > 0).sum())
        self.after += int((changed.where(~before, 0).amax(1) > 0).sum())
        self.largest = max(self.largest, float(earlier.max()))

    @property
    def passed(self) -> bool | None:
        """None where no prediction depends on anything."""
        return False if self.before else True if self.after else None

    def numbers(self) -> dict[str, float]:
        """As a proof lists them."""
        return {
            "sequences": self.sequences,
            "changed_before": self.before,
            "changed_after": self.after,
            "largest_change_before": self.largest,
        }


def future_edit(subject: Subject) -> Proof:
    """Replace every token from place t on, for every t: no logit before may change in a bit."""
    found, T = Edits(), subject.context
    whole = min(T + 1, subject.affordable(T, WORK))
    for tokens, places in edits(subject, whole):
        other, before = replaced(tokens, places, subject)
        with torch.no_grad():
            found.add(change(subject.model, tokens, other, before), before)
    tried = "every place" if whole > T else f"{whole:,} of {T + 1:,} places, drawn by chance,"
    return Proof(
        key="future_edit",
        title="Editing the future",
        passed=found.passed,
        numbers={**found.numbers(), "places": whole},
        sentence=f"In {found.sequences:,} sequences every token from a place on was replaced, at "
        f"{tried} of the whole context of {T:,} tokens. Predictions before it changed in "
        f"{found.before:,} of them (by up to {found.largest:.2g}), later ones in "
        f"{found.after:,}.",
    )


def edits(subject: Subject, whole: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Sequences (B, T) and the place (B,) of each where the future begins, in several shapes

    Places 0 and T change a whole sequence and none of it: neighbours in the batch do not matter.
    """
    T, device = subject.context, subject.device
    count = max(whole, min(EDITS, subject.affordable(T, WORK)))
    order = [
        torch.randperm(T + 1, generator=subject.generator) for _ in range(count // (T + 1) + 1)
    ]
    places = torch.cat(order)[:count].to(device)
    yield subject.mixed(count, T), places
    length = min(SHORT, T)
    count = min(SHORT_ONES, subject.affordable(length, WORK / 4))
    drawn = torch.randint(1, max(length, 2), (count,), generator=subject.generator)
    yield subject.mixed(count, length), drawn.to(device)
    for _ in range(min(ALONE, subject.affordable(T, WORK / 8))):
        yield subject.mixed(1, T), torch.randint(1, T, (1,), generator=subject.generator).to(device)


def future_gradient(subject: Subject) -> Proof:
    """The gradient of a logit with respect to embeddings of later tokens must be exactly 0."""
    model, T = subject.model, subject.context
    B = min(max(2, GRADIENTS), subject.affordable(T, WORK / 3))
    tokens = subject.mixed(B, T)
    places = torch.randint(0, T - 1, (B,), generator=subject.generator).to(tokens.device)
    later = torch.arange(T, device=tokens.device) > places[:, None]  # (B, T)
    weights = torch.randn(B, model.vocabulary_size, generator=subject.generator)
    with torch.enable_grad():
        gradients = in_parts(model, partial(embedding_gradient, model), tokens, places, weights)
    length = torch.cat(gradients).to(tokens.device)  # (B, T)
    ahead, behind = float(length[later].max()), float(length[~later].max())
    return Proof(
        key="future_gradient",
        title="Gradient from the future",
        passed=ahead == 0 if ahead or behind else None,
        numbers={"sequences": B, "largest_after": ahead, "largest_up_to": behind},
        sentence=f"The largest slope of a prediction along the embedding of a later token is "
        f"{ahead:.2g} (it must be exactly 0), along one up to its own place {behind:.2g}.",
    )


def embedding_gradient(model: GPT, tokens: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """How steeply what is predicted after a place of each sequence depends on its tokens: (B, T)

    `tokens` are (B, T), `places` (B,), and `weights` (B, V) add the finite logits up.
    """
    leaves: list[Tensor] = []

    def replace(module: nn.Module, inputs: Any, embedded: Tensor) -> Tensor:
        leaves.append(embedded.detach().requires_grad_())
        return leaves[-1]

    handle = model.embedding.register_forward_hook(replace)
    try:
        asked = model(tokens)[torch.arange(len(tokens), device=tokens.device), places]  # (B, V)
        total = (asked.where(asked.isfinite(), 0) * weights.to(asked)).sum()
    finally:
        handle.remove()
    if not (leaves and total.requires_grad):
        return torch.zeros(tokens.shape)
    found = torch.autograd.grad(total, leaves[0], allow_unused=True)[0]
    if found is None:
        return torch.zeros(tokens.shape)
    return found.abs().amax(-1).float()


def in_training(subject: Subject) -> Proof:
    """The same edit in training mode, where code may run that is silent otherwise.

    Dropout drops nothing here, so that two passes can be compared.
    """
    model, found = training_twin(subject), Edits()
    T = subject.context
    count = min(EDITS, subject.affordable(T, WORK / 4))
    tokens = subject.mixed(count, T)
    places = torch.randint(1, T, (count,), generator=subject.generator).to(tokens.device)
    with torch.no_grad():
        noise = float(change(model, tokens[:2], tokens[:2]).max())
    other, before = replaced(tokens, places, subject)
    with torch.enable_grad():  # as in training
        found.add(change(model, tokens, other, before), before)
    passed = None if noise else found.passed
    return Proof(
        key="in_training",
        title="While it trains",
        passed=passed,
        numbers={**found.numbers(), "noise": noise},
        sentence=f"In training mode, without dropout, the future of {found.sequences:,} sequences "
        f"was edited. Predictions before it changed in {found.before:,} of them (by up to "
        f"{found.largest:.2g}), later ones in {found.after:,}."
        + (" But the same sequences twice differ, too: this cannot be judged." if noise else ""),
    )


def training_twin(subject: Subject) -> GPT:
    """A copy in training mode in which dropout drops nothing."""
    model = subject.copy().train()
    share = NO_DROPOUT if subject.device.type == "cpu" else 0.0
    for part in model.modules():
        if isinstance(part, Dropout):
            part.share = min(share, part.share)
        elif isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(part, MultiHeadAttention):
            part.shape = replace(part.shape, dropout=min(share, part.shape.dropout))
    return model


def token_by_token(subject: Subject) -> Proof:
    """Read so that no later token is there: the logits must be those of reading all at once.

    In three ways: one token after another with a cache; the beginning of a sequence by itself; and
    past the end of the context, as when the model writes. Rows hold every token of the vocabulary
    where that can be afforded, and real text.
    """
    model, T = subject.exact(), subject.context
    most = min(subject.affordable(T, WORK / 4), 4096)
    rows = [subject.every_token(max(2, most - 16), T), subject.mixed(min(16, most), T)]
    tokens = torch.cat(rows)
    cached = has_cache(model)  # otherwise `signature` says so
    ways = WAYS if cached else {}
    gaps: dict[str, float] = {}
    limit, alike = EXACT, True

    def compared(some: Tensor) -> tuple[dict[str, float], bool, bool]:
        whole = model(some)
        found = {name: relative(read(model, some), whole) for name, read in ways.items()}
        return found, whole.dtype == torch.float64, bool((whole == whole.flatten()[0]).all())

    with torch.no_grad():
        for found, double, same in in_parts(model, compared, tokens):
            gaps = {name: max(gaps.get(name, 0.0), found[name]) for name in found}
            limit = limit if double else ROUGH
            alike = alike and same
        gaps["beginnings"] = beginnings(model, subject)
        if takes_cache(model):  # as whatever writes must
            gaps["beyond_the_context"] = beyond(model, subject, cached)
    bounds = {name: max(limit, 1e-4) if name == "beyond_the_context" else limit for name in gaps}
    kept = all(found <= bounds[name] for name, found in gaps.items())
    seen = min(subject.model.vocabulary_size, len(rows[0]) * max(T - 2, 1))
    return Proof(
        key="token_by_token",
        title="Token by token",
        passed=None if kept and alike else kept,
        numbers={"sequences": len(tokens), "tokens_seen": seen, **gaps},
        sentence=f"{len(tokens):,} sequences, in which {seen:,} of "
        f"{subject.model.vocabulary_size:,} tokens occur, were read without what comes later. Of "
        "the largest logit, those of reading them at once differ by at most "
        + ", ".join(f"{found:.2g} {WAYS_IN_WORDS[name]}" for name, found in gaps.items())
        + f" (up to {limit:g} is rounding).",
    )


WAYS_IN_WORDS = {
    "cache": "one token at a time",
    "at_once_into_cache": "at once into a cache",
    "beginnings": "as beginnings alone",
    "beyond_the_context": "past the end of the context",
}


def one_after_another(model: GPT, tokens: Tensor) -> Tensor:
    """(B, T) tokens, each read when those after it are not known yet: (B, T, V)"""
    cache = model.new_cache()
    return torch.cat([model(token, cache) for token in tokens.split(1, dim=1)], dim=1)


WAYS: dict[str, Callable[[GPT, Tensor], Tensor]] = {
    "cache": one_after_another,
    "at_once_into_cache": lambda model, some: model(some, model.new_cache()),
}


def relative(first: Tensor, second: Tensor) -> float:
    """The largest difference of logits, of the largest finite logit; 0 where all are the same."""
    if first.shape != second.shape:
        return math.inf
    largest = float(gap(first, second).max())
    if largest == 0:
        return 0.0
    return largest / float(second.where(second.isfinite(), 0).abs().max().clamp(min=1e-30))


def beginnings(model: GPT, subject: Subject) -> float:
    """How far predictions of beginnings differ from those within the whole, without a cache."""
    T = subject.context
    tokens = subject.mixed(min(4, subject.affordable(T, WORK / 40)), T)
    lengths = torch.randint(1, T, (BEGINNINGS,), generator=subject.generator).tolist()

    def compared(some: Tensor) -> float:
        whole = model(some)
        return max(relative(model(some[:, :length]), whole[:, :length]) for length in lengths)

    return max(in_parts(model, compared, tokens))


def beyond(model: GPT, subject: Subject, cached: bool) -> float:
    """How far predictions past the end of the context are from those of what is kept of it.

    As in generation: when the context is full, its last half is kept and read again.
    """
    T = subject.context
    tokens = subject.mixed(1, T)[0].tolist() + subject.mixed(1, T)[0].tolist()
    reader = QuickReader(model) if cached else Reader(model, cached=False)
    largest = 0.0
    reader.read(tokens[: T - 1])
    for place in range(T - 1, T + min(max(T // 4, 2), PAST)):
        logits = reader.read([tokens[place]])
        kept = T // 2 + place - T if place >= T else place + 1
        whole = model(torch.tensor([tokens[place + 1 - max(kept, 1) : place + 1]]))[0, -1]
        largest = max(largest, relative(logits, whole.to("cpu", torch.float32)))
    return largest
