"""The proxy, in the lab's home, of a run that is trained where that home cannot be seen.

To the page it is the process that trains the run: it holds the lock, takes requests and passes
them on, and writes what has come home.
"""

from pathlib import Path

from filelock import FileLock

from transformer_lab.lab.elsewhere.transfer import pieces, unpack
from transformer_lab.runs.control import Request, Requests
from transformer_lab.runs.held import LOCK
from transformer_lab.runs.store import RunStore


class RunProxy:
    """Of one run; from its first transfer to its end."""

    def __init__(self, home: Path, name: str, *, resumed: bool) -> None:
        """`name` is what it is called where it is trained: a new one gets one that is free here.

        Raises OSError, and filelock.Timeout where another process trains it.
        """
        store = RunStore(home)
        self._changes: dict[str, object] = {}
        self.folder = store.folder / name
        if not resumed:
            order = store.next_order()
            self.folder = store.new_folder(name.rpartition("-")[0])
            self._changes = {"id": self.folder.name, "order": order}
        self._lock = FileLock(self.folder / LOCK, timeout=60, thread_local=False)
        self._lock.acquire()
        self._requests = Requests(self.folder)

    @property
    def known(self) -> list[str]:
        """What need not be sent again."""
        return sorted(pieces(self.folder))

    def take(self, data: bytes) -> None:
        """Write what has come home. Raises OSError, sqlite3.Error and ValueError."""
        unpack(data, self.folder, self._changes)

    def asked(self) -> list[Request]:
        """What the lab has asked of the run since the last time."""
        return self._requests.new()

    def close(self) -> None:
        """Let others write the run."""
        self._requests.close()
        self._lock.release()
