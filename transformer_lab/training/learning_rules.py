"""Learning rules: where the gradient of a batch comes from.

*Backpropagation* carries the error of a prediction back through the whole network. *Predictive
coding* gives each of the L blocks a latent z_l to carry it, above the embedded tokens z_0:

    E(z) = Σ_l ½ ‖z_l - Block_l(z_{l-1})‖²  +  cross-entropy(score(z_L), targets)

Latents start as what the forward pass computes, where the first sum is 0. Then, with the targets in
sight, they settle: z_l <- z_l - η ∂E/∂z_l, T times. Each block learns to predict the latent that it
failed to: the gradient of its weights is that of its own term, which holds nothing but z_{l-1}, z_l
and the block, and stops there. (Within a block it is ordinary backpropagation. The embedding learns
from the first term, the head from the cross-entropy.)

Targets are in sight in training only. To predict, the model runs forward once; and the loss that is
reported is that of the forward pass *before* settling. The one after it is no prediction.

How it relates to backpropagation: as η goes to 0, T steps leave in block l the error that
backpropagation finds there, times C(T, n) ηⁿ, where n = L - l + 1 counts the steps from the targets
to it. So each block's gradient points where backpropagation's does, if T is at least n (before that
it is 0); they differ in length, which AdamW and Muon even out. Larger η and T lead away from it.

Keep the vectors of the stream from being short: a norm divides by their length, so E is steep where
they are. With embeddings of deviation 0.02 settling wants an η of about 0.001, with 0.7 it bears
0.1.

*Error-based predictive coding* (ePC) lowers the same energy by what each block was missed by:

    z_l = Block_l(z_{l-1}) + e_l        E(e) = Σ_l ½ ‖e_l‖²  +  cross-entropy(score(z_L), targets)

Errors start at 0 and settle: e_l <- e_l - η ∂E/∂e_l, T times. A change of e_l is felt by the
targets at once, so the signal does not fade from block to block as it does above; but ∂E/∂e_l is
e_l plus what backpropagation sends to z_l: the inner gradient *is* backpropagation, and not
local. Where both have settled, the latents are the same, and so is what the blocks learn.

Source: after Whittington & Bogacz 2017 (doi:10.1162/NECO_a_00949) and arXiv:2412.03676 (JPC), with
blocks for layers and cross-entropy at the output; ePC after arXiv:2505.20137 (its abstract was
read; the equations are derived, and tested against automatic differentiation).
Shapes: B batch, T time, D width.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.model import GPT
from transformer_lab.settings import choice, knob
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.precision import (
    Loss,
    PrecisionSettings,
    number_format,
    plain_loss,
    precision,
)


@dataclass(frozen=True, kw_only=True)
class SettledLatents:
    """Latents while they settle.

    `latents` are z_1 .. z_L, each (B, T, D); `energy` is E of each sequence, (B,); `step_size` is η
    as it is now, (B, 1, 1), less where a step would have raised E.
    """

    latents: Sequence[Tensor]
    energy: Tensor
    step_size: Tensor


def predictions(
    model: GPT, embedded: Tensor, latents: Sequence[Tensor], seed: int | None = None
) -> list[Tensor]:
    """What each block predicts of its latent, from the latent below it: L of (B, T, D).

    `seed` makes dropout the same at every call; without dropout none is needed.
    """
    if seed is not None:
        torch.manual_seed(seed)
    below = [embedded, *latents[:-1]]
    return [block(z, model.positions, None) for block, z in zip(model.blocks, below, strict=True)]


def forward_pass(model: GPT, embedded: Tensor, seed: int | None = None) -> list[Tensor]:
    """The latents that every block predicts exactly: L of (B, T, D)."""
    if seed is not None:
        torch.manual_seed(seed)
    latents = [embedded]
    for block in model.blocks:
        latents.append(block(latents[-1], model.positions, None))
    return latents[1:]


def energy(
    model: GPT,
    embedded: Tensor,
    latents: Sequence[Tensor],
    targets: Tensor | None,
    seed: int | None = None,
    weight: float = 1.0,
) -> Tensor:
    """E of each sequence, in nats: (B,). Without (B, T) targets, their term is absent.

    `weight` is that of their term; learning has it at 1.
    """
    dtype = torch.promote_types(embedded.dtype, torch.float32)  # half of it cannot tell sums apart
    total = torch.zeros(len(embedded), dtype=dtype, device=embedded.device)
    for z, predicted in zip(latents, predictions(model, embedded, latents, seed), strict=True):
        total = total + 0.5 * (z - predicted).to(dtype).square().sum((1, 2))
    if targets is not None:
        total = total + weight * surprise(model, latents[-1], targets)
    return total


def settle(
    model: GPT,
    embedded: Tensor,
    latents: Sequence[Tensor],
    targets: Tensor | None,
    *,
    steps: int,
    step_size: float,
    seed: int | None = None,
    weight: float = 1.0,
) -> Iterator[SettledLatents]:
    """Lower E by gradient descent on the latents; yield them after 0, 1, .. `steps` steps.

    A step that would raise a sequence's energy, or lead out of all numbers, is not taken, and η is
    halved for that sequence: norms can make E very steep, and a fixed η then diverges.
    """

    def measured(latents: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        with torch.enable_grad():
            free = [z.detach().requires_grad_() for z in latents]
            found = energy(model, embedded, free, targets, seed, weight)
            return found.detach(), torch.autograd.grad(found.sum(), free)

    here, slopes = measured(latents)
    size = torch.full((len(embedded), 1, 1), step_size, device=embedded.device)
    yield SettledLatents(latents=latents, energy=here, step_size=size)
    for _ in range(steps):
        moved = [(z - size * slope).to(z.dtype) for z, slope in zip(latents, slopes, strict=True)]
        there, slopes_there = measured(moved)
        falls = there <= here
        fall = falls[:, None, None]
        latents = [torch.where(fall, *pair) for pair in zip(moved, latents, strict=True)]
        slopes = [torch.where(fall, *pair) for pair in zip(slopes_there, slopes, strict=True)]
        here = torch.where(falls, there, here)
        size = torch.where(fall, size, size / 2)
        yield SettledLatents(latents=latents, energy=here, step_size=size)


def with_errors(
    model: GPT, embedded: Tensor, errors: Sequence[Tensor], seed: int | None = None
) -> list[Tensor]:
    """The latents z_l = Block_l(z_{l-1}) + e_l that errors stand for: L of (B, T, D)."""
    if seed is not None:
        torch.manual_seed(seed)
    latents = [embedded]
    for block, error in zip(model.blocks, errors, strict=True):
        latents.append(block(latents[-1], model.positions, None) + error)
    return latents[1:]


def settle_errors(
    model: GPT,
    embedded: Tensor,
    latents: Sequence[Tensor],
    targets: Tensor | None,
    *,
    steps: int,
    step_size: float,
    seed: int | None = None,
) -> Iterator[SettledLatents]:
    """Lower E by gradient descent on the errors, from 0; yield after 0, 1, .. `steps` steps.

    `latents` are those of the forward pass. Steps that would raise E are refused as by `settle`.
    """

    def measured(
        errors: Sequence[Tensor],
    ) -> tuple[Tensor, Sequence[Tensor], Sequence[Tensor]]:
        with torch.enable_grad():
            free = [e.detach().requires_grad_() for e in errors]
            found = with_errors(model, embedded, free, seed)
            total = sum_of_errors(free)
            if targets is not None:
                total = total + surprise(model, found[-1], targets)
            slopes = torch.autograd.grad(total.sum(), free)
        return total.detach(), slopes, [z.detach() for z in found]

    errors: Sequence[Tensor] = [torch.zeros_like(z) for z in latents]
    here, slopes, latents = measured(errors)
    size = torch.full((len(embedded), 1, 1), step_size, device=embedded.device)
    yield SettledLatents(latents=latents, energy=here, step_size=size)
    for _ in range(steps):
        moved = [(e - size * slope).to(e.dtype) for e, slope in zip(errors, slopes, strict=True)]
        there, slopes_there, latents_there = measured(moved)
        falls = there <= here
        errors, slopes, latents = (
            [torch.where(falls[:, None, None], *pair) for pair in zip(new, old, strict=True)]
            for new, old in ((moved, errors), (slopes_there, slopes), (latents_there, latents))
        )
        here = torch.where(falls, there, here)
        size = torch.where(falls[:, None, None], size, size / 2)
        yield SettledLatents(latents=latents, energy=here, step_size=size)


def sum_of_errors(errors: Sequence[Tensor]) -> Tensor:
    """Σ_l ½ ‖e_l‖² of each sequence: (B,)"""
    dtype = torch.promote_types(errors[0].dtype, torch.float32)
    return torch.stack([0.5 * e.to(dtype).square().sum((1, 2)) for e in errors]).sum(0)


def surprise(model: GPT, top: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the (B, T) targets, summed over each sequence: (B,), in nats"""
    dtype = torch.promote_types(top.dtype, torch.float32)
    scores = model.score(top).to(dtype).transpose(1, 2)  # (B, V, T)
    return F.cross_entropy(scores, targets, reduction="none").sum(1)


class PredictiveCoding:
    """The loss of a batch, with a gradient that predictive coding found."""

    _settle: Callable[..., Iterator[SettledLatents]] = staticmethod(settle)

    def __init__(self, model: GPT, config: "LearningRuleSettings", live: LiveSettings) -> None:
        self._model = model
        self._config = config
        self._live = live
        self._dtype = precision(config, model.embedding.weight.device)
        self._told = False

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """(B, T), (B, T) -> (): the loss of the forward pass, with the gradient of E."""
        with number_format(inputs.device, self._dtype):
            return self._loss(inputs, targets)

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        model, config = self._model, self._config
        # The trainer has just seeded dropout for this batch. Its masks in the blocks stay the same
        # through all steps, so that E is one function, and differ from those of the embeddings.
        seed = torch.initial_seed() + 1 if model.config.dropout else None
        embedded = model.embed(inputs)
        targets = targets.to(embedded.device)
        with torch.no_grad():
            latents = forward_pass(model, embedded, seed)
            loss = F.cross_entropy(model.score(latents[-1]).flatten(0, 1), targets.flatten())
        states = self._settle(
            model,
            embedded.detach(),
            latents,
            targets,
            steps=config.pc_learning_steps,
            step_size=config.pc_learning_step_size,
            seed=seed,
        )
        settled = deque(states, maxlen=1).pop()  # earlier states are not kept
        self._tell(settled)
        local = energy(model, embedded, settled.latents, targets, seed).sum() / targets.numel()
        return loss + (local - local.detach())  # the value of the one, the gradient of the other

    def _tell(self, settled: SettledLatents) -> None:
        """Say after the first batch when its steps were too long."""
        smallest = None if self._told else settled.step_size.min().item()
        self._told = True
        if smallest is not None and smallest < self._config.pc_learning_step_size:
            self._live.notes.append(
                f"Steps of PC Learning Step Size {self._config.pc_learning_step_size:g} raised the "
                f"energy, so they were halved, down to {smallest:.2g}: fewer of the "
                f"{self._config.pc_learning_steps} steps count than with a smaller size."
            )


class ErrorPredictiveCoding(PredictiveCoding):
    """The same, where errors settle instead of latents (ePC)."""

    _settle = staticmethod(settle_errors)


def backpropagation(model: GPT, config: "LearningRuleSettings", live: LiveSettings) -> Loss:
    """The loss as it is, whose gradient `backward` finds by itself."""
    return plain_loss(model, config)


LEARNING_RULES: dict[str, Callable[[GPT, "LearningRuleSettings", LiveSettings], Loss]] = {
    "backprop": backpropagation,
    "pc": PredictiveCoding,
    "epc": ErrorPredictiveCoding,
}


@dataclass(frozen=True, kw_only=True)
class LearningRuleSettings(PrecisionSettings):
    """Where gradients come from."""

    learning_rule: str = choice(
        "backprop",
        LEARNING_RULES,
        "Learning Rule",
        "Where gradients come from: errors sent back through the whole network, or (PC) latents "
        "that settle with the target in sight, and gradients local to each layer; ePC lets errors "
        "settle instead, which reaches deep layers.",
        words={
            "backprop": "Backpropagation",
            "pc": "Predictive coding (PC)",
            "epc": "Error-based predictive coding (ePC)",
        },
        advanced=True,
    )
    pc_learning_steps: int = knob(
        10,
        0,
        200,
        "PC Learning Steps",
        "How many steps the latents of PC learning settle for each batch; no fewer than Layers, or "
        "lower layers learn nothing. With ePC a few are enough.",
        advanced=True,
    )
    pc_learning_step_size: float = knob(
        0.05,
        0.0001,
        1.0,
        "PC Learning Step Size",
        "How far latents of PC learning settle in each step; halved where the energy would rise.",
        advanced=True,
    )


def passes(config: LearningRuleSettings, layers: int) -> float:
    """How many forward passes a batch costs; a gradient of weights or of latents is one each."""
    if config.learning_rule == "backprop":
        return 3.0
    # What is below the first block does not settle; errors are carried through all blocks.
    settling = 2 - 1 / layers if config.learning_rule == "pc" else 2.0
    return 1 + (config.pc_learning_steps + 1) * settling + 3
