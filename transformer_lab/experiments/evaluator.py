"""Evaluation of a predictive-coding network, with or without clamping the label.

The evaluation of arXiv:2506.06332 and the honest one are the same function, `infer_label`, and
differ in one argument: the label of the *test* picture, or None. The label belongs in the score
alone, which is `score`.

Shapes: B pictures, C classes, D_0 pixels.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from transformer_lab.pcn.energy import link_energy, value_gradient
from transformer_lab.pcn.inference import Settled, descend, settle
from transformer_lab.pcn.network import LABEL, GenerativeNetwork, Network


def infer_label(
    network: Network,
    images: Tensor,
    label: Tensor | None,
    *,
    steps: int,
    step_size: float,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Settled]]:
    """Settle on the images, and say after each step what the readout says: (B, C), and the state

    images (B, D_0). Honest with `label=None`: then nothing is clamped but the images. With the
    (B, C) labels of the test the readout is pulled towards them, whatever the images show.
    """
    values = network.start(images, label, generator)
    for state in settle(network, values, steps=steps, step_size=step_size):
        yield network.readout(state.predictions), state


def try_labels(
    network: Network,
    images: Tensor,
    classes: int,
    *,
    steps: int,
    step_size: float,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Settled]]:
    """Clamp each label in turn, and say after each step which has the least energy: (B, C)

    Fair, for all labels are tried alike, from the same start, and none is said to be right. The
    score of a class is minus its energy; the state is that of the best label of each picture.
    """
    begin = network.start(images, None, generator)
    values = {node: value.repeat(classes, 1) for node, value in begin.items()}  # (C B, D)
    values[LABEL] = torch.eye(classes, dtype=images.dtype).repeat_interleave(len(images), dim=0)
    for state in settle(network, values, steps=steps, step_size=step_size):
        energy = state.energy.view(classes, -1)  # (C, B)
        best = energy.argmin(0) * len(images) + torch.arange(len(images))
        yield -energy.T, chosen(state, best)


def chosen(state: Settled, rows: Tensor) -> Settled:
    """The state of some rows of a batch"""

    def part(found: Tensor | None) -> Tensor | None:
        return None if found is None else found[rows]

    return replace(
        state,
        values={node: value[rows] for node, value in state.values.items()},
        predictions=[
            replace(one, mean=one.mean[rows], error=part(one.error), pull=part(one.pull))
            for one in state.predictions
        ],
        energy=state.energy[rows],
    )


@dataclass(frozen=True, kw_only=True)
class Score:
    """Means over a batch: accuracy in percent, the energy of the latents, and that of the label."""

    accuracy: float
    latent_energy: float
    supervised_energy: float


def score(network: Network, readout: Tensor, state: Settled, label: Tensor) -> Score:
    """Compare what the readout says (B, C) with the labels (B, C), after everything has settled

    The energy of the label is 1/2 |y_hat - y|^2 of the network's own readout, without its
    precision, so that it means the same whether or not the label was clamped.
    """
    own = network.readout(state.predictions)
    latent = [
        link_energy(link, found)
        for link, found in zip(network.links[:-1], state.predictions[:-1], strict=True)
    ]
    return Score(
        accuracy=100 * (readout.argmax(1) == label.argmax(1)).float().mean().item(),
        latent_energy=torch.stack(latent).sum(0).mean().item(),
        supervised_energy=((own - label).square().sum(1) / 2).mean().item(),
    )


def leak_source() -> str:
    """The lines that leak, as they run: how a label gets in, and how it pulls at the latents."""
    parts = (infer_label, GenerativeNetwork.start, descend, value_gradient)
    return "\n\n".join(inspect.getsource(part) for part in parts)
