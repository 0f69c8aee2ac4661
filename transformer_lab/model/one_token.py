"""One more token, in as few operations as it takes: how a model reads what it has just written.

With a single token the products are so small that calling an operation costs more than its
arithmetic. So the parts of a model are laid out once, as functions of one vector: without batch and
time, modules and dropout, and with room made beforehand for what each layer computes in turn:

    W x               a product of a matrix and a vector; where it is added to x, in the same call
    q and k           turned by one small matrix, made once a token for all heads and layers
    keys and values   of all layers in one tensor, in which a place is found once a token

The weights are the model's own, not copies. `fits` says for which models this is written; others
read one token as they read many.

Shapes: D width, H heads, G key/value heads, K head width, S keys, L layers, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.attention import LinearAttention, MultiHeadAttention
from transformer_lab.model.block import AttentionBlock, NoResidualBlock, PostNormBlock
from transformer_lab.model.cache import Cache, KeyValueCache, LayerCache, SumCache
from transformer_lab.model.feedforward import FeedForward, SwiGLU
from transformer_lab.model.gpt import GPT
from transformer_lab.model.linear import Linear
from transformer_lab.model.lora import LoRALinear
from transformer_lab.model.norms import LayerNorm, NoNorm, RMSNorm
from transformer_lab.model.positions import (
    LearnedPositions,
    PredictivePositions,
    RotaryPositions,
    SinusoidalPositions,
)

Map = Callable[[Tensor], Tensor]  # a vector -> a vector
Sum = Callable[[Tensor, Tensor], Tensor]  # x, y -> x + what a part makes of y


def fits(model: nn.Module) -> bool:
    """Whether a model can be laid out: one of ours on a CPU, whose parts are as they were made.

    Not one in which blocks or positions settle, and not where something listens to a part or has
    been put in its place.
    """
    return (
        type(model) is GPT
        and not model.training
        and model.config.causal
        and model.config.architecture == "standard"
        and not isinstance(model.positions, PredictivePositions)
        and all(map(_as_made, model.modules()))
        and all(p.device.type == "cpu" and p.dtype == torch.float32 for p in model.parameters())
    )


def _as_made(part: nn.Module) -> bool:
    kind = type(part)
    ours = kind.__module__.startswith(("transformer_lab.model.", "torch.nn."))
    replaced = any(callable(getattr(kind, name, None)) for name in vars(part))
    return ours and not (replaced or part._forward_hooks or part._forward_pre_hooks)


class OneToken:
    """A model that reads one token after another, with the logits it would have by itself."""

    def __init__(self, model: GPT) -> None:
        blocks: Any = model.blocks
        self.table = model.embedding.weight.detach()  # (V, D)
        self.head = self.table if model.config.tied_head else model.head.weight.detach()
        self.ngrams = model.ngrams
        self.before: list[int] = []  # the tokens of an n-gram before this one, the newest first
        self.shares = () if model.smear is None else model.smear.weight.detach().unbind()
        self.places = place_table(model.positions)
        self.recent: list[Tensor] = []  # the embeddings smear looks back at, the newest first
        self.length = 0
        linear = isinstance(blocks[0].attention, LinearAttention)
        self.attention = OneLinear(model) if linear else OneAttention(model)
        self.layers = [
            block_step(block, self.attention.step(layer, block.attention))
            for layer, block in enumerate(blocks)
        ]
        self.norm = vector_map(model.norm)
        self.cap = model.config.logit_softcap

    def follow(self, cache: Cache) -> None:
        """Go on after the tokens, at least one, that the model itself has read into the cache."""
        self.length = cache.length
        self.before = [] if cache.tokens is None else cache.tokens[0].flip(0).tolist()
        self.recent = [] if cache.smeared is None else list(cache.smeared[0].flip(0))
        self.attention.follow(cache.layers)

    def read(self, token: int) -> Tensor:
        """A token id, which follows those read before -> (V,) logits of the next one"""
        x = self.embed(token)
        self.attention.move_to(self.length)
        for layer in self.layers:
            x = layer(x)
        self.length += 1
        logits = torch.mv(self.head, self.norm(x))
        return logits if self.cap == 0 else self.cap * torch.tanh(logits / self.cap)

    def embed(self, token: int) -> Tensor:
        """What the first block reads: a token id -> (D,)"""
        own = self.table[token]
        if self.ngrams is not None:
            known = [token, *self.before]
            for row in self.ngrams.rows(known):
                own = own + self.ngrams.table[row]
            self.before = known[:-1]
        x = own
        for share, before in zip(self.shares, self.recent, strict=True):
            x = torch.addcmul(x, share, before)
        if self.shares:
            self.recent = [own, *self.recent[:-1]]
        return x if self.places is None else x + self.places[self.length]


def place_table(positions: nn.Module) -> Tensor | None:
    """What positions add to each embedding, if anything: (T, D)"""
    if isinstance(positions, LearnedPositions):
        return positions.table.detach()
    return positions.waves if isinstance(positions, SinusoidalPositions) else None


class OneAttention:
    """Attention of one token: softmax(q Kᵀ / √K) V.

    Queries and keys are both multiplied by K^-¼, so that their product comes divided by √K. QK-norm
    divides by √(|x|²/K + ε), in which |x| is the same before a rotation and after it.
    """

    def __init__(self, model: GPT) -> None:
        shape = model.config.attention_shape
        H, G, K = shape.heads, shape.key_value_heads, shape.width // shape.heads
        self.first: Any = next(p for p in model.modules() if isinstance(p, MultiHeadAttention))
        self.positions = model.positions
        self.kept = torch.empty(len(model.blocks), 2, G, shape.capacity, K)  # keys and values
        self.row = torch.empty((H + 2 * G) * K)  # q, k and v of all heads
        rows = self.row.view(H + 2 * G, K)
        self.queries_keys, self.query = rows[: H + G], rows[:H].view(G, H // G, K)
        self.key_value = rows[H:].view(2, G, K)
        self.turned, self.sizes = torch.empty(H + G, K), torch.empty(H + G, 1)
        self.mixed = torch.empty(G, H // G, K)
        self.factor = K**-0.25
        self.least = torch.tensor((K * torch.finfo(torch.float32).eps) ** 0.5)  # √(K ε)
        self.turns = Turns(model.positions, K, K**0.25 if shape.qk_norm else self.factor)

    def follow(self, layers: list[LayerCache | None]) -> None:
        """Take the keys and values of all layers."""
        for own, layer in zip(self.kept, layers, strict=True):
            assert isinstance(layer, KeyValueCache)
            keys, values = layer.so_far()
            own[0, :, : layer.length] = keys[0] * self.factor
            own[1, :, : layer.length] = values[0]

    def move_to(self, place: int) -> None:
        """Find what all layers need for the token at a place."""
        end = place + 1
        self.turn = self.turns.at(place)
        self.new = self.kept.select(3, place).unbind()  # L times (2, G, K), to be written
        keys, values = self.kept.narrow(3, 0, end).unbind(1)
        self.keys, self.values = keys.transpose(2, 3).unbind(), values.unbind()
        bias = self.first.score_bias(1, end, self.positions)  # (H or 1, 1, S)
        self.bias = bias if bias is None or len(bias) == 1 else bias.view(len(self.query), -1, end)

    def step(self, layer: int, part: MultiHeadAttention) -> Map:
        """What a layer's attention does up to its output matrix: (D,) -> (D,)"""
        project, mixed = vector_map(part.query_key_value, self.row), self.mixed.view(-1)
        finish = self.normalize if part.shape.qk_norm else self.put_back

        def attend(x: Tensor) -> Tensor:
            project(x)
            torch.mm(self.queries_keys, self.turn, out=self.turned)
            finish()
            self.new[layer].copy_(self.key_value)
            scores = torch.bmm(self.query, self.keys[layer])  # (G, H/G, S)
            if self.bias is not None:
                scores = scores + self.bias
            torch.bmm(scores.softmax(-1), self.values[layer], out=self.mixed)
            return mixed

        return attend

    def normalize(self) -> None:
        """Put back what was turned, of unit size."""
        torch.linalg.vector_norm(self.queries_keys, dim=1, keepdim=True, out=self.sizes)
        torch.hypot(self.sizes, self.least, out=self.sizes)
        torch.div(self.turned, self.sizes, out=self.queries_keys)

    def put_back(self) -> None:
        """Put back what was turned, as it is."""
        self.queries_keys.copy_(self.turned)


class Turns:
    """The matrix that turns queries and keys by their place, and multiplies them by a factor."""

    def __init__(self, positions: nn.Module, width: int, factor: float) -> None:
        self.matrix = factor * torch.eye(width)
        self.angles: Tensor | None = None
        if isinstance(positions, RotaryPositions):
            cos, sin = factor * positions.cos, factor * positions.sin  # (T, K/2)
            rows = [torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)]
            self.angles = torch.stack(rows, 1)  # (T, 2, 2, K/2): from each half to each half
            halves = self.matrix.view(2, width // 2, 2, width // 2)
            self.numbers = halves.diagonal(dim1=1, dim2=3)  # (2, 2, K/2): where they stand

    def at(self, place: int) -> Tensor:
        """That of one place: (K, K)"""
        if self.angles is not None:
            self.numbers.copy_(self.angles[place])
        return self.matrix


class OneLinear:
    """Linear attention of one token, by its own `step`; what is kept are the sums of its cache."""

    def __init__(self, model: GPT) -> None:
        self.positions = model.positions
        self.caches: list[Any] = []

    def follow(self, layers: list[LayerCache | None]) -> None:
        """Take the sums of all layers."""
        self.caches = list(layers)

    def move_to(self, place: int) -> None:
        """The sums know no places."""

    def step(self, layer: int, part: Any) -> Map:
        """What a layer's attention does up to its output matrix: (D,) -> (D,)"""

        def attend(x: Tensor) -> Tensor:
            cache: SumCache = self.caches[layer]
            q, k, v = part.queries_keys_values(x[None, None], self.positions, cache.length)
            k, v = part.for_every_head(k), part.for_every_head(v)
            mixed: Tensor = part.step(q, k, v, cache)
            part.remember(k, v, cache)
            return mixed.view(-1)

        return attend


def block_step(block: Any, attend: Map) -> Map:
    """A block, given what its attention does: (D,) -> (D,). Its lines are those of `block.py`."""
    if isinstance(block, AttentionBlock):
        return around(block.norm_place, block.norm, attend, onto(block.attention.output))
    hidden, last = feedforward_step(block.feedforward)
    if isinstance(block, NoResidualBlock):
        norms = vector_map(block.norm_1), vector_map(block.norm_2)
        write, contract = vector_map(block.attention.output), vector_map(last)
        return lambda x: contract(hidden(norms[1](write(attend(norms[0](x))))))
    place = "post" if isinstance(block, PostNormBlock) else "pre"
    attention = around(place, block.norm_1, attend, onto(block.attention.output))
    feedforward = around(place, block.norm_2, hidden, onto(last))
    return lambda x: feedforward(attention(x))


def around(place: str, norm: nn.Module, sublayer: Map, write: Sum) -> Map:
    """A norm and a residual connection around what a sub-layer does: (D,) -> (D,)"""
    scale = vector_map(norm)
    if place == "pre":
        return lambda x: write(x, sublayer(scale(x)))
    return lambda x: scale(write(x, sublayer(x)))


def feedforward_step(part: nn.Module) -> tuple[Map, nn.Module]:
    """What a feed-forward does up to its last matrix, and that one."""
    if isinstance(part, FeedForward):
        expand, activation = vector_map(part.expand), part.activation
        return lambda x: activation(expand(x)), part.contract
    if isinstance(part, SwiGLU):
        both = vector_map(part.expand)

        def gated(x: Tensor) -> Tensor:
            gate, hidden = both(x).chunk(2)
            return F.silu(gate) * hidden

        return gated, part.contract
    return vector_map(part), nn.Identity()


def vector_map(part: nn.Module, room: Tensor | None = None) -> Map:
    """A part that works on each token alone, on a single one: (D,) -> (D,), in `room` if given.

    One that has no form here is called as it is.
    """
    form = FORMS.get(type(part))
    if form is not None:
        return form(part, room)
    if room is None:
        return lambda x: part(x[None, None])[0, 0]
    return lambda x: room.copy_(part(x[None, None])[0, 0])


def onto(part: nn.Module) -> Sum:
    """x + what a part makes of y, in one call where it is a matrix."""
    if type(part) is not Linear:
        own = vector_map(part)
        return lambda x, y: x + own(y)
    weight = part.weight.detach()
    if part.bias is None:
        return lambda x, y: torch.addmv(x, weight, y)
    bias = part.bias.detach()
    return lambda x, y: torch.addmv(x, weight, y).add_(bias)


def _linear(part: Any, room: Tensor | None) -> Map:
    weight = part.weight.detach()
    if part.bias is None:
        return lambda x: torch.mv(weight, x, out=room)
    bias = part.bias.detach()
    return lambda x: torch.addmv(bias, weight, x, out=room)


def _lora(part: Any, room: Tensor | None) -> Map:
    """W x + s B (A x), and with DoRA each number times its row's gain."""
    base, scale = _linear(part, room), part.scale
    a, b = part.lora_A.detach(), part.diagonal().detach()
    if not hasattr(part, "magnitude"):
        return lambda x: base(x).addmv_(b, torch.mv(a, x), alpha=scale)
    gain = part.gain().detach()
    bias = None if part.bias is None else part.bias.detach()

    def scaled(x: Tensor) -> Tensor:
        y = base(x).addmv_(b, torch.mv(a, x), alpha=scale)
        return y.mul_(gain) if bias is None else y.sub_(bias).mul_(gain).add_(bias)

    return scaled


def _layer_norm(part: Any, room: Tensor | None) -> Map:
    shape, weight, bias, eps = part.normalized_shape, part.weight, part.bias, part.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)


def _rms_norm(part: Any, room: Tensor | None) -> Map:
    """x w √D / √(x·x + D ε)"""
    width = part.weight.numel()
    weight, least = part.weight.detach() * width**0.5, width * part.eps
    return lambda x: (x * weight).mul_((torch.dot(x, x) + least).rsqrt_())


def _unchanged(part: Any, room: Tensor | None) -> Map:
    return lambda x: x


FORMS: dict[type[nn.Module], Callable[[Any, Tensor | None], Map]] = {
    Linear: _linear,
    LoRALinear: _lora,
    LayerNorm: _layer_norm,
    RMSNorm: _rms_norm,
    NoNorm: _unchanged,
    nn.Identity: _unchanged,
}
