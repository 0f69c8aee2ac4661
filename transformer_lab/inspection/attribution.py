"""Direct logit attribution: how much each part of the model contributes to a logit.

The last stream is a sum: the embedding, and what every part has added. If the final norm were
linear, the logit would be a sum over the same parts. It nearly is: it centres (which is linear),
divides by one number for each token, and multiplies by gains. With that number frozen at what it
really was,

    logit_v = Σ_parts w_v · A(part) + w_v · b        A(x) = gains * (x - mean x) / s

where w_v is the head's row of token v, s the frozen scale of the last stream, and b the norm's
bias; RMSNorm does not centre and has no bias. The parts add up to the logit exactly.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
Shapes: T time, D width, H heads, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transformer_lab.inspection.capture import Capture
from transformer_lab.inspection.taps import layer_of, tap_of
from transformer_lab.model import GPT
from transformer_lab.model.norms import NoNorm
from transformer_lab.settings import ConfigError

SAME = 1e-5  # of the longest vector: what rounding may leave of a difference
FIRST = ("embedding", "ngrams", "smear", "positions")


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one part gave to the logit. `layer` and `head` count from 0, and may be none."""

    path: str
    label: str
    value: float
    layer: int | None = None
    head: int | None = None


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """The parts of one logit, in the order of the model; their values add up to `logit`."""

    position: int
    token: int
    logit: float
    parts: tuple[Contribution, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Write:
    """What a part added to the stream of one token: (D,)"""

    path: str
    label: str
    vector: Tensor
    head: int | None = None


def logit_attribution(model: GPT, captured: Capture, position: int, token: int) -> Attribution:
    """Split the logit of `token`, as the next one after `position`, among the parts of the model.

    Raises ConfigError for a post-norm model, for one with a softcap, and for a place or token that
    does not exist.
    """
    _check(model, captured, position, token)
    norm = frozen_norm(model.norm, captured["stream"][position])
    row = head_weight(model)[token].float()
    parts = [
        Contribution(
            path=write.path,
            label=write.label,
            value=float(row @ norm(write.vector)),
            layer=layer_of(write.path),
            head=write.head,
        )
        for write in _writes(captured, position)
    ]
    if norm.bias is not None:
        value = float(row @ norm.bias.float())
        parts.append(Contribution(path="norm", label="Final norm's bias", value=value))
    return Attribution(
        position=position,
        token=token,
        logit=float(captured["logits"][position, token]),
        parts=tuple(parts),
    )


def _check(model: GPT, captured: Capture, position: int, token: int) -> None:
    if model.config.norm_place != "pre":
        raise ConfigError(
            "model.norm_place",
            "Norm Position is post: every layer rescales the whole stream, with all that was "
            "written before, so the logit is no sum over parts. Choose a pre-norm model.",
        )
    if model.config.logit_softcap:
        raise ConfigError(
            "model.logit_softcap",
            "Logit Softcap bends the logits, so they are no sum over parts: attribution needs a "
            "model trained with a softcap of 0.",
        )
    T, V = captured["logits"].shape
    if not (0 <= position < T and 0 <= token < V):
        raise ConfigError(
            "inspection.token",
            f"There is no token id {token} at place {position + 1}: choose an id below {V:,} and "
            f"one of {T:,} places.",
        )


def head_weight(model: GPT) -> Tensor:
    """The matrix that scores tokens, (V, D), whether it is the embedding's or the head's own."""
    return model.embedding.weight if model.config.tied_head else model.head.weight


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenNorm:
    """A norm as the linear map it is for one vector, whose scale is kept: A in the equation."""

    gains: Tensor  # (D,)
    scale: Tensor  # (), 1 / s
    centres: bool
    bias: Tensor | None  # (D,), added after

    def __call__(self, part: Tensor) -> Tensor:
        """(D,) -> (D,)"""
        centred = part - part.mean() if self.centres else part
        return self.gains * centred * self.scale


def frozen_norm(norm: nn.Module, x: Tensor) -> FrozenNorm:
    """The norm, frozen at what it does to the vector x, (D,).

    Raises ConfigError for a norm that is not of this kind.
    """
    if isinstance(norm, NoNorm):
        one = torch.ones_like(x)
        return FrozenNorm(gains=one, scale=one[0], centres=False, bias=None)
    if not isinstance(norm, nn.LayerNorm | nn.RMSNorm):
        raise ConfigError(
            "model.norm",
            f"{type(norm).__name__} is not known to be linear once its scale is frozen: "
            "attribution works for LayerNorm, RMSNorm and none.",
        )
    centres = isinstance(norm, nn.LayerNorm)
    centred = x - x.mean() if centres else x
    assert norm.eps is not None
    return FrozenNorm(
        gains=torch.ones_like(x) if norm.weight is None else norm.weight.float(),
        scale=(centred.square().mean() + norm.eps).rsqrt(),
        centres=centres,
        bias=getattr(norm, "bias", None),
    )


def _writes(captured: Capture, position: int) -> list[_Write]:
    """The parts of the last stream at one token. Raises ConfigError if they do not add up to it."""
    writes = _first_writes(captured, position)
    for layer in range(captured.layers):
        writes += _layer_writes(captured, layer, position)
    if not _add_up(writes, captured["stream"][position]):
        raise ConfigError(
            "inspection.attribution",
            "This model changes its stream between the layers, so the parts of the layers do not "
            "add up to what the head reads: attribution is not defined for it.",
        )
    return writes


def _first_writes(captured: Capture, position: int) -> list[_Write]:
    """What embeds a token; one part where a variant does more before its layers."""
    stream = captured["blocks.0.stream_in"][position]
    parts = [
        _Write(path=name, label=tap_of(name).label, vector=captured[name][position])
        for name in FIRST
        if name in captured.activations
    ]
    if not _add_up(parts, stream):
        return [_Write(path="blocks.0.stream_in", label="All before layer 1", vector=stream)]
    return [part for part in parts if part.vector.any()]  # rotary positions add nothing


def _layer_writes(captured: Capture, layer: int, position: int) -> list[_Write]:
    """Heads, output bias and feed-forward; one part where a layer adds something else."""
    writes: list[_Write] = []
    for path in captured.attentions:
        if layer_of(path) == layer:
            writes += _attention_writes(captured, path, position)
    for path in captured.feedforwards:
        if layer_of(path) == layer:
            label = f"Layer {layer + 1}, feed-forward"
            writes.append(
                _Write(path=path, label=label, vector=captured[f"{path}.write"][position])
            )
    before = captured[f"blocks.{layer}.stream_in"][position]
    added = captured[f"blocks.{layer}.stream_out"][position] - before
    if _add_up(writes, added):
        return writes
    return [_Write(path=f"blocks.{layer}", label=f"Layer {layer + 1}, all it adds", vector=added)]


def _attention_writes(captured: Capture, path: str, position: int) -> list[_Write]:
    name = f"Layer {(layer_of(path) or 0) + 1}"
    writes = [
        _Write(path=f"{path}.heads", label=f"{name}, head {head + 1}", vector=vector, head=head)
        for head, vector in enumerate(captured[f"{path}.heads"][:, position])
    ]
    bias = captured[f"{path}.bias"]
    if bias.any():
        writes.append(
            _Write(path=f"{path}.bias", label=f"{name}, attention output bias", vector=bias)
        )
    return writes


def _add_up(writes: list[_Write], whole: Tensor) -> bool:
    """Whether vectors add up to (D,), but for rounding: measured by the longest of them."""
    vectors = [whole, *(write.vector for write in writes)]
    longest = max(float(vector.norm()) for vector in vectors)
    gap = whole - sum((write.vector for write in writes), torch.zeros_like(whole))
    return float(gap.norm()) <= SAME * longest
