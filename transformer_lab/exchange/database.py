"""metrics.sqlite outside of the lab: copied whole while it is written, and rebuilt row by row.

A database from elsewhere is never used itself: it could hold triggers, views or damaged pages. Its
rows are read, checked and put into a new one.
"""

import contextlib
import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from transformer_lab.exchange.errors import ExportRefusedError, ImportRefusedError
from transformer_lab.exchange.opening import opened_to_read
from transformer_lab.exchange.run_folder import flush_file
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import checked
from transformer_lab.training import StepMetrics

DATABASE = "metrics.sqlite"
MOST_THREADS = 1024
LONGEST = 16_000_000  # bytes of one value or row
STEPS = {item.name: item.default is MISSING for item in fields(StepMetrics)}  # True: always there
TABLES: dict[str, dict[str, bool]] = {
    "steps": STEPS,
    "samples": dict.fromkeys(("step", "time", "prompt", "text"), True),
    "events": dict.fromkeys(("time", "step", "kind", "detail"), True),
}
INDEX = """CREATE INDEX evaluations ON steps (step, validation_loss)
    WHERE validation_loss IS NOT NULL"""
SCHEMA = f"""
CREATE TABLE steps ({next(iter(STEPS))} INTEGER PRIMARY KEY, {", ".join(list(STEPS)[1:])});
CREATE TABLE samples (step INTEGER, time REAL, prompt TEXT, text TEXT);
CREATE TABLE events (time REAL, step INTEGER, kind TEXT, detail TEXT);
{INDEX};
"""
ORDERS = {"steps": "step", "samples": "rowid", "events": "rowid"}
TEXTS = ("prompt", "text", "kind", "detail")
# A table as the lab makes them: names and plain types. No checks, defaults or computed columns.
COLUMN = r"\w+(?: (?:INTEGER|REAL|TEXT))?(?: PRIMARY KEY)?"
PLAIN_TABLE = re.compile(rf"CREATE TABLE (\w+) ?\({COLUMN}(?:, ?{COLUMN})*\)")


@contextlib.contextmanager
def reading(path: Path, *, foreign: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that makes no new database. A foreign one is trusted in nothing."""
    if not foreign:
        with opened_to_read(path) as database:
            yield database
        return
    wishes = "mode=ro&immutable=1"
    database = sqlite3.connect(f"{path.absolute().as_uri()}?{wishes}", uri=True, timeout=5.0)
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        yield database
    finally:
        database.close()


def copy_database(run_folder: Path, target: Path) -> None:
    """A consistent copy of a run's metrics, in one file, also while a training writes them."""
    if not (run_folder / DATABASE).is_file():
        raise ExportRefusedError(f"{run_folder.name} has no metrics: {DATABASE} is missing.")
    try:
        with (
            reading(run_folder / DATABASE) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # no files beside it
    except (OSError, sqlite3.Error) as error:
        raise ExportRefusedError(
            f"The metrics of {run_folder.name} cannot be read: {error}."
        ) from error


def rebuild_database(source: Path, target: Path) -> None:
    """A new database with the rows of a foreign one. Raises ImportRefusedError."""
    try:
        with (
            reading(source, foreign=True) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            columns = _checked_schema(old)
            new.execute("PRAGMA journal_mode = OFF")  # a half-made file is thrown away anyway
            new.execute("PRAGMA synchronous = OFF")
            with new:
                new.executescript(f"BEGIN; {SCHEMA}")
                for table, names in columns.items():
                    _copy_rows(old, new, table, names)
    except sqlite3.Error as error:
        raise ImportRefusedError(f"{DATABASE} is damaged: {error}.") from error
    flush_file(target)


def _checked_schema(database: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of each table, when there is nothing in it but the tables of a run."""
    found: dict[str, list[str]] = {}
    for kind, name, sql in database.execute("SELECT type, name, sql FROM sqlite_master"):
        if sql == INDEX:
            continue
        match = PLAIN_TABLE.fullmatch(str(sql))
        if kind != "table" or name not in TABLES or not match or match[1] != name:
            raise ImportRefusedError(f"{DATABASE} holds {kind} {name}, which no run has.")
        found[name] = [row[1] for row in database.execute(f"PRAGMA table_info({name})")]
    for table, known in TABLES.items():
        there = found.get(table, [])
        missing = [name for name, always in known.items() if always and name not in there]
        extra = [name for name in there if name not in known]
        if missing or extra:
            what = f"lacks {missing[0]}" if missing else f"has {extra[0]}, which no run has"
            raise ImportRefusedError(f"The table {table} in {DATABASE} {what}.")
    (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise ImportRefusedError(f"{DATABASE} is damaged: {' '.join(state.split())}.")
    return found


def _copy_rows(
    old: sqlite3.Connection, new: sqlite3.Connection, table: str, names: list[str]
) -> None:
    rows = old.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {ORDERS[table]}")
    check = CHECKS.get(table)

    def sound() -> Iterator[tuple[Any, ...]]:
        for row in rows:
            values = dict(zip(names, row, strict=True))
            for name, value in values.items():
                _check_value(table, name, value)
            if check:
                check(values)
            yield row

    places = ", ".join("?" * len(names))
    new.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", sound())


def _check_value(table: str, name: str, value: object) -> None:
    if name in TEXTS:
        right = isinstance(value, str)
    elif name == "step":
        right = isinstance(value, int) and 0 <= value < 2**53
    else:
        always = TABLES[table][name]
        right = isinstance(value, int | float) and (math.isfinite(value) or not always)
        right |= value is None and not always
    if not right:
        raise ImportRefusedError(
            f"{DATABASE} is not of a run: {name} in {table} is {str(value)[:40]!r}."
        )


def _check_event(event: dict[str, Any]) -> None:
    """What the lab reads out of an event must be what it expects."""
    kind, detail = event["kind"], event["detail"]
    try:
        right = DETAILS[kind](detail) if kind in DETAILS else True
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        right = False
    if not right:
        raise ImportRefusedError(f"{DATABASE} holds an event {kind!r} that cannot be used.")


def _is_state(detail: str) -> bool:
    state = json.loads(detail)
    return isinstance(state["state"], str) and isinstance(state["reason"], str)


def _is_rate(detail: str) -> bool:
    return checked(SETTINGS["train.learning_rate"], float(detail)) > 0


def _is_micro_batch(detail: str) -> bool:
    return checked(SETTINGS["train.micro_batch"], float(detail)) >= 1


def _is_thread_count(detail: str) -> bool:
    return float(detail) in range(1, MOST_THREADS + 1)


def _is_trial(detail: str) -> bool:
    trial = json.loads(detail)
    seconds = trial["seconds"].items()
    return _is_thread_count(trial["threads"]) and all(
        _is_thread_count(count) and 0 <= took < math.inf for count, took in seconds
    )


DETAILS: dict[str, Callable[[str], bool]] = {
    "state": _is_state,
    "learning_rate": _is_rate,
    "micro_batch": _is_micro_batch,
    "threads": _is_thread_count,
    "threads_measured": _is_trial,
    "uncompiled": lambda detail: float(detail) in (0, 1),
    "accuracy": lambda detail: 0 <= float(detail) <= 1,
}
CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {"events": _check_event}
