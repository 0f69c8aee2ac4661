"""A second leak that was published: a model that is called with its targets, and driven by them.

The evaluation of the repository iCog-Labs-Dev/PC-Transformers (`eval.py`, at 9682876) asks
`model(targets, input_ids)`. Its layers settle for T steps, each on predicting the one above it, and
the last one on the one-hot targets; what the last layer then predicts is taken for the logits, and
scored against the same targets. Here is a small network with that flaw, and its honest twin:

    z_l <- z_l + η J_lᵀ (z_{l+1} - f(A_l z_l)),  l < L        z_L <- z_L + η Wᵀ (onehot(y) - W z_L)
    logits = W z_L

Nothing pulls a layer to what the layer below says of it, so the answer is made of the targets: the
inputs cannot change it. The twin has the same weights, and one forward pass from the inputs.

Shapes: B batch, T time, D width, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.inspection.bound import Bound


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetDriven:
    """An embedding E (V, D), layers A_1 .. A_L (D, D) and a readout W (V, D)."""

    embedding: Tensor
    layers: tuple[Tensor, ...]
    readout: Tensor

    def driven(self, targets: Tensor, inputs: Tensor, steps: int, step_size: float) -> Tensor:
        """The leak: settle with the targets in sight. (B, T), (B, T) -> logits (B, T, V)"""
        wanted = F.one_hot(targets, len(self.readout)).to(self.readout.dtype)
        states = [self.embedding[inputs]]  # z_0 is given; the others begin at zero
        states += [torch.zeros_like(states[0]) for _ in self.layers]
        for _ in range(steps):
            for place in range(1, len(states)):
                states[place] = states[place] + step_size * self._pull(states, place, wanted)
        return states[-1] @ self.readout.T

    def _pull(self, states: list[Tensor], place: int, wanted: Tensor) -> Tensor:
        """How a layer moves to predict the one above it better, or the targets: (B, T, D)"""
        if place == len(states) - 1:
            return (wanted - states[place] @ self.readout.T) @ self.readout
        weight = self.layers[place]
        predicted = torch.tanh(states[place] @ weight.T)
        return ((states[place + 1] - predicted) * (1 - predicted.square())) @ weight

    def forward(self, inputs: Tensor) -> Tensor:
        """The honest twin: no target is in sight. (B, T) -> logits (B, T, V)"""
        state = self.embedding[inputs]
        for weight in self.layers:
            state = torch.tanh(state @ weight.T)
        return state @ self.readout.T


def target_driven(
    vocabulary_size: int, width: int, layers: int, generator: torch.Generator
) -> TargetDriven:
    """A network that has learned nothing, its weights drawn from the generator."""

    def drawn(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * columns**-0.5

    return TargetDriven(
        embedding=torch.randn(vocabulary_size, width, generator=generator),
        layers=tuple(drawn(width, width) for _ in range(layers)),
        readout=drawn(vocabulary_size, width),
    )


@dataclass(frozen=True, kw_only=True)
class Driven:
    """What such a network was found to do with tokens drawn at random, and its twin.

    `by_inputs` and `by_targets` are the largest change of a logit when all inputs, or all targets,
    are replaced; `loss` is the mean cross-entropy in nats, with what is possible beside it.
    """

    seed: int
    asked: str
    by_inputs: float
    by_targets: float
    loss: Bound


def examined(
    vocabulary_size: int, seed: int, *, steps: int, step_size: float, tokens: int = 1024
) -> list[Driven]:
    """The driven network and its twin on random tokens: what changes their answers, their loss"""
    generator = torch.Generator().manual_seed(6_000 + seed)
    network = target_driven(vocabulary_size, 32, 2, generator)
    inputs, targets, others, other_targets = torch.randint(
        vocabulary_size, (4, 8, tokens // 8), generator=generator
    )
    ways = {
        "driven by its targets": lambda y, x: network.driven(y, x, steps, step_size),
        "honest twin, one forward pass": lambda y, x: network.forward(x),
    }
    found = []
    for name, answer in ways.items():
        logits = answer(targets, inputs)
        losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
        found.append(
            Driven(
                seed=seed,
                asked=name,
                by_inputs=(answer(targets, others) - logits).abs().max().item(),
                by_targets=(answer(other_targets, inputs) - logits).abs().max().item(),
                loss=Bound.of(losses, vocabulary_size),
            )
        )
    return found
