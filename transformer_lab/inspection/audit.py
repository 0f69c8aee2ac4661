"""The leak audit: proofs that a model predicts a token without having seen it.

Each is run live on the model in question. One is done to the audit itself: leaks that are planted
must be caught, since an audit that cannot fail proves nothing. What an audit does not prove is said
in `LIMITS`.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from transformer_lab.inspection.capture import twin
from transformer_lab.inspection.causality import (
    future_edit,
    future_gradient,
    in_training,
    token_by_token,
)
from transformer_lab.inspection.guessing import (
    loss_shown,
    positive_control,
    random_tokens,
    signature,
)
from transformer_lab.inspection.proof import Proof, Subject, Verdict
from transformer_lab.inspection.repetition import determinism, finite, memory
from transformer_lab.model import GPT

__all__ = ["LIMITS", "PROOFS", "Proof", "Verdict", "audit", "verdict"]

PROOFS: tuple[Callable[[Subject], Proof], ...] = (
    finite,
    future_edit,
    future_gradient,
    token_by_token,
    in_training,
    determinism,
    memory,
    random_tokens,
    loss_shown,
    positive_control,
    signature,
)
LIMITS = (
    "This is evidence, not a proof for all inputs: it does not exclude a leak that shows in fewer "
    "than about 1 of 200 sequences or passes, only after text that was not drawn, only on another "
    "device or in another number format, or that is smaller than rounding where bits cannot be "
    "compared. Where a vocabulary or a context is too large, not every token and place is tried; "
    "the numbers say how many were. And it says nothing of the text: validation text that the "
    "model was trained on leaks in another way."
)


def audit(model: GPT, generator: torch.Generator, text: Tensor | None = None) -> Iterator[Proof]:
    """Yield the proofs, each as it is done; the model is left as it was.

    It may be on any device and in any precision. `generator` is one of the CPU; `text` are (N,)
    token ids of real text, which is read beside random tokens. With a model whose numbers are not
    finite only the first proof is given.
    """
    subject = Subject(model=twin(model).eval(), generator=generator, text=text)
    for proof in PROOFS:
        found = proof(subject)
        yield found
        if found.key == "finite" and not found.passed:
            return


def verdict(proofs: Iterable[Proof]) -> Verdict:
    """The conclusion from all. Found leaks count, whatever the audit's own control says."""
    found = {proof.key: proof for proof in proofs}
    failed = [proof for proof in found.values() if proof.passed is False]
    if failed and failed[0].key == "finite":
        return Verdict(
            outcome="not a number",
            sentence=f"{failed[0].sentence} Nothing can be said of leaks: train it anew with a "
            "smaller learning rate, or go back to an earlier moment.",
        )
    leaks = [proof for proof in failed if proof.key != "positive_control"]
    if leaks:
        named = ", ".join(proof.title.lower() for proof in leaks)
        return Verdict(outcome="failed", sentence=f"Information leaks: {named}.")
    if failed:
        return Verdict(outcome="broken", sentence=f"The audit is broken. {failed[0].sentence}")
    unclear = [proof for proof in found.values() if proof.passed is None]
    if "random_tokens" in (proof.key for proof in unclear):
        return Verdict(
            outcome="not informative yet",
            sentence="Nothing is wrong, and nothing is shown: this model's answer does not depend "
            "on its input. Train it a few steps first.",
        )
    if unclear:
        return Verdict(
            outcome="cannot tell",
            sentence=f"No leak was found, but this audit cannot tell. {unclear[0].sentence}",
        )
    return Verdict(
        outcome="passed",
        sentence="No proof found a way from a target to its prediction, and the cheats were "
        "caught.",
    )
