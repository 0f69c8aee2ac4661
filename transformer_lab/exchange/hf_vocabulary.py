"""The vocabulary of a Hugging Face folder as one of our tokenizers: `hf_tokenizers.py` backwards.

A vocabulary is taken only when ours cuts every text into the same pieces. Tokens that no text
becomes (the end of text, padding) are left out, and ids may be in another order: `rows` says which
of theirs each of ours is.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.hf_tokenizers import CHARACTER, WORD, byte_letters
from transformer_lab.settings import ConfigError, shown
from transformer_lab.text.bpe import BytePairTokenizer, GPT2Tokenizer, gpt2_ranks
from transformer_lab.text.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
    WordTokenizer,
)

CAN_BE_READ = "GPT-2's kind (byte-level BPE) can be read, and what a lab exported"
PLAIN_BPE = {  # what GPT-2's kind leaves at these values
    "dropout": None,
    "continuing_subword_prefix": "",
    "end_of_word_suffix": "",
    "byte_fallback": False,
    "ignore_merges": False,
}


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer; for each of its tokens the id it had, and the names of those left out."""

    tokenizer: Tokenizer
    rows: Sequence[int]
    left_out: Sequence[str]


def from_tokenizer_json(content: Mapping[str, Any]) -> Vocabulary:
    """What a tokenizer.json describes. Raises ImportRefusedError."""
    model, cut = content.get("model"), content.get("pre_tokenizer")
    if not isinstance(model, dict) or not isinstance(cut, dict):
        raise _other("tokenizer.json has no model and pre_tokenizer")
    if content.get("normalizer") is not None:
        raise _other("tokenizer.json changes text before it is cut (its normalizer)")
    vocab = _ids(model.get("vocab"), "tokenizer.json")
    kinds = (model.get("type"), cut.get("type"))
    if kinds == ("BPE", "ByteLevel"):
        odd = [key for key, usual in PLAIN_BPE.items() if (model.get(key) or usual) != usual]
        if cut.get("add_prefix_space", True) or not cut.get("use_regex", True) or odd:
            raise _other("tokenizer.json cuts or joins text in another way than GPT-2")
        return byte_pairs(vocab, [_pair(merge) for merge in _list(model.get("merges"))])
    pattern = cut.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    if kinds == ("WordLevel", "Split") and regex == CHARACTER:
        return _characters(vocab)
    if kinds == ("WordLevel", "Split") and regex == WORD:
        return _words(vocab)
    raise _other(f"Its tokenizer is {shown(kinds[0])}, cut by {shown(kinds[1])}")


def from_vocab_and_merges(vocab: Mapping[str, Any], merges: str) -> Vocabulary:
    """What vocab.json and merges.txt describe, GPT-2's first form. Raises ImportRefusedError."""
    lines = [line for line in merges.splitlines() if line and not line.startswith("#version")]
    return byte_pairs(_ids(vocab, "vocab.json"), [_pair(line) for line in lines])


def byte_pairs(vocab: Mapping[str, int], pairs: Sequence[tuple[str, str]]) -> Vocabulary:
    """Byte-level BPE: ids by piece, and the pairs that are joined, the first ones first.

    Raises ImportRefusedError.
    """
    letters = {letter: value for value, letter in enumerate(byte_letters())}
    if missing := [value for letter, value in letters.items() if letter not in vocab]:
        raise _other(f"Its vocabulary has no token for the byte {missing[0]}")
    names = sorted(letters, key=lambda letter: vocab[letter])
    names += [left + right for left, right in pairs]
    known = set(letters)
    for left, right in pairs:
        if not {left, right} <= known or left + right in known or left + right not in vocab:
            raise _other(f"Its merges cannot be followed at {shown(left)} and {shown(right)}")
        known.add(left + right)
    pieces = [bytes(letters[letter] for letter in name) for name in names]
    return Vocabulary(
        _byte_pair_tokenizer({piece: rank for rank, piece in enumerate(pieces)}, names, pairs),
        [vocab[name] for name in names],
        sorted(set(vocab) - known),
    )


def _byte_pair_tokenizer(
    ranks: dict[bytes, int], names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> Tokenizer:
    """The tokenizer that joins these very pairs; GPT-2's own, or plain bytes, where it is that."""
    with contextlib.suppress(ConfigError):  # its files are not here
        if len(ranks) > len(byte_letters()) and ranks == gpt2_ranks():
            return GPT2Tokenizer(ranks)
    if not pairs and list(ranks) == [bytes([value]) for value in range(256)]:
        return ByteTokenizer()
    tokenizer = BytePairTokenizer(ranks)
    try:
        made = [(names[merge.left], names[merge.right]) for merge in tokenizer.merges()]
    except (AssertionError, LookupError):
        made = []
    if made != list(pairs):
        raise _other("Its byte pairs were not each made by joining two older ones")
    return tokenizer


def _characters(vocab: Mapping[str, int]) -> Vocabulary:
    if odd := next((piece for piece in vocab if len(piece) != 1), None):
        raise _other(f"Its vocabulary of characters has {shown(odd)}")
    tokenizer = CharacterTokenizer(list(vocab))
    return Vocabulary(tokenizer, [vocab[one] for one in tokenizer.characters], [])


def _words(vocab: Mapping[str, int]) -> Vocabulary:
    words = sorted(set(vocab) - {WordTokenizer.UNKNOWN}, key=lambda word: vocab[word])
    if WordTokenizer.UNKNOWN not in vocab:
        raise _other(f"Its vocabulary of words has no {WordTokenizer.UNKNOWN}")
    rows = [vocab[word] for word in (WordTokenizer.UNKNOWN, *words)]
    return Vocabulary(WordTokenizer(words), rows, [])


def _ids(vocab: object, where: str) -> dict[str, int]:
    """Ids by piece, each of its own."""
    if not isinstance(vocab, dict) or not vocab:
        raise _other(f"{where} has no vocabulary")
    if any(type(token) is not int or token < 0 for token in vocab.values()):
        raise _other(f"{where} has a token whose id is no number")
    if len(set(vocab.values())) < len(vocab):
        raise _other(f"{where} has two tokens of one id")
    return vocab


def _pair(merge: object) -> tuple[str, str]:
    """A merge as it is written: ["a", "b"], or "a b"."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) for p in parts):
        raise _other(f"Its merges cannot be followed at {shown(merge)}")
    return parts[0], parts[1]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _other(why: str) -> ImportRefusedError:
    return ImportRefusedError(f"{why}: of vocabularies, {CAN_BE_READ}.")
