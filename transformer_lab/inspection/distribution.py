"""One step of writing, looked at: what the model held likely, and what was left to draw from.

Shapes: V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer_lab.generation import SampleConfig, entropy, shaped

KEPT = 256  # likeliest tokens that are kept one by one
GROUPS = 64  # of the others, by their logits


@dataclass(frozen=True, kw_only=True, eq=False)
class Top:
    """The logits of a step in little memory: the likeliest tokens, and how many others have which.

    `tokens` and `logits` are those of the likeliest and of the one that was chosen. Of the others,
    groups with about the same logit have one level, the logarithm of their mean share, and a
    count. So at temperature 1 every share is exact. A vocabulary of up to KEPT has no others.
    """

    tokens: NDArray[np.int32]
    logits: NDArray[np.float32]
    levels: NDArray[np.float32]
    counts: NDArray[np.int32]

    @classmethod
    def of(cls, logits: Tensor, chosen: int) -> "Top":
        """From (V,) logits, float32 on the CPU."""
        tokens = logits.topk(min(KEPT, len(logits))).indices.numpy()
        if chosen not in tokens:
            tokens = np.append(tokens, chosen)
        numbers = np.nan_to_num(logits.numpy(), nan=0.0)
        others = np.delete(numbers, tokens)
        levels, counts = _groups(others) if len(others) else (others, others)
        return cls(
            tokens=tokens.astype(np.int32),
            logits=numbers[tokens],
            levels=levels,
            counts=counts.astype(np.int32),
        )

    @property
    def vocabulary_size(self) -> int:
        """How many tokens there are."""
        return len(self.tokens) + int(self.counts.sum())

    def spread(self) -> Tensor:
        """(V,) logits again, but which of the others has which level is not known any more."""
        logits = np.empty(self.vocabulary_size, dtype=np.float32)
        others = np.ones(len(logits), dtype=bool)
        others[self.tokens] = False
        logits[self.tokens] = self.logits
        logits[others] = np.repeat(self.levels, self.counts)
        return torch.from_numpy(logits)

    def share(self, token: int) -> float:
        """The model's own share of a token; for one of the others, their mean."""
        shares = self.spread().softmax(0)
        known = torch.from_numpy(self.tokens).long()
        if token in self.tokens:
            return float(shares[token])
        return (1 - float(shares[known].sum())) / max(1, int(self.counts.sum()))


def _groups(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Levels and counts of groups of logits that are about the same, the highest first."""
    highest, lowest = logits.max(), logits.min()
    width = max((highest - lowest) / GROUPS, np.float32(1e-6))
    group = np.minimum((highest - logits) / width, GROUPS - 1).astype(np.int64)
    edges = highest - width * np.arange(GROUPS, dtype=np.float32)  # so that no share is too small
    counts = np.bincount(group, minlength=GROUPS)
    shares = np.bincount(group, weights=np.exp(logits - edges[group]), minlength=GROUPS)
    some = counts > 0
    levels = edges[some] + np.log(shares[some] / counts[some])
    return levels.astype(np.float32), counts[some]


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A token that could have come: its share for the model, and its share in what is drawn from.

    `chance` is after temperature, top-k and top-p; 0 means that the token was cut off.
    """

    token: int
    probability: float
    chance: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Distribution:
    """What a step could write. Entropies and surprise are in nats.

    `probabilities` are the model's own (temperature 1, nothing cut), `chances` those that are drawn
    from, (V,) each. `alternatives` are the likeliest tokens for the model, `kept` those that remain
    after the cut, likeliest first; `choices` counts all that remain. `surprise` is -ln of the
    model's own probability of the chosen token, None when none was named.
    """

    probabilities: Tensor
    chances: Tensor
    alternatives: tuple[Alternative, ...]
    kept: tuple[Alternative, ...]
    choices: int
    entropy: float
    entropy_drawn: float
    surprise: float | None


def distribution(
    logits: Tensor, config: SampleConfig, token: int | None = None, count: int = 10
) -> Distribution:
    """Take apart the (V,) logits of a step, in any precision.

    Chances come from the very function that writing draws with.
    """
    logits = logits.detach().float().cpu()
    probabilities = logits.softmax(0)
    chances = shaped(logits, config)
    choices = int(chances.count_nonzero())
    surprise = None if token is None else float(-logits.log_softmax(0)[token])
    return Distribution(
        probabilities=probabilities,
        chances=chances,
        alternatives=_likeliest(probabilities, probabilities, chances, count),
        kept=_likeliest(chances, probabilities, chances, min(count, choices)),
        choices=choices,
        entropy=entropy(probabilities),
        entropy_drawn=entropy(chances),
        surprise=surprise,
    )


def _likeliest(
    order: Tensor, probabilities: Tensor, chances: Tensor, count: int
) -> tuple[Alternative, ...]:
    tokens = order.topk(min(count, len(order))).indices
    rows = zip(
        tokens.tolist(), probabilities[tokens].tolist(), chances[tokens].tolist(), strict=True
    )
    return tuple(
        Alternative(token=token, probability=probability, chance=chance)
        for token, probability, chance in rows
    )
