"""Printing: any text on any terminal, and no error when the output is closed."""

import contextlib
import io
import os
import sys
from typing import IO


class OutputError(Exception):
    """What was to be printed cannot be: the reader of the pipe has gone, or a disk is full."""

    def __init__(self, error: OSError) -> None:
        self.reader_left = isinstance(error, BrokenPipeError)
        super().__init__(f"the output cannot be written: {error.strerror or error}.")


def take_any_text() -> None:
    """Let both streams spell out what their encoding lacks, as in \\u5c0f, rather than raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(words: str = "", *, end: str = "\n", to: IO[str] | None = None) -> None:
    """Print at once, to stdout unless another stream is given. Raises OutputError."""
    try:
        print(words, end=end, file=to, flush=True)
    except OSError as error:
        raise OutputError(error) from error


def mention(words: str, *, to: IO[str] | None = None) -> None:
    """Print something dispensable: a closed output is no reason to stop working."""
    with contextlib.suppress(OutputError):
        say(words, to=to)


def finish() -> None:
    """Flush both streams; discard what cannot be written, or Python reports an error at exit.

    Raises OutputError.
    """
    trouble: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # the program was started without it
            continue
        try:
            stream.flush()
        except OSError as error:
            trouble = trouble or error
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if trouble:
        raise OutputError(trouble)
