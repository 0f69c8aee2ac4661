"""Two predictive-coding networks. They differ in which end holds the image.

Generative (as in arXiv:2506.06332): the top predicts down to the image, and reads out the label.

    y <-W_out- x_L -W_{L-1}-> ... -W_1-> x_1 -W_0-> x_0      x_0: the image, clamped
    E = 1/2 sum_l |x_l - f(W_l x_{l+1})|^2 + pi/2 |y - W_out x_L|^2

Discriminative (as in Whittington & Bogacz 2017): the image predicts up to the label, like an
ordinary network. Settling begins at the feed-forward pass, where no hidden error is left.

    z_0 -W_1-> z_1 -W_2-> ... -W_L-> y                       z_0: the image, clamped
    E = 1/2 sum_{l<L} |z_l - f(W_l z_{l-1})|^2 + pi/2 |y - W_L z_{L-1}|^2

To clamp a node is to give it a value that settling may not change. The label is clamped while the
network learns. Whoever clamps it while the network is judged has given the answer away.

Shapes: B batch, C classes, D_l width of layer l.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from transformer_lab.pcn.energy import ACTIVATIONS, Activation, Link, Prediction, Values, predict

LABEL = "y"


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Nodes, the links between them and their weights. `free` nodes are those that settle.

    The link that predicts the label is the last one. Weights are replaced as the network learns.
    """

    links: tuple[Link, ...]
    weights: list[Tensor]
    image: str
    free: tuple[str, ...]

    def start(
        self, images: Tensor, label: Tensor | None, generator: torch.Generator | None = None
    ) -> Values:
        """Values to settle from: images (B, D_0), label (B, C) to clamp it, or None if unknown"""
        raise NotImplementedError

    def readout(self, predictions: Sequence[Prediction]) -> Tensor:
        """What the network says the label is: -> (B, C)"""
        return predictions[-1].mean

    def copy(self) -> Self:
        """The same network with weights of its own."""
        return replace(self, weights=[weight.clone() for weight in self.weights])


@dataclass(frozen=True, kw_only=True, eq=False)
class GenerativeNetwork(Network):
    """The top predicts down to the image."""

    widths: tuple[int, ...]

    def start(
        self, images: Tensor, label: Tensor | None, generator: torch.Generator | None = None
    ) -> Values:
        """Latents are drawn from N(0, 1), so a generator is needed; see `Network.start`"""
        if generator is None:
            raise ValueError("Latents start as noise: pass the generator to draw it from.")
        values = {self.image: images}
        for node, width in zip(self.free, self.widths, strict=True):
            values[node] = torch.randn(len(images), width, generator=generator, dtype=images.dtype)
        if label is not None:
            values[LABEL] = label
        return values


class DiscriminativeNetwork(Network):
    """The image predicts up to the label."""

    def start(
        self, images: Tensor, label: Tensor | None, generator: torch.Generator | None = None
    ) -> Values:
        """Hidden values are those of a feed-forward pass; see `Network.start`"""
        values = {self.image: images}
        for link, weight in zip(self.links[:-1], self.weights[:-1], strict=True):
            values[link.predicted] = link.activation.function(values[link.source] @ weight.T)
        if label is not None:
            values[LABEL] = label
        return values


def generative(
    widths: Sequence[int],
    classes: int,
    generator: torch.Generator,
    *,
    precision: float = 1.0,
    activation: Activation = ACTIVATIONS["relu"],
) -> GenerativeNetwork:
    """A new generative network; `widths` go from the image up, as in (64, 128, 64, 32)."""
    nodes = [f"x{layer}" for layer in range(len(widths))]
    links = [
        Link(source=above, predicted=below, activation=activation)
        for below, above in itertools.pairwise(nodes)
    ]
    readout = Link(
        source=nodes[-1],
        predicted=LABEL,
        activation=ACTIVATIONS["linear"],
        precision=precision,
    )
    shapes = [*itertools.pairwise(widths), (classes, widths[-1])]
    return GenerativeNetwork(
        links=(*links, readout),
        weights=[xavier(rows, columns, generator) for rows, columns in shapes],
        image=nodes[0],
        free=tuple(nodes[1:]),
        widths=tuple(widths[1:]),
    )


def discriminative(
    widths: Sequence[int],
    generator: torch.Generator,
    *,
    precision: float = 1.0,
    activation: Activation = ACTIVATIONS["tanh"],
) -> DiscriminativeNetwork:
    """A new discriminative network; `widths` go from image to label, as in (64, 128, 64, 10)."""
    nodes = [*(f"z{layer}" for layer in range(len(widths) - 1)), LABEL]
    links = [
        Link(source=below, predicted=above, activation=activation)
        for below, above in itertools.pairwise(nodes)
    ]
    links[-1] = replace(links[-1], activation=ACTIVATIONS["linear"], precision=precision)
    return DiscriminativeNetwork(
        links=tuple(links),
        weights=[xavier(above, below, generator) for below, above in itertools.pairwise(widths)],
        image=nodes[0],
        free=tuple(nodes[1:-1]),
    )


def xavier(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Initial weights, uniform within +-sqrt(6 / (rows + columns)): -> (rows, columns)

    Source: as in Glorot & Bengio 2010.
    """
    limit = math.sqrt(6 / (rows + columns))
    return torch.empty(rows, columns).uniform_(-limit, limit, generator=generator)


def classify(network: Network, images: Tensor) -> Tensor:
    """The label of a discriminative network by one feed-forward pass: (B, D_0) -> (B, C)"""
    return network.readout(
        predict(network.links, network.weights, network.start(images, label=None))
    )
