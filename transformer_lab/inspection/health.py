"""Health: signs that a training is going well or about to go wrong, one number for each part.

All functions are pure: tensors or a model for reading in, dataclasses out.
Shapes: T time, D width, F hidden units, L layers with attention, H heads.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transformer_lab.inspection.attention import entropy, patterns
from transformer_lab.inspection.capture import Capture, capture
from transformer_lab.inspection.taps import layer_of
from transformer_lab.model import GPT

HIDDEN = "blocks.{layer}.feedforward.hidden"
COLLAPSED = 0.1  # nats: below it nearly all attention goes to one token


@dataclass(frozen=True, kw_only=True)
class PartNumber:
    """A number for all weights of one part; `layer` counts from 0 and is None outside of layers."""

    part: str
    layer: int | None
    value: float


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """The gradients a backward pass has left, by the name of their weights; those not touched."""
    return {
        name: parameter.grad.detach()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def gradient_norms(gradients: Mapping[str, Tensor]) -> list[PartNumber]:
    """The length of each part's gradient, ‖∂loss/∂W‖, over all its weights together."""
    return [
        PartNumber(part=part, layer=layer, value=_norm(tensors))
        for (layer, part), tensors in _by_part(gradients).items()
    ]


def update_ratios(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[PartNumber]:
    """How far each part moved between two snapshots, in lengths of itself: ‖ΔW‖ / ‖W‖.

    Divided by the steps between them it is the pace of one; 1e-3 is a common rule of thumb. Weights
    that were all 0 have no length to compare with: inf if they moved.
    """
    moved = _by_part({name: after[name].to(old) - old for name, old in before.items()})
    ratios = []
    for (layer, part), tensors in _by_part(before).items():
        size, change = _norm(tensors), _norm(moved[layer, part])
        value = change / size if size else torch.inf if change else 0.0
        ratios.append(PartNumber(part=part, layer=layer, value=value))
    return ratios


def _by_part(tensors: Mapping[str, Tensor]) -> dict[tuple[int | None, str], list[Tensor]]:
    """Weights by layer and part: blocks.3.attention.output.weight is attention of layer 3."""
    parts: dict[tuple[int | None, str], list[Tensor]] = defaultdict(list)
    for name, tensor in tensors.items():
        layer = layer_of(name)
        part = name.split(".")[0 if layer is None else 2]
        parts[layer, part].append(tensor)
    return parts


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack([tensor.float().norm().cpu() for tensor in tensors]).norm())


@dataclass(frozen=True, kw_only=True)
class StreamStatistics:
    """The numbers in the stream after one layer, over all tokens and dimensions."""

    layer: int
    mean: float
    deviation: float


def stream_statistics(captured: Capture) -> list[StreamStatistics]:
    """Mean and standard deviation of the stream after every layer."""
    streams = [captured[f"blocks.{layer}.stream_out"] for layer in range(captured.layers)]
    return [
        StreamStatistics(layer=layer, mean=float(x.mean()), deviation=float(x.std(correction=0)))
        for layer, x in enumerate(streams)
    ]


@dataclass(frozen=True, kw_only=True)
class DeadUnits:
    """Hidden units of one feed-forward that were never active: `dead` of `units`.

    Both are None where the question makes no sense, and `note` says why.
    """

    path: str
    layer: int | None
    dead: int | None
    units: int | None
    note: str = ""

    @property
    def share(self) -> float | None:
        """Dead units as a part of all."""
        return None if self.dead is None or not self.units else self.dead / self.units


def dead_units(model: GPT, tokens: Tensor) -> list[DeadUnits]:
    """Count the units that are never above 0 on any token of a (B, T) batch, in every layer.

    A dead unit passes no gradient back, so it stays as it is. Few tokens leave many units unused
    that are not dead: give some thousands.
    """
    awake: dict[str, Tensor] = {}
    for row in tokens:
        captured = capture(model, row, only={HIDDEN})
        for path in captured.feedforwards:
            if f"{path}.hidden" in captured.activations:
                seen = (captured[f"{path}.hidden"] > 0).any(0)  # (F,)
                awake[path] = awake[path] | seen if path in awake else seen
    return [_dead(model, path, awake.get(path)) for path in captured.feedforwards]


def _dead(model: GPT, path: str, awake: Tensor | None) -> DeadUnits:
    activation = getattr(model.get_submodule(path), "activation", None)
    if awake is None or activation is None or not silences_negatives(activation):
        note = (
            "Not applicable: only units that give exactly 0 for all negative inputs, as ReLU's do, "
            "can die; those of this feed-forward do not."
        )
        return DeadUnits(path=path, layer=layer_of(path), dead=None, units=None, note=note)
    dead = int((~awake).sum())
    return DeadUnits(path=path, layer=layer_of(path), dead=dead, units=len(awake))


def silences_negatives(activation: Callable[[Tensor], Tensor]) -> bool:
    """Whether a non-linearity gives exactly 0 for negative numbers, tried from -1e-3 to -100."""
    below = -torch.logspace(-3, 2, 64)
    return not activation(below).any()


@dataclass(frozen=True, kw_only=True)
class HeadEntropy:
    """How widely one head spreads its attention, in nats; whether that is next to nothing."""

    path: str
    layer: int | None
    head: int
    entropy: float
    collapsed: bool


def attention_collapse(captured: Capture, threshold: float = COLLAPSED) -> list[HeadEntropy]:
    """Flag heads whose mean entropy is below `threshold` nats.

    Many such heads at once, early in a training, go with an unstable loss. A single one may just do
    its work: a head that looks at the token before is as sharp. Source: arXiv:2303.06296.
    """
    entropies = entropy(patterns(captured)).cpu()  # (L, H)
    return [
        HeadEntropy(
            path=path,
            layer=layer_of(path),
            head=head,
            entropy=value,
            collapsed=value < threshold,
        )
        for path, row in zip(captured.attentions, entropies.tolist(), strict=True)
        for head, value in enumerate(row)
    ]
