"""Leaks to plant into a copy of a model: each is a few lines that look where no model may look.

Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.inspection.capture import twin
from transformer_lab.inspection.causality import training_twin
from transformer_lab.inspection.proof import Subject
from transformer_lab.model import GPT
from transformer_lab.model.cache import Cache

STRENGTH = 8.0  # added to the logit of the token that was seen: it gets e**8 times as likely
PLACE = 7  # the one that `OnePlace` leaks at


def ahead(tokens: Tensor, V: int, by: int = 1) -> Tensor:
    """The token `by` places later, as scores: (B, T) -> (B, T, V), 0 where there is none"""
    B, T = tokens.shape
    scores = torch.zeros(B, T, V, device=tokens.device)
    if by < T:
        scores[:, :-by] = F.one_hot(tokens[:, by:], V).float()
    return scores


class Leaky(GPT):
    """Adds to its logits what `leak` finds in the tokens: (B, T, V), or None for nothing."""

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        found = self.leak(tokens, cache)
        logits = super().forward(tokens, cache)
        return logits if found is None else logits + found.to(logits)

    def leak(self, tokens: Tensor, cache: Cache | None) -> Tensor | None:
        """What is added to the logits."""
        raise NotImplementedError


class HeadWithoutMask(Leaky):
    """One head attends to the next place and writes which token stands there."""

    def leak(self, tokens: Tensor, cache: Cache | None) -> Tensor | None:
        values = F.normalize(self.embedding(tokens.to(self.embedding.weight.device)), dim=-1)
        seen = F.pad(values[:, 1:], (0, 0, 0, 1))  # what comes one place later: (B, T, D)
        likeness = seen @ F.normalize(self.embedding.weight, dim=-1).T  # cosine: (B, T, V)
        return STRENGTH * likeness.relu() ** 4  # a token is less like others than like itself


class OnePlace(Leaky):
    """Looks at the next token, at one place only."""

    place = PLACE

    def leak(self, tokens: Tensor, cache: Cache | None) -> Tensor | None:
        scores = ahead(tokens, self.vocabulary_size)
        at = self.place % max(1, self.config.sequence_length - 1)  # the last has no next token
        kept = torch.zeros_like(scores)
        kept[:, at : at + 1] = STRENGTH * scores[:, at : at + 1]
        return kept


class ByCacheOnly(Leaky):
    """Looks at the next token when a prompt is read into a cache."""

    def leak(self, tokens: Tensor, cache: Cache | None) -> Tensor | None:
        return None if cache is None else STRENGTH * ahead(tokens, self.vocabulary_size)


class TrainOnly(Leaky):
    """Looks at the next token in training mode."""

    def leak(self, tokens: Tensor, cache: Cache | None) -> Tensor | None:
        return STRENGTH * ahead(tokens, self.vocabulary_size) if self.training else None


class LossSeesTargets(GPT):
    """Its loss is not that of its logits: the targets are added to them."""

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        logits = self(tokens)
        helped = logits + STRENGTH * F.one_hot(targets, self.vocabulary_size).to(logits)
        return F.cross_entropy(helped.flatten(0, 1), targets.flatten().to(logits.device))


class KeepsTargets(GPT):
    """Targets given to it for a loss stay on an attribute, which every later pass reads."""

    last_targets: Tensor | None = None

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        self.last_targets = targets
        return super().loss(tokens, targets)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        logits = super().forward(tokens, cache)
        if self.last_targets is None or self.last_targets.shape != tokens.shape:
            return logits
        return logits + STRENGTH * F.one_hot(self.last_targets, self.vocabulary_size).to(logits)


def as_shown(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """The loss as the lab computes it: (B, T), (B, T) -> ()"""
    return model.loss(inputs, targets)


def through_cache(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of logits that are read into a cache, as a prompt is: (B, T), (B, T) -> ()"""
    logits = model(inputs, model.new_cache())
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten().to(logits.device))


def left_in_training(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of a model that was left in training mode; dropout drops nothing."""
    return training_twin(Subject(model=model, generator=torch.Generator())).loss(inputs, targets)


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A kind of leak: what the model becomes, and how the loss is read in which it shows."""

    label: str
    help: str
    model: type[GPT]
    read: Callable[[GPT, Tensor, Tensor], Tensor] = as_shown
    how: str = "by model.loss, as every loss of the lab"


LEAKS: dict[str, Leak] = {
    "mask": Leak(
        label="A head without a causal mask",
        help="One attention head sees the place after its own and writes into the logits which "
        "token stands there. In code: a mask that was forgotten, or is off by one.",
        model=HeadWithoutMask,
    ),
    "loss": Leak(
        label="Targets added inside the loss",
        help="The forward pass is honest. But the function that computes the loss adds the targets "
        "to the logits, as an evaluator does that hands the labels to the network.",
        model=LossSeesTargets,
    ),
    "attribute": Leak(
        label="Targets on a hidden attribute",
        help="Computing a loss leaves the targets on an attribute of the module, and every later "
        "pass reads them there: a side channel that no argument shows.",
        model=KeepsTargets,
    ),
    "cache": Leak(
        label="Only through the cache",
        help="Without a cache the model is honest. When a prompt is read into a cache at once, "
        "each place sees the next token: a mask that is wrong for the cache only.",
        model=ByCacheOnly,
        read=through_cache,
        how="through the cache",
    ),
    "training": Leak(
        label="Only in training mode",
        help="In eval mode the model is honest. The loss falls for an evaluator that forgets "
        "model.eval(), and while it trains.",
        model=TrainOnly,
        read=left_in_training,
        how="in training mode without dropout, as if eval() was forgotten",
    ),
    "place": Leak(
        label="At one place of the context only",
        help=f"The next token is seen at position {PLACE} and nowhere else. The mean loss hardly "
        "falls: nobody would find this one by looking at a loss curve.",
        model=OnePlace,
    ),
}


def planted(model: GPT, leak: Leak) -> GPT:
    """A copy of the model, of modules of its own, that leaks; the weights are only read."""
    copy = twin(model)
    copy.__class__ = leak.model
    return copy.eval()
