"""The energy of a predictive-coding network, and its gradients worked out by hand.

A network is a set of nodes, each with a vector as its value, and of links. Over a link one node
predicts another, and what the prediction misses is its error. The energy is the sum of the squared
errors; inference lowers it by changing values, learning by changing weights, and both need only
what stands at the two ends of a link.

    prediction   mu_k  = f_k(v_s W_k^T)              s: the node that predicts
    error        eps_k = v_p - mu_k                  p: the node that is predicted
    energy       E     = sum_k  pi_k / 2 |eps_k|^2   pi_k: precision, the weight of that error

    dE/dv_i =  sum over links that predict i      pi_k eps_k
             - sum over links that start at i     (pi_k f_k' * eps_k) W_k
    dE/dW_k = -(pi_k f_k' * eps_k)^T v_s

A link whose predicted node has no value (an unknown label) has no error, and so pulls at nothing.

Shapes: B batch, D_i width of node i. Values are (B, D_i), weights (D_p, D_s).
Source: as in Whittington & Bogacz 2017 (doi:10.1162/NECO_a_00949) and the review arXiv:2107.12979;
the gradients are derived here, and checked against automatic differentiation in the tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Activation:
    """A non-linearity f, and its slope f' written in terms of what f gave."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda drive: drive, torch.ones_like),
    "relu": Activation(torch.relu, lambda mean: (mean > 0).to(mean.dtype)),
    "tanh": Activation(torch.tanh, lambda mean: 1 - mean.square()),
}


@dataclass(frozen=True, kw_only=True)
class Link:
    """Node `source` predicts node `predicted`; `precision` says how much a miss weighs."""

    source: str
    predicted: str
    activation: Activation
    precision: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What came over one link.

    `mean` (B, D_p) is the prediction mu. `error` (B, D_p) is eps, and `pull` (B, D_p) is
    pi f' * eps, what the error asks of the drive v_s W^T; both are None when the predicted node
    has no value.
    """

    mean: Tensor
    error: Tensor | None
    pull: Tensor | None


def predict(links: Sequence[Link], weights: Sequence[Tensor], values: Values) -> list[Prediction]:
    """The prediction and the error of every link: values (B, D_i) -> one Prediction per link"""
    return [predict_one(link, weight, values) for link, weight in zip(links, weights, strict=True)]


def predict_one(link: Link, weight: Tensor, values: Values) -> Prediction:
    """mu = f(v_s W^T) and eps = v_p - mu of one link"""
    mean = link.activation.function(values[link.source] @ weight.T)
    if link.predicted not in values:
        return Prediction(mean=mean, error=None, pull=None)
    error = values[link.predicted] - mean
    return Prediction(
        mean=mean, error=error, pull=link.precision * link.activation.slope(mean) * error
    )


def link_energy(link: Link, prediction: Prediction) -> Tensor:
    """pi/2 |eps|^2 of one link: -> (B,), zeros when nothing was predicted"""
    if prediction.error is None:
        return prediction.mean.new_zeros(len(prediction.mean))
    return link.precision / 2 * prediction.error.square().sum(1)


def energy(links: Sequence[Link], predictions: Sequence[Prediction]) -> Tensor:
    """E of every example of the batch: -> (B,)"""
    return torch.stack(
        [link_energy(link, found) for link, found in zip(links, predictions, strict=True)]
    ).sum(0)


def value_gradient(
    node: str, links: Sequence[Link], weights: Sequence[Tensor], predictions: Sequence[Prediction]
) -> Tensor | float:
    """dE/dv of one node: -> (B, D_i), or 0 when no error touches it"""
    gradient: Tensor | float = 0.0
    for link, weight, found in zip(links, weights, predictions, strict=True):
        if found.error is None or found.pull is None:
            continue
        if link.predicted == node:
            gradient = gradient + link.precision * found.error
        if link.source == node:
            gradient = gradient - found.pull @ weight
    return gradient


def weight_gradient(link: Link, prediction: Prediction, values: Values) -> Tensor:
    """dE/dW of one link, the mean over the batch: -> (D_p, D_s)

    Hebbian: the error after the connection times the activity before it.
    """
    source = values[link.source]
    if prediction.pull is None:
        return source.new_zeros(prediction.mean.shape[1], source.shape[1])
    return -prediction.pull.T @ source / len(source)
