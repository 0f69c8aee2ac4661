"""Opening a database for reading: also while it is written, and on a read-only disk.

A database in WAL mode wants to write beside itself even to be read. On a disk that can only be
read there are two ways around that: it has a log that was never worked in, then both are copied and
read elsewhere; or nobody can be writing, then the file alone is read as it is.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from transformer_lab.runs.tables import version_of

PATIENCE = 5.0  # seconds to wait for another process that is writing
# What sqlite answers where it may not write beside a database.
UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


@contextlib.contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that makes no new database.

    Raises sqlite3.Error, NewerVersionError among them, and OSError for a full disk.

    The last reader to leave tidies up the files beside it, so it may write where it can.
    """
    with contextlib.ExitStack() as stack:
        try:
            database = stack.enter_context(_connected(path, "mode=rw"))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in UNWRITABLE or not path.is_file():
                raise
            database = stack.enter_context(_elsewhere(path))
        yield database


@contextlib.contextmanager
def _elsewhere(path: Path) -> Iterator[sqlite3.Connection]:
    """The same content, with no need to write beside `path`."""
    log = path.with_name(f"{path.name}-wal")
    if not log.is_file() or not log.stat().st_size:
        with _connected(path, "mode=ro&immutable=1") as database:
            yield database
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder) / file.name)
        with _connected(Path(folder) / path.name, "mode=rw") as database:
            yield database


@contextlib.contextmanager
def _connected(path: Path, options: str) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=PATIENCE)
    with contextlib.closing(database):
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        version_of(database)
        yield database
