"""The tables of metrics.sqlite, and which of their rows are right."""

from dataclasses import MISSING, fields

from transformer_lab.runs.record import LAST_TIME
from transformer_lab.training import StepMetrics

# The columns of each table; whether a value is always there.
STEPS = {item.name: item.default is MISSING for item in fields(StepMetrics)}
TABLES: dict[str, dict[str, bool]] = {
    "steps": STEPS,
    "samples": dict.fromkeys(("step", "time", "prompt", "text"), True),
    "events": dict.fromkeys(("time", "step", "kind", "detail"), True),
}
TEXTS = ("prompt", "text", "kind", "detail")
WHOLE = ("step",)
LARGEST = {"seconds": 1e12, "tokens_per_second": 1e15, "time": LAST_TIME, "step": 2**53 - 1}
LARGEST_NUMBER = 1e300


def sound_rows(table: str) -> str:
    """A condition in SQL that holds for the rows of a table every value of which is right.

    In SQL, because a run may have millions of steps.
    """
    return " AND ".join(sound(name, always=always) for name, always in TABLES[table].items())


def sound(name: str, *, always: bool) -> str:
    """A condition in SQL for one column; `always` says that it may not be empty."""
    if name in TEXTS:
        return f"typeof({name}) = 'text'"
    if name in WHOLE:
        return f"typeof({name}) = 'integer' AND {name} BETWEEN 0 AND {LARGEST[name]}"
    most = LARGEST.get(name, LARGEST_NUMBER)
    least = 0 if name in LARGEST else -most
    number = f"(typeof({name}) IN ('integer', 'real') AND {name} BETWEEN {least!r} AND {most!r})"
    return number if always else f"({name} IS NULL OR {number})"
