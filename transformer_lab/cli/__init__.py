"""The command line: the same settings and the same Lab as the page.

`commands.py` lists the commands and their options. Each command is a function in one of the modules
here, which is imported only when the command runs.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from transformer_lab.cli.commands import parser
from transformer_lab.cli.common import BAD_INPUT, FAILED, INTERRUPTED
from transformer_lab.cli.output import OutputError, finish, mention, take_any_text
from transformer_lab.settings import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Run one command; gives the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    take_any_text()
    code = 0
    try:
        code = _command(argv)
        finish()
    except (OutputError, BrokenPipeError) as error:
        lost = _unheard(error)
        code = code or lost
    except SystemExit:  # of --help and --version, and for words that argparse does not know
        with contextlib.suppress(OutputError):
            finish()
        raise
    return code


def _unheard(error: OutputError | BrokenPipeError) -> int:
    """The exit code when the output could not be written: 0 if its reader closed the pipe."""
    with contextlib.suppress(OutputError):
        finish()
    if isinstance(error, BrokenPipeError) or error.reader_left:
        return 0
    mention(f"transformer-lab: {error}", to=sys.stderr)
    return FAILED


def _command(argv: list[str] | None) -> int:
    arguments = parser().parse_args(argv)
    # What NVIDIA's library needs for `train.deterministic`, before it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as with Ctrl-C: save first
    try:
        _check_working_folder()
        return arguments.run(arguments)
    except ConfigError as error:
        mention(f"transformer-lab: {error.field}: {error}", to=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


def _check_working_folder() -> None:
    """Some libraries exit silently without a working folder. Raises ConfigError."""
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            "working folder",
            f"The folder you are in is gone ({error.strerror}): change to another one (cd ~).",
        ) from None
