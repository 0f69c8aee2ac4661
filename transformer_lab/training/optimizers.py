"""Optimizers: rules that turn gradients into changes of the weights.

Every parameter group carries a `share`: its learning rate in multiples of the schedule's.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from transformer_lab.model.attention import MultiHeadAttention
from transformer_lab.model.linear import Linear
from transformer_lab.settings import choice, knob
from transformer_lab.training.muon import Muon
from transformer_lab.training.precision import PrecisionSettings, direction_format
from transformer_lab.training.uncompiled import Uncompiled

LEAST_RATE = 1e-7


class Optimizer(Protocol):
    """What the training loop asks of an optimizer; torch's fused ones have it all.

    `found_inf`, a () tensor on the device, turns a step into nothing while it is 1.
    """

    found_inf: Tensor

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups whose `lr` the schedule sets."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""

    def step(self) -> Any:
        """Update the weights."""


class Learning(Protocol):
    """What an optimizer is made for: a model, or what a process holds of one."""

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        """The parameters, by name."""

    def named_modules(self) -> Iterable[tuple[str, nn.Module]]:
        """The modules that use them."""


@runtime_checkable
class Pieces(Learning, Protocol):
    """Some rows of every parameter, where a model is split over processes."""

    def gathered(self, name: str, piece: Tensor) -> tuple[Tensor, slice]:
        """The (R, ...) numbers whose rows stand beside those of a parameter, and which they are."""


class AdamW(Uncompiled, torch.optim.AdamW):
    """Torch's AdamW in its fused form, which respects `found_inf`."""

    found_inf: Tensor


def adamw(model: Learning, config: "OptimizerSettings") -> Optimizer:
    """AdamW, with weight decay on matrices only: biases and norm gains are left to move freely.

    Source: arXiv:1711.05101, algorithm 2.
    """
    return _adamw(_named(model), config)


class SGD(Uncompiled, torch.optim.SGD):
    """Torch's SGD in its fused form, which respects `found_inf`."""

    found_inf: Tensor


def sgd(model: Learning, config: "OptimizerSettings") -> Optimizer:
    """Stochastic gradient descent with momentum: v <- μ v + g, w <- w - η v. Weight decay as above.

    It wants rates a hundred times those of AdamW, since it does not divide by a gradient's size.
    """
    groups = [
        {"params": params, "weight_decay": decay, "share": share}
        for (decay, share), params in _grouped(_named(model), config).items()
    ]
    return SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)


def _named(model: Learning) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _grouped(
    parameters: dict[str, nn.Parameter], config: "OptimizerSettings"
) -> dict[tuple[float, float], list[nn.Parameter]]:
    """Parameters by (weight decay, share of the rate)."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        decay = config.weight_decay if parameter.dim() >= 2 else 0.0
        share = config.embedding_rate if name == "embedding.weight" else 1.0
        groups[decay, share].append(parameter)
    return groups


def _adamw(parameters: dict[str, nn.Parameter], config: "OptimizerSettings") -> AdamW:
    groups = _grouped(parameters, config)
    return AdamW(
        [{"params": p, "weight_decay": d, "share": s} for (d, s), p in groups.items()],
        lr=config.learning_rate,
        betas=(config.beta_1, config.beta_2),
        fused=True,
    )


class Together:
    """Several optimizers as one, each with its own parameters."""

    def __init__(self, *optimizers: AdamW | Muon) -> None:
        self.optimizers = optimizers

    @property
    def found_inf(self) -> Tensor:
        """1 while steps are to change nothing."""
        return self.optimizers[0].found_inf

    @found_inf.setter
    def found_inf(self, flag: Tensor) -> None:
        for optimizer in self.optimizers:
            optimizer.found_inf = flag

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()


def muon(model: Learning, config: "OptimizerSettings") -> Optimizer:
    """Muon for the matrices inside the blocks, AdamW for embeddings, head, biases and gains."""
    parameters = _named(model)
    inside = {n: p for n, p in parameters.items() if n.startswith("blocks.") and p.dim() == 2}
    rest = {name: p for name, p in parameters.items() if name not in inside}
    stacked = stacked_matrices(model, config.matrix_heads)
    return Together(
        Muon(
            {matrix: stacked.get(name, ()) for name, matrix in inside.items()},
            config.momentum,
            config.weight_decay,
            config.matrix_rate,
            {matrix: partial(model.gathered, name) for name, matrix in inside.items()}
            if isinstance(model, Pieces)
            else {},
            direction_format(config, next(iter(inside.values())).device)
            if inside
            else torch.float32,
        ),
        _adamw(rest, config),
    )


def stacked_matrices(model: Learning, heads: int = 0) -> dict[str, Sequence[int]]:
    """The heights of the matrices in each linear map of the model, by the weight's name.

    With `heads`, queries, keys and values of so many heads count as a matrix.
    """
    found: dict[str, Sequence[int]] = {}
    for path, part in model.named_modules():  # an attention comes before the maps in it
        if isinstance(part, Linear):
            found.setdefault(f"{path}.weight", part.stacked)
        elif heads and isinstance(part, MultiHeadAttention):
            height = heads * part.head_width
            found[f"{path}.query_key_value.weight"] = [
                min(height, rows - above)
                for rows in part.query_key_value.stacked
                for above in range(0, rows, height)
            ]
    return found


OPTIMIZERS: dict[str, Callable[[Learning, Any], Optimizer]] = {
    "adamw": adamw,
    "sgd": sgd,
    "muon": muon,
}


def optimizer_state(model: Learning, optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimizer's state, by `<parameter>/<what>`, as in `head.weight/exp_avg`."""
    state = _states(optimizer)
    return {
        f"{name}/{what}": value
        for name, parameter in model.named_parameters()
        for what, value in state.get(parameter, {}).items()
    }


def restore_optimizer(
    model: Learning, optimizer: Optimizer, remembered: Mapping[str, Tensor]
) -> None:
    """Give a new optimizer the state that `optimizer_state` returned.

    Raises ValueError when it is the memory of another model.
    """
    parameters = dict(model.named_parameters())
    for key, value in remembered.items():
        name, _, what = key.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or value.shape not in (parameter.shape, torch.Size([])):
            raise ValueError(f"the optimizer's {key} belongs to another model")
        for part in _parts(optimizer):
            if any(parameter is known for group in part.param_groups for known in group["params"]):
                part.state[parameter][what] = value.to(parameter.device).clone()


def _parts(optimizer: Optimizer) -> Sequence[torch.optim.Optimizer]:
    return optimizer.optimizers if isinstance(optimizer, Together) else [optimizer]  # type: ignore[list-item]


def _states(optimizer: Optimizer) -> dict[Tensor, dict[str, Tensor]]:
    return {p: state for part in _parts(optimizer) for p, state in part.state.items()}


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(PrecisionSettings):
    """How gradients change the weights."""

    GROUP = "train"

    learning_rate: float = knob(
        3e-4,
        LEAST_RATE,
        1.0,
        "Learning Rate",
        "How far each step moves the weights: too high is unstable, too low is slow.",
    )
    weight_decay: float = knob(
        0.1,
        0.0,
        10.0,
        "Weight Decay",
        "Pulls the weights of matrices towards zero, another guard against overfitting.",
    )
    optimizer: str = choice(
        "adamw",
        OPTIMIZERS,
        "Optimizer",
        "The rule that turns gradients into changes of the weights.",
        words={"adamw": "AdamW", "sgd": "SGD with momentum", "muon": "Muon and AdamW"},
        advanced=True,
    )
    matrix_rate: float = knob(
        5.0,
        0.01,
        100.0,
        "Matrix Rate",
        "Learning rate of the matrices under Muon, in multiples of Learning Rate.",
        advanced=True,
    )
    matrix_heads: int = knob(
        0,
        0,
        64,
        "Heads in a Matrix",
        "Muon takes queries, keys and values of so many heads as one matrix: fewer are less work; "
        "0 takes all.",
        advanced=True,
    )
    embedding_rate: float = knob(
        1.0,
        0.01,
        100.0,
        "Embedding Rate",
        "Learning rate of the token embedding, in multiples of Learning Rate.",
        advanced=True,
    )
    momentum: float = knob(
        0.9,
        0.0,
        0.999,
        "Momentum",
        "How long Muon and SGD remember past gradients.",
        advanced=True,
    )
    beta_1: float = knob(
        0.9,
        0.0,
        0.999,
        "Beta 1",
        "How long AdamW remembers the direction of past gradients.",
        advanced=True,
    )
    beta_2: float = knob(
        0.95,
        0.0,
        0.9999,
        "Beta 2",
        "How long AdamW remembers the size of past gradients.",
        advanced=True,
    )
    gradient_clip: float = knob(
        1.0,
        0.0,
        1000.0,
        "Gradient Clip",
        "Longest gradient allowed; longer ones are shortened to it. 0 turns this off.",
        advanced=True,
    )
