"""How much of the validation text stands in the training text too, letter for letter."""

import numpy as np
from numpy.typing import NDArray

WINDOW = 50  # characters
PIECE = 1_000_000  # characters of the training text looked at together
BASE = np.uint64(0x9E3779B97F4A7C15)


def overlap(training: str, validation: str, window: int = WINDOW) -> float:
    """The share of the validation text's windows that also occur in the training text.

    Found by a hash of every window; where the hashes agree the characters are compared.
    """
    if min(len(training), len(validation)) < window:
        return 0.0
    wanted, first, counts = np.unique(
        _hashes(validation, window), return_index=True, return_counts=True
    )
    found = np.zeros(len(wanted), dtype=bool)
    for begin in range(0, len(training) - window + 1, PIECE):
        piece = training[begin : begin + PIECE + window - 1]
        hashes = _hashes(piece, window)
        at = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        for place in np.flatnonzero((wanted[at] == hashes) & ~found[at]).tolist():
            other = int(first[at[place]])
            if piece[place : place + window] == validation[other : other + window]:
                found[at[place]] = True
    return float(counts[found].sum() / counts.sum())


def _hashes(text: str, window: int) -> NDArray[np.uint64]:
    """(N - window + 1,): a polynomial of each window's code points, modulo 2**64."""
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    count = len(codes) - window + 1
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(window):
        hashes *= BASE
        hashes += codes[place : place + count]
    return hashes
