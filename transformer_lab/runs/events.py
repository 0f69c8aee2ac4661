"""What may happen in a run, by the kind of event, and what `detail` of each means."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from transformer_lab.recipes import SETTINGS
from transformer_lab.runs.record import Count, Record, RecordError, Share, Text
from transformer_lab.settings import checked, shown

Threads = Annotated[int, Field(ge=1, le=1024)]
StoredState = Literal["running", "paused", "finished", "stopped", "failed", "interrupted"]


class StateEvent(Record):
    """The run's state from here on, and why."""

    state: StoredState
    reason: Text = ""


class AuditEvent(Record):
    """What a leak audit found."""

    outcome: Text
    sentence: Text


class ResumedEvent(Record):
    """The run went on here."""

    steps_taken_again: Count = 0
    damaged: list[Text] = Field(default_factory=list)


class ThreadsEvent(Record):
    """How long a step took on so many CPU threads, and on how many it was fastest."""

    threads: Threads
    seconds: dict[str, Annotated[float, Field(ge=0)]]


class BothLossesEvent(Record):
    """Validation losses of a fine-tuning in nats per token: on its text, and on its base's."""

    new: Annotated[float, Field(ge=0)]
    old: Annotated[float, Field(ge=0)] | None = None


def _setting(key: str) -> Callable[[str], Any]:
    return lambda detail: checked(SETTINGS[key], float(detail))


def _share(detail: str) -> float:
    return TypeAdapter(Share).validate_python(float(detail))


def _micro_batch(detail: str) -> int:
    return int(checked(SETTINGS["train.micro_batch"], float(detail))) or _refuse(detail)


def _switch(detail: str) -> bool:
    return {0.0: False, 1.0: True}[float(detail)]


def _refuse(detail: str) -> Any:
    raise ValueError(f"{detail!r} cannot be used")


# What `detail` of each kind of event means; that of any other is a text.
EVENTS: dict[str, Callable[[str], Any]] = {
    "state": StateEvent.model_validate_json,
    "audit": AuditEvent.model_validate_json,
    "resumed": ResumedEvent.model_validate_json,
    "learning_rate": _setting("train.learning_rate"),
    "micro_batch": _micro_batch,
    "threads": lambda detail: TypeAdapter(Threads).validate_python(int(float(detail))),
    "threads_measured": ThreadsEvent.model_validate_json,
    "uncompiled": _switch,
    "accuracy": _share,
    "both_losses": BothLossesEvent.model_validate_json,
}


def event_value(kind: str, detail: str) -> Any:
    """What an event says: a record, a number or a text. Raises RecordError."""
    try:
        return EVENTS[kind](detail) if kind in EVENTS else detail
    except (ValueError, LookupError, OverflowError, RecursionError) as error:
        raise RecordError(f"An event {shown(kind)} is {shown(detail)}.") from error


def is_sound(kind: str, detail: str) -> bool:
    """Whether an event can be used."""
    try:
        event_value(kind, detail)
    except RecordError:
        return False
    return True
