"""What can be computed again, kept on disk as bytes.

It never stands in the way: whatever the disk does, a value is there or it is not. And it is not
believed: each value has its sha256 beside it. diskcache would unpickle whatever it finds; this one
refuses to, so that write access to the folder is not enough to run code here.
"""

import contextlib
import errno
import hashlib
import logging
import mmap
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import diskcache
from diskcache.core import MODE_BINARY, MODE_RAW

log = logging.getLogger(__name__)
LIMIT = 2_000_000_000  # bytes, beyond which the oldest go
PATIENCE = 2.0  # seconds to wait for another process that is writing
DATABASE = "cache.db"
DAMAGED = (ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)
UNUSABLE = (*DAMAGED, OSError, sqlite3.Error, diskcache.Timeout)  # what diskcache may raise
# Of sqlite's errors, those of a database that is spoiled; others come from the disk around it.
SPOILED = (
    sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,
)  # fmt: skip
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
Answer = TypeVar("Answer")


class BytesDisk(diskcache.Disk):
    """Stores bytes and plain keys; anything that would need pickle is refused."""

    def put(self, key: Any) -> Any:
        """A key as it is stored. Raises TypeError for one that is not text."""
        if not isinstance(key, str):
            raise TypeError("keys are text")
        return super().put(key)

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:
        """Keep a value. Raises TypeError for one that is not bytes."""
        if not read and not isinstance(value, bytes):
            raise TypeError("values are bytes")
        return super().store(value, read, key=key)

    def fetch(self, mode: int, filename: str, value: Any, read: bool) -> Any:
        """Read a value. Raises ValueError for one that is not bytes."""
        if mode not in (MODE_RAW, MODE_BINARY):
            raise ValueError("only bytes are read from this cache")
        return super().fetch(mode, filename, value, read)

    def _write(self, full_path: str, *rest: Any) -> Any:
        try:
            return super()._write(full_path, *rest)
        except OSError:  # on a full disk: the half that was written is of no use
            with contextlib.suppress(OSError):
                Path(full_path).unlink()
            raise


class ByteCache:
    """Bytes by their key, where a disk takes them; for any thread, and never raising."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._cache: diskcache.Cache | None = self._opened()

    def set(self, key: str, value: bytes) -> None:
        """Keep a value, if that can be done."""
        self._try(lambda cache: cache.set(key, value, tag=_sum(key, value)))

    def get(self, key: str) -> memoryview | None:
        """The value of a key, if it is there and whole; a large one is mapped, not read."""
        found = self._try(lambda cache: _whole(key, *cache.get(key, read=True, tag=True)))
        return found or None

    def close(self) -> None:
        """Close the files."""
        self._try(lambda cache: cache.close())

    def _try(self, work: Callable[[diskcache.Cache], Answer]) -> Answer | None:
        cache = self._cache
        if cache is None:
            return None
        try:
            return work(cache)
        except UNUSABLE as error:
            self._note("is of no use now", error)
            if _spoiled(error):
                with self._lock:
                    if self._cache is cache:  # else another thread has seen to it
                        self._set_aside()
                        self._cache = self._opened()
            return None

    def _opened(self) -> diskcache.Cache | None:
        """The cache; a spoiled one is set aside for a new one. None when there can be none."""
        for last in (False, True):
            try:
                return open_cache(self._folder, self._limit)
            except UNUSABLE as error:
                self._note("cannot be used", error)
                if last or not (_spoiled(error) and self._set_aside()):
                    break
        return None

    def _note(self, what: str, error: BaseException) -> None:
        """Say why it goes on without; of a folder that can only be read, that is no news."""
        codes = getattr(error, "errno", None), getattr(error, "sqlite_errorcode", 0) & 0xFF
        read_only = codes[0] in READ_ONLY or codes[1] == sqlite3.SQLITE_READONLY
        level = logging.INFO if read_only else logging.WARNING
        why = str(error) or "another program holds it"
        log.log(level, "the cache %s %s: %s", self._folder, what, why)

    def _set_aside(self) -> bool:
        """Make room for a new cache; the spoiled one before it goes, for it may be large."""
        aside = self._folder.with_name(f"{self._folder.name}.damaged")
        try:
            if aside.is_dir():
                shutil.rmtree(aside)
            self._folder.rename(aside)
        except OSError:
            return False
        log.warning("what was in %s is in %s now, and can be deleted", self._folder, aside)
        return True


def open_cache(folder: Path, limit: int = LIMIT) -> diskcache.Cache:
    """The cache in a folder that only its owner may write; beyond `limit` bytes some go.

    Raises one of UNUSABLE.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(OSError):  # what counts is what others may do then
        folder.chmod(0o700)
    if others_may_write(folder):
        raise PermissionError(f"others may write in it, so nothing in it can be trusted: {folder}")
    if os.path.expandvars(folder) != str(folder):
        raise OSError(f"diskcache would take a part of {folder} for a variable")
    if (folder / DATABASE).exists():  # diskcache itself would wait for a minute
        with contextlib.closing(sqlite3.connect(folder / DATABASE, timeout=PATIENCE)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    return diskcache.Cache(
        str(folder),
        timeout=PATIENCE,
        disk=BytesDisk,
        size_limit=limit,
        eviction_policy="least-recently-used",
    )


def others_may_write(folder: Path) -> bool:
    """Whether another person may put something into a folder. Raises OSError.

    Compared with a folder just made: where that one is not private either, the file system keeps
    no permissions (exFAT, a share, Windows' drives in WSL), and there is nothing to be had.
    """
    if os.name != "posix":  # elsewhere the user's folder is the user's
        return False
    with tempfile.TemporaryDirectory(prefix=".made-", dir=folder) as made:
        own = Path(made).stat()
    there = folder.stat()
    if own.st_mode & 0o022:
        return False
    return own.st_uid != there.st_uid or bool(there.st_mode & 0o022)


def _spoiled(error: BaseException) -> bool:
    """Whether an error means that what is stored is damaged, not that the disk refuses."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in SPOILED
    return isinstance(error, (*DAMAGED, FileExistsError, NotADirectoryError))


def _sum(key: str, value: bytes | memoryview) -> str:
    sha256 = hashlib.sha256(f"{key}\0".encode())
    sha256.update(value)
    return sha256.hexdigest()


def _whole(key: str, found: Any, kept: str | None) -> memoryview | None:
    """A value as it was kept, in memory of one's own, or None."""
    if found is None:
        return None
    if isinstance(found, bytes):
        value = memoryview(bytearray(found))
    else:
        with found as file:
            value = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    if _sum(key, value) == kept:
        return value
    if kept is not None:  # else it is from before there were sums
        log.warning("a cached value is damaged, and is made again: %s", key)
    return None
