"""Capture: one pass of a model over some tokens, with every activation on the way.

The pass is the model's own, on the very modules that write and train; hooks only listen. What the
fused attention kernel never spells out, scores and patterns, the layer itself writes out.

Shapes: T time, D width, H heads, K head width, V vocabulary.
"""

import copy
import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lab.inspection.taps import TAPS, layer_of, tap_of
from transformer_lab.model import GPT
from transformer_lab.settings import ConfigError

ROOM = 2**30  # bytes that one capture may take
AFTER_BLOCKS = ("stream", "norm", "logits")
BEFORE_MIXING = ("queries", "keys", "values", "scores", "pattern")
SILENT = {"blocks", "dropout", "head"}  # nothing of their own to read: logits are the head's


@dataclass(frozen=True, kw_only=True, eq=False)
class Capture:
    """What a model computed for (T,) tokens: float32 on the model's device, by path.

    `attentions` and `feedforwards` are the paths of those parts, in the order of the layers. A
    variant may have layers without one, so there can be fewer of them than layers. `softmax` says
    whether patterns are the softmax of scores, `causal` whether no token sees those after it.
    """

    tokens: Tensor
    activations: Mapping[str, Tensor]
    attentions: tuple[str, ...]
    feedforwards: tuple[str, ...]
    layers: int
    softmax: bool = True
    causal: bool = True

    def __getitem__(self, path: str) -> Tensor:
        """The activation at a path. Raises ConfigError when the model has none there."""
        if path not in self.activations:
            raise ConfigError(
                "inspection.path",
                f"Nothing was captured at {path}: choose one of {', '.join(self.activations)}.",
            )
        return self.activations[path]

    def at(self, layer: int, name: str) -> Tensor:
        """The activation of one layer, as in `at(2, "attention.pattern")`. Raises ConfigError."""
        return self[part_path(self.activations, layer, name)]


def part_path(paths: Collection[str], layer: int, name: str) -> str:
    """The path of a layer's part, wherever in the layer it stands. Raises ConfigError."""
    for path in paths:
        if layer_of(path) == layer and f".{path}".endswith(f".{name}"):
            return path
    raise ConfigError("inspection.layer", f"Layer {layer + 1} of this model has no {name}.")


def attention_paths(model: nn.Module) -> tuple[str, ...]:
    """Where the model has attention: modules of that name, which make queries, keys and values."""
    paths = named_parts(model, "attention")
    for path in paths:
        part = model.get_submodule(path)
        if not hasattr(part, "queries_keys_values") or not hasattr(part, "output"):
            raise ConfigError(
                "inspection.attention",
                f"{type(part).__name__} at {path} has no queries, keys and values that are mixed "
                "and put through an output matrix, so there is no pattern to show.",
            )
    return paths


def feedforward_paths(model: nn.Module) -> tuple[str, ...]:
    """Where the model has a feed-forward."""
    return named_parts(model, "feedforward")


def named_parts(model: nn.Module, name: str) -> tuple[str, ...]:
    """The paths of all modules with this last name, in the order of the model."""
    return tuple(path for path, _ in model.named_modules() if path.split(".")[-1] == name)


def twin(model: GPT) -> GPT:
    """A second model with modules of its own but the same weights, to put hooks on."""
    shared = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def capture(
    model: GPT, tokens: Tensor, only: Collection[str] | None = None, room: int = ROOM
) -> Capture:
    """Read (T,) token ids once and keep every activation, or those whose taps are in `only`.

    `only` holds keys of `TAPS`, such as "blocks.{layer}.attention.pattern". The model must be in
    eval mode. Raises ConfigError when the tokens do not fit the model's context or the memory.
    """
    assert not model.training, "dropout would make every pass different"
    _check_length(model, tokens, only, room)
    observed = twin(model)
    recorder = _Recorder(only)
    recorder.listen(observed)
    with torch.no_grad():
        logits = observed(tokens[None])
    recorder.keep("logits", logits[0])
    return Capture(
        tokens=tokens,
        activations=recorder.in_order(),
        attentions=attention_paths(model),
        feedforwards=feedforward_paths(model),
        layers=len(model.blocks),
        softmax=all(model.get_submodule(path).softmax for path in attention_paths(model)),
        causal=model.config.causal,
    )


def _check_length(model: GPT, tokens: Tensor, only: Collection[str] | None, room: int) -> None:
    limit = model.config.sequence_length
    if not 1 <= len(tokens) <= limit:
        raise ConfigError(
            "inspection.tokens",
            f"The text has {len(tokens):,} tokens: this model reads from 1 to {limit:,} at once.",
        )
    if capture_bytes(model, len(tokens), only) > room:
        fitting = next(
            (T for T in range(len(tokens), 0, -1) if capture_bytes(model, T, only) <= room), 0
        )
        raise ConfigError(
            "inspection.tokens",
            f"All activations of {len(tokens):,} tokens would take more than "
            f"{room / 2**20:,.0f} MB in a model of this size: "
            + (f"choose at most {fitting:,} tokens." if fitting else "choose fewer activations."),
        )


def capture_bytes(model: GPT, T: int, only: Collection[str] | None = None) -> int:
    """About how much memory a capture of T tokens takes, in bytes."""
    config = model.config
    D, H = config.embedding_dim, config.heads
    sizes = {"T": T, "Q": T, "S": T, "D": D, "H": H, "K": D // H, "V": model.vocabulary_size}
    sizes["F"] = 2 * config.feedforward_multiple * D  # some variants have more hidden units
    numbers = 0
    for path, tap in TAPS.items():
        if only is None or path in only:
            times = len(model.blocks) if "{layer}" in path else 1
            numbers += times * math.prod(sizes[axis] for axis in tap.axes)
    return 4 * numbers


class _Recorder:
    """Listens at the parts of a model and keeps what they give, without the batch axis."""

    def __init__(self, only: Collection[str] | None) -> None:
        self._only = only
        self._found: dict[str, Tensor] = {}

    def wants(self, *paths: str) -> bool:
        """Whether any of them is to be kept."""
        return self._only is None or any(tap_of(path).path in self._only for path in paths)

    def keep(self, path: str, activation: Tensor) -> None:
        if self.wants(path):
            self._found[path] = activation.float()

    def in_order(self) -> dict[str, Tensor]:
        """What was kept, in the order in which a token meets it on its way through the model."""
        ranks = {path: rank for rank, path in enumerate(TAPS)}
        middle = ranks["blocks.{layer}.stream_in"]  # a variant's own parts come right after it

        def place(path: str) -> tuple[int, int, int]:
            layer = layer_of(path)
            section = 1 if layer is not None else 2 if path in AFTER_BLOCKS else 0
            return section, layer or 0, ranks.get(tap_of(path).path, middle)

        return {path: self._found[path] for path in sorted(self._found, key=place)}

    def listen(self, model: GPT) -> None:
        """Put a hook on every part that there is something to read of."""
        inside = {*attention_paths(model), *feedforward_paths(model)}
        for path, part in model.named_modules():
            parents = {path[:end] for end, sign in enumerate(path) if sign == "."}
            if not path or parents & inside or path.split(".")[-1] in SILENT:
                continue
            part.register_forward_hook(self._hook(path, part))
            if path in inside:
                self._listen_inside(path, part)

    def _hook(self, path: str, part: nn.Module) -> Callable[..., None]:
        """What to do when this part has computed."""
        name = path.split(".")[-1]
        if name in ("attention", "feedforward"):
            return lambda _, inputs, output: self.keep(f"{path}.write", output[0])
        if path in ("ngrams", "smear", "positions"):
            return lambda _, inputs, output: self.keep(path, (output - inputs[0])[0])
        if layer_of(path) is not None and path.count(".") == 1:
            return lambda _, inputs, output: self._block(path, inputs[0], output)
        if path == "norm":
            return lambda _, inputs, output: self._last(inputs[0], output)
        return lambda _, inputs, output: self._other(path, output)

    def _listen_inside(self, path: str, part: nn.Module) -> None:
        if path.endswith("attention"):
            if self.wants(*(f"{path}.{name}" for name in BEFORE_MIXING)):
                part.register_forward_hook(self._attention(path))
            if self.wants(*(f"{path}.{name}" for name in ("mixed", "bias", "heads"))):
                part.get_submodule("output").register_forward_pre_hook(self._mixed(path, part))
        elif hasattr(part, "contract"):
            part.get_submodule("contract").register_forward_pre_hook(
                lambda _, inputs: self.keep(f"{path}.hidden", inputs[0][0])
            )

    def _block(self, path: str, before: Tensor, after: Tensor) -> None:
        self.keep(f"{path}.stream_in", before[0])
        self.keep(f"{path}.stream_out", after[0])

    def _last(self, before: Tensor, after: Tensor) -> None:
        self.keep("stream", before[0])
        self.keep("norm", after[0])

    def _other(self, path: str, output: Any) -> None:
        """A part that only this variant has; kept when it gives one vector for each token."""
        if isinstance(output, Tensor) and output.dim() == 3:
            self.keep(path, output[0])

    def _attention(self, path: str) -> Callable[..., None]:
        def hook(part: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            x, positions = inputs[:2]
            q, k, v = part.queries_keys_values(x, positions)
            k, v = part.for_every_head(k), part.for_every_head(v)
            scores = part.scores(q, k, positions)
            found = (q, k, v, scores, part.pattern(scores))
            for name, activation in zip(BEFORE_MIXING, found, strict=True):
                self.keep(f"{path}.{name}", activation[0])

        return hook

    def _mixed(self, path: str, part: Any) -> Callable[..., None]:
        def hook(output: nn.Module, inputs: tuple[Tensor]) -> None:
            T, D = inputs[0].shape[1:]
            H = part.heads
            mixed = inputs[0][0].view(T, H, D // H).transpose(0, 1)  # (H, T, K)
            self.keep(f"{path}.mixed", mixed)
            bias = output.forward(mixed.new_zeros(D))  # forward alone: hooks stay out of it
            self.keep(f"{path}.bias", bias)
            alone = mixed.new_zeros(H, T, H, D // H)  # one head at a time, the others silent
            heads = torch.arange(H)
            alone[heads, :, heads] = mixed
            self.keep(f"{path}.heads", output.forward(alone.view(H, T, D)) - bias)

        return hook
