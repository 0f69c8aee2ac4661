"""Statistics of a text's tokens, as a generator: messages about the progress, then the result."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from transformer_lab.lab.text.texts import Texts
from transformer_lab.text import DataConfig
from transformer_lab.text.pieces import Tokens, chunks
from transformer_lab.text.tokenizers import TOKENIZERS, Tokenizer

MOST_LISTED = 200


@dataclass(frozen=True)
class Verification:
    """Whether a text came back from its tokens; if not, `at` is the first difference."""

    characters: int
    at: int | None = None
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Study:
    """Statistics of a text under one tokenizer.

    `counts` are those of all tokens that occur, most frequent first; `frequent` lists
    (token, bytes, count) of the first of them. `overlap` is the share of the validation text that
    occurs in the training text too.
    """

    vocabulary_size: int
    tokens: int
    characters_per_token: float
    unknown_share: float
    counts: list[int]
    frequent: list[tuple[int, bytes, int]]
    verification: Verification
    overlap: float


def study(texts: Texts, config: DataConfig) -> Iterator[str | Study]:
    """Learn, encode, count, and check the way back."""
    yield "learning the tokenizer and turning the text into tokens"
    corpus, encoded = texts.corpus(config.corpus), texts.encoded(config)
    yield "counting"
    tokenizer = encoded.tokenizer
    counts = np.bincount(encoded.training, minlength=tokenizer.vocabulary_size)
    counts += np.bincount(encoded.validation, minlength=tokenizer.vocabulary_size)
    order = np.argsort(-counts, kind="stable")
    yield "checking that the text comes back from its tokens"
    verification = verify(tokenizer, corpus.text)
    yield "comparing the validation text with the training text"
    overlap = texts.overlap(config.corpus, config.validation_share)
    for kind in TOKENIZERS:
        yield f"learning the tokenizer of {kind}, to compare"
        texts.tokenizer(DataConfig(**(vars(config) | {"tokenizer": kind})))
    total = int(counts.sum())
    yield Study(
        vocabulary_size=tokenizer.vocabulary_size,
        tokens=total,
        characters_per_token=corpus.characters / max(total, 1),
        unknown_share=encoded.unknown_share,
        counts=[int(counts[token]) for token in order if counts[token]],
        frequent=[
            (int(token), tokenizer.token_bytes(int(token)), int(counts[token]))
            for token in order[:MOST_LISTED]
            if counts[token]
        ],
        verification=verification,
        overlap=overlap,
    )


def verify(tokenizer: Tokenizer, text: str) -> Verification:
    """Encode a text, decode it, and find the first difference."""
    done = 0
    for piece in chunks(text):
        tokens: Tokens = tokenizer.encode(piece)
        back = tokenizer.decode(tokens)
        if back != piece:
            place = next(
                (i for i, (a, b) in enumerate(zip(piece, back, strict=False)) if a != b),
                min(len(piece), len(back)),
            )
            show = slice(max(0, place - 10), place + 20)
            return Verification(len(text), done + place, piece[show], back[show])
        done += len(piece)
    return Verification(len(text))
