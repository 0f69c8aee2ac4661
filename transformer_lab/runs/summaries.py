"""A run in one line, for lists: quick to make, and made again only when its files change."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from transformer_lab.runs.database import UNFINISHED, State
from transformer_lab.runs.events import event_value
from transformer_lab.runs.run import DamagedRunError, Run
from transformer_lab.text.split import bits_per_byte

SPARK_POINTS = 32


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run in one line.

    Losses are in nats per token, `seconds` is the time spent training, `spark` the course of its
    loss in at most 32 numbers. `parent` names the run it goes on from, `base` the one it was
    fine-tuned from, `race` the race it took part in as `lane`, `race_title` what the learner calls
    that comparison, `audit` what the newest leak audit found. `elsewhere` says that another process
    is training it now, `order` how many runs came before it. A run that cannot be read as a whole
    is `damaged`, with the reason.
    """

    id: str
    title: str
    notes: str
    pinned: bool
    race_title: str = ""
    recipe: str = ""
    corpus: str = ""
    parent: str = ""
    base: str = ""
    race: str = ""
    lane: str = ""
    created: float
    state: State
    reason: str
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    parameters: int = 0
    validation_loss: float | None = None
    best_loss: float | None = None
    bits_per_byte: float | None = None
    spark: tuple[float, ...] = ()
    audit: str = ""
    elsewhere: bool
    order: int = 0

    @property
    def name(self) -> str:
        """What to call it: the learner's title, or its id."""
        return self.title or self.id

    @property
    def comparison(self) -> str:
        """The comparison it is a lane of; its race is called deeper-1.2, deeper-1 being that."""
        name, dot, seed = self.race.rpartition(".")
        return name if dot and seed.isdecimal() else ""


class Summaries:
    """Summaries of runs, each remembered until a file of the run changes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[float, ...], RunSummary]] = {}

    def of(self, runs: Iterable[Run]) -> list[RunSummary]:
        """Every run, newest first; of a damaged one what can be read, and the reason."""
        found = [self._of(run) for run in runs]
        return sorted(found, key=lambda summary: (summary.order, summary.created), reverse=True)

    def _of(self, run: Run) -> RunSummary:
        stamp = run.stamp
        known = self._known.get(run.id)
        if known and known[0] == stamp and known[1].state not in UNFINISHED:
            return known[1]
        summary = summarize(run)
        self._known[run.id] = (stamp, summary)
        return summary


def summarize(run: Run) -> RunSummary:
    """What the list of runs says of one."""
    state, reason = run.state()
    line = _line(run, state, reason)
    for add in (_with_settings, _with_metrics):
        try:
            line = add(line, run)
        except DamagedRunError as error:
            why = line.reason if line.state == "damaged" else str(error)
            line = replace(line, state="damaged", reason=why, elsewhere=False)
    return line


def _line(run: Run, state: State, reason: str) -> RunSummary:
    """What every folder has, damaged or not."""
    about = run.about
    return RunSummary(
        id=run.id,
        title=about.title,
        notes=about.notes,
        pinned=about.pinned,
        race_title=about.race_title,
        created=max(run.stamp),
        state=state,
        reason=reason,
        elsewhere=state in UNFINISHED,
    )


def _with_settings(line: RunSummary, run: Run) -> RunSummary:
    """The same with the facts of run.json."""
    manifest, seams = run.manifest, run.seams
    return replace(
        line,
        recipe=manifest["recipe"],
        corpus=manifest["corpus"]["title"],
        parent=seams[-1].run if seams else "",
        base=(manifest.get("finetune") or {}).get("run", ""),
        race=manifest.get("race", ""),
        lane=manifest.get("lane", ""),
        created=manifest["created"],
        order=manifest.get("order", 0),
        steps=run.steps,
        parameters=manifest["parameters"],
    )


def _with_metrics(line: RunSummary, run: Run) -> RunSummary:
    """The same with the facts of metrics.sqlite."""
    latest, (trained, evaluated) = run.latest(), run.thinned(SPARK_POINTS)
    losses = [point.validation_loss for point in evaluated if point.validation_loss is not None]
    loss = losses[-1] if losses else None
    length = run.bytes_per_token() if line.steps else None  # not known without run.json
    spark = losses if len(losses) >= 8 else [point.train_loss for point in trained]
    step = latest[-1].step if latest else 0
    return replace(
        line,
        step=step,
        seconds=latest[-1].seconds if latest else 0.0,
        validation_loss=loss,
        best_loss=run.best_loss(),
        bits_per_byte=None if loss is None or not length else bits_per_byte(loss, length),
        spark=tuple(spark),
        audit=_badge(run.last_event("audit"), step),
    )


def _badge(audited: tuple[int, str] | None, step: int) -> str:
    """What the newest leak audit found, and after which step if the run has gone on since."""
    if audited is None:
        return ""
    outcome = event_value("audit", audited[1]).outcome
    return outcome if audited[0] == step else f"{outcome} at step {audited[0]:,}"
