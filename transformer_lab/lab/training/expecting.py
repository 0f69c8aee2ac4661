"""What is expected of a run, by those that come with the lab and by the learner's own."""

from functools import lru_cache
from pathlib import Path

from transformer_lab.experiments.expected import Band, Course, band, fingerprint, shipped
from transformer_lab.recipes import setup_from
from transformer_lab.runs.run import DamagedRunError, Run, RunNotFoundError
from transformer_lab.runs.store import RunStore
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.settings import ConfigError

NEWEST = 20  # runs of the learner's own that are looked at


def expected(store: RunStore, run: Run, others: list[RunSummary]) -> Band | None:
    """The band for a run; None where too few earlier ones have its settings.

    Nothing is expected of one that goes on from another or was fine-tuned: it has a past.
    """
    kind = _kind(run.folder)
    if not kind:
        return None
    names = [other.id for other in others if other.id != run.id and other.validation_loss]
    own = dict(found for name in names[:NEWEST] if (found := _course(store, name, kind)))
    known = shipped().get(kind)
    return band({**own, **(known.courses if known else {})}.values())


@lru_cache(maxsize=256)
def _kind(folder: Path) -> str:
    """The fingerprint of a run's settings; empty of one with a past."""
    run = Run(folder)
    manifest = run.manifest
    if run.seams or manifest.get("finetune"):
        return ""
    return fingerprint(setup_from(manifest["setup"]), manifest["corpus"]["sha256"])


def _course(store: RunStore, name: str, kind: str) -> tuple[int, Course] | None:
    """The seed and the validation losses of a run with the same settings.

    One of each seed counts, since another would be the same run again.
    """
    try:
        run = store.open(name)
        changed = any(change.name == "learning_rate" for change in run.changes(after=0))
        if changed or _kind(run.folder) != kind:
            return None
        seed = setup_from(run.manifest["setup"]).train.seed
        losses = [(point.step, point.validation_loss) for point in run.evaluated()]
        return seed, {step: loss for step, loss in losses if loss is not None}
    except (ConfigError, DamagedRunError, RunNotFoundError):
        return None
