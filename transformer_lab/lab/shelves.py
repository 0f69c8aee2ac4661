"""Shelves: caches in memory that share one limit in bytes.

Each kind has a shelf of its own, and all share one number of bytes: what was wanted least lately
goes first, whatever it is. Everything on a shelf can be had again, or done without.
"""

import contextlib
import ctypes
import dataclasses
import sys
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import psutil
from cachetools import LRUCache
from torch import Tensor

SHARE = 16  # the bound is this fraction of the computer's memory,
LEAST = 256_000_000  # but not less, in bytes,
MOST = 2_000_000_000  # and not more
EMPTY = 64  # bytes that anything takes at least, about
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
LARGEST_KEPT = 32 << 20  # bytes of a block that is not given back when it is freed: glibc's limit
KEPT_FREE = 256 << 20  # bytes that stay free for the next step
Kept = TypeVar("Kept")


@dataclasses.dataclass(frozen=True, eq=False)
class _Item:
    value: Any
    nbytes: int
    let_go: Callable[[Any], None]


class Shelves:
    """All that is kept, within `room` bytes; the newest stays even if it takes more."""

    def __init__(self, room: int = 0) -> None:
        self.room = room or min(MOST, max(LEAST, psutil.virtual_memory().total // SHARE))
        self.lock = threading.RLock()
        self.items: LRUCache[Hashable, _Item] = _Items(self.room, lambda item: item.nbytes)

    @property
    def nbytes(self) -> int:
        """How much is kept."""
        return int(self.items.currsize)

    def shelf(self, let_go: Callable[[Any], None] = lambda value: None) -> "Shelf[Any]":
        """A new shelf; `let_go` is called with each entry that is removed to make room."""
        return Shelf(self, let_go)


class _Items(LRUCache[Hashable, _Item]):
    """An LRU cache that reports what it removes."""

    def popitem(self) -> tuple[Hashable, _Item]:
        """Remove the least recently used entry."""
        key, item = super().popitem()
        item.let_go(item.value)
        return key, item


class Shelf(Generic[Kept]):
    """One kind of things, by their keys. Methods may be called from any thread."""

    def __init__(self, shelves: Shelves, let_go: Callable[[Kept], None]) -> None:
        self._shelves = shelves
        self._let_go = let_go

    def find(self, key: Hashable) -> Kept | None:
        """What is kept under that key, if it still is."""
        with self._shelves.lock:
            item = self._shelves.items.get((self, key))
        return None if item is None else item.value

    def keep(self, key: Hashable, value: Kept, nbytes: int | None = None) -> Kept:
        """Put something there, of so many bytes; without a number they are counted."""
        nbytes = bytes_of(value) if nbytes is None else nbytes
        item = _Item(value, min(max(EMPTY, nbytes), self._shelves.room), self._let_go)
        with self._shelves.lock:
            self._shelves.items[self, key] = item
        return value

    def get(self, key: Hashable, make: Callable[[], Kept], nbytes: int | None = None) -> Kept:
        """What is kept under that key, made first if it is not."""
        found = self.find(key)
        return self.keep(key, make(), nbytes) if found is None else found

    def drop(self, key: Hashable) -> None:
        """Remove an entry now."""
        with self._shelves.lock:
            self._shelves.items.pop((self, key), None)


def keep_freed() -> None:
    """Have the C library (glibc) keep what a step frees for the next one.

    Else it returns much of it to the system, and takes it back page by page: a tenth of a short
    step. What it keeps at most, at the end of its memory, is KEPT_FREE; `give_back` returns that.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        library = ctypes.CDLL(None)
        # Alone the second would be worse than nothing: blocks of 128 kB would be the system's.
        if library.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT):
            library.mallopt(M_TRIM_THRESHOLD, KEPT_FREE)


def give_back() -> None:
    """Return freed memory to the system, where the C library (glibc) keeps it.

    It does so for much of what a training allocates, as other memory lies above it.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def bytes_of(value: Any) -> int:
    """About how many bytes something takes: tensors, arrays, text, and what is made of them."""
    if isinstance(value, (Tensor, np.ndarray)):
        return EMPTY + value.nbytes
    if isinstance(value, Mapping):
        return EMPTY + sum(EMPTY + bytes_of(one) for one in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return EMPTY + sum(map(bytes_of, value))
    if dataclasses.is_dataclass(value):
        return EMPTY + sum(
            bytes_of(getattr(value, item.name)) for item in dataclasses.fields(value)
        )
    return sys.getsizeof(value)
