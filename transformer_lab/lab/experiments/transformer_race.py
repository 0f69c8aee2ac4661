"""A race as trainings of the lab: each lane is a run that can be opened later."""

import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from transformer_lab.experiments.budget import tokens_per_step
from transformer_lab.experiments.transformers import AUDITING, Seen, written
from transformer_lab.inspection.audit import Verdict
from transformer_lab.lab.cost.estimate import flops_per_step
from transformer_lab.lab.looking.audits import audit_model
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.origins import Origin
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.recipes import Setup
from transformer_lab.runs.store import RunStore

NUMBERED = re.compile(r"(.+)-(\d+)")
LOOK_SECONDS = 0.1


def free_name(slug: str, taken: Iterable[str]) -> str:
    """`slug` and the number after the largest one that is taken."""
    found = (NUMBERED.fullmatch(name) for name in taken)
    numbers = [int(match[2]) for match in found if match and match[1] == slug]
    return f"{slug}-{max(numbers, default=0) + 1}"


def on_the_worker(
    trainings: Trainings,
    setups: Mapping[str, Setup],
    called: str,
    *,
    numbered: bool = True,
    audit: bool = False,
    origins: Mapping[str, Origin] | None = None,
) -> Generator[Mapping[str, Seen], None, None]:
    """One race in the lab; it is stopped when its generator is closed.

    With `audit` its models then go through the leak audit, on this thread. A lane begins as its
    origin says where it has one in `origins`, else with new weights.
    """
    while not (name := begun(trainings, setups, called, origins, numbered=numbered)):
        yield {}
        time.sleep(LOOK_SECONDS)
    try:
        lanes = {run.lane: run for run in trainings.racing(name)}
        while not all(run.ended for run in lanes.values()):
            yield {lane: seen(run) for lane, run in lanes.items()}
            time.sleep(LOOK_SECONDS)
        found = {lane: replace(seen(run), text=text_by(run)) for lane, run in lanes.items()}
        yield found
        if audit:
            models = {
                lane: (run.snapshot, partial(validation_text, run))
                for lane, run in lanes.items()
                if run.status.state == "finished" and run.snapshot is not None
            }
            yield from audits(trainings.store, models, found)
    finally:
        trainings.stop_race(name)


def audits(
    store: RunStore,
    models: Mapping[str, tuple[Snapshot, Callable[[], Tensor | None]]],
    found: dict[str, Seen],
) -> Iterator[Mapping[str, Seen]]:
    """The leak audit of models by lane, each with its validation text; verdicts are kept with the
    runs."""
    for lane, (snapshot, text) in models.items():
        found[lane] = replace(found[lane], audited=AUDITING)
        for item in audit_model(store, snapshot, text):
            if isinstance(item, Verdict):
                found[lane] = replace(found[lane], audited=item.outcome, audit=item.sentence)
            yield dict(found)


def validation_text(run: LiveRun) -> Tensor | None:
    """(N,) token ids of the validation text of a run."""
    return torch.from_numpy(run.made.encoded.validation) if run.made else None


def begun(
    trainings: Trainings,
    setups: Mapping[str, Setup],
    called: str,
    origins: Mapping[str, Origin] | None = None,
    *,
    numbered: bool = True,
) -> str:
    """The name of the race; empty while something else is training."""
    try:
        return trainings.race(called, setups, origins, numbered=numbered)
    except LabError:
        return ""


def seen(run: LiveRun) -> Seen:
    """The state of one lane."""
    failed = run.ended and run.status.state != "finished"
    return Seen(
        metrics=run.stream.since()[0],
        parameters=run.trained or run.parameters,
        failed=run.status.reason or "it was stopped" if failed else "",
        stopped=failed and run.status.state != "failed",
        bytes_per_token=run.made.encoded.bytes_per_token if run.made else 0.0,
        flops=flops_per_token(run),
    )


def flops_per_token(run: LiveRun) -> float:
    """Multiplications and additions by which a lane learns from a token; 0 before it is made.

    Of a fine-tuning too, in which not every weight has a gradient: they are not counted.
    """
    if run.made is None or run.origin.finetune() is not None:
        return 0.0
    setup, vocabulary_size = run.setup, run.made.encoded.tokenizer.vocabulary_size
    return flops_per_step(setup, vocabulary_size) / tokens_per_step(setup)


def text_by(run: LiveRun) -> str:
    """What a lane writes in the end; nothing when it did not come to its last step."""
    if run.status.state != "finished" or run.snapshot is None:
        return ""
    return written(run.snapshot.model(), run.snapshot.tokenizer, run.setup)
