"""transformer-lab export and import."""

import argparse
import sys
from pathlib import Path

from transformer_lab.cli.common import FAILED, home_folder
from transformer_lab.cli.output import mention, say
from transformer_lab.exchange import ExportRefusedError, ImportRefusedError
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.run import RunNotFoundError
from transformer_lab.lab.runs import RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.ui.downloads import DOWNLOADS


def export(arguments: argparse.Namespace) -> int:
    """Write a run to a file in one of several forms."""
    name = arguments.form
    try:
        run = RunStore(home_folder(arguments)).open(arguments.name)
        target = arguments.out or Path(f"{run.id}.zip" if name == "run.zip" else f"{run.id}-{name}")
        part = target.with_name(f".{target.name}.part")
        try:
            with part.open("wb") as stream:
                DOWNLOADS[name](run, stream)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            "--out", f"{error.filename} cannot be written: {error.strerror}."
        ) from None
    except (RunNotFoundError, ExportRefusedError) as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    say(str(target))
    return 0


def bring_in(arguments: argparse.Namespace) -> int:
    """Take a run in that `export` wrote, here or elsewhere."""
    lab = Lab(home_folder(arguments))
    try:
        with arguments.file.open("rb") as file:
            say(lab.bring_in(file, arguments.file.stem))
    except OSError as error:
        raise ConfigError("file", f"{arguments.file} cannot be read: {error.strerror}.") from None
    except ImportRefusedError as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    finally:
        lab.close()
    return 0
