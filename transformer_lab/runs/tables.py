"""The tables of metrics.sqlite, said once: their columns, their version, which rows are right.

A database says in `PRAGMA user_version` how its tables are made; files from before that say 0. To
change the tables, append to MIGRATIONS the SQL that takes a file of the last version to the next.
"""

import sqlite3
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
METRICS = "metrics.sqlite"
INDEX = """CREATE INDEX evaluations ON steps (step, validation_loss)
    WHERE validation_loss IS NOT NULL"""
STEP, *MEASURED = STEPS
TABLES_ONLY = f"""
CREATE TABLE IF NOT EXISTS steps ({STEP} INTEGER PRIMARY KEY, {", ".join(MEASURED)});
CREATE TABLE IF NOT EXISTS samples (step INTEGER, time REAL, prompt TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS events (time REAL, step INTEGER, kind TEXT, detail TEXT);
"""
SCHEMA = f"{TABLES_ONLY}{INDEX.replace('INDEX', 'INDEX IF NOT EXISTS')};"
MIGRATIONS = (SCHEMA,)  # number n takes a file of version n to n + 1
VERSION = len(MIGRATIONS)
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
        # The plus keeps SQLite from looking rows up by these bounds instead of the query's own.
        return f"typeof({name}) = 'integer' AND +{name} BETWEEN 0 AND {LARGEST[name]}"
    most = LARGEST.get(name, LARGEST_NUMBER)
    least = 0 if name in LARGEST else -most
    number = f"(typeof({name}) IN ('integer', 'real') AND {name} BETWEEN {least!r} AND {most!r})"
    return number if always else f"({name} IS NULL OR {number})"


class NewerVersionError(sqlite3.DatabaseError):
    """A newer lab made this database, and may mean other things by its columns."""


def version_of(database: sqlite3.Connection) -> int:
    """How its tables are made. Raises NewerVersionError where this lab does not know that."""
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if not 0 <= version <= VERSION:
        raise NewerVersionError(
            f"its tables are of version {version}, and this lab knows those up to {VERSION}: "
            "update Transformer Lab"
        )
    return version


def migrate(database: sqlite3.Connection) -> None:
    """Bring the tables up to date, one version at a time, each wholly or not at all.

    Raises sqlite3.Error.
    """
    for version in range(version_of(database), VERSION):
        database.executescript(
            f"BEGIN; {MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;"
        )


def insertion(table: str, *, replace: bool = False) -> str:
    """The statement that adds a row, its columns named in the order of TABLES."""
    names = ", ".join(TABLES[table])
    places = ", ".join("?" * len(TABLES[table]))
    return f"INSERT{' OR REPLACE' * replace} INTO {table} ({names}) VALUES ({places})"
