"""How tests wait: until something has happened, however long this computer takes."""

import time
from collections.abc import Callable
from typing import TypeVar

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.states import Status

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


def ended(lab: Lab) -> Status:
    """Wait for the end of the training that was started last; how it stands then."""
    until(lambda: lab.trainings.current.ended)
    return lab.trainings.current.status
