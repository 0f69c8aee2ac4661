"""transformer-lab export and import."""

import argparse
import contextlib
import os
import stat
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from transformer_lab.cli.common import FAILED, home_folder
from transformer_lab.cli.output import mention, say
from transformer_lab.exchange import ExportRefusedError, ImportRefusedError
from transformer_lab.exchange.forms import FORMS, file_name
from transformer_lab.lab.lab import Lab
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError


def export(arguments: argparse.Namespace) -> int:
    """Write a run to a file in one of several forms."""
    name = arguments.form
    try:
        run = RunStore(home_folder(arguments)).open(arguments.name)
        target = arguments.out or Path(file_name(run.id, name))
        with _writing(target) as stream:
            lost = FORMS[name](run.folder, stream)
    except (RunNotFoundError, ExportRefusedError) as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    for sentence in lost or ():
        mention(f"transformer-lab: {sentence}", to=sys.stderr)
    # What is written straight on may be this very output.
    say(str(target), to=sys.stderr if _straight(target) else None)
    return 0


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name only when it is complete. Raises ConfigError.

    A link is followed; a device or a pipe is written to as it is.
    """
    straight = _straight(target)
    place = target if straight else Path(os.path.realpath(target))
    part = place if straight else place.with_name(f".{uuid.uuid4().hex}.part")
    try:
        if target.is_dir():
            raise ConfigError("--out", f"{target} is a folder: name a file in it.")
        with part.open("wb") as stream:
            yield stream
        if not straight:
            part.replace(place)
    except OSError as error:
        raise ConfigError(
            "--out", f"{target} cannot be written: {error.strerror or error}."
        ) from error
    finally:
        if not straight:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _straight(target: Path) -> bool:
    """Whether it exists and cannot be replaced by renaming: a device, a pipe, a hard link."""
    try:
        known = target.stat()
    except OSError:
        return False
    devices = any(target.absolute().is_relative_to(place) for place in ("/dev", "/proc"))
    return devices or not stat.S_ISREG(known.st_mode) or known.st_nlink > 1


def bring_in(arguments: argparse.Namespace) -> int:
    """Import a run that `export` wrote, or a GPT-2 in a Hugging Face folder."""
    lab = Lab(home_folder(arguments))
    try:
        if not arguments.file.exists():
            raise ConfigError("file", f"{arguments.file} cannot be read: there is no such file.")
        say(lab.runs.bring_in_path(arguments.file, arguments.base))
    except ImportRefusedError as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    finally:
        lab.close()
    return 0
