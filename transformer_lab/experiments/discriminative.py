"""Training of the discriminative network, by any learning rule."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.pcn import DiscriminativeNetwork, discriminative
from transformer_lab.pcn.learning import LearningRule
from transformer_lab.settings import Config, knob

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class DiscriminativeSettings(Config):
    """The knobs of every experiment with a discriminative network."""

    steps: int = knob(20, 0, 200, "Inference Steps", "T: settling steps before each weight update.")
    step_size: float = knob(
        0.1, 0.001, 1.0, "Step Size", "How far each step of settling moves the hidden values."
    )
    width: int = knob(
        128, 4, 512, "Width", "Units of the first hidden layer; the second has half as many."
    )
    precision: float = knob(
        1.0,
        0.001,
        10.0,
        "Label Precision",
        "How much the label's error weighs; the smaller, the closer to backpropagation.",
    )
    epochs: int = knob(20, 1, 100, "Epochs", "Times every training picture is learned from.")
    seeds: int = knob(3, 1, 20, "Seeds", "Independent repetitions, from weights to batches.")


def build(
    pixels: int, width: int, classes: int, precision: float, seed: int
) -> DiscriminativeNetwork:
    """A network pixels-width-half-classes of tanh units, as in 64-128-64-10."""
    generator = torch.Generator().manual_seed(seed)
    widths = (pixels, width, max(width // 2, 1), classes)
    return discriminative(widths, generator, precision=precision)


def batches(pictures: int) -> int:
    """How many batches an epoch has."""
    return -(-pictures // BATCH)


class Learner:
    """A network, the rule that gives its gradients, and an Adam optimizer.

    Adam scales each weight's step by that weight's own past gradients, so a local rule stays local.
    `refused` counts the settling steps that would have raised an energy.
    """

    def __init__(
        self,
        network: DiscriminativeNetwork,
        rule: LearningRule,
        *,
        steps: int,
        step_size: float,
        learning_rate: float,
    ) -> None:
        self.network = network
        self.refused = 0
        self._rule = rule
        self._steps, self._step_size = steps, step_size
        self._optimizer = torch.optim.Adam(network.weights, lr=learning_rate)

    def epoch(self, images: Tensor, label: Tensor, order: Tensor) -> Iterator[None]:
        """Learn from images (N, D_0) and labels (N, C) in this order; yields after each batch"""
        for batch in order.split(BATCH):
            found = self._rule(
                self.network, images[batch], label[batch], self._steps, self._step_size
            )
            for weight, gradient in zip(self.network.weights, found.weights, strict=True):
                weight.grad = gradient
            self._optimizer.step()
            self.refused += found.refused
            yield
