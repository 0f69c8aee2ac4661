"""Trainings that go on from what is stored: resumed, extended, branched; to start or to queue."""

from dataclasses import replace

from transformer_lab.lab.queue import Waiting
from transformer_lab.recipes import SETTINGS, Setup, setup_from
from transformer_lab.runs.run import RESUMABLE, Run, step_of
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError, checked


class LabError(RuntimeError):
    """Something that cannot be done now; the message says why and what to do."""


class NoRoomError(LabError):
    """The limit of simultaneous trainings is reached; the training can wait in the queue."""


def resumable(store: RunStore, run_id: str) -> Run:
    """A stored run that can go on. Raises LabError and RunNotFoundError."""
    run = _whole(store, run_id)
    state, _ = run.state()
    if state == "finished":
        raise LabError(f"{run_id} is finished: train it for more steps instead.")
    if state not in RESUMABLE:
        raise LabError(f"{run_id} is {state} already.")
    return run


def _whole(store: RunStore, run_id: str) -> Run:
    """A run that is not damaged. Raises LabError and RunNotFoundError."""
    run = store.open(run_id)
    if problem := run.problem:
        raise LabError(f"{run.id} is damaged. {problem}")
    return run


def resumption(store: RunStore, run_id: str) -> Waiting:
    """A run that goes on where it was cut off. Raises LabError and RunNotFoundError."""
    manifest = resumable(store, run_id).manifest
    return Waiting(
        kind="resume", recipe=str(manifest["recipe"]), setup=manifest["setup"], run=run_id
    )


def extension(store: RunStore, run_id: str, steps: object) -> Waiting:
    """A run trained for more steps, as a new run that begins as it ended.

    Raises LabError, RunNotFoundError and ConfigError.
    """
    run = _whole(store, run_id)
    more = int(checked(SETTINGS["train.steps"], steps))
    points = run.resume_points()
    if not points:
        raise LabError(f"{run_id} has no save to go on from: it was never saved.")
    if run.is_held():
        raise LabError(f"{run_id} is still being trained: stop it first.")
    total = step_of(points[0]) + more
    setup = setup_from(run.manifest["setup"]).with_values({"train.steps": total})
    return Waiting(
        kind="extended",
        recipe=str(run.manifest["recipe"]),
        setup=setup.to_mapping(),
        run=run_id,
        checkpoint=points[0].name,
    )


def branching(
    store: RunStore, run_id: str, checkpoint: str, setup: Setup, recipe: str = "custom"
) -> Waiting:
    """A checkpoint trained on with other settings, as a new run.

    `setup.train.steps` counts the steps to come. Raises ConfigError and RunNotFoundError.
    """
    run = _whole(store, run_id)
    folder = run.checkpoint(checkpoint)
    step = step_of(folder)
    parent = setup_from(run.manifest["setup"])
    fixed = replace(setup.model, dropout=parent.model.dropout)
    for name, value in vars(fixed).items():
        if (expected := getattr(parent.model, name)) != value:
            setting = SETTINGS[f"model.{name}"]
            raise ConfigError(
                setting.key,
                f"{setting.label} is {value}, but the weights of {run_id} were made with "
                f"{expected}: set it back, or start a new run. Of the model only Dropout can "
                "change in a branch.",
            )
    total = setup.with_values({"train.steps": step + setup.train.steps})
    return Waiting(
        kind="branched",
        recipe=recipe,
        setup=total.to_mapping(),
        run=run_id,
        checkpoint=checkpoint,
    )
