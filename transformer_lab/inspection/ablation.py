"""Ablation and activation patching: switch a part off, or give it its activation on another text.

A changed model is a `GPT` like any other: it reads with or without a cache, writes and has a loss.
It has modules of its own around the very same weights, on which hooks exchange what a part gives.

Shapes: B batch, T time, D width, H heads, K head width.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lab.inspection.capture import (
    Capture,
    attention_paths,
    feedforward_paths,
    named_parts,
    part_path,
    twin,
)
from transformer_lab.inspection.sequence_losses import SequenceLosses
from transformer_lab.inspection.taps import layer_of
from transformer_lab.model import GPT
from transformer_lab.settings import ConfigError
from transformer_lab.training import micro_batches
from transformer_lab.training.micro_batches import at_once, in_parts

Batch = tuple[Tensor, Tensor]  # inputs and targets, (B, T) each
ERRORS = 2.0  # standard errors up to which a change may be chance


@dataclass(frozen=True, kw_only=True)
class Site:
    """A part whose output can be exchanged: one head of an attention, or a whole module.

    `path` names the module; `head` counts from 0.
    """

    path: str
    head: int | None = None

    @property
    def layer(self) -> int | None:
        """The number of the layer it lies in, from 0."""
        return layer_of(self.path)

    @property
    def label(self) -> str:
        """What to call it, counting from 1."""
        where = f"layer {self.layer + 1}" if self.layer is not None else self.path
        if self.head is not None:
            return f"head {self.head + 1} of {where}"
        part = self.path.split(".")[-1]
        if part.isdigit():
            return f"all of {where}"
        names = {"feedforward": "feed-forward", "output": "output matrix"}
        return f"{names.get(part, part)} of {where}"


def head_site(model: GPT, layer: int, head: int) -> Site:
    """A head, both numbers from 0. Raises ConfigError."""
    return _checked(
        model, Site(path=part_path(attention_paths(model), layer, "attention"), head=head)
    )


def feedforward_site(model: GPT, layer: int) -> Site:
    """A layer's feed-forward, from 0. Raises ConfigError."""
    return Site(path=part_path(feedforward_paths(model), layer, "feedforward"))


def stream_site(model: GPT, layer: int) -> Site:
    """The stream as a layer leaves it, from 0: to be patched, not switched off."""
    return _checked(model, Site(path=f"blocks.{layer}"))


def heads_of(model: GPT) -> list[Site]:
    """Every head of every layer."""
    return [
        Site(path=path, head=head)
        for path in attention_paths(model)
        for head in range(model.get_submodule(path).heads)  # type: ignore[arg-type]
    ]


def feedforwards_of(model: GPT) -> list[Site]:
    """The feed-forward of every layer that has one."""
    return [Site(path=path) for path in feedforward_paths(model)]


def others_of(model: GPT) -> list[Site]:
    """What else writes into the stream: in some variants, output matrices outside of attention."""
    attentions = attention_paths(model)
    return [
        Site(path=path)
        for path in named_parts(model, "output")
        if path.removesuffix(".output") not in attentions
    ]


def ablated(model: GPT, sites: Iterable[Site], means: Mapping[Site, Tensor] | None = None) -> GPT:
    """The model with some parts switched off: they write nothing, or always their mean.

    `means` (see `mean_writes`) has a vector for every site. A head's output bias belongs to no
    head and stays. Raises ConfigError for a part that is not there.
    """
    changed = twin(model)
    for site in sites:
        if _checked(model, site).layer is None or site.path.count(".") == 1:
            raise ConfigError(
                "inspection.site",
                f"Without {site.label} nothing is left to read: switch off heads or feed-forwards.",
            )
        value = means[site] if means is not None else torch.zeros(())
        _exchange(changed, site, _constant(value))
    return changed


def mean_writes(model: GPT, sites: Sequence[Site], batches: Iterable[Batch]) -> dict[Site, Tensor]:
    """What each part gives on average over all positions of some batches: (K,) or (D,) by site."""
    sums: dict[Site, Tensor] = {}  # of the sequences that are being read
    observed, count = twin(model), 0

    def listen(site: Site) -> None:
        def add(found: Tensor) -> Tensor:
            sums[site] = sums.get(site, torch.zeros(())) + found.sum((0, 1))
            return found

        _exchange(observed, site, add)

    for site in sites:
        listen(site)

    def read(some: Tensor) -> dict[Site, Tensor]:
        sums.clear()
        observed(some)
        return dict(sums)

    found: list[dict[Site, Tensor]] = []
    for inputs, _ in batches:
        with torch.no_grad():
            found += in_parts(model, read, inputs)
        count += inputs.numel()
    return {site: torch.stack([each[site] for each in found]).sum(0) / count for site in sites}


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """Give a part what it did for another text, at some positions (all of that text's, if None)."""

    site: Site
    source: Capture
    positions: tuple[int, ...] | None = None


def patched(model: GPT, patches: Iterable[Patch]) -> GPT:
    """The model with some activations taken from the capture of another text, place by place.

    Places count from the start of what the model has in its context. Those that are not read are
    left out. Raises ConfigError for a place the other text does not have.
    """
    changed = twin(model)
    clock = _Clock()
    changed.register_forward_pre_hook(clock.look, with_kwargs=True)
    for patch in patches:
        site = _checked(model, patch.site)
        activation = _activation(patch.source, site)
        positions = patch.positions
        if positions is None:
            positions = tuple(range(len(activation)))
        beyond = [place for place in positions if not 0 <= place < len(activation)]
        if beyond:
            raise ConfigError(
                "inspection.position",
                f"There is no place {beyond[0] + 1} in the other text: it has {len(activation):,} "
                "tokens.",
            )
        _exchange(changed, site, _from_source(activation, positions, clock))
    return changed


def _activation(source: Capture, site: Site) -> Tensor:
    """What a part did in a capture: (T, K) or (T, D)"""
    if site.head is not None:
        return source[f"{site.path}.mixed"][site.head]
    if site.path in (*source.attentions, *source.feedforwards):
        return source[f"{site.path}.write"]
    return source[f"{site.path}.stream_out" if site.path.count(".") == 1 else site.path]


@dataclass
class _Clock:
    """Knows the place of the first token that is being read now."""

    start: int = 0

    def look(self, model: GPT, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        cache = inputs[1] if len(inputs) > 1 else named.get("cache")
        self.start = cache.length if cache else 0


# What a part gave, (B, T, K) or (B, T, D) -> what it gives now.
Replacement = Callable[[Tensor], Tensor]


def _constant(value: Tensor) -> Replacement:
    return lambda found: value.to(found).expand_as(found)


def _from_source(activation: Tensor, positions: Sequence[int], clock: _Clock) -> Replacement:
    def replacement(found: Tensor) -> Tensor:
        start, T = clock.start, found.shape[1]
        places = torch.tensor([place for place in positions if start <= place < start + T])
        if len(places) == 0:
            return found
        found = found.clone()
        found[:, places - start] = activation[places].to(found)
        return found

    return replacement


def _exchange(model: GPT, site: Site, replacement: Replacement) -> None:
    """Put a replacement behind a part of this model for good."""
    part: Any = model.get_submodule(site.path)
    if site.head is None:
        part.register_forward_hook(lambda _, inputs, output: replacement(output))
    else:
        head = site.head

        def before(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            mixed = inputs[0].clone()  # (B, T, D), the heads side by side
            own = mixed.unflatten(2, (part.heads, -1))[:, :, head]  # (B, T, K), a view
            own.copy_(replacement(own))
            return (mixed,)

        part.get_submodule("output").register_forward_pre_hook(before)


def _checked(model: GPT, site: Site) -> Site:
    try:
        part = model.get_submodule(site.path)
    except AttributeError:
        part = None
    if not site.path or part is None or isinstance(part, nn.ModuleList):
        raise ConfigError("inspection.site", f"This model has no part {site.path}.")
    if site.head is not None and not 0 <= site.head < getattr(part, "heads", 0):
        raise ConfigError(
            "inspection.site",
            f"There is no {site.label}: it has {getattr(part, 'heads', 0)} heads.",
        )
    return site


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What switching one part off did to the loss, in nats per token; `done` of `total` parts.

    `error` is the standard error of the change, over the sequences that were read.
    """

    site: Site
    loss: float
    baseline: float
    error: float
    done: int
    total: int

    @property
    def change(self) -> float:
        """How much worse the model is without the part; below 0 it is better."""
        return self.loss - self.baseline

    @property
    def noise(self) -> bool:
        """Whether the change is no larger than other sequences could make it."""
        return abs(self.change) <= ERRORS * self.error


def importance(
    model: GPT,
    batches: Sequence[Batch],
    sites: Sequence[Site] | None = None,
    *,
    mean: bool = False,
) -> Iterator[Importance]:
    """Switch every part off in turn, heads first, and yield the loss each time.

    `batches` are (B, T) inputs and targets; a target of -100 is not counted. `sites` are all that
    write into the stream by default. With `mean` a part gives its mean over the batches instead of
    nothing, which takes away only what it tells apart.
    """
    if sites is None:
        sites = [*heads_of(model), *feedforwards_of(model), *others_of(model)]
    means = mean_writes(model, sites, batches) if mean else None
    whole = SequenceLosses.of(model, batches)
    for done, site in enumerate(sites, start=1):
        without = SequenceLosses.of(ablated(model, [site], means), batches)
        yield Importance(
            site=site,
            loss=without.mean,
            baseline=whole.mean,
            error=without.error_of_change(whole),
            done=done,
            total=len(sites),
        )


def mean_loss(model: GPT, batches: Sequence[Batch]) -> float:
    """The loss in nats per token, the mean over batches."""
    losses = [
        micro_batches.mean_loss(model, batch, at_once(model, batch[0].shape[1]))
        for batch in batches
    ]
    return sum(loss for loss in losses if loss is not None) / len(losses)
