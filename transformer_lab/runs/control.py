"""control.jsonl: what other processes ask of the one that trains a run.

    {"do": "learning_rate", "value": 0.001}

The process that trains makes the file, which its owner alone can open, and removes it in the end.
Whoever asks adds a line. What became of it shows in the run: its state, its events, its saves.
"""

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Literal

from transformer_lab.runs.record import Record, RecordError, checked, parsed
from transformer_lab.settings import shown

CONTROL = "control.jsonl"
OWNER_ONLY = 0o600
MOST_BYTES = 65_536  # that are read at once
Action = Literal["pause", "resume", "stop", "close", "keep", "learning_rate"]


class Request(Record):
    """One thing that is asked; `value` is the peak learning rate, where it is about that."""

    OPTIONAL = frozenset({"value"})
    do: Action
    value: float = 0.0


class UnreachableError(RuntimeError):
    """The process that trains a run cannot be asked anything; the message says why."""


class Requests:
    """The requests to this process, which trains the run of a folder. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CONTROL
        self._path.unlink(missing_ok=True)  # of a process that was killed
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.open(self._path, flags, OWNER_ONLY)
        self._begun = b""  # of a line that is being written

    def new(self) -> list[Request]:
        """What was asked since the last look; a line that is no request is left out."""
        *lines, self._begun = (self._begun + os.read(self._file, MOST_BYTES)).split(b"\n")
        return [request for request in map(_read, lines) if request]

    def close(self) -> None:
        """Remove the file: nothing can be asked any more."""
        with contextlib.suppress(OSError):  # the run was moved, or the disk is read-only by now
            self._path.unlink(missing_ok=True)
        os.close(self._file)


def _read(line: bytes) -> Request | None:
    try:
        return checked(Request, parsed(line, CONTROL), CONTROL)
    except RecordError:
        return None


def reachable(folder: Path) -> bool:
    """Whether the process that trains a run takes requests from this user."""
    try:
        return _private((folder / CONTROL).lstat())
    except OSError:
        return False


def ask(folder: Path, do: Action, value: float | None = None) -> None:
    """Ask the process that trains a run for something. Raises UnreachableError."""
    request = Request(do=do) if value is None else Request(do=do, value=value)
    line = json.dumps(request.plain()).encode() + b"\n"
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.open(folder / CONTROL, flags)
    except OSError as error:
        raise _unreachable(folder, error.strerror or str(error)) from None
    try:
        if not _private(os.fstat(file)):
            raise _unreachable(folder, "its control file is not yours alone")
        os.write(file, line)
    except OSError as error:
        raise _unreachable(folder, error.strerror or str(error)) from None
    finally:
        os.close(file)


def _private(status: os.stat_result) -> bool:
    """Whether a file is one of this user that nobody else can open."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if os.name != "posix":  # elsewhere the user's folder is the user's
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _unreachable(folder: Path, why: str) -> UnreachableError:
    return UnreachableError(
        f"{shown(folder.name)} cannot be reached ({why}): it has just ended, or belongs to another "
        "user of this computer."
    )
