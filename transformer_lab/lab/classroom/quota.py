"""How much one person of a class may have, and the sentence for each limit that is reached."""

import os
from dataclasses import dataclass
from pathlib import Path

NOT_COUNTED = ("cache", "trash")  # folders of a home that are bounded, or emptied when need be


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Limits of one person: `runs`, `nbytes` of their home, `seconds` of training."""

    runs: int = 100
    nbytes: int = 2_000_000_000
    seconds: float = 7200.0


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a person has of each."""

    runs: int = 0
    nbytes: int = 0
    seconds: float = 0.0


def too_many_runs(used: Used, quota: Quota) -> str:
    """Why there may not be another run; "" where there may."""
    if used.runs < quota.runs:
        return ""
    return (
        f"You have {used.runs:,} runs, and {quota.runs:,} are all you may have in this class: "
        "delete some on the Runs tab."
    )


def too_many_bytes(used: Used, quota: Quota, more: int = 0) -> str:
    """Why no `more` bytes fit into a workspace; "" where they do."""
    if used.nbytes + more <= quota.nbytes and (more or used.nbytes < quota.nbytes):
        return ""
    what = f"Your workspace has {used.nbytes / 1e6:,.0f} MB"
    if more:
        what += f", this has {more / 1e6:,.1f} MB more"
    return (
        f"{what}, and {quota.nbytes / 1e6:,.0f} MB are all it may have in this class: delete runs "
        "on the Runs tab, or texts on the Data tab."
    )


def too_much_training(used: Used, quota: Quota) -> str:
    """Why nothing more may train; "" where it may."""
    if used.seconds < quota.seconds:
        return ""
    return (
        f"Your trainings have computed for {quota.seconds / 60:,.0f} minutes, which is all they "
        "may in this lesson: ask your teacher for more time."
    )


def bytes_in(home: Path) -> int:
    """Bytes of all files of a home that count."""
    try:
        with os.scandir(home) as entries:
            return sum(_bytes_of(one) for one in entries if one.name not in NOT_COUNTED)
    except OSError:
        return 0


def _bytes_of(entry: "os.DirEntry[str]") -> int:
    try:
        if entry.is_dir(follow_symlinks=False):
            with os.scandir(entry.path) as entries:
                return sum(map(_bytes_of, entries))
        return entry.stat(follow_symlinks=False).st_size
    except OSError:  # it has gone meanwhile
        return 0
