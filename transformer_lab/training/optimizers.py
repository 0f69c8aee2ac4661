"""Optimizers: rules that turn gradients into changes of the weights.

Every parameter group carries a `share`: its learning rate in multiples of the schedule's.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from transformer_lab.model.linear import Linear
from transformer_lab.settings import Config, choice, knob

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


class AdamW(torch.optim.AdamW):
    """Torch's AdamW in its fused form, which respects `found_inf`."""

    found_inf: Tensor


def adamw(model: nn.Module, config: "OptimizerSettings") -> Optimizer:
    """AdamW, with weight decay on matrices only: biases and norm gains are left to move freely.

    Source: arXiv:1711.05101, algorithm 2.
    """
    return _adamw(_named(model), config)


class SGD(torch.optim.SGD):
    """Torch's SGD in its fused form, which respects `found_inf`."""

    found_inf: Tensor


def sgd(model: nn.Module, config: "OptimizerSettings") -> Optimizer:
    """Stochastic gradient descent with momentum: v <- μ v + g, w <- w - η v. Weight decay as above.

    It wants rates a hundred times those of AdamW, since it does not divide by a gradient's size.
    """
    groups = [
        {"params": params, "weight_decay": decay, "share": share}
        for (decay, share), params in _grouped(_named(model), config).items()
    ]
    return SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)


def _named(model: nn.Module) -> dict[str, nn.Parameter]:
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


ROUNDS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is made orthogonal, so that no direction dominates a matrix.

    Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
    """

    def __init__(
        self,
        matrices: Mapping[nn.Parameter, Sequence[int]],
        momentum: float,
        weight_decay: float,
        share: float,
    ) -> None:
        """`matrices` gives the heights of the matrices that stand in each parameter, stacked."""
        self.found_inf = torch.zeros(())
        defaults = {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay, "share": share}
        super().__init__(list(matrices), defaults)
        self._matrices = dict(matrices)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix; those of one shape are orthogonalized together."""
        sound = 1 - self.found_inf  # 0 makes all that follows change nothing
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    for weight, update in self._squares(parameter, group["momentum"], sound):
                        by_shape[tuple(weight.shape)].append((weight, update))
            for pairs in by_shape.values():
                weights, updates = zip(*pairs, strict=True)
                rows, columns = weights[0].shape
                step = group["lr"] * max(1.0, rows / columns) ** 0.5 * sound
                directions = step * orthogonalized(torch.stack(updates))
                decay = 1 - group["lr"] * group["weight_decay"] * sound
                for weight, direction in zip(weights, directions, strict=True):
                    weight.mul_(decay).sub_(direction)

    def _squares(
        self, parameter: nn.Parameter, momentum: float, sound: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """The matrix and its Nesterov update; several where several stand in the parameter."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        gradient = torch.where(sound.bool(), parameter.grad, 0.0)
        weight = (1 - momentum) * sound.to(gradient.dtype)  # PyTorch 2.6 insists on one dtype
        average = state["momentum"].lerp_(gradient, weight)
        update = gradient.lerp(average, momentum)
        heights = list(self._matrices[parameter])
        return list(zip(parameter.split(heights), update.split(heights), strict=True))


def orthogonalized(matrices: Tensor) -> Tensor:
    """(N, R, C) -> (N, R, C): singular values of any size are brought near 1, to 0.4 to 1.6.

    Each round is x <- (a + b xxᵀ + c (xxᵀ)²) x. All factors are polynomials of the first xxᵀ, so
    for a long matrix they are multiplied with one another, which is small, and with x only once.
    Source of the factors: arXiv:2505.16932, algorithm 1.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (1.01 * x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    if x.shape[2] > 2 * x.shape[1]:
        gram, product = x @ x.transpose(1, 2), None
        for a, b, c in ROUNDS:
            factor = torch.baddbmm(b * gram, gram, gram, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            product = factor if product is None else factor @ product
            gram = factor @ gram @ factor
        x = product @ x
    else:
        for a, b, c in ROUNDS:
            gram = x @ x.transpose(1, 2)
            x = torch.baddbmm(a * x, torch.baddbmm(b * gram, gram, gram, alpha=c), x)
    return x.transpose(1, 2) if tall else x


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


def muon(model: nn.Module, config: "OptimizerSettings") -> Optimizer:
    """Muon for the matrices inside the blocks, AdamW for embeddings, head, biases and gains."""
    parameters = _named(model)
    inside = {n: p for n, p in parameters.items() if n.startswith("blocks.") and p.dim() == 2}
    rest = {name: p for name, p in parameters.items() if name not in inside}
    stacked = stacked_matrices(model)
    matrices = {matrix: stacked.get(name, (len(matrix),)) for name, matrix in inside.items()}
    return Together(
        Muon(matrices, config.momentum, config.weight_decay, config.matrix_rate),
        _adamw(rest, config),
    )


def stacked_matrices(model: nn.Module) -> dict[str, Sequence[int]]:
    """The heights of the matrices in each linear map of the model, by the weight's name."""
    return {
        f"{path}.weight": part.stacked
        for path, part in model.named_modules()
        if isinstance(part, Linear)
    }


OPTIMIZERS: dict[str, Callable[[nn.Module, Any], Optimizer]] = {
    "adamw": adamw,
    "sgd": sgd,
    "muon": muon,
}


def optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimizer's state, by `<parameter>/<what>`, as in `head.weight/exp_avg`."""
    state = _states(optimizer)
    return {
        f"{name}/{what}": value
        for name, parameter in model.named_parameters()
        for what, value in state.get(parameter, {}).items()
    }


def restore_optimizer(
    model: nn.Module, optimizer: Optimizer, remembered: Mapping[str, Tensor]
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
class OptimizerSettings(Config):
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
