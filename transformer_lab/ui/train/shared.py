"""What pages that show the same are told: computed once for all of them.

Thirty pages that follow one training ask ninety times a second for the same words. What is kept is
a moment old at most, is made anew when a training begins or ends or changes its state, and holds
nothing but what follows from the lab and from its key: two pages share it when both ask for just
that.
"""

import threading
import time
import zlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transformer_lab.lab.training.views import View
from transformer_lab.ui import polling

SECONDS = 0.2  # for which something is kept


@dataclass(frozen=True)
class Told:
    """The view of a run, and every part of the page besides its charts.

    `written` are the parts as JSON, `digests` what changes when one of them does.
    """

    view: View
    parts: Mapping[str, Any]
    written: Mapping[str, str]
    digests: Mapping[str, int]

    @classmethod
    def of(cls, view: View, parts: Mapping[str, Any]) -> "Told":
        """The same with the JSON and the digests."""
        written = {name: polling.written(part) for name, part in parts.items()}
        digests = {name: zlib.crc32(part.encode()) for name, part in written.items()}
        return cls(view, parts, written, digests)

    def differing(self, seen: object) -> list[str]:
        """The names of the parts that a page does not have, by the digests it sent back."""
        before = seen if isinstance(seen, dict) else {}
        return [name for name, digest in self.digests.items() if before.get(name) != digest]


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    told: Told | None = None
    stamp: object = None
    ends: float = 0.0


class Shared:
    """What was told last, by what was asked. Methods may be called from any thread."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._kept: dict[Hashable, _Kept] = {}

    def get(self, key: Hashable, stamp: object, make: Callable[[], Told]) -> Told:
        """What is kept for that key, made now where it is too old or was made at another stamp.

        Without a stamp it is always made now. One page makes it while the others wait; an error is
        its own, and the next one tries again.
        """
        now = time.monotonic()
        with self._lock:
            if key not in self._kept:
                self._kept = {one: kept for one, kept in self._kept.items() if kept.ends > now}
            kept = self._kept.setdefault(key, _Kept(ends=now + self.seconds))
        with kept.lock:
            if stamp is None or kept.stamp != stamp or time.monotonic() >= kept.ends:
                kept.ends = 0.0  # until there is something to keep
                kept.told = make()
                kept.stamp, kept.ends = stamp, time.monotonic() + self.seconds
            assert kept.told is not None
            return kept.told
