"""Inference: the free values settle where the energy is low.

    v_i <- v_i - eta dE/dv_i      for every free node i, all at once, T times

eta is the step size. A step that would raise the energy of an example is refused: that example
stays where it was and goes on with half its step size. So a run cannot diverge, and `refused` says
how often this was needed. Each example of a batch keeps a step size of its own, so that none can
learn anything from its neighbours.

Source: as in Whittington & Bogacz 2017 (doi:10.1162/NECO_a_00949); the refusal is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.pcn.energy import Prediction, Values, energy, predict, value_gradient
from transformer_lab.pcn.network import Network


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A network after some steps of settling.

    `values` are (B, D_i), `energy` (B,); `refused` counts the steps of single examples that were
    not taken because the energy would have risen.
    """

    step: int
    values: Values
    predictions: list[Prediction]
    energy: Tensor
    refused: int


def settle(
    network: Network, values: Values, *, steps: int, step_size: float, shrink: bool = True
) -> Iterator[Settled]:
    """Yield the state after 0, 1, ... `steps` steps. `shrink=False` takes every step, even uphill.

    The first state is the beginning itself: with `steps=0` nothing is inferred.
    """
    predictions = predict(network.links, network.weights, values)
    now = energy(network.links, predictions)  # (B,)
    sizes = torch.full_like(now, step_size)[:, None]  # (B, 1)
    refused = 0
    yield Settled(step=0, values=values, predictions=predictions, energy=now, refused=refused)
    for step in range(1, steps + 1):
        moved = descend(network, values, predictions, sizes)
        predictions = predict(network.links, network.weights, moved)
        after = energy(network.links, predictions)
        worse = ~(after <= now + tolerance(now)) if shrink else None  # (B,); not a number is worse
        if worse is not None and bool(worse.any()):
            moved = {node: torch.where(worse[:, None], values[node], moved[node]) for node in moved}
            predictions = predict(network.links, network.weights, moved)
            after = energy(network.links, predictions)
            sizes = torch.where(worse[:, None], sizes / 2, sizes)
            refused += int(worse.sum())
        values, now = moved, after
        yield Settled(
            step=step, values=values, predictions=predictions, energy=now, refused=refused
        )


def settled(network: Network, values: Values, *, steps: int, step_size: float) -> Settled:
    """The state after `steps` steps."""
    *_, last = settle(network, values, steps=steps, step_size=step_size)
    return last


def descend(
    network: Network, values: Values, predictions: list[Prediction], sizes: Tensor | float
) -> Values:
    """One step down the gradient of every free node; the others keep their values."""
    moved = dict(values)
    for node in network.free:
        slope = value_gradient(node, network.links, network.weights, predictions)
        moved[node] = values[node] - sizes * slope
    return moved


def tolerance(level: Tensor) -> Tensor:
    """How much of a rise is only rounding, for energies of this level: (B,) -> (B,)"""
    return 32 * torch.finfo(level.dtype).eps * (level + 1)
