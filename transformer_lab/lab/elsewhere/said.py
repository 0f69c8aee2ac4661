"""What a `transformer-lab train` has told the program that started it, and how it ended, in words.

Only the standard library is used: a cluster's computers read it in a program that does not train.
"""

import contextlib
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARK = "transformer-lab: "  # before what the command line says of an error: its setting, a sentence
RANK_LOST = 75  # exit code of the first of several processes where another one was lost
_MEMORY = {9: "The system does that to a program when memory runs out."}


def lines_of(log: Path) -> list[str]:
    """What it has written so far."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def run_in(lines: Sequence[str]) -> str:
    """The id of the run that it says it trains; "" as long as it has none."""
    for line in lines:
        with contextlib.suppress(ValueError):
            said: Any = json.loads(line)
            if isinstance(said, dict) and isinstance(said.get("begins"), str):
                return said["begins"]
    return ""


def why_none(code: int, lines: Sequence[str]) -> str:
    """Why it ended, with this code, before it had a run; in a sentence."""
    if code < 0:
        return f"{how_ended(code)} before its first step. {memory_words(code)}".strip()
    said = [line for line in lines if line.strip() and not line.startswith("{")]
    last = said[-1].strip() if said else f"exit code {code}"
    if last.startswith(MARK):
        return last.removeprefix(MARK).partition(": ")[2] or last.removeprefix(MARK)
    return f"Its process ended before its first step ({last})."


def how_ended(code: int) -> str:
    """How a process ended with this code, in the middle of a run."""
    if code >= 0:
        return f"Its process broke off (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"Its process was killed ({name})"


def memory_words(code: int) -> str:
    """What is known of such an end besides, in a sentence; or ""."""
    return _MEMORY.get(-code, "")
