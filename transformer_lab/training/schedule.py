"""Schedules: how the learning rate changes over a training.

A schedule is one function that splits the steps into named phases; each phase goes from one share
of the peak rate to another, in a straight line or along half a cosine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from transformer_lab.settings import Config, choice, knob


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `last`: the rate goes from `begin` to `end`, shares of the peak.

    With `curved` it leaves and arrives gently: begin + (end - begin) (1 - cos(π done)) / 2.
    """

    name: str
    first: int
    last: int
    begin: float
    end: float
    curved: bool = False

    def factor(self, step: int) -> float:
        """The share of the peak rate at `step`."""
        length = self.last - self.first
        done = (step - self.first) / length if length else 1.0
        if self.curved:
            done = (1 - math.cos(math.pi * done)) / 2
        return self.begin + (self.end - self.begin) * done


def three_phase(settings: "ScheduleSettings") -> list[Phase]:
    """Warm-up, a long constant stretch, then a lower rate for refinement."""
    steps = settings.steps
    warm = round(steps * settings.warmup_share)
    fine = min(round(steps * settings.final_share), steps - warm)
    phases = [
        Phase("warm-up", 1, warm, 1 / max(warm, 1), 1.0),
        Phase("main training", warm + 1, steps - fine, 1.0, 1.0),
        Phase("fine-tuning", steps - fine + 1, steps, settings.final_factor, settings.final_factor),
    ]
    return [phase for phase in phases if phase.first <= phase.last]


def constant(settings: "ScheduleSettings") -> list[Phase]:
    """The same rate from the first step to the last."""
    return [Phase("constant", 1, settings.steps, 1.0, 1.0)]


def linear(settings: "ScheduleSettings") -> list[Phase]:
    """Highest at the first step, falling in a straight line to almost nothing at the last."""
    return [Phase("linear decay", 1, settings.steps, 1.0, 1 / settings.steps)]


def cosine(settings: "ScheduleSettings") -> list[Phase]:
    """Warm-up, then down to the final rate along half a cosine.

    Source: arXiv:1608.03983, eq. 5, without restarts.
    """
    steps, warm = settings.steps, round(settings.steps * settings.warmup_share)
    phases = [
        Phase("warm-up", 1, warm, 1 / max(warm, 1), 1.0),
        Phase("cosine decay", warm + 1, steps, 1.0, settings.final_factor, curved=True),
    ]
    return [phase for phase in phases if phase.first <= phase.last]


def one_cycle(settings: "ScheduleSettings") -> list[Phase]:
    """Up for nearly half of the steps, down again as long, then to almost nothing.

    Source: arXiv:1708.07120, section 3.
    """
    steps, fine = settings.steps, round(settings.steps * settings.final_share)
    up = (steps - fine) // 2
    phases = [
        Phase("up", 1, up, 0.1, 1.0),
        Phase("down", up + 1, steps - fine, 1.0, 0.1),
        Phase("fine-tuning", steps - fine + 1, steps, 0.1, 0.1 / steps),
    ]
    return [phase for phase in phases if phase.first <= phase.last]


SCHEDULES: dict[str, Callable[["ScheduleSettings"], list[Phase]]] = {
    "three_phase": three_phase,
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "one_cycle": one_cycle,
}


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings(Config):
    """How long a training is, and how its learning rate changes."""

    GROUP = "train"

    steps: int = knob(1000, 1, 10_000_000, "Steps", "How many batches the model learns from.")
    schedule: str = choice(
        "three_phase",
        SCHEDULES,
        "Schedule",
        "How the learning rate changes over the steps.",
        words={"three_phase": "Warm-up, main, fine-tuning", "one_cycle": "One cycle"},
        advanced=True,
    )
    warmup_share: float = knob(
        0.1,
        0.0,
        0.9,
        "Warm-up Share",
        "First part of the steps, in which the learning rate rises.",
        advanced=True,
    )
    final_share: float = knob(
        0.1,
        0.0,
        0.9,
        "Fine-tuning Share",
        "Last part of the steps, with a lower learning rate.",
        advanced=True,
    )
    final_factor: float = knob(
        0.1,
        0.0,
        1.0,
        "Fine-tuning Rate",
        "The learning rate of the last part, as a share of the main one.",
        advanced=True,
    )

    def phases(self, seam: int = 0) -> list[Phase]:
        """The phases of a training; of one that left its parent at step `seam`, those after it."""
        phases = SCHEDULES[self.schedule](replace(self, steps=self.steps - seam))
        return [
            replace(phase, first=phase.first + seam, last=phase.last + seam) for phase in phases
        ]


def rate_factor(phases: list[Phase], step: int) -> float:
    """The share of the peak rate at `step`, counted from 1."""
    return next(phase for phase in phases if step <= phase.last).factor(step)
