"""Long texts in pieces that can be worked on one after another."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
PIECE = 500_000  # characters
CUT = re.compile(r"\S(?=\s)")


def chunks(text: str, size: int = PIECE) -> Iterator[str]:
    """A text in pieces of about `size` characters, cut between a word and the space after it.

    No tokenizer here makes one token of what stands on both sides of such a cut, so the pieces
    have the tokens of the whole. Without any space in another `size` characters it is cut anyway.
    """
    begin = 0
    while begin < len(text):
        found = CUT.search(text, begin + size, begin + 2 * size)
        end = found.end() if found else begin + 2 * size
        yield text[begin:end]
        begin = end
