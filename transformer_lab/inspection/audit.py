"""The leak audit: six proofs that a model predicts a token without having seen it.

Each is run live on the model in question. The fifth is done to the audit itself: an evaluator that
does see the targets must be caught, since an audit that cannot fail proves nothing.

Shapes: B batch, T time, D width, V vocabulary.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.inspection.bound import Bound
from transformer_lab.inspection.capture import twin
from transformer_lab.inspection.clamped import clamped_target_loss, honest_loss
from transformer_lab.model import GPT
from transformer_lab.training.micro_batches import in_parts

EDITS = 4  # batches whose future is edited
SEQUENCES = 16  # in a batch, each with a place of its own where the future begins
LONGEST = 128  # tokens of each, where the model can read as many
GUESSED = 64  # sequences of random tokens
LOGITS = 2**25  # numbers that may be looked at together
CHEATED = 4  # sequences, of at most 64 tokens, on which the clamped evaluator is tried
CHEATS = ((10, 1.0), (60, 1.0), (60, 30.0), (200, 1000.0))  # steps and weight, until it is caught
CHEAT_SIZE = 0.5


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What one proof found: `passed` is None where the model gives it nothing to judge yet.

    `numbers` are what was measured, by name; `sentence` says it in words.
    """

    key: str
    title: str
    passed: bool | None
    numbers: Mapping[str, float]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What all proofs together say. *broken* is said of the audit, not of the model."""

    outcome: Literal["passed", "failed", "broken", "not informative yet"]
    sentence: str


def audit(model: GPT, generator: torch.Generator) -> Iterator[Proof]:
    """Yield the six proofs, each as it is done; the model is left as it was.

    It may be on any device and in any precision. `generator` is one of the CPU.
    """
    subject = twin(model).eval()
    for proof in (
        future_edit,
        future_gradient,
        determinism,
        random_tokens,
        positive_control,
        signature,
    ):
        yield proof(subject, generator)


def verdict(proofs: Iterable[Proof]) -> Verdict:
    """The conclusion from all six. Found leaks count, whatever the audit's own control says."""
    found = list(proofs)
    leaks = [proof for proof in found if proof.passed is False and proof.key != "positive_control"]
    if leaks:
        named = ", ".join(proof.title.lower() for proof in leaks)
        return Verdict(outcome="failed", sentence=f"Information leaks: {named}.")
    for proof in found:
        if proof.passed is False:
            return Verdict(outcome="broken", sentence=f"The audit is broken. {proof.sentence}")
    if any(proof.passed is None for proof in found):
        return Verdict(
            outcome="not informative yet",
            sentence="Nothing is wrong, and nothing is shown: this model's answer does not depend "
            "on its input. Train it a few steps first.",
        )
    return Verdict(
        outcome="passed",
        sentence="No proof found a way from a target to its prediction, and a cheat was caught.",
    )


def future_edit(model: GPT, generator: torch.Generator) -> Proof:
    """Replace every token from place t on: no logit before t may change in a single bit."""
    trials = [edited(model, generator) for _ in range(EDITS)]
    sequences = sum(len(before) for before, _ in trials)
    changed_before = sum(int((before > 0).sum()) for before, _ in trials)
    changed_after = sum(int((after > 0).sum()) for _, after in trials)
    largest = max(float(before.max()) for before, _ in trials)
    return Proof(
        key="future_edit",
        title="Editing the future",
        passed=False if changed_before else True if changed_after else None,
        numbers={
            "sequences": sequences,
            "changed_before": changed_before,
            "changed_after": changed_after,
            "largest_change_before": largest,
        },
        sentence=f"In {sequences} sequences every token from a place on was replaced. Predictions "
        f"before it changed in {changed_before} of them (by up to {largest:.2g}), later ones in "
        f"{changed_after}.",
    )


def edited(model: GPT, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """By how much an edit from its place t on changes each sequence's logits before and after: (B,)

    A change that is no number counts as infinite.
    """
    tokens = some_tokens(model, SEQUENCES, generator)
    B, T = tokens.shape
    places = torch.linspace(1, T - 1, B).long().to(tokens.device)  # t of each sequence
    before = torch.arange(T, device=tokens.device) < places[:, None]  # (B, T)
    others = torch.randint(1, model.vocabulary_size, (B, T), generator=generator)
    replaced = (tokens + others.to(tokens.device)) % model.vocabulary_size

    def change_of(some: Tensor, other: Tensor) -> Tensor:
        change = (model(some) - model(other)).abs()  # (b, T, V)
        return change.nan_to_num(nan=math.inf).amax(-1)

    with torch.no_grad():
        change = torch.cat(
            in_parts(model, change_of, tokens, torch.where(before, tokens, replaced))
        )  # (B, T)
    return change.where(before, 0).amax(1), change.where(~before, 0).amax(1)


def future_gradient(model: GPT, generator: torch.Generator) -> Proof:
    """The gradient of a logit with respect to embeddings of later tokens must be exactly 0."""
    tokens = some_tokens(model, SEQUENCES, generator)
    B, T = tokens.shape
    places = torch.linspace(0, T - 2, B).long().to(tokens.device)  # whose logits are asked about
    later = torch.arange(T, device=tokens.device) > places[:, None]  # (B, T)
    weights = torch.randn(B, model.vocabulary_size, generator=generator)
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

    `tokens` are (B, T), `places` (B,), and `weights` (B, V) add the logits up.
    """
    leaves: list[Tensor] = []

    def replace(module: nn.Module, inputs: Any, embedded: Tensor) -> Tensor:
        leaves.append(embedded.detach().requires_grad_())
        return leaves[-1]

    handle = model.embedding.register_forward_hook(replace)
    try:
        asked = model(tokens)[torch.arange(len(tokens), device=tokens.device), places]  # (B, V)
        total = (asked * weights.to(asked)).sum()
    finally:
        handle.remove()
    if not (leaves and total.requires_grad):
        return torch.zeros(tokens.shape)
    return torch.autograd.grad(total, leaves[0], allow_unused=True)[0].float().abs().amax(-1)


def determinism(model: GPT, generator: torch.Generator) -> Proof:
    """The same tokens twice must give the same logits, bit for bit: no hidden noise."""
    tokens = some_tokens(model, SEQUENCES, generator)

    def compared(some: Tensor) -> tuple[float, bool, bool]:
        first, second = model(some), model(some)
        return float((first - second).abs().max()), torch.equal(first, second), constant(first)

    with torch.no_grad():
        gaps, equal, alike = zip(*in_parts(model, compared, tokens), strict=True)
    gap, same = max(gaps), all(equal)
    return Proof(
        key="determinism",
        title="The same twice",
        passed=None if same and all(alike) else same,
        numbers={"sequences": len(tokens), "largest_difference": gap},
        sentence=f"The same {len(tokens)} sequences read twice gave logits that differ by at most "
        f"{gap:.2g}.",
    )


def random_tokens(model: GPT, generator: torch.Generator) -> Proof:
    """On uniform random tokens nobody can do better than ln V in the mean."""
    losses: list[Tensor] = []
    varied = False

    def guessed(inputs: Tensor, targets: Tensor) -> tuple[Tensor, bool]:
        logits = model(inputs)
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32)).transpose(1, 2)
        return F.cross_entropy(exact, targets, reduction="none"), not constant(logits)

    while sum(map(len, losses)) < GUESSED:
        tokens = some_tokens(model, SEQUENCES, generator, extra=1)
        with torch.no_grad():
            for found, told in in_parts(model, guessed, tokens[:, :-1], tokens[:, 1:]):
                losses.append(found)
                varied = varied or told
    together = torch.cat(losses)  # (B, T)
    bound = Bound.of(together, model.vocabulary_size)
    return Proof(
        key="random_tokens",
        title="Random tokens",
        passed=bound.kept if varied else None,
        numbers=bound.numbers(),
        sentence=f"On {together.numel():,} random tokens the mean loss is {bound}.",
    )


def positive_control(model: GPT, generator: torch.Generator) -> Proof:
    """An evaluator that sees the targets must break the bound of `random_tokens`, or it is blind.

    The same evaluator without them must keep it.
    """
    tokens = some_tokens(model, CHEATED, generator, extra=1, longest=64)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]

    def bound(evaluator: Callable[..., Tensor], **settings: float) -> Bound:
        losses = partial(evaluator, model, step_size=CHEAT_SIZE, **settings)
        return Bound.of(torch.cat(in_parts(model, losses, inputs, targets)), model.vocabulary_size)

    honest = bound(honest_loss)
    with torch.no_grad():
        alike = in_parts(model, lambda some: constant(model(some)), inputs)
    varied = not all(alike)
    for steps, precision in CHEATS if varied else CHEATS[:1]:
        clamped = bound(clamped_target_loss, steps=steps, precision=precision)
        if not clamped.kept:
            break
    caught = honest.kept and not clamped.kept
    words = "caught." if caught else "not caught, so this audit cannot tell a leak."
    return Proof(
        key="positive_control",
        title="A cheat is caught",
        passed=caught if varied else None,
        numbers={
            "steps": steps,
            "precision": precision,
            "honest": honest.mean,
            **clamped.numbers(),
        },
        sentence=f"Latents that settled for {steps} steps with the targets in sight gave "
        f"{clamped}; without them {honest.mean:.4f}. "
        + (
            f"The cheat is {words}" if varied else "All logits are alike: there is no way to cheat."
        ),
    )


def signature(model: GPT, generator: torch.Generator) -> Proof:
    """What predicts may take no argument through which a target could come in."""
    given = list(inspect.signature(type(model).forward).parameters.values())[2:]  # self, tokens
    suspects = [parameter.name for parameter in given if could_carry_a_target(parameter)]
    names = ", ".join(["tokens", *(parameter.name for parameter in given)])
    return Proof(
        key="signature",
        title="No way in",
        passed=not suspects,
        numbers={"arguments": 1 + len(given), "suspects": len(suspects)},
        sentence=f"The function that predicts takes {names}"
        + (f": a target could come in as {', '.join(suspects)}." if suspects else ", no target."),
    )


def could_carry_a_target(parameter: inspect.Parameter) -> bool:
    """Whether an argument beside the tokens is one that must be given, or can hold a tensor."""
    kind, annotation = parameter.kind, parameter.annotation
    if kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or annotation is parameter.empty:
        return True
    holds = any(word in str(annotation) for word in ("Tensor", "Any", "object", "list", "dict"))
    return holds or parameter.default is not None


def some_tokens(
    model: GPT,
    count: int,
    generator: torch.Generator,
    *,
    extra: int = 0,
    longest: int = LONGEST,
) -> Tensor:
    """Uniform random tokens on the model's device: (B, T + extra), B is `count` or what fits"""
    length = min(model.config.sequence_length, longest) + extra
    count = max(2, min(count, LOGITS // (length * model.vocabulary_size)))
    tokens = torch.randint(0, model.vocabulary_size, (count, length), generator=generator)
    return tokens.to(model.embedding.weight.device)


def constant(logits: Tensor) -> bool:
    """Whether every token is equally likely everywhere, as with a head that is still zero."""
    return bool((logits == logits.flatten()[0]).all())
