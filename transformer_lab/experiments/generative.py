"""Training of the generative network, as arXiv:2506.06332 does it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.pcn import GenerativeNetwork, generative, learn, settle
from transformer_lab.settings import Config, knob

BATCH = 500


@dataclass(frozen=True, kw_only=True)
class GenerativeSettings(Config):
    """The knobs of every experiment on the generative network; the paper's values, scaled."""

    steps: int = knob(50, 1, 1000, "Inference Steps", "T: how many steps the latents settle.")
    step_size: float = knob(
        0.05, 0.001, 1.0, "Step Size", "How far each step of settling moves the latents."
    )
    top_width: int = knob(
        32,
        2,
        512,
        "Top Width",
        "Latents in the top layer, which the readout reads; the paper has 10.",
    )
    precision: float = knob(
        1.0,
        0.0,
        10.0,
        "Label Precision",
        "How strongly a clamped label pulls at the top latents; 0 unplugs it.",
    )
    epochs: int = knob(4, 0, 50, "Epochs", "Times the network sees every training picture.")
    seeds: int = knob(3, 1, 20, "Seeds", "Independent repetitions, from weights to noise.")
    learning_steps: int = knob(
        100, 1, 1000, "Learning Steps", "Steps the weights take for each batch.", advanced=True
    )
    learning_rate: float = knob(
        0.005, 1e-5, 1.0, "Learning Rate", "How far each of them moves the weights.", advanced=True
    )

    def ticks(self, pictures: int) -> int:
        """How many times `train` will yield."""
        batches = -(-pictures // BATCH)
        return self.epochs * batches * (self.steps + self.learning_steps + 2)


def build(pixels: int, classes: int, settings: GenerativeSettings, seed: int) -> GenerativeNetwork:
    """The paper's network, scaled to the pictures: 64-128-64-top, or 3072-1000-500-top."""
    hidden: Sequence[int] = (128, 64) if pixels <= 64 else (1000, 500)
    generator = torch.Generator().manual_seed(seed)
    widths = (pixels, *hidden, settings.top_width)
    return generative(widths, classes, generator, precision=settings.precision)


def train(
    network: GenerativeNetwork,
    images: Tensor,
    label: Tensor,
    settings: GenerativeSettings,
    generator: torch.Generator,
) -> Iterator[int]:
    """Train in place on images (N, D_0) and labels (N, C); yields the steps refused in each part

    Here the label is clamped, as it may be: these are the training pictures.
    """
    for _ in range(settings.epochs):
        order = torch.randperm(len(images), generator=generator)
        for batch in order.split(BATCH):
            start = network.start(images[batch], label[batch], generator)
            before = 0
            for state in settle(network, start, steps=settings.steps, step_size=settings.step_size):
                yield state.refused - before
                before = state.refused
            before = 0
            for learned in learn(
                network,
                state.values,
                steps=settings.learning_steps,
                step_size=settings.learning_rate,
            ):
                yield learned.refused - before
                before = learned.refused
