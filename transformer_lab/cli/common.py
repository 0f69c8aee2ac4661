"""What all commands share: where the home folder is, and what they answer with."""

import argparse
import os
from pathlib import Path

from transformer_lab.lab.home import usable_home
from transformer_lab.settings import ConfigError

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
SAMPLING = ("prompt", "length", "temperature", "top_k", "top_p", "seed")  # as in SampleConfig


def home_folder(arguments: argparse.Namespace) -> Path:
    """Where runs and corpora live: --home, TRANSFORMER_LAB_HOME, or the user's data folder.

    Raises ConfigError when it can be neither read nor made.
    """
    return usable_home(_named_home(arguments))


def _named_home(arguments: argparse.Namespace) -> Path:
    if arguments.home is not None:
        return arguments.home
    if named := os.environ.get("TRANSFORMER_LAB_HOME"):
        return Path(named)
    from platformdirs import user_data_path  # noqa: PLC0415 - doctor must run without it

    try:
        return user_data_path("transformer-lab", appauthor=False)
    except RuntimeError:
        raise ConfigError(
            "home",
            "You have no home folder here (HOME is not set): name a folder with --home.",
        ) from None
