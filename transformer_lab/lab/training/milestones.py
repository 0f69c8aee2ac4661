"""Where a run's validation loss fell below a limit, and what the model wrote around that step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from transformer_lab.runs.database import Sample
from transformer_lab.runs.run import Run
from transformer_lab.training import StepMetrics


@dataclass(frozen=True)
class Milestone:
    """The first evaluation below `limit`, and the samples nearest before and from then on."""

    limit: float
    step: int
    loss: float
    before: Sample | None = None
    after: Sample | None = None


def reached(evaluated: Sequence[StepMetrics], limits: Iterable[float]) -> list[Milestone]:
    """The milestones of a course of evaluations, the one reached last at the end."""
    found = []
    for limit in limits:
        for point in evaluated:
            if point.validation_loss is not None and point.validation_loss < limit:
                found.append(Milestone(limit, point.step, point.validation_loss))
                break
    return sorted(found, key=lambda milestone: (milestone.step, -milestone.limit))


@lru_cache(maxsize=256)
def around(folder: Path, step: int, newest: int) -> tuple[Sample | None, Sample | None]:
    """The samples of a run nearest before `step` and from it on.

    `newest` is the step of its newest sample: with another one it is looked up again. Raises
    DamagedRunError.
    """
    return Run(folder).samples_around(step)
