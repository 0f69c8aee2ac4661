"""Whether a process holds a lock file: the one of a run is held while it is trained."""

from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"


def is_held(lock: Path) -> bool:
    """Whether another holds it.

    Asked, where the system can, with a lock that readers share: else two of them that ask at once
    would take each other for the one who trains.
    """
    try:
        if fcntl is None:
            with FileLock(lock, timeout=0):
                return False
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (Timeout, BlockingIOError):
        return True
    except OSError:  # not readable, not a lock file, or a disk without locks
        return False
    return False
