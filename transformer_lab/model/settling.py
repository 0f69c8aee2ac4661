"""Settling: predictive coding computes by lowering an energy, not in one sweep.

Above a given z_0, which stays as it is, stand K levels of latents z_1 .. z_K:

    E(z) = Σ_l  ½ ‖z_{l-1} - D_l z_l‖²  +  (π/2) ‖z_l - a_l‖²

    D_l  predicts the level below from level l      ε_l  what it leaves over: z_{l-1} - D_l z_l
    a_l  the first guess of z_l, where it starts    π    how strongly it is held there

and all of them walk downhill together, T steps of size η:

    z_l <- z_l - η ∂E/∂z_l        ∂E/∂z_l = π (z_l - a_l) - D_lᵀ ε_l + ε_{l+1}

No target stands in E. Each token settles alone, always for T steps: to stop once the mean energy of
a sequence is low would let later tokens decide how far earlier ones settle.

Source: after Rao & Ballard 1999 (doi:10.1038/4580), with linear predictions and a_l as the prior.
Shapes: B batch, T time, D width of a level.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.linear import normal


@dataclass(frozen=True, kw_only=True)
class SettlingRule:
    """How latents settle: `steps` is T, `step_size` the largest η, `precision` is π."""

    steps: int
    step_size: float
    precision: float


FIRST_GUESS = SettlingRule(steps=0, step_size=0.1, precision=1.0)  # nothing settles


class Settling(nn.Module):
    """Levels of latents that settle above a given input. `widths` are those of z_0, z_1, .. z_K."""

    def __init__(self, widths: Sequence[int], rule: SettlingRule) -> None:
        super().__init__()
        self.rule = rule
        self.predict = nn.ParameterList(
            torch.empty(below, above) for below, above in pairwise(widths)
        )  # D_1 .. D_K

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw every D so that numbers keep about their size from level to level."""
        for predict in self.predict:
            normal(predict, predict.shape[1] ** -0.5, generator)

    def forward(self, given: Tensor, guesses: Sequence[Tensor]) -> Sequence[Tensor]:
        """z_0 and the guesses a_1 .. a_K -> the settled z_1 .. z_K, each (B, T, D)"""
        latents = guesses
        for settling in self.states(given, guesses):
            latents = settling
        return latents

    def states(self, given: Tensor, guesses: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
        """The latents after 0, 1, .. T steps."""
        latents = guesses
        yield latents
        if not self.rule.steps:
            return
        size = self.step_size()
        for _ in range(self.rule.steps):
            slopes = self.gradient(given, guesses, latents)
            latents = [z - size * slope for z, slope in zip(latents, slopes, strict=True)]
            yield latents

    def errors(self, given: Tensor, latents: Sequence[Tensor]) -> list[Tensor]:
        """ε_1 .. ε_K: what each level failed to predict of the one below it."""
        below = [given, *latents[:-1]]
        return [
            z - F.linear(above, predict)
            for z, predict, above in zip(below, self.predict, latents, strict=True)
        ]

    def energy(self, given: Tensor, guesses: Sequence[Tensor], latents: Sequence[Tensor]) -> Tensor:
        """E of every token: -> (B, T)"""
        energy = torch.zeros_like(given[..., 0])
        for error, z, guess in zip(self.errors(given, latents), latents, guesses, strict=True):
            energy = energy + 0.5 * error.square().sum(-1)
            energy = energy + 0.5 * self.rule.precision * (z - guess).square().sum(-1)
        return energy

    def gradient(
        self, given: Tensor, guesses: Sequence[Tensor], latents: Sequence[Tensor]
    ) -> list[Tensor]:
        """∂E/∂z_1 .. ∂E/∂z_K, each (B, T, D)"""
        errors = self.errors(given, latents)
        slopes = []
        for level, (z, guess) in enumerate(zip(latents, guesses, strict=True)):
            slope = self.rule.precision * (z - guess) - errors[level] @ self.predict[level]
            if level + 1 < len(latents):
                slope = slope + errors[level + 1]  # it is itself predicted from above
            slopes.append(slope)
        return slopes

    @torch.no_grad()
    def step_size(self) -> Tensor:
        """η, lowered where needed so that no step can raise E, whatever the weights have become: ()

        E is quadratic, and its curvature at most (max_l ‖D_l‖ + 1)² + π; the 1, from levels that
        are predicted themselves, falls away when there is only one. A step of up to 2 over that
        never raises E; half as much is allowed.
        """
        largest = torch.stack([norm_bound(predict) for predict in self.predict]).max()
        curvature = (largest + (len(self.predict) > 1)) ** 2 + self.rule.precision
        return (1 / curvature).clamp(max=self.rule.step_size)


def norm_bound(matrix: Tensor) -> Tensor:
    """Never less than the largest singular value of (R, C), and seldom much more: (Σ s_i⁸)^⅛, ()"""
    matrix = matrix.float() if matrix.dtype != torch.float64 else matrix
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    size = torch.linalg.vector_norm(short).clamp(min=1e-30)
    gram = (short / size) @ (short / size).T
    return size * torch.linalg.vector_norm(gram @ gram) ** 0.25


def settling_trace(model: nn.Module, tokens: Tensor) -> list[tuple[str, list[float]]]:
    """How the energy falls in each part of a model that settles, while it reads (B, T) token ids.

    For each part, in the order of the computation, its name and E after 0, 1, .. T steps, as a mean
    over the tokens. The model computes what it always does and is left as it was.
    """
    traces: list[tuple[str, list[float]]] = []

    def listen(name: str, part: Settling) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, Sequence[Tensor]], __: object) -> None:
            given, guesses = inputs
            states = part.states(given, guesses)
            means = [part.energy(given, guesses, latents).mean().item() for latents in states]
            traces.append((name.removesuffix(".settling"), means))

        return part.register_forward_hook(hook)

    hooks = [
        listen(name, part) for name, part in model.named_modules() if isinstance(part, Settling)
    ]
    try:
        with torch.no_grad():
            model(tokens)
    finally:
        for handle in hooks:
            handle.remove()
    return traces
