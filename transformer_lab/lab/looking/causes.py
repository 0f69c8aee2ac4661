"""Effects of ablating some parts of a model, or of patching them from another text.

Shapes: T time, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from transformer_lab.generation import SampleConfig, generate
from transformer_lab.inspection.ablation import (
    Batch,
    Patch,
    Site,
    ablated,
    feedforwards_of,
    heads_of,
    mean_loss,
    mean_writes,
    others_of,
    patched,
    stream_site,
)
from transformer_lab.inspection.capture import Capture
from transformer_lab.lab.looking.looks import LIKELIEST, Numbers, numbers
from transformer_lab.model import GPT
from transformer_lab.settings import ConfigError
from transformer_lab.text.tokenizers import Tokenizer

WRITTEN = 48  # tokens that are written before and after
AS_IT_WRITES = SampleConfig(length=WRITTEN)  # both draw with the same random numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class AppliedIntervention:
    """What is done to a model: `zero`, `mean` or `patch`, to some of its parts.

    A patch takes what the parts did in `source`, at one place, or at all of them when it is None.
    """

    kind: str
    sites: tuple[Site, ...]
    source: Capture | None = None
    position: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Behaviour:
    """A model's losses in nats per token, (V,) probabilities of the next token, and a sample.

    `validation` is None where there is no validation text, `text` for a single token.
    """

    validation: float | None
    text: float | None
    probabilities: Numbers
    written: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect:
    """A model before and after a change.

    `tokens` are the likeliest of both at the place asked for; `divergence` is KL(before || after)
    there, in nats.
    """

    before: Behaviour
    after: Behaviour
    tokens: Numbers
    divergence: float


def changeable(model: GPT) -> list[Site]:
    """Every part that can be switched off or patched: heads, feed-forwards, others; then streams,
    which can only be patched.
    """
    streams = [stream_site(model, layer) for layer in range(len(model.blocks))]
    return [*heads_of(model), *feedforwards_of(model), *others_of(model), *streams]


def is_stream(site: Site) -> bool:
    """Whether it is the stream after a layer."""
    return site.head is None and site.path.count(".") == 1


def means_of(model: GPT, batches: Sequence[Batch]) -> dict[Site, Tensor]:
    """The mean output of each part that writes into the stream."""
    writers = [site for site in changeable(model) if not is_stream(site)]
    return mean_writes(model, writers, batches)


def changed(model: GPT, change: AppliedIntervention, means: Mapping[Site, Tensor] | None) -> GPT:
    """The model with that change. Raises ConfigError where it makes no sense."""
    if change.kind != "patch":
        return ablated(model, change.sites, means if change.kind == "mean" else None)
    if change.source is None:
        raise ConfigError("inspection.source", "Write a second text to take activations from.")
    positions = None if change.position is None else (change.position,)
    return patched(
        model,
        [Patch(site=site, source=change.source, positions=positions) for site in change.sites],
    )


def behaviour(
    model: GPT, tokenizer: Tokenizer, tokens: Tensor, position: int, batches: Sequence[Batch]
) -> Behaviour:
    """What a model does with (T,) tokens, what it expects after one place, and its losses."""
    inputs, targets = tokens[None, :-1], tokens[None, 1:]
    logits = model(tokens[None])[0, position]
    follows = list(generate(model, tokens.cpu().numpy(), AS_IT_WRITES))
    return Behaviour(
        validation=mean_loss(model, batches) if batches else None,
        text=mean_loss(model, [(inputs, targets)]) if len(tokens) > 1 else None,
        probabilities=numbers(logits.softmax(-1)),
        written=tokenizer.decode(follows),
    )


def effect(before: Behaviour, after: Behaviour) -> Effect:
    """The behaviour before and after."""
    p, q = before.probabilities, after.probabilities
    most = np.argsort(-np.maximum(p, q), kind="stable")[:LIKELIEST]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / np.maximum(q, 1e-45)), 0.0)
    return Effect(before=before, after=after, tokens=most, divergence=max(0.0, float(terms.sum())))
