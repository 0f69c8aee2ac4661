"""How tests wait: until something has happened, however long this computer takes."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 300.0  # seconds after which it will never happen; no test is about how long it takes
Found = TypeVar("Found")


def until(happened: Callable[[], Found]) -> Found:
    """Wait for something to become true; gives it."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        if found := happened():
            return found
        time.sleep(0.01)
    raise AssertionError("it never happened")
