"""The record of a run that the coach looks at, live or stored; made anew every few steps."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from transformer_lab.lab.coach.evidence import MOST, RECENT, Record, thinned
from transformer_lab.lab.device import has_gpu, memory_free, memory_whole, used_by_others
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.states import ENDED
from transformer_lab.lab.training.views import View
from transformer_lab.runs.run import Run
from transformer_lab.training import StepMetrics

LOOKS = 100  # of the coach in a whole run, so that what it says does not change with every step
LEAST = 10  # steps between two looks

Course = tuple[Sequence[StepMetrics], Sequence[StepMetrics], Sequence[StepMetrics]]


def looked_at(view: View) -> int:
    """The step of the last look: the newest of a run that has ended."""
    every = max(LEAST, view.steps // LOOKS)
    return view.step if view.state in ENDED else view.step - view.step % every


def live_course(run: LiveRun, first: int, last: int) -> Course:
    """Steps of a live run from `first` to `last`: spread, newest, evaluated."""
    points = [point for point in run.stream.since()[0] if first <= point.step <= last]
    evaluated = [p for p in run.stream.evaluated() if first <= p.step <= last]
    return thinned(points), points[-RECENT:], evaluated[-MOST:]


@lru_cache(maxsize=32)
def stored_course(folder: Path, first: int, last: int) -> Course:
    """The same of a run on disk. Raises DamagedRunError."""
    run = Run(folder)
    spread, _ = run.thinned(MOST)
    parts = spread, run.latest(RECENT), run.evaluated(MOST)
    course, recent, evaluated = ([p for p in part if first <= p.step <= last] for part in parts)
    return course, recent, evaluated


def record(
    view: View, course: Course, training_tokens: int, unknown_share: float = 0.0
) -> Record | None:
    """What the rules look at; None while there is nothing."""
    spread, recent, evaluated = course
    if view.setup is None or not (recent or _ran_out(view)):
        return None
    peak = view.peaks[-1].value if view.peaks else view.setup.train.learning_rate
    return Record(
        course=spread,
        recent=recent,
        evaluated=evaluated,
        setup=view.setup,
        vocabulary_size=view.vocabulary_size,
        parameters=view.parameters,
        training_tokens=training_tokens,
        peak=float(peak),
        under_way=view.state not in ENDED,
        broken=view.state == "failed" and "no longer a finite number" in view.reason,
        on_cpu=view.device == "CPU",
        gpu=has_gpu(),
        others=used_by_others(),
        remaining=view.remaining,
        free=memory_free() if view.here and view.device == "CPU" else None,
        whole=memory_whole(),
        ran_out=_ran_out(view),
        unknown_share=unknown_share,
    )


def _ran_out(view: View) -> str:
    """What a run says of memory that did not do; empty when it did."""
    said = view.reason if view.state == "failed" else view.note
    return said if "enough memory" in said or "Memory ran out" in said else ""
