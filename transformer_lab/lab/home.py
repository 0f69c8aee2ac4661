"""The home folder: where it is, and whether it can be read and written."""

import contextlib
import os
import stat
import uuid
from pathlib import Path

from transformer_lab.settings import ConfigError

LONGEST_SHOWN = 120  # characters of a path in a message
ANOTHER = "name another one with --home."


def usable_home(named: Path) -> Path:
    """A home by its full path, whether or not it is there yet. Raises ConfigError."""
    home = _full(named)
    try:
        is_folder = stat.S_ISDIR(home.stat().st_mode)
    except FileNotFoundError:
        for place in (home, *home.parents):
            if place.is_symlink() and not place.exists():
                what = "is a link to a folder that is not there: make it, or"
                raise _refused(place, what) from None
        return home
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise _refused(home, f"cannot be opened ({why}):") from None
    if not is_folder:
        raise _refused(home, "is not a folder:")
    if not os.access(home, os.R_OK | os.X_OK):
        raise _refused(home, "cannot be read (Permission denied):")
    return home


def writing_problem(home: Path) -> str:
    """Why nothing can be written to a home, which is made first, in a sentence; else empty."""
    probe = home / f".writable-{uuid.uuid4().hex}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        return f"The folder {_shown(home)} cannot be written to ({error.strerror}): {ANOTHER}"
    return ""


def _full(named: Path) -> Path:
    try:
        return named.expanduser().absolute()
    except RuntimeError:
        raise ConfigError(
            "home",
            f"{_shown(named)} cannot be found (HOME is not set, or there is no such user): "
            "name a folder with --home.",
        ) from None
    except OSError as error:  # of the folder one is in
        raise _refused(named, f"cannot be found ({error.strerror}):") from None


def _refused(home: Path, what: str) -> ConfigError:
    return ConfigError("home", f"{_shown(home)} {what} {ANOTHER}")


def _shown(path: Path) -> str:
    words = str(path)
    if len(words) <= LONGEST_SHOWN:
        return words
    return f"{words[:LONGEST_SHOWN]}… ({len(words):,} characters)"
