"""What a planted leak does to the loss, and by which number a proof catches it.

Shapes: B batch, T time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.inspection.causality import WORK
from transformer_lab.inspection.planted import Leak, planted
from transformer_lab.inspection.proof import Proof, Subject
from transformer_lab.model import GPT
from transformer_lab.training.micro_batches import in_parts

SEQUENCES = 16  # of the whole context, over which a loss is taken
LUCK = 20.0  # nats, over all tokens, that a loss may lie below ln V by chance
VALIDATION, RANDOM = "validation text", "random tokens"


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Mean losses in nats per token on the very same batches, without and with the leak."""

    text: str
    tokens: int
    honest: float
    leaking: float
    ln_vocabulary: float

    @property
    def impossible(self) -> bool:
        """Whether no honest model has the second: random tokens cannot be told in advance.

        For an honest model the mean of exp(tokens * (ln V - loss)) is 1, whatever it predicts, so
        by Markov's inequality that exponent exceeds `LUCK` once in 500 million times at most.
        """
        below = self.tokens * (self.ln_vocabulary - self.leaking)
        return self.text == RANDOM and below > LUCK


def losses(subject: Subject, leak: Leak) -> Iterator[Losses]:
    """The losses of a model and of its leaking copy, on real text where there is some, then random.

    Both are read in the same way, which is that of the leak.
    """
    model, T = subject.model, subject.context
    count = max(2, min(SEQUENCES, subject.affordable(T, WORK / 20)))
    texts = {RANDOM: subject.random(count, T + 1)}
    if subject.text is not None and len(subject.text) > 1:
        texts = {VALIDATION: subject.real(count, min(T + 1, len(subject.text)))} | texts
    for name, tokens in texts.items():
        yield Losses(
            text=name,
            tokens=tokens[:, 1:].numel(),
            honest=_mean(model, leak, tokens),
            leaking=_mean(planted(model, leak), leak, tokens),
            ln_vocabulary=math.log(model.vocabulary_size),
        )


def _mean(model: GPT, leak: Leak, tokens: Tensor) -> float:
    """The mean loss over (B, T + 1) tokens, read in the way of the leak."""

    def total(inputs: Tensor, targets: Tensor) -> float:
        return float(leak.read(model, inputs, targets)) * len(inputs)

    with torch.no_grad():
        return sum(in_parts(model, total, tokens[:, :-1], tokens[:, 1:])) / len(tokens)


@dataclass(frozen=True)
class Telling:
    """The number in which a proof shows a leak: its names, what it is, and what is honest."""

    names: tuple[str, ...]
    words: str
    honest: str = "must be 0"


GAPS = ("cache", "at_once_into_cache", "beginnings", "beyond_the_context")
TELLING: dict[str, Telling] = {
    "future_edit": Telling(
        ("changed_before",), "sequences whose predictions changed with what comes later"
    ),
    "future_gradient": Telling(
        ("largest_after",), "slope of a prediction along the embedding of a later token"
    ),
    "token_by_token": Telling(
        GAPS,
        "difference, of the largest logit, between reading at once and token by token",
        "must be rounding",
    ),
    "in_training": Telling(
        ("changed_before",), "sequences whose predictions changed with what comes later"
    ),
    "determinism": Telling(("largest_difference",), "difference of logits when read again"),
    "memory": Telling(("largest_change",), "change of an answer by what was read before"),
    "random_tokens": Telling(
        ("mean_rank",), "mean rank of the right one of random tokens", "chance is 0.5"
    ),
    "loss": Telling(
        ("largest_difference",),
        "relative difference of the loss that is shown from the cross-entropy of the logits",
        "must be rounding",
    ),
    "signature": Telling(("suspects",), "arguments through which a target could come in"),
}


def told_by(proof: Proof) -> str:
    """The number by which a failed proof catches a leak, in words."""
    telling = TELLING.get(proof.key)
    if telling is None:
        return proof.sentence
    number = max(proof.numbers.get(name, 0.0) for name in telling.names)
    return f"{telling.words}: {number:,.4g} ({telling.honest})"


def caught_first(proofs: list[Proof]) -> list[Proof]:
    """The same proofs, those that failed first."""
    return sorted(proofs, key=lambda proof: proof.passed is not False)
