"""How much of the validation text stands in the training text too, letter for letter."""

import numpy as np
from numpy.typing import NDArray

WINDOW = 50  # characters
BASE = np.uint64(0x9E3779B97F4A7C15)


def overlap(training: str, validation: str, window: int = WINDOW) -> float:
    """The share of the validation text's windows that also occur in the training text.

    Found by a hash of every window; where the hashes agree the characters are compared.
    """
    if min(len(training), len(validation)) < window:
        return 0.0
    known, wanted = _hashes(training, window), _hashes(validation, window)
    order = np.argsort(known)
    at = np.searchsorted(known, wanted, sorter=order)
    at = order[np.minimum(at, len(order) - 1)]
    candidates = np.flatnonzero(known[at] == wanted)
    same = sum(
        validation[i : i + window] == training[at[i] : at[i] + window] for i in candidates.tolist()
    )
    return same / len(wanted)


def _hashes(text: str, window: int) -> NDArray[np.uint64]:
    """(N - window + 1,): a polynomial of each window's code points, modulo 2**64."""
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    count = len(codes) - window + 1
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(window):
        hashes *= BASE
        hashes += codes[place : place + count]
    return hashes
