"""What the proofs of the leak audit share: what they examine, what they find, what they may cost.

Shapes: B batch, T time, V vocabulary.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from transformer_lab.inspection.capture import twin
from transformer_lab.model import GPT
from transformer_lab.model.cache import Cache
from transformer_lab.training.micro_batches import in_parts

DOUBLES = ("cpu", "cuda")  # devices that surely have float64
LOOKED_AT = 500  # operations that could be done while one logit is compared


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What one proof found: `passed` is None where it cannot tell.

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

    outcome: Literal[
        "passed", "failed", "broken", "not informative yet", "cannot tell", "not a number"
    ]
    sentence: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model under audit, in eval mode, with what its tokens are drawn from.

    `text` are (N,) token ids of real text, or None where there is none.
    """

    model: GPT
    generator: torch.Generator
    text: Tensor | None = None

    def copy(self) -> GPT:
        """A model of modules of its own around the same weights, with nothing read before."""
        return twin(self.model)

    def exact(self) -> GPT:
        """A copy in float64, where the device has it: rounding cannot be taken for a leak."""
        copied = copy.deepcopy(self.model)
        return copied.double() if self.device.type in DOUBLES else copied

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.embedding.weight.device

    @property
    def context(self) -> int:
        """How many tokens the model reads at once."""
        return self.model.config.sequence_length

    def random(self, count: int, length: int) -> Tensor:
        """Uniform random tokens: (count, length)"""
        size = (count, length)
        tokens = torch.randint(0, self.model.vocabulary_size, size, generator=self.generator)
        return tokens.to(self.device)

    def real(self, count: int, length: int) -> Tensor:
        """Sequences from random places of the text: (count, length), or none without a text"""
        if self.text is None or len(self.text) < length:
            return torch.empty(0, length, dtype=torch.long, device=self.device)
        most = len(self.text) - length
        starts = torch.randint(0, most + 1, (count, 1), generator=self.generator)
        return self.text.cpu()[starts + torch.arange(length)].long().to(self.device)

    def mixed(self, count: int, length: int) -> Tensor:
        """Half real text, where there is some, and random tokens: (count, length)"""
        real = self.real(count // 2, length)
        return torch.cat([self.random(count - len(real), length), real])

    def every_token(self, most: int, length: int) -> Tensor:
        """Rows in which each token of the vocabulary stands once, not first nor last: (B, length)

        As many of them as fit into `most` rows; a row holds `length` - 2.
        """
        inner = max(length - 2, 1)
        order = torch.randperm(self.model.vocabulary_size, generator=self.generator)
        rows = min(most, math.ceil(len(order) / inner))
        tokens = self.random(rows, length)
        filled = torch.cat([order, torch.randperm(len(order), generator=self.generator)])
        while len(filled) < rows * inner:
            filled = torch.cat([filled, order])
        start = 1 if length > 1 else 0
        inside = filled[: rows * inner].view(rows, inner).to(tokens.device)
        tokens[:, start : start + inner] = inside[:, : length - start]
        return tokens

    def affordable(self, length: int, work: float) -> int:
        """How many sequences of so many tokens the model reads with so many operations; 2 or more.

        Two operations for each weight and token, those of attention, and `LOOKED_AT` for each
        logit, since to compare numbers in memory takes longer than to multiply matrices.
        """
        config = self.model.config
        weights = sum(parameter.numel() for parameter in self.model.parameters())
        if not config.tied_head:
            weights -= self.model.embedding.weight.numel()
        token = 2 * weights + 4 * config.layers * length * config.embedding_dim
        token += LOOKED_AT * self.model.vocabulary_size
        return max(2, int(work / (token * length)))


def change(model: GPT, some: Tensor, other: Tensor, before: Tensor | None = None) -> Tensor:
    """By how much the logits at each place differ between two (B, T) inputs: (B, T)

    Only the same bits are no change: twice -inf is none. Where `before` (B, T) is false, a change
    counts as 1, whatever its size.
    """

    def compared(some: Tensor, other: Tensor, before: Tensor) -> Tensor:
        first, second = model(some).detach(), model(other).detach()
        differs = (first != second).any(-1)
        found, measured = differs.to(torch.float64), differs & before
        found[measured] = gap(first[measured], second[measured]).amax(-1).double()
        return found

    asked = torch.ones_like(some, dtype=torch.bool) if before is None else before
    return torch.cat(in_parts(model, compared, some, other, asked))


def gap(first: Tensor, second: Tensor) -> Tensor:
    """|first - second|, 0 where they are the same number, infinite where that is no number."""
    difference = (first - second).abs().nan_to_num(nan=math.inf)
    same = (first == second) | (first.isnan() & second.isnan())
    return difference.masked_fill(same, 0.0)


def replaced(tokens: Tensor, places: Tensor, subject: Subject) -> tuple[Tensor, Tensor]:
    """(B, T) tokens, all of which differ from place t of their row on, and what lies before: (B, T)

    `places` are (B,); 0 replaces a whole row, T nothing.
    """
    V = subject.model.vocabulary_size
    before = torch.arange(tokens.shape[1], device=tokens.device) < places[:, None]
    others = torch.randint(1, max(V, 2), tokens.shape, generator=subject.generator)
    return torch.where(before, tokens, (tokens + others.to(tokens.device)) % V), before


def constant(logits: Tensor) -> bool:
    """Whether every token is equally likely everywhere, as with a head that is still zero."""
    return bool((logits == logits.flatten()[0]).all())


def takes_cache(model: GPT) -> bool:
    """Whether its forward pass can be given a cache."""
    code = getattr(type(model).forward, "__code__", None)
    return code is None or "cache" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def empty(cache: Any) -> bool:
    """Whether a cache is the lab's own and nothing was read into it."""
    read = [layer for layer in cache.layers if layer is not None] if type(cache) is Cache else None
    return read is not None and not any(layer.length for layer in read)


def has_cache(model: GPT) -> bool:
    """Whether it can be read with a cache, and a new one is as it must be."""
    return takes_cache(model) and empty(model.new_cache())
