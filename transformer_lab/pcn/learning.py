"""Learning: how weights change, by predictive coding and, to compare, by backpropagation.

Each rule gives the gradient of every weight from the same images and labels. Only the first two
follow an energy; the next two are the cases in which predictive coding *is* backpropagation.

- `settling`: clamp the label, settle for T steps, then dE/dW at what was settled. With T = 0 only
  the last layer learns. The less the label weighs against the hidden layers (precision pi -> 0),
  the nearer its direction is to backpropagation's: as in Whittington & Bogacz 2017. A small output
  error alone is not enough: settled errors then obey backpropagation's recursion, but it starts
  from the settled output error, (I + pi sum_l J_l J_l^T)^-1 (y - y_hat) with J_l = dy_hat/dz_l.
- `zero_divergence`: settle with step size 1 from the feed-forward pass, and take each layer's
  gradient at the moment when the error first reaches it: layer L at t = 0, L-1 at t = 1, and so
  on. Exactly backpropagation. As in Song et al. 2020, "Can the Brain Do Backpropagation?" (Z-IL).
- `fixed_prediction`: predictions and slopes stay those of the feed-forward pass while errors
  settle. With step size 1, after L - 1 steps exactly backpropagation. As in arXiv:2006.04182, and
  Rosenbaum 2022 (doi:10.1371/journal.pone.0266102), whose published code was read for this.

That they are exact is proved by the tests on our own code, not taken from the papers.
Shapes: B batch, C classes, D_l width of layer l.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from transformer_lab.pcn.energy import (
    Link,
    Prediction,
    Values,
    link_energy,
    predict,
    predict_one,
    weight_gradient,
)
from transformer_lab.pcn.inference import settle, settled, tolerance
from transformer_lab.pcn.network import DiscriminativeNetwork, Network


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """The gradient of each weight, (D_p, D_s) each, and how many settling steps were refused."""

    weights: list[Tensor]
    refused: int = 0


def gradients_at(network: Network, predictions: list[Prediction], values: Values) -> list[Tensor]:
    """dE/dW of every link where the values are now"""
    return [
        weight_gradient(link, found, values)
        for link, found in zip(network.links, predictions, strict=True)
    ]


def settling(
    network: DiscriminativeNetwork, images: Tensor, label: Tensor, steps: int, step_size: float
) -> Gradients:
    """Predictive coding proper: images (B, D_0), label (B, C) -> gradients after T steps"""
    state = settled(network, network.start(images, label), steps=steps, step_size=step_size)
    return Gradients(
        weights=gradients_at(network, state.predictions, state.values), refused=state.refused
    )


def zero_divergence(
    network: DiscriminativeNetwork, images: Tensor, label: Tensor, steps: int, step_size: float
) -> Gradients:
    """Each layer learns when the error first reaches it; `steps` and `step_size` do not matter"""
    layers = len(network.links)
    found: list[Tensor] = []  # from the last layer down
    start = network.start(images, label)
    for state in settle(network, start, steps=layers - 1, step_size=1.0, shrink=False):
        arrived = layers - 1 - state.step
        found.append(
            weight_gradient(network.links[arrived], state.predictions[arrived], state.values)
        )
    return Gradients(weights=found[::-1])


def fixed_prediction(
    network: DiscriminativeNetwork, images: Tensor, label: Tensor, steps: int, step_size: float
) -> Gradients:
    """Errors settle against the feed-forward predictions; `steps`, `step_size` do not matter

    eps_l <- eps_l - eta (eps_l - (pi f' * eps_{l+1}) W_{l+1}), with eta = 1, L - 1 times
    """
    values = network.start(images, label)
    predictions = predict(network.links, network.weights, values)
    for _ in range(len(network.links) - 1):
        asked = [
            above.pull @ weight
            for above, weight in zip(predictions[1:], network.weights[1:], strict=True)
            if above.pull is not None
        ]
        predictions = [
            *map(missed_by, network.links, predictions, asked),  # every layer but the last
            predictions[-1],
        ]
    return Gradients(weights=gradients_at(network, predictions, values))


def missed_by(link: Link, prediction: Prediction, error: Tensor) -> Prediction:
    """The same prediction, but missed by `error` (B, D_p)"""
    slope = link.activation.slope(prediction.mean)
    return replace(prediction, error=error, pull=link.precision * slope * error)


def backpropagation(
    network: DiscriminativeNetwork, images: Tensor, label: Tensor, steps: int, step_size: float
) -> Gradients:
    """The gradient of the loss pi/2 |y - y_hat|^2, by automatic differentiation

    `steps` and `step_size` do not matter: there is nothing to settle.
    """
    with torch.enable_grad():
        weights = [weight.detach().requires_grad_() for weight in network.weights]
        value = images
        for link, weight in zip(network.links, weights, strict=True):
            value = link.activation.function(value @ weight.T)
        loss = network.links[-1].precision / 2 * (label - value).square().sum(1).mean()
        return Gradients(weights=list(torch.autograd.grad(loss, weights)))


LearningRule = Callable[[DiscriminativeNetwork, Tensor, Tensor, int, float], Gradients]

PCN_LEARNING_RULES: dict[str, LearningRule] = {
    "settling": settling,
    "zero_divergence": zero_divergence,
    "fixed_prediction": fixed_prediction,
    "backpropagation": backpropagation,
}


@dataclass(frozen=True, kw_only=True)
class Learned:
    """After some steps of learning: the mean energy, and how many steps of a link were refused."""

    step: int
    energy: float
    refused: int


def learn(network: Network, values: Values, *, steps: int, step_size: float) -> Iterator[Learned]:
    """Change the network's weights while the values stay: yield after 0, 1, ... `steps` steps

        W_k <- W_k - eta dE/dW_k

    A link's energy depends on no other weight, so each link halves its own step when its energy
    would rise. Source: as in arXiv:2506.06332; the refusal is ours.
    """
    sizes = [step_size] * len(network.links)
    found = predict(network.links, network.weights, values)
    levels = [link_energy(link, one).mean() for link, one in zip(network.links, found, strict=True)]
    refused = 0
    yield Learned(step=0, energy=float(sum(levels)), refused=refused)
    for step in range(1, steps + 1):
        for index, link in enumerate(network.links):
            slope = weight_gradient(link, found[index], values)
            weight = network.weights[index] - sizes[index] * slope
            after = predict_one(link, weight, values)
            level = link_energy(link, after).mean()
            if bool(level <= levels[index] + tolerance(levels[index])):
                network.weights[index], found[index], levels[index] = weight, after, level
            else:
                sizes[index] /= 2
                refused += 1
        yield Learned(step=step, energy=float(sum(levels)), refused=refused)
