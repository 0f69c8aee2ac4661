"""Deep chains of layers, plain or scaled for depth (muPC), and their gradients worked out by hand.

    z_1 = c_1 W_1 x     z_l = s z_{l-1} + c W_l f(z_{l-1}), 1 < l < L     y_hat = c_L W_L f(z_{L-1})

- `standard`: s = 0, every c is 1, and W_l ~ N(0, 1/fan-in).
- `mupc`: s = 1 (skips), W_l ~ N(0, 1), c_1 = D^-1/2, c = (N L)^-1/2 and c_L = 1/N, with D pixels,
  N units and L layers. So each layer adds little, and the output neither fades nor explodes,
  however deep it is. Source: arXiv:2505.13124, with the scales of jpc's `_get_param_scalings`.

The energy and its slopes, with eps_l = z_l - (what comes from below) and eps_L = y - y_hat:

    E = 1/2 sum_{l<L} |eps_l|^2 + 1/2 |eps_L|^2
    dE/dz_l = eps_l - back_l(eps_{l+1})      back_l(v) = s v + f'(z_l) * (c v W_{l+1})
    dE/dW_l = -c eps_l^T f(z_{l-1})

Backpropagation is the same formula for the weights with errors carried back from the output through
a forward pass: delta_L = y - y_hat, delta_l = back_l(delta_{l+1}).

All hidden layers are as wide, so that they are computed side by side where nothing forbids it.
Shapes: B batch, C classes, D pixels, H = L - 1 hidden layers, N units of each.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.pcn.energy import ACTIVATIONS, Activation


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """The weights of the first layer (N, D), of those between (H - 1, N, N), of the last (C, N).

    `scales` are c_1, c and c_L; `skip` is s.
    """

    weights: list[Tensor]
    scales: tuple[float, float, float]
    skip: float
    activation: Activation

    @property
    def hidden(self) -> int:
        """How many hidden layers: H, one less than there are weights."""
        return len(self.weights[1]) + 1

    def copy(self, dtype: torch.dtype | None = None) -> "Chain":
        """The same chain with weights of its own, which may be of another type."""
        weights = [weight.detach().clone().to(dtype or weight.dtype) for weight in self.weights]
        return Chain(
            weights=weights, scales=self.scales, skip=self.skip, activation=self.activation
        )


def new_chain(
    pixels: int,
    width: int,
    classes: int,
    layers: int,
    generator: torch.Generator,
    *,
    parameterization: str = "standard",
    activation: Activation = ACTIVATIONS["tanh"],
) -> Chain:
    """A chain of so many layers of weights, 2 or more, `standard` or `mupc`."""
    shapes = [(width, pixels), (layers - 2, width, width), (classes, width)]
    weights = [torch.randn(*shape, generator=generator) for shape in shapes]
    if parameterization == "mupc":
        scales = (pixels**-0.5, (width * layers) ** -0.5, 1 / width)
        return Chain(weights=weights, scales=scales, skip=1.0, activation=activation)
    plain = [weight * weight.shape[-1] ** -0.5 for weight in weights]
    return Chain(weights=plain, scales=(1.0, 1.0, 1.0), skip=0.0, activation=activation)


PARAMETERIZATIONS = {"standard": "standard", "mupc": "muPC"}


def forward(chain: Chain, images: Tensor, errors: Tensor | None = None) -> Tensor:
    """z_l = (what comes from below) + e_l: (B, D), errors (H, B, N) or none -> (H, B, N)"""
    value = chain.scales[0] * images @ chain.weights[0].T
    hidden = [value if errors is None else value + errors[0]]
    for place, weight in enumerate(chain.weights[1], start=1):
        value = chain.scales[1] * chain.activation.function(hidden[-1]) @ weight.T
        if chain.skip:
            value = value + chain.skip * hidden[-1]
        hidden.append(value if errors is None else value + errors[place])
    return torch.stack(hidden)


def readout(chain: Chain, hidden: Tensor) -> Tensor:
    """y_hat of the topmost hidden layer: (H, B, N) -> (B, C)"""
    return chain.scales[2] * chain.activation.function(hidden[-1]) @ chain.weights[2].T


def predicted(chain: Chain, images: Tensor, hidden: Tensor) -> Tensor:
    """What comes to each hidden layer from the one below it, all at once: -> (H, B, N)"""
    first = (chain.scales[0] * images @ chain.weights[0].T)[None]
    below = hidden[:-1]
    others = chain.scales[1] * torch.bmm(
        chain.activation.function(below), chain.weights[1].transpose(1, 2)
    )
    return torch.cat([first, others + chain.skip * below if chain.skip else others])


def state_gradient(chain: Chain, hidden: Tensor, errors: Tensor, missed: Tensor) -> Tensor:
    """dE/dz of all hidden layers at once: errors (H, B, N), missed y - y_hat (B, C) -> (H, B, N)"""
    slope = chain.activation.slope(chain.activation.function(hidden))
    top = slope[-1] * (chain.scales[2] * missed @ chain.weights[2])
    above = errors[1:]
    back = slope[:-1] * (chain.scales[1] * torch.bmm(above, chain.weights[1]))
    if chain.skip:
        back = back + chain.skip * above
    return errors - torch.cat([back, top[None]])


def carried_back(chain: Chain, hidden: Tensor, missed: Tensor) -> Tensor:
    """-dL/dz_l of L = 1/2 |y - y_hat|^2, by backpropagation through the layers: -> (H, B, N)"""
    slope = chain.activation.slope(chain.activation.function(hidden))
    error = slope[-1] * (chain.scales[2] * missed @ chain.weights[2])
    found = [error]
    for place in range(chain.hidden - 2, -1, -1):
        below = slope[place] * (chain.scales[1] * error @ chain.weights[1][place])
        error = below + chain.skip * error if chain.skip else below
        found.append(error)
    return torch.stack(found[::-1])


def weight_gradients(
    chain: Chain, images: Tensor, hidden: Tensor, errors: Tensor, missed: Tensor
) -> list[Tensor]:
    """dE/dW of every layer, the mean over the batch, from the errors at its two ends: as `weights`

    Given the errors that settling has left it is predictive coding's gradient; given those that
    `carried_back` finds in a forward pass, backpropagation's.
    """
    count = len(images)
    active = chain.activation.function(hidden)
    first, between, last = chain.scales
    return [
        -first * errors[0].T @ images / count,
        -between * torch.bmm(errors[1:].transpose(1, 2), active[:-1]) / count,
        -last * missed.T @ active[-1] / count,
    ]


def chain_backpropagation(chain: Chain, images: Tensor, label: Tensor) -> list[Tensor]:
    """The gradient of 1/2 |y - y_hat|^2, the mean over the batch: (B, D), (B, C) -> as `weights`"""
    hidden = forward(chain, images)
    missed = label - readout(chain, hidden)
    errors = carried_back(chain, hidden, missed)
    return weight_gradients(chain, images, hidden, errors, missed)


def by_layer(gradients: list[Tensor]) -> list[Tensor]:
    """Gradients in the shape of `weights` as a list of one matrix for each layer."""
    first, between, last = gradients
    return [first, *between.unbind(0), last]


def length(gradient: Tensor) -> float:
    """Its length, also where its square would be lost to rounding."""
    largest = float(gradient.abs().max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * float((gradient.double() / largest).norm())
