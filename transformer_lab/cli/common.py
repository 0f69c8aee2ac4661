"""What all commands share: where the home folder is, and what they answer with."""

import argparse
import os
from pathlib import Path

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def home_folder(arguments: argparse.Namespace) -> Path:
    """Where runs and corpora live: --home, TRANSFORMER_LAB_HOME, or the user's data folder."""
    if arguments.home is not None:
        return arguments.home.expanduser()
    if named := os.environ.get("TRANSFORMER_LAB_HOME"):
        return Path(named).expanduser()
    from platformdirs import user_data_path  # noqa: PLC0415 - doctor must run without it

    return user_data_path("transformer-lab", appauthor=False)
