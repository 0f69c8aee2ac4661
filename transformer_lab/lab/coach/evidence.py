"""What the coach looks at of a run, and what it answers.

Numbers that several rules need are taken here, over enough steps that no single batch decides.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.training import StepMetrics

NEAR = 20  # steps whose mean is the loss of now
MOST = 1000  # steps of a course that a record holds
RECENT = 50  # the newest steps, all of them
SOON = 40  # steps before which nothing is said of how a run learns


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the rules look at; steps are oldest first, losses in nats per token.

    `course` are steps evenly spread over the run, `recent` its newest, `evaluated` those with a
    validation loss. `peak` is the learning rate that the schedule takes its shares of. `others` are
    CPU cores that other programs use, `remaining` the seconds left. `broken` is true when the run
    ended because its loss was no number. `free` are the bytes of memory that are left of `whole`,
    None where that does not matter; `ran_out` says in the run's own words that they did not do.
    `unknown_share` is the part of the validation text that the tokenizer does not know.
    """

    course: Sequence[StepMetrics]
    recent: Sequence[StepMetrics]
    evaluated: Sequence[StepMetrics]
    setup: Setup
    vocabulary_size: int
    parameters: int
    training_tokens: int
    peak: float
    under_way: bool = True
    broken: bool = False
    on_cpu: bool = True
    gpu: bool = False
    others: float = 0.0
    remaining: float | None = None
    free: float | None = None
    whole: float = 0.0
    ran_out: str = ""
    unknown_share: float = 0.0

    @property
    def step(self) -> int:
        """The newest step."""
        return self.recent[-1].step if self.recent else 0

    @property
    def left(self) -> int:
        """Steps until the planned end."""
        return max(0, self.setup.train.steps - self.step)

    @property
    def loss(self) -> float:
        """The train loss of now."""
        return mean(self.recent[-NEAR:])

    @property
    def guess(self) -> float:
        """The loss of guessing every token alike."""
        return math.log(max(self.vocabulary_size, 2))

    @property
    def noise(self) -> float:
        """How far the loss of one batch lies from the next, as a standard deviation.

        It is taken from differences of neighbours, which a slow fall hardly touches.
        """
        pairs = itertools.pairwise(point.train_loss for point in self.recent)
        squares = [(later - before) ** 2 / 2 for before, later in pairs]
        return math.sqrt(statistics.fmean(squares)) if squares else 0.0

    @property
    def unsure(self) -> float:
        """Four standard errors of `loss`, by which chance alone hardly ever moves it."""
        return 4 * self.noise / math.sqrt(NEAR)

    @property
    def norm(self) -> float:
        """The gradient norm of now."""
        return statistics.median(point.gradient_norm for point in self.recent[-NEAR:])

    @property
    def rate(self) -> str:
        """The learning rate of the newest step, in words."""
        return f"{self.recent[-1].learning_rate:.2g}"

    def gap(self, evaluated: StepMetrics) -> float:
        """How far the validation loss of a step lies above the train loss of that time."""
        until = [point for point in self.course if point.step <= evaluated.step]
        return validation(evaluated) - mean(until[-NEAR:] or self.course[:1])

    def lowest(self, before: float) -> tuple[float, int]:
        """The lowest mean of NEAR points of the course up to step `before`, and its last step."""
        points = [point for point in self.course if point.step <= before]
        if len(points) < NEAR:
            return math.inf, 0
        ends = range(NEAR, len(points) + 1, NEAR // 2)
        return min((mean(points[end - NEAR : end]), points[end - 1].step) for end in ends)

    def hot(self) -> Sequence[StepMetrics]:
        """The course since the learning rate first came near its peak."""
        hot = [k for k, p in enumerate(self.course) if p.learning_rate >= 0.9 * self.peak]
        return self.course[hot[0] :] if hot else ()


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What is happening, by what numbers, and the press that helps: its words and what it does.

    It changes `settings` in the form, or writes with the weights of `checkpoint`, or presses a
    control that the page names: `press` is pause, further or lesson.
    """

    kind: str
    title: str
    evidence: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: int | None = None
    press: str = ""


def thinned(points: Sequence[StepMetrics]) -> Sequence[StepMetrics]:
    """At most MOST of these steps, evenly spread."""
    return points[:: -(-len(points) // MOST)] if points else points


def mean(points: Sequence[StepMetrics]) -> float:
    """The mean of their train losses."""
    return statistics.fmean(point.train_loss for point in points)


def within(key: str, value: float) -> float:
    """A value of two digits, within the bounds of its setting."""
    low, high = SETTINGS[key].low, SETTINGS[key].high
    assert low is not None
    assert high is not None
    return min(max(float(f"{value:.2g}"), low), high)


def validation(point: StepMetrics) -> float:
    """The validation loss of an evaluated step."""
    return math.inf if point.validation_loss is None else point.validation_loss
