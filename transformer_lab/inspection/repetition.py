"""Proofs that nothing is hidden between calls: no noise, no memory, no numbers that are none.

Shapes: B batch, T time, V vocabulary.
"""

import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from transformer_lab.inspection.causality import WORK
from transformer_lab.inspection.proof import Proof, Subject, change, constant, gap, has_cache
from transformer_lab.model import GPT
from transformer_lab.training.micro_batches import in_parts

PASSES = 600  # of one short sequence, so that what happens once in a hundred times is seen
SEQUENCES = 16
SHORT = 8  # tokens of the sequence that is read so often


def finite(subject: Subject) -> Proof:
    """Weights and logits must be numbers; a token may be impossible (-inf), not all of them."""
    broken = [
        name for name, weight in subject.model.named_parameters() if not weight.isfinite().all()
    ]
    tokens = subject.mixed(SEQUENCES, min(subject.context, 64))

    def wrong(some: Tensor) -> int:
        logits = subject.model(some)
        impossible = (logits == -torch.inf).all(-1)
        return int(((logits.isnan() | (logits == torch.inf)).any(-1) | impossible).sum())

    with torch.no_grad():
        places = sum(in_parts(subject.model, wrong, tokens))
    named = f" Not finite: {', '.join(broken[:3])}." if broken else ""
    return Proof(
        key="finite",
        title="Finite numbers",
        passed=not (broken or places),
        numbers={"weights": len(broken), "places": places},
        sentence=f"Numbers that are not finite stand in {len(broken)} of its weights, and in the "
        f"logits at {places:,} of {tokens.numel():,} places.{named}",
    )


def determinism(subject: Subject) -> Proof:
    """The same tokens must give the same logits, bit for bit, however often they are read."""
    model, T = subject.model, subject.context
    count = min(SEQUENCES, subject.affordable(T, WORK / 20))
    tokens = subject.mixed(count, T)
    short = subject.mixed(1, min(T, SHORT))
    passes = min(PASSES, subject.affordable(short.shape[1], WORK / 4))
    with torch.no_grad():
        largest = float(change(model, tokens, tokens).max())
        first = model(short)
        alike = constant(first) and constant(model(tokens[:1]))
        different = 0
        for _ in range(passes - 1):
            again = model(short)
            if not torch.equal(again, first):
                different, largest = different + 1, max(largest, float(gap(again, first).max()))
    same = largest == 0
    return Proof(
        key="determinism",
        title="The same again",
        passed=None if same and alike else same,
        numbers={"passes": passes, "different": different, "largest_difference": largest},
        sentence=f"{count} sequences read twice, and one read {passes:,} times, of which "
        f"{different} were different, gave logits that differ by at most {largest:.2g}.",
    )


def memory(subject: Subject) -> Proof:
    """Nothing that a model was given before may change what it answers now.

    A new copy answers; then it is given the targets as losses are computed, other text, and a
    cache; then it must give the same bits for the same tokens, and the same loss.
    """
    model, T = subject.copy(), subject.context
    rows = min(SEQUENCES, subject.affordable(T, WORK / 20))
    tokens, others = subject.mixed(rows, T + 1), subject.mixed(rows, T)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    weights, kept = fingerprint(model), state(model)

    def answers(some: Tensor, wanted: Tensor, other: Tensor) -> tuple[float, bool]:
        first = model(some)
        model.loss(some, wanted)
        again = gap(model(some), first).max()
        before = model.loss(some, wanted)
        model.loss(some, other)
        model(other)
        if has_cache(model):
            model(wanted, model.new_cache())
        after = model.loss(some, wanted)
        most = torch.stack([again, gap(model(some), first).max(), gap(before, after)]).max()
        return float(most), constant(first)

    with torch.no_grad():
        found = in_parts(model, answers, inputs, targets, others)
    largest, alike = max(one for one, _ in found), all(same for _, same in found)
    changed = weights != fingerprint(model)
    after = state(model)
    names = [name for name in sorted({*kept, *after}) if kept.get(name) != after.get(name)]
    passed = largest == 0 and not changed
    return Proof(
        key="memory",
        title="No memory",
        passed=None if passed and alike else passed,
        numbers={"sequences": rows, "largest_change": largest, "attributes_changed": len(names)},
        sentence=f"After the targets of {rows} sequences and other text had been read, the same "
        f"tokens gave answers that differ by at most {largest:.2g}."
        + (" Reading changed its weights." if changed else "")
        + (
            f" Between calls it keeps {', '.join(names[:3])}, which changed nothing here."
            if names and passed
            else f" Between calls it keeps {', '.join(names[:3])}."
            if names
            else ""
        ),
    )


def fingerprint(model: GPT) -> str:
    """A name for the very bits of its weights."""
    return " ".join(bits(weight) for weight in model.parameters())


def bits(numbers: Tensor) -> str:
    """A name for the bits of a tensor."""
    plain = numbers.detach().cpu().contiguous().flatten()
    return hashlib.sha256(plain.view(torch.uint8).numpy().data).hexdigest()


def state(model: GPT) -> dict[str, str]:
    """What its parts hold beside weights and parts, and what their classes hold, by name."""
    return dict(_held(model))


def _held(model: GPT) -> Iterator[tuple[str, str]]:
    classes: set[type] = set()
    for path, part in model.named_modules():
        for name, value in {**vars(part), **part._buffers}.items():
            if name not in ("_parameters", "_modules", "_buffers", "training"):
                yield f"{path}.{name}".lstrip("."), _shown(value)
        classes.update(kind for kind in type(part).__mro__ if kind.__module__[:6] != "torch.")
    for kind in classes:
        for name, value in vars(kind).items():
            if not callable(value) and not name.startswith("__"):
                yield f"{kind.__name__}.{name}", _shown(value)


@functools.singledispatch
def _shown(value: Any) -> str:
    """The value as text, so that what changes within it is seen."""
    return repr(value)


@_shown.register
def _(value: Tensor) -> str:
    return f"{value.dtype} {tuple(value.shape)} {bits(value)}"


@_shown.register
def _(value: dict) -> str:  # type: ignore[type-arg]
    return f"{{{', '.join(f'{name}: {_shown(one)}' for name, one in value.items())}}}"


@_shown.register(list)
@_shown.register(tuple)
def _(value: Any) -> str:
    return f"[{', '.join(map(_shown, value))}]"
