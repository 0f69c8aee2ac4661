"""Our tokenizers in the format of Hugging Face's `tokenizers`, such that ids are the same.

The format describes steps: text is cut (pre_tokenizer), the parts become ids (model), and ids
become text again (decoder). No token is special, so none is added to a text or left
out of one. Ids are the same for every character of the Unicode versions that both sides know.
"""

from collections.abc import Callable, Mapping
from typing import Any

from transformer_lab.text.bpe import BytePairTokenizer
from transformer_lab.text.tokenizers import WordTokenizer, tokenizer_from_json

Json = dict[str, Any]
# What a token is, where each stands in a list.
CHARACTER, WORD = r"[\s\S]", r"[\p{L}\p{N}_]+|[^\p{L}\p{N}_]"


def why_not_tokenizer(stored: Mapping[str, Any]) -> list[str]:
    """Why a tokenizer cannot be written so that it gives the same ids; empty when it can."""
    kind = str(stored["kind"])
    if kind not in FORMS:
        return [f"Tokenizer is {kind}, for which Hugging Face's format is not written yet."]
    if kind == "bpe":  # those of GPT-2 are known to be in order
        try:
            FORMS[kind](stored)
        except (AssertionError, LookupError):
            return ["Its byte pairs were not each made by joining two older ones."]
    return []


def tokenizer_files(stored: Mapping[str, Any], sequence_length: int) -> dict[str, Json]:
    """tokenizer.json and tokenizer_config.json."""
    return {
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "post_processor": None,
            **FORMS[stored["kind"]](stored),
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": sequence_length,
            "clean_up_tokenization_spaces": False,
        },
    }


def _characters(stored: Mapping[str, Any]) -> Json:
    """Every character by itself; one that is not in the vocabulary is an error, as it is here."""
    return _listed(stored["characters"], CHARACTER)


def _words(stored: Mapping[str, Any]) -> Json:
    r"""Python's \w is a letter, a number or _; that of the format's expressions is more."""
    return _listed([WordTokenizer.UNKNOWN, *stored["words"]], WORD)


def _listed(pieces: list[str], pattern: str) -> Json:
    return {
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        },
        "model": {
            "type": "WordLevel",
            "vocab": {piece: token for token, piece in enumerate(pieces)},
            "unk_token": WordTokenizer.UNKNOWN,
        },
        "decoder": {"type": "Fuse"},
    }


def _bytes(stored: Mapping[str, Any]) -> Json:
    """Byte pairs without any pair."""
    return _byte_level([bytes([value]) for value in range(256)], [])


def _byte_pairs(stored: Mapping[str, Any]) -> Json:
    """The pair that each token was made of, in order: joined by these, text gives the same ids."""
    tokenizer = tokenizer_from_json(stored)
    assert isinstance(tokenizer, BytePairTokenizer)
    pieces = [tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary_size)]
    pairs = [(pieces[merge.left], pieces[merge.right]) for merge in tokenizer.merges()]
    return _byte_level(pieces, pairs)


def _byte_level(pieces: list[bytes], pairs: list[tuple[bytes, bytes]]) -> Json:
    """Text is cut into words as in GPT-2 (`use_regex`), which is our way too, then into bytes."""
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": True,
    }
    letters = byte_letters()

    def written(piece: bytes) -> str:
        return "".join(letters[value] for value in piece)

    return {
        "pre_tokenizer": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {written(piece): token for token, piece in enumerate(pieces)},
            "merges": [[written(left), written(right)] for left, right in pairs],
        },
        "decoder": level,
    }


def byte_letters() -> list[str]:
    """The letter that stands for each byte in GPT-2's files: its own where that can be seen."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)}
    seen |= set(range(ord("®"), ord("ÿ") + 1))
    hidden = [value for value in range(256) if value not in seen]
    return [chr(value if value in seen else 256 + hidden.index(value)) for value in range(256)]


FORMS: dict[str, Callable[[Mapping[str, Any]], Json]] = {
    "characters": _characters,
    "bytes": _bytes,
    "words": _words,
    "bpe": _byte_pairs,
    "gpt2": _byte_pairs,
}
