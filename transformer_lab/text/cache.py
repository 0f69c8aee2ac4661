"""What can be computed again, kept on disk as bytes.

diskcache would unpickle whatever it finds; this one refuses to, so that nobody who can write the
folder can run code here.
"""

from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_BINARY, MODE_RAW

LIMIT = 2_000_000_000  # bytes, beyond which the oldest go


class BytesDisk(diskcache.Disk):
    """Stores bytes and plain keys; anything that would need pickle is refused."""

    def put(self, key: Any) -> Any:
        """A key as it is stored. Raises TypeError for one that is not text."""
        if not isinstance(key, str):
            raise TypeError("keys are text")
        return super().put(key)

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:
        """Keep a value. Raises TypeError for one that is not bytes."""
        if not read and not isinstance(value, bytes):
            raise TypeError("values are bytes")
        return super().store(value, read, key=key)

    def fetch(self, mode: int, filename: str, value: Any, read: bool) -> Any:
        """Read a value. Raises ValueError for one that is not bytes."""
        if mode not in (MODE_RAW, MODE_BINARY):
            raise ValueError("only bytes are read from this cache")
        return super().fetch(mode, filename, value, read)


def open_cache(folder: Path, limit: int = LIMIT) -> diskcache.Cache:
    """The cache in a folder that only its owner may read or write; beyond `limit` bytes some go."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return diskcache.Cache(
        str(folder), disk=BytesDisk, size_limit=limit, eviction_policy="least-recently-used"
    )
