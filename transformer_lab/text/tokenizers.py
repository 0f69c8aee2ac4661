"""Tokenizers: text to whole numbers and back again.

A tokenizer is one class with the four methods of `Tokenizer`, plus one line in `TOKENIZERS`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


class UnknownCharactersError(ValueError):
    """Text with characters the tokenizer has never seen; `characters` lists them in order."""

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = list(characters)
        named = ", ".join(name_of(character) for character in self.characters[:8])
        more = len(self.characters) - 8
        if more > 0:
            named += f" and {more} more"
        super().__init__(f"The training text never contained {named}, so the model cannot read it.")


def name_of(character: str) -> str:
    """A character in a form that can be seen: 'é' (U+00E9), or U+000A alone for a control one."""
    code = f"U+{ord(character):04X}"
    return f"'{character}' ({code})" if character.isprintable() else code


class Tokenizer(Protocol):
    """What every tokenizer can do."""

    @property
    def vocabulary_size(self) -> int:
        """How many different tokens there are: V."""

    def encode(self, text: str) -> Tokens:
        """Text -> (N,) token ids, each from 0 to V - 1."""

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """(N,) token ids -> the text they stand for."""

    def to_json(self) -> dict[str, Any]:
        """Everything needed to make this tokenizer again, as plain JSON values."""


class CharacterTokenizer:
    """Every character is a token; ids follow the order of Unicode code points."""

    def __init__(self, characters: Sequence[str]) -> None:
        if any(len(character) != 1 for character in characters):
            raise ValueError("a character tokenizer takes single characters")
        self._codes = np.array(sorted({ord(character) for character in characters}), dtype=np.int64)

    @classmethod
    def learn(cls, text: str) -> "CharacterTokenizer":
        """The vocabulary is simply the characters that occur."""
        return cls(sorted(set(text)))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "CharacterTokenizer":
        """The tokenizer that `to_json` described."""
        return cls(stored["characters"])

    @property
    def vocabulary_size(self) -> int:
        """How many different characters there are: V."""
        return len(self._codes)

    @property
    def characters(self) -> list[str]:
        """The vocabulary, in the order of its ids."""
        return [chr(code) for code in self._codes]

    def encode(self, text: str) -> Tokens:
        """Text -> (N,) ids. Raises UnknownCharactersError, naming them."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        codes = codes.astype(np.int64)
        ids = np.searchsorted(self._codes, codes)
        found = self._codes[np.minimum(ids, len(self._codes) - 1)] == codes
        if not found.all():
            unknown = dict.fromkeys(chr(code) for code in codes[~found])
            raise UnknownCharactersError(list(unknown))
        return ids.astype(np.int64)

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """(N,) ids -> text. Raises IndexError for an id outside the vocabulary."""
        ids = np.asarray(tokens, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self._codes)):
            raise IndexError(f"token ids must be from 0 to {len(self._codes) - 1}")
        return "".join(map(chr, self._codes[ids].tolist()))

    def to_json(self) -> dict[str, Any]:
        """The characters, in order."""
        return {"kind": "characters", "characters": self.characters}


TOKENIZERS = {
    "characters": CharacterTokenizer,
}


def tokenizer_from_json(stored: dict[str, Any]) -> Tokenizer:
    """Make a tokenizer again from what its `to_json` gave."""
    return TOKENIZERS[stored["kind"]].from_json(stored)
