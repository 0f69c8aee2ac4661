"""The base of a comparison of fine-tunings: which run it is, and how each lane begins from it."""

from collections.abc import Mapping

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.finetuned import FineTuned, added_by, check_adapts, check_known
from transformer_lab.lab.training.origins import Origin, OriginError
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.runs.run import UNREADABLE, Run, RunNotFoundError
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.training.finetune import FineTuning


def based(comparison: Comparison, trainings: Trainings) -> Comparison:
    """The question with its base: the run that it names, else the newest that is fit for one.

    Raises ConfigError.
    """
    base = comparison.base
    if base is None or base.known:
        return comparison
    run = opened(trainings.store, base.run) if base.run else _newest(trainings, base.corpus)
    try:
        step = FineTuned(run, base.step or None, FineTuning()).step
    except OriginError as error:
        raise ConfigError("finetune.run", str(error)) from error
    return comparison.with_base(run.id, step, run.manifest["setup"])


def opened(store: RunStore, run_id: str) -> Run:
    """A base by its name. Raises ConfigError."""
    try:
        run = store.open(run_id)
    except RunNotFoundError:
        raise ConfigError(
            "finetune.run",
            f"The base {run_id} is not there: start the comparison anew, which takes another run.",
        ) from None
    if run.problem:
        raise ConfigError("finetune.run", f"{run_id} is damaged, and no base. {run.problem}")
    return run


def _newest(trainings: Trainings, corpus: str) -> Run:
    """The newest finished run that is no fine-tuning, no lane, and has learned another text."""
    for line in trainings.runs():
        if line.state != "finished" or line.base or line.race or not line.step:
            continue
        try:
            run = trainings.store.open(line.id)
            if not run.problem and run.manifest["setup"]["data"]["corpus"] != corpus:
                return run
        except UNREADABLE:
            continue
    raise ConfigError(
        "finetune.run",
        "There is no model to fine-tune yet: train Quick start on the Train tab to its last step; "
        "the newest finished run is the base.",
    )


def check_lanes(comparison: Comparison, trainings: Trainings, texts: Texts) -> None:
    """That every lane suits the base and the new text. Raises ConfigError."""
    if comparison.base is None:
        return
    manifest = opened(trainings.store, comparison.base.run).manifest
    for name, tuning in comparison.tunings.items():
        setup = comparison.lanes[name]
        try:
            check_known(texts, setup, manifest, tuning)
            added = added_by(texts, setup, manifest, tuning)
            check_adapts(setup, manifest["tokenizer"], tuning, added)
        except ConfigError as error:
            raise ConfigError(error.field, f"Lane “{name}”: {error}") from error


def origins(comparison: Comparison, store: RunStore) -> Mapping[str, Origin]:
    """How every lane begins; none where lanes have new weights. Raises ConfigError."""
    base = comparison.base
    if base is None:
        return {}
    run = opened(store, base.run)
    return {name: FineTuned(run, base.step, tuning) for name, tuning in comparison.tunings.items()}
