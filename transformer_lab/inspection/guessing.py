"""Proofs about what is predicted: chance on random tokens, the loss that is shown, a caught cheat.

Shapes: B batch, T time, V vocabulary.
"""

import inspect
import math
import typing
from collections.abc import Callable
from functools import partial
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.inspection.bound import Bound
from transformer_lab.inspection.causality import WORK, Edits
from transformer_lab.inspection.clamped import clamped_target_loss, honest_loss
from transformer_lab.inspection.proof import (
    Proof,
    Subject,
    change,
    constant,
    empty,
    gap,
    replaced,
    takes_cache,
)
from transformer_lab.model import GPT
from transformer_lab.model.cache import Cache
from transformer_lab.training.micro_batches import in_parts

GUESSES = 8192  # random tokens that are guessed
LONGEST = 128  # of a sequence of them
LUCK = 5.0  # standard errors the mean rank may be too good by: once in 3 million honest audits
LOSSES = 64  # losses of single short sequences
SHORT = 8
SAME_LOSS = 1e-6  # of the loss: what two ways of computing it may differ by in float64
ROUGH_LOSS = 1e-2  # the same where the model itself rounds to fewer digits
PLANTED = 16  # sequences on which the audit must find the leak that was planted
CHEATED = (4, 64)  # sequences and tokens on which the clamped evaluator is tried
CHEATED_LOGITS = 2**20  # numbers of them at most
CHEATS = ((10, 1.0), (60, 1.0), (60, 30.0), (200, 1000.0))  # steps and weight, until it is caught
CHEAT_SIZE = 0.5
MOVABLE = (0.02, 15.0)  # how far logits spread where clamped targets can be expected to win


def random_tokens(subject: Subject) -> Proof:
    """Random tokens cannot be told in advance: the right one may rank no better than by chance.

    Its rank among all tokens is uniform for an honest model, however it spreads its logits, so
    the test holds for impossible and for very sure predictions, too; a mean loss has no such law.
    """
    model, V = subject.model, subject.model.vocabulary_size
    T = min(subject.context, LONGEST)
    rows = min(max(GUESSES // T, 2), subject.affordable(T, WORK / 4))
    tokens = subject.random(rows, T + 1)

    def guessed(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, bool]:
        logits = model(inputs)
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses = F.cross_entropy(exact.transpose(1, 2), targets, reduction="none")
        own = exact.gather(2, targets[..., None])
        better, tied = (exact > own).sum(2), (exact == own).sum(2)
        return losses, (better + tied / 2) / V, not constant(logits)

    with torch.no_grad():
        found = in_parts(model, guessed, tokens[:, :-1], tokens[:, 1:])
    losses = torch.cat([one[0] for one in found])
    ranks = torch.cat([one[1] for one in found])
    varied = any(one[2] for one in found)
    bound = Bound.of(losses.masked_fill(~losses.isfinite(), 1e4), V)
    mean = float(ranks.double().mean())
    least = 0.5 - LUCK * math.sqrt(1 / 12 / ranks.numel())
    return Proof(
        key="random_tokens",
        title="Random tokens",
        passed=mean >= least if varied else None,
        numbers={**bound.numbers(), "mean_rank": mean, "least_rank": least},
        sentence=f"On {ranks.numel():,} random tokens the right one ranks at {mean:.3f} of the "
        f"vocabulary (0 is first, chance is 0.5, below {least:.3f} is no luck); the mean loss is "
        f"{bound}.",
    )


def loss_shown(subject: Subject) -> Proof:
    """`model.loss`, which every loss shown comes from, must be the cross-entropy of its logits.

    A copy that has never seen the targets gives the logits; in eval and in training mode.
    """
    T = subject.context
    rows = min(16, subject.affordable(T, WORK / 40))
    few = min(LOSSES, subject.affordable(SHORT, WORK / 20))
    batches = [subject.mixed(rows, T + 1), *subject.mixed(few, min(SHORT, T) + 1).split(1)]
    asked, logits_of = subject.exact(), subject.exact()

    def compared(inputs: Tensor, *targets: Tensor) -> tuple[float, float]:
        logits = logits_of(inputs).flatten(0, 1)
        found = [
            (asked.loss(inputs, some), F.cross_entropy(logits, some.flatten())) for some in targets
        ]
        largest = max(
            float(gap(loss.to(right), right)) / max(1.0, float(right.abs().clamp(max=1e30)))
            for loss, right in found
        )
        return largest, SAME_LOSS if logits.dtype == torch.float64 else ROUGH_LOSS

    found: list[tuple[float, float]] = []
    with torch.no_grad():
        for tokens in batches:
            inputs, targets = tokens[:, :-1], tokens[:, 1:]
            found += in_parts(asked, compared, inputs, targets, targets.flip(1))
    largest, limit, count = (
        max(one for one, _ in found),
        max(few for _, few in found),
        2 * len(batches),
    )
    return Proof(
        key="loss",
        title="The loss that is shown",
        passed=largest <= limit,
        numbers={"losses": count, "largest_difference": largest},
        sentence=f"{count:,} losses as the lab computes them differ from the cross-entropy of "
        f"logits that were computed without targets by at most {largest:.2g}, relative.",
    )


def positive_control(subject: Subject) -> Proof:
    """An audit that cannot fail proves nothing: two cheats on this very model must be caught.

    A leak is planted into a copy, whose embeddings take in the next token's. And an evaluator
    that clamps the targets must get below ln V, while without them it gives the model's own loss.
    """
    planted = planted_leak(subject)
    clamped, numbers, words = clamped_cheat(subject)
    results = (planted, clamped)
    passed = False if False in results else None if None in results else True
    return Proof(
        key="positive_control",
        title="Cheats are caught",
        passed=passed,
        numbers={"planted_caught": float(planted is True), **numbers},
        sentence={
            True: "A leak planted into a copy of the model was caught by editing the future. ",
            False: "A leak planted into a copy of the model was not caught. ",
            None: "A leak planted into a copy of the model changes none of its predictions. ",
        }[planted]
        + words,
    )


def planted_leak(subject: Subject) -> bool | None:
    """Whether editing finds that embeddings take in the next one; None where nothing changes."""
    model, T, found = subject.copy(), subject.context, Edits()

    def smear_ahead(module: Any, inputs: Any, embedded: Tensor) -> Tensor:
        return torch.cat([embedded[:, :-1] + embedded[:, 1:], embedded[:, -1:]], dim=1)

    model.embedding.register_forward_hook(smear_ahead)
    tokens = subject.mixed(min(PLANTED, subject.affordable(T, WORK / 40)), T)
    places = torch.randint(1, T, (len(tokens),), generator=subject.generator).to(tokens.device)
    other, before = replaced(tokens, places, subject)
    with torch.no_grad():
        found.add(change(model, tokens, other, before), before)
    return True if found.before else False if found.after else None


def clamped_cheat(subject: Subject) -> tuple[bool | None, dict[str, float], str]:
    """Whether the clamped evaluator is caught, what was measured, and what to say of it."""
    model, V = subject.model, subject.model.vocabulary_size
    length = min(subject.context, CHEATED[1], max(CHEATED_LOGITS // V // 2, 2))
    tokens = subject.random(min(CHEATED[0], max(CHEATED_LOGITS // V // length, 2)), length + 1)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]

    def losses(evaluator: Callable[..., Tensor], **settings: float) -> Tensor:
        measured = partial(evaluator, model, step_size=CHEAT_SIZE, **settings)
        return torch.cat(in_parts(model, measured, inputs, targets))

    with torch.no_grad():
        logits = torch.cat(in_parts(model, lambda some: model(some).float().cpu(), inputs))
    own = F.cross_entropy(logits.transpose(1, 2), targets.cpu(), reduction="none")
    possible = own.isfinite()  # nothing pulls a token up that is impossible
    honest = losses(honest_loss)[possible]
    if constant(logits):
        words = "All logits are alike: there is no way to cheat by clamping targets."
        return None, {"honest": float(honest.mean())}, words
    for steps, precision in CHEATS:
        settled = losses(clamped_target_loss, steps=steps, precision=precision)[possible]
        clamped = Bound.of(settled.nan_to_num(nan=1e4, posinf=1e4), V)
        if not clamped.kept:
            break
    apart = float(gap(honest, own[possible]).max())
    own_loss = apart <= 0.1 * max(1.0, float(own[possible].max()))
    caught: bool | None = not clamped.kept
    # Impossible tokens say nothing of how far the others lie apart.
    rows = logits.flatten(0, 1)
    spread = float(rows[:, rows.isfinite().all(0)].std(1).median())
    if not own_loss or not (caught or MOVABLE[0] <= spread <= MOVABLE[1]):
        caught = None
    numbers = {"steps": float(steps), "precision": precision, "spread": spread}
    numbers |= {"honest": float(honest.mean()), **clamped.numbers()}
    words = {
        True: "The cheat is caught.",
        False: "The cheat is not caught, so this audit cannot tell a leak.",
        None: f"The cheat does not win here: logits that spread by {spread:.2g} are too "
        f"{'small' if spread < MOVABLE[0] else 'large'} for targets to pull at."
        if own_loss
        else "But the model's own forward pass gives other logits than its layers one by one, so "
        "this cheat is none of its own.",
    }[caught]
    return (
        caught,
        numbers,
        f"Latents that settled for {steps} steps with the targets in sight gave {clamped}; "
        f"without them {numbers['honest']:.4f}. {words}",
    )


def signature(subject: Subject) -> Proof:
    """What predicts may take no argument through which a target could come in.

    Only a cache of the lab's own class, which must be empty when it is new, and switches.
    """
    model = subject.model
    given = list(inspect.signature(type(model).forward).parameters.values())[2:]  # self, tokens
    hints = _hints(type(model))
    suspects = [one.name for one in given if could_carry_a_target(one, hints.get(one.name))]
    if takes_cache(model) and not empty(model.new_cache()):
        suspects.append("a new cache that is not empty")
    names = ", ".join(["tokens", *(parameter.name for parameter in given)])
    return Proof(
        key="signature",
        title="No way in",
        passed=not suspects,
        numbers={"arguments": 1 + len(given), "suspects": len(suspects)},
        sentence=f"The function that predicts takes {names}"
        + (f": a target could come in as {', '.join(suspects)}." if suspects else ", no target."),
    )


def _hints(kind: type) -> dict[str, Any]:
    """The types of its arguments as objects, none where a name stands for nothing."""
    try:
        return typing.get_type_hints(kind.forward)  # type: ignore[attr-defined]
    except NameError:
        return {}


def could_carry_a_target(parameter: inspect.Parameter, hint: Any) -> bool:
    """Whether an argument beside the tokens can hold more than a cache or a switch."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return True
    kinds = set(typing.get_args(hint)) or {hint}
    return not kinds <= {Cache, bool, NoneType} or parameter.default not in (None, True, False)


def some_tokens(
    model: GPT, count: int, generator: torch.Generator, *, extra: int = 0, longest: int = LONGEST
) -> Tensor:
    """Uniform random tokens on the model's device: (B, T + extra), B is `count`"""
    length = min(model.config.sequence_length, longest) + extra
    return Subject(model=model, generator=generator).random(count, length)
