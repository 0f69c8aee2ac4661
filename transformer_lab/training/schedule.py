"""Schedules: how the learning rate changes over a training.

A schedule is one function that splits the steps into named phases; each phase goes in a straight
line from one share of the peak rate to another.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from transformer_lab.training.config import TrainConfig


class Shares(Protocol):
    """What a schedule reads of the training's settings."""

    @property
    def steps(self) -> int:
        """How many steps the training has."""

    @property
    def warmup_share(self) -> float:
        """The first part, as a share of all steps."""

    @property
    def final_share(self) -> float:
        """The last part, as a share of all steps."""

    @property
    def final_factor(self) -> float:
        """The last part's rate, as a share of the peak."""


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `last`: the rate goes from `begin` to `end`, shares of the peak."""

    name: str
    first: int
    last: int
    begin: float
    end: float

    def factor(self, step: int) -> float:
        """The share of the peak rate at `step`."""
        length = self.last - self.first
        done = (step - self.first) / length if length else 1.0
        return self.begin + (self.end - self.begin) * done


def three_phase(shares: Shares) -> list[Phase]:
    """Warm-up, a long constant stretch, then a lower rate for refinement."""
    steps = shares.steps
    warm = round(steps * shares.warmup_share)
    fine = min(round(steps * shares.final_share), steps - warm)
    phases = [
        Phase("warm-up", 1, warm, 1 / max(warm, 1), 1.0),
        Phase("main training", warm + 1, steps - fine, 1.0, 1.0),
        Phase("fine-tuning", steps - fine + 1, steps, shares.final_factor, shares.final_factor),
    ]
    return [phase for phase in phases if phase.first <= phase.last]


def constant(shares: Shares) -> list[Phase]:
    """The same rate from the first step to the last."""
    return [Phase("constant", 1, shares.steps, 1.0, 1.0)]


def linear(shares: Shares) -> list[Phase]:
    """Highest at the first step, falling in a straight line to almost nothing at the last."""
    return [Phase("linear decay", 1, shares.steps, 1.0, 1 / shares.steps)]


SCHEDULES: dict[str, Callable[[Shares], list[Phase]]] = {
    "three_phase": three_phase,
    "constant": constant,
    "linear": linear,
}


def phases_of(config: "TrainConfig", seam: int = 0) -> list[Phase]:
    """The phases of a training; of one that left its parent at step `seam`, over those after it."""
    phases = SCHEDULES[config.schedule](replace(config, steps=config.steps - seam))
    return [replace(phase, first=phase.first + seam, last=phase.last + seam) for phase in phases]


def rate_factor(phases: list[Phase], step: int) -> float:
    """The share of the peak rate at `step`, counted from 1."""
    return next(phase for phase in phases if step <= phase.last).factor(step)
