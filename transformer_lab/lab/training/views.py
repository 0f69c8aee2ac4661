"""What the page shows of a run besides its curves, for one under way and for one on disk."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transformer_lab.lab.cost.threads import automatic, described
from transformer_lab.lab.device import available_cores
from transformer_lab.lab.elsewhere.children import Child
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.recorded import Made
from transformer_lab.model import parameter_breakdown
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.database import Sample, State
from transformer_lab.runs.run import DamagedRunError, Run, Seam
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import bits_per_byte
from transformer_lab.training import Change, StepMetrics
from transformer_lab.training.learning_rules import passes

FIRST_STEPS = 2  # of a run, which tell nothing of its pace
SPEED_STEPS = 50  # steps over which speed and remaining time are taken


@dataclass(frozen=True)
class View:
    """Everything the page shows of one run besides its curves.

    `speed` is in tokens per second, `seconds` spent and `remaining` in seconds. `here` is true when
    this lab trains the run, so that it can be controlled. `attempt` counts how often it was
    resumed; `seams` says where it left its parents; `peaks` are changes of the peak learning rate
    on the way; `threads` says on how many CPU threads it computes, in words. `recent` are its
    newest steps, `evaluations` the newest two with a validation loss, both oldest first.
    """

    run_id: str = ""
    state: State | None = None
    reason: str = ""
    field: str = ""
    doing: str = ""
    note: str = ""
    step: int = 0
    steps: int = 0
    speed: float | None = None
    seconds: float = 0.0
    remaining: float | None = None
    learning_rate: float | None = None
    validation_loss: float | None = None
    bytes_per_token: float | None = None
    accuracy: float | None = None
    sample: Sample | None = None
    setup: Setup | None = None
    parameters: int = 0
    vocabulary_size: int = 0
    corpus: str = ""
    device: str = ""
    device_reason: str = ""
    threads: str = ""
    attempt: int = 0
    seams: tuple[Seam, ...] = ()
    peaks: tuple[Change, ...] = ()
    here: bool = False
    recent: tuple[StepMetrics, ...] = ()
    evaluations: tuple[StepMetrics, ...] = ()

    @property
    def bits_per_byte(self) -> float | None:
        """The validation loss in the unit in which different tokenizers can be compared."""
        if self.validation_loss is None or self.bytes_per_token is None:
            return None
        return bits_per_byte(self.validation_loss, self.bytes_per_token)

    @property
    def breakdown(self) -> dict[str, int]:
        """Parameters by part of the model; empty when there is none."""
        if self.setup is None or not self.vocabulary_size:
            return {}
        return dict(parameter_breakdown(self.setup.model, self.vocabulary_size))


def live_view(run: LiveRun, sample: Sample | None, accuracy: float | None = None) -> View:
    """How the run in the worker's hands stands."""
    status, made = run.status, run.made
    return replace(
        _progress(run.stream.latest(SPEED_STEPS), run.setup, run.between),
        run_id=status.run_id,
        state=status.state,
        reason=status.reason,
        field=status.field,
        doing="" if status.state in ("pausing", "stopping") else run.live.doing,
        note=status.note,
        validation_loss=run.validation_loss,
        bytes_per_token=_comparable(made) if made else None,
        sample=sample,
        accuracy=accuracy,
        setup=run.setup,
        parameters=run.parameters,
        vocabulary_size=made.encoded.tokenizer.vocabulary_size if made else 0,
        corpus=describe_corpus(made.corpus) if made else "",
        device=run.device.name,
        device_reason=run.device.reason,
        threads=live_threads(run),
        attempt=run.attempt,
        seams=tuple(run.origin.seams()),
        peaks=run.peaks,
        here=True,
        evaluations=tuple(run.stream.evaluated()[-2:]),
    )


def awaited_view(child: Child) -> View:
    """How a training stands whose process has no run yet, or has ended without one."""
    setup = child.setup
    return View(
        state="failed" if child.ended else "preparing",
        reason=child.reason,
        doing="" if child.ended else "its process starts",
        steps=setup.train.steps,
        setup=setup,
    )


def stored_view(run: Run) -> View:
    """How a run stands by what is on disk."""
    state, reason = run.state()
    view = View(run_id=run.id, state=state, reason=reason)
    for add in (_with_settings, _with_metrics, _with_tokenizer):
        try:
            view = add(view, run)
        except DamagedRunError as error:
            view = replace(view, state="damaged", reason=view.reason or str(error))
    return view


def _with_settings(view: View, run: Run) -> View:
    manifest = run.manifest
    corpus, device = manifest["corpus"], manifest["device"]
    return replace(
        view,
        steps=run.steps,
        bytes_per_token=run.bytes_per_token(),
        setup=setup_from(manifest["setup"]),
        parameters=manifest["parameters"],
        corpus=describe(corpus["title"], corpus["characters"], corpus["distinct_characters"]),
        device=device["name"],
        device_reason=device["reason"],
        threads=stored_threads(run),
        seams=tuple(run.seams),
    )


def _threads(count: int, setup: Setup, device: str, cores: int) -> str:
    measured = automatic(setup.train, device.lower())
    return described(count, measured, max(count, cores)) if count else ""


def live_threads(run: LiveRun) -> str:
    """On how many CPU threads a training computes, in words; empty before it begins."""
    return _threads(run.threads, run.setup, run.device.name, available_cores())


def stored_threads(run: Run) -> str:
    """On how many CPU threads a run on disk computes, in words."""
    manifest = run.manifest
    setup, device = setup_from(manifest["setup"]), str(manifest["device"]["name"])
    return _threads(run.threads(), setup, device, _cores(manifest))


def _cores(manifest: Mapping[str, Any]) -> int:
    """Cores of the computer that trained a run; 0 where that was not recorded."""
    cores = manifest.get("environment", {}).get("cores")
    return cores if isinstance(cores, int) else 0


def _with_metrics(view: View, run: Run) -> View:
    note, latest = run.last_event("note"), run.latest(SPEED_STEPS)
    progress = _progress(latest, view.setup) if view.setup else View()
    evaluations = run.evaluated(2)
    return replace(
        view,
        step=progress.step,
        speed=progress.speed,
        seconds=progress.seconds,
        remaining=progress.remaining,
        learning_rate=progress.learning_rate,
        note=note[1] if note else "",
        validation_loss=evaluations[-1].validation_loss if evaluations else None,
        recent=progress.recent,
        evaluations=tuple(evaluations),
        accuracy=run.accuracy(),
        sample=run.latest_sample(),
        attempt=run.attempts(),
        peaks=tuple(x for x in run.changes(after=0) if x.name == "learning_rate"),
    )


def _with_tokenizer(view: View, run: Run) -> View:
    return replace(view, vocabulary_size=run.tokenizer.vocabulary_size)


def _comparable(made: Made) -> float | None:
    return None if made.encoded.unknown_share else made.encoded.bytes_per_token


def _progress(latest: list[StepMetrics], setup: Setup, between: float = 0.0) -> View:
    """How far a run is, by its newest steps; `between` are the seconds from one to the next."""
    steps = setup.train.steps
    if not latest:
        return View(steps=steps)
    last = latest[-1]
    return View(
        step=last.step,
        steps=steps,
        speed=statistics.median(point.tokens_per_second for point in latest),
        seconds=last.seconds,
        remaining=time_left(latest, setup, between),
        learning_rate=last.learning_rate,
        recent=tuple(latest),
    )


def time_left(latest: list[StepMetrics], setup: Setup, between: float = 0.0) -> float | None:
    """Seconds until a training ends, by its newest steps; None before there are enough to tell.

    The median of them counts, so that one loaded moment does not. Other lanes, samples and saves
    make more time pass `between` two steps than they take by themselves.
    """
    if len(latest) <= FIRST_STEPS and latest[0].step == 1:
        return None  # the first steps of all are slower than those to come
    train, last = setup.train, latest[-1].step
    tokens = train.batch_size * setup.model.sequence_length
    taken = [tokens / point.tokens_per_second for point in latest]
    step = statistics.median(taken)
    looks = [
        point.seconds - before.seconds - seconds
        for before, point, seconds in zip(latest[:-1], latest[1:], taken[1:], strict=True)
        if point.validation_loss is not None
    ]
    guess = step * train.evaluation_batches / passes(train, setup.model.layers)
    look = statistics.median(looks) if looks else guess
    every = train.evaluate_every
    evaluations = math.ceil(train.steps / every) - last // every if last < train.steps else 0
    return max(step, between) * (train.steps - last) + max(0.0, look) * evaluations


def describe_corpus(corpus: Corpus) -> str:
    """A corpus in words."""
    return describe(corpus.title, corpus.characters, corpus.distinct_characters)


def describe(title: str, characters: int, distinct: int) -> str:
    """A corpus in words: its title, length and alphabet."""
    return f"{title}, {characters:,} characters, {distinct} distinct"
