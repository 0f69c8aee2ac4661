"""metrics.sqlite in export and import: copied while it is written, and rebuilt row by row.

A database from elsewhere is never used itself: it could hold triggers, views or damaged pages. Its
rows are read, checked and put into a new one.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformer_lab.exchange.errors import ExportRefusedError, ImportRefusedError
from transformer_lab.exchange.run_folder import flush_file
from transformer_lab.runs.events import is_sound
from transformer_lab.runs.opening import opened_to_read
from transformer_lab.runs.tables import (
    INDEX,
    METRICS,
    SCHEMA,
    TABLES,
    TABLES_ONLY,
    VERSION,
    sound,
    sound_rows,
    version_of,
)

DATABASE = METRICS
LONGEST = 16_000_000  # bytes of one value or row
ORDERS = {"steps": "step", "samples": "rowid", "events": "rowid"}
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
    options = "mode=ro&immutable=1"
    database = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=5.0)
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        yield database
    finally:
        database.close()


def copy_database(run_folder: Path, target: Path) -> None:
    """A consistent copy of a run's metrics, in one file, also while a training writes them.

    Raises ExportRefusedError.
    """
    if not (run_folder / DATABASE).is_file():
        raise ExportRefusedError(f"{run_folder.name} has no metrics: {DATABASE} is missing.")
    try:
        with (
            reading(run_folder / DATABASE) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # no files beside it
            if not _has_tables(copy):
                raise sqlite3.DatabaseError("it has no tables of a run")
    except (OSError, sqlite3.Error) as error:
        raise ExportRefusedError(
            f"The metrics of {run_folder.name} cannot be read: {error}."
        ) from error


def salvage_database(run_folder: Path, target: Path) -> str:
    """The same of a database that may be damaged: with every row that can be read.

    Gives a sentence on what was lost, empty when nothing was.
    """
    try:
        copy_database(run_folder, target)
        with reading(target) as copy:
            if copy.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                return ""
            reason = "it is damaged"
    except (ExportRefusedError, sqlite3.Error) as error:
        reason = str(error).rstrip(".")
    target.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(target)) as new, new:
        new.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION};")
        counts = [f"{_salvaged(run_folder / DATABASE, new, name):,} {name}" for name in TABLES]
    return f"Of {DATABASE} only what can be read is here ({', '.join(counts)}): {reason}."


def _has_tables(database: sqlite3.Connection) -> bool:
    found = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    return set(TABLES) <= found


def _salvaged(source: Path, new: sqlite3.Connection, table: str) -> int:
    """Copy the rows of a table from both ends up to what is damaged; gives how many they are."""
    names = ", ".join(TABLES[table])
    places = ", ".join("?" * len(TABLES[table]))
    found: dict[int, tuple[Any, ...]] = {}
    for order in ("", "DESC"):
        with contextlib.suppress(sqlite3.Error), reading(source) as old:
            query = f"SELECT rowid, {names} FROM {table} WHERE {sound_rows(table)}"
            for rowid, *row in old.execute(f"{query} ORDER BY rowid {order}"):
                if rowid in found:
                    break
                found[rowid] = tuple(row)
    for rowid in sorted(found):
        new.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})", found[rowid])
    return len(found)


def rebuild_database(source: Path, target: Path) -> None:
    """A new database with the rows of a foreign one. Raises ImportRefusedError."""
    try:
        with reading(source, foreign=True) as old:
            version_of(old)
            columns = _checked_schema(old)
            for table, names in columns.items():
                _check_rows(old, table, names)
            with contextlib.closing(sqlite3.connect(target)) as new:
                new.execute("PRAGMA journal_mode = OFF")  # a half-made file is thrown away anyway
                new.execute("PRAGMA synchronous = OFF")
                with new:
                    new.executescript(f"BEGIN; {TABLES_ONLY}")
                    for table, names in columns.items():
                        _copy_rows(old, new, table, names)
                    new.execute(INDEX)
                    new.execute(f"PRAGMA user_version = {VERSION}")
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


def _check_rows(old: sqlite3.Connection, table: str, names: list[str]) -> None:
    """Every value is what the lab writes there: looked at in SQL, for there may be millions."""
    for name in names:
        right = sound(name, always=TABLES[table][name])
        odd = old.execute(f"SELECT {name} FROM {table} WHERE NOT ({right}) LIMIT 1").fetchone()
        if odd:
            raise ImportRefusedError(
                f"{DATABASE} is not of a run: {name} in {table} is {str(odd[0])[:40]!r}."
            )
    if table == "events":
        for kind, detail in old.execute("SELECT kind, detail FROM events"):
            if not is_sound(kind, detail):
                raise ImportRefusedError(f"{DATABASE} holds an event {kind!r} that cannot be used.")


def _copy_rows(
    old: sqlite3.Connection, new: sqlite3.Connection, table: str, names: list[str]
) -> None:
    rows = old.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {ORDERS[table]}")
    places = ", ".join("?" * len(names))
    new.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)
