"""Leaks planted into copies of the models of this lab; nothing of it is kept with the run."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.inspection.audit import Proof, Verdict, audit, verdict
from transformer_lab.inspection.planted import LEAKS, planted
from transformer_lab.inspection.planting import Losses, losses
from transformer_lab.inspection.proof import Subject
from transformer_lab.inspection.repetition import fingerprint
from transformer_lab.lab.training.snapshot import Snapshot


@dataclass(frozen=True)
class Untouched:
    """Whether the model itself has the same weights as before, bit for bit."""

    same: bool
    seed: int


def plant_and_audit(
    snapshot: Snapshot,
    kind: str,
    text: Callable[[], Tensor | None] = lambda: None,
    seed: int | None = None,
) -> Iterator[Losses | Proof | Verdict | Untouched]:
    """The losses without and with a leak of `LEAKS`, the proofs on the leaking copy, the verdict.

    `text` gives (N,) token ids of real text, if there is some. Without a seed a fresh one is drawn.
    """
    leak = LEAKS[kind]
    seed = secrets.randbelow(2**31) if seed is None else seed
    generator = torch.Generator().manual_seed(seed)
    model, real = snapshot.model(), text()
    before = fingerprint(model)
    yield from losses(Subject(model=model, generator=generator, text=real), leak)
    proofs: list[Proof] = []
    for proof in audit(planted(model, leak), generator, real):
        proofs.append(proof)
        yield proof
    yield verdict(proofs)
    yield Untouched(same=fingerprint(model) == before, seed=seed)
