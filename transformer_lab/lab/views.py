"""What the page shows of a run besides its curves, for one under way and for one on disk."""

from dataclasses import dataclass, replace

from transformer_lab.lab.database import Sample, State
from transformer_lab.lab.live_run import LiveRun, Made
from transformer_lab.lab.run import Run, Seam
from transformer_lab.model import parameter_breakdown
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import bits_per_byte
from transformer_lab.text.tokenizers import tokenizer_from_json
from transformer_lab.training import StepMetrics

SPEED_STEPS = 50  # steps over which speed and remaining time are taken


@dataclass(frozen=True)
class View:
    """Everything the page shows of one run besides its curves.

    `speed` is in tokens per second, `seconds` spent and `remaining` in seconds. `here` is true when
    this lab trains the run, so that it can be controlled. `attempt` counts how often it was
    resumed; `seams` says where it left its parents.
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
    threads: int = 0
    attempt: int = 0
    seams: tuple[Seam, ...] = ()
    here: bool = False

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
        _progress(run.stream.latest(SPEED_STEPS), run.setup.train.steps),
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
        threads=run.threads,
        attempt=run.attempt,
        seams=tuple(run.origin.seams()),
        here=True,
    )


def stored_view(run: Run) -> View:
    """How a run stands by what is on disk."""
    (state, reason), manifest, notes = run.state(), run.manifest, run.events("note")
    corpus, device = manifest["corpus"], manifest["device"]
    return replace(
        _progress(run.latest(SPEED_STEPS), run.steps),
        run_id=run.id,
        state=state,
        reason=reason,
        note=notes[-1][1] if notes else "",
        validation_loss=run.latest_validation_loss(),
        bytes_per_token=run.bytes_per_token(),
        accuracy=run.accuracy(),
        sample=run.latest_sample(),
        setup=setup_from(manifest["setup"]),
        parameters=int(manifest["parameters"]),
        vocabulary_size=tokenizer_from_json(manifest["tokenizer"]).vocabulary_size,
        corpus=describe(corpus["title"], corpus["characters"], corpus["distinct_characters"]),
        device=str(device["name"]),
        device_reason=str(device["reason"]),
        threads=int(manifest["threads"]),
        attempt=run.attempts(),
        seams=tuple(run.seams),
    )


def _comparable(made: Made) -> float | None:
    return None if made.encoded.unknown_share else made.encoded.bytes_per_token


def _progress(latest: list[StepMetrics], steps: int) -> View:
    if not latest:
        return View(steps=steps)
    last, first = latest[-1], latest[0]
    speed = sum(point.tokens_per_second for point in latest) / len(latest)
    pace = last.seconds
    if len(latest) > 1:
        pace = (last.seconds - first.seconds) / (len(latest) - 1)
    return View(
        step=last.step,
        steps=steps,
        speed=speed,
        seconds=last.seconds,
        remaining=pace * (steps - last.step),
        learning_rate=last.learning_rate,
    )


def describe_corpus(corpus: Corpus) -> str:
    """A corpus in words."""
    return describe(corpus.title, corpus.characters, corpus.distinct_characters)


def describe(title: str, characters: int, distinct: int) -> str:
    """A corpus in words: its title, length and alphabet."""
    return f"{title}, {characters:,} characters, {distinct} distinct"
