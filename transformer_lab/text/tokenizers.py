"""Tokenizers: text to whole numbers and back again.

A tokenizer is one class with the methods of `Tokenizer` and `learn`, plus one line in `TOKENIZERS`.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from transformer_lab.text.bpe import BytePairTokenizer, GPT2Tokenizer
from transformer_lab.text.pieces import Tokens, chunks


class UnknownTextError(ValueError):
    """Text with characters or words the tokenizer has never seen; `pieces` lists them in order."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = list(pieces)
        named = ", ".join(name_of(piece) for piece in self.pieces[:8])
        more = len(self.pieces) - 8
        if more > 0:
            named += f" and {more} more"
        super().__init__(f"The training text never contained {named}, so the model cannot read it.")


def name_of(piece: str) -> str:
    """A piece in a form that can be seen: 'zebra', 'é' (U+00E9), U+000A alone for a control one."""
    if len(piece) > 1:
        return f"'{piece}'"
    code = f"U+{ord(piece):04X}"
    return f"'{piece}' ({code})" if piece.isprintable() else code


class Tokenizer(Protocol):
    """What every tokenizer can do."""

    @property
    def vocabulary_size(self) -> int:
        """How many different tokens there are: V."""

    def encode(self, text: str) -> Tokens:
        """Text -> (N,) token ids, each from 0 to V - 1. May raise UnknownTextError."""

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """(N,) token ids -> the text they stand for."""

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes one token stands for; not always whole characters."""

    def unknown(self, text: str) -> list[str]:
        """The different pieces of a text that have no token, in order."""

    def known(self, text: str, instead: str = "") -> str:
        """The text without its unknown pieces, or with something else in the place of each."""

    def to_json(self) -> dict[str, Any]:
        """Everything needed to make this tokenizer again, as plain JSON values."""


class CharacterTokenizer:
    """Every character is a token; ids are the order in which the characters are given."""

    def __init__(self, characters: Sequence[str]) -> None:
        if any(len(character) != 1 for character in characters):
            raise ValueError("a character tokenizer takes single characters")
        codes = dict.fromkeys(ord(character) for character in characters)
        self._codes = np.array(list(codes), dtype=np.int64)
        self._order = np.argsort(self._codes)

    @classmethod
    def learn(cls, text: str, vocabulary_size: int) -> "CharacterTokenizer":
        """The vocabulary is simply the characters that occur, in the order of Unicode."""
        return cls(sorted(set(text)))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "CharacterTokenizer":
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
        """Text -> (N,) ids. Raises UnknownTextError, naming the characters."""
        ids, found, codes = self._look_up(text)
        if not found.all():
            raise UnknownTextError(list(dict.fromkeys(chr(code) for code in codes[~found])))
        return ids

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """(N,) ids -> text. Raises IndexError for an id outside the vocabulary."""
        ids = np.asarray(tokens, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self._codes)):
            raise IndexError(f"token ids must be from 0 to {len(self._codes) - 1}")
        return "".join(map(chr, self._codes[ids].tolist()))

    def token_bytes(self, token: int) -> bytes:
        return self.decode([token]).encode("utf-8", "replace")

    def unknown(self, text: str) -> list[str]:
        """Characters that did not occur in the training text."""
        _, found, codes = self._look_up(text)
        return list(dict.fromkeys(chr(code) for code in codes[~found]))

    def known(self, text: str, instead: str = "") -> str:
        _, found, codes = self._look_up(text)
        if not instead:
            return "".join(map(chr, codes[found].tolist()))
        pairs = zip(codes.tolist(), found.tolist(), strict=True)
        return "".join(chr(code) if known else instead for code, known in pairs)

    def with_characters(self, text: str) -> "CharacterTokenizer":
        """One that knows the characters of a text too; those it knew keep their ids."""
        return CharacterTokenizer([*self.characters, *sorted(set(text))])

    def to_json(self) -> dict[str, Any]:
        return {"kind": "characters", "characters": self.characters}

    def _look_up(self, text: str) -> tuple[Tokens, Any, Any]:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        places = np.searchsorted(self._codes, codes, sorter=self._order)
        ids = self._order[np.minimum(places, len(self._codes) - 1)]
        found = self._codes[ids] == codes
        return ids.astype(np.int32), found, codes


class ByteTokenizer:
    """Every byte of the UTF-8 text is a token: 256 of them write everything."""

    vocabulary_size = 256

    @classmethod
    def learn(cls, text: str, vocabulary_size: int) -> "ByteTokenizer":
        """No vocabulary is learned: there are always 256 bytes."""
        return cls()

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ByteTokenizer":
        return cls()

    def encode(self, text: str) -> Tokens:
        """Text -> (N,) ids."""
        return np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8).astype(np.int32)

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """(N,) ids -> text; bytes that are no whole character become U+FFFD."""
        return bytes(int(token) for token in tokens).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        return bytes([token])

    def unknown(self, text: str) -> list[str]:
        return []

    def known(self, text: str, instead: str = "") -> str:
        return text

    def to_json(self) -> dict[str, Any]:
        return {"kind": "bytes"}


class WordTokenizer:
    """Every word, space and sign is a token, if it was frequent enough; all others are one token.

    The simplest idea, and its trouble: what is not in the vocabulary is lost.
    """

    PATTERN = re.compile(r"\w+|[^\w]")
    UNKNOWN = "<unknown>"  # token 0

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [self.UNKNOWN, *words]
        self._ids = {word: token for token, word in enumerate(words, start=1)}

    @classmethod
    def learn(cls, text: str, vocabulary_size: int) -> "WordTokenizer":
        """The most frequent words of the text."""
        counts: Counter[str] = Counter()
        for piece in chunks(text):
            counts.update(cls.PATTERN.findall(piece))
        return cls([word for word, _ in counts.most_common(vocabulary_size - 1)])

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "WordTokenizer":
        return cls(stored["words"])

    @property
    def vocabulary_size(self) -> int:
        """How many words there are, and one for all others: V."""
        return len(self._words)

    def encode(self, text: str) -> Tokens:
        """Text -> (N,) ids; an unknown word becomes 0."""
        words = self.PATTERN.findall(text)
        return np.array([self._ids.get(word, 0) for word in words], dtype=np.int32)

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """(N,) ids -> text, in which <unknown> stands for what was lost."""
        return "".join(self._words[int(token)] for token in tokens)

    def token_bytes(self, token: int) -> bytes:
        return self._words[token].encode("utf-8", "replace")

    def unknown(self, text: str) -> list[str]:
        """Words that are not in the vocabulary."""
        words = self.PATTERN.findall(text)
        return list(dict.fromkeys(word for word in words if word not in self._ids))

    def known(self, text: str, instead: str = "") -> str:
        words = self.PATTERN.findall(text)
        return "".join(word if word in self._ids else instead for word in words)

    def to_json(self) -> dict[str, Any]:
        """The words, most frequent first."""
        return {"kind": "words", "words": self._words[1:]}


TOKENIZERS: dict[str, Any] = {
    "characters": CharacterTokenizer,
    "bpe": BytePairTokenizer,
    "gpt2": GPT2Tokenizer,
    "bytes": ByteTokenizer,
    "words": WordTokenizer,
}


def tokenizer_from_json(stored: Mapping[str, Any]) -> Tokenizer:
    """Make a tokenizer again from what its `to_json` gave."""
    return TOKENIZERS[stored["kind"]].from_json(stored)
