"""A corpus cut in two: what the model may learn from, and what it is judged on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from transformer_lab.settings import ConfigError
from transformer_lab.text import DataConfig
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.pieces import Tokens, chunks
from transformer_lab.text.tokenizers import TOKENIZERS, Tokenizer

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class EncodedCorpus:
    """A tokenizer and the token ids of both parts: `training` (N,) and `validation` (M,).

    `validation_bytes` is the length of the validation text in UTF-8; `unknown_share` the part of
    its tokens that stand for words the tokenizer does not know.
    """

    tokenizer: Tokenizer
    training: Tokens
    validation: Tokens
    validation_bytes: int
    unknown_share: float = 0.0

    @property
    def bytes_per_token(self) -> float:
        """How much text a token of the validation part stands for."""
        return self.validation_bytes / max(len(self.validation), 1)


def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """A loss in the unit that does not depend on how the text is cut into tokens."""
    return nats_per_token / math.log(2) / bytes_per_token


def parts(corpus: Corpus, validation_share: float) -> tuple[str, str]:
    """The text to learn from and, from the end, the text to be judged on."""
    boundary = round(corpus.characters * (1 - validation_share))
    return corpus.text[:boundary], corpus.text[boundary:]


def learn_tokenizer(corpus: Corpus, config: DataConfig) -> Tokenizer:
    """The tokenizer of a corpus.

    Characters come from all of it, so that none is unknown; words and byte pairs are learned on the
    training part alone. Raises ConfigError when GPT-2's files are missing.
    """
    text = corpus.text
    if config.tokenizer != "characters":
        text, _ = parts(corpus, config.validation_share)
    return TOKENIZERS[config.tokenizer].learn(text, config.vocabulary_size)


def encode_corpus(
    corpus: Corpus,
    config: DataConfig,
    progress: OnProgress = lambda words: None,
    tokenizer: Tokenizer | None = None,
) -> EncodedCorpus:
    """Encode both parts of the corpus, with the tokenizer given or one learned on it.

    Raises UnknownTextError when the given one lacks characters of the text.
    """
    progress("learning the tokenizer")
    tokenizer = tokenizer or learn_tokenizer(corpus, config)
    training, validation = parts(corpus, config.validation_share)
    encoded = encode(tokenizer, training, progress)
    judged = encode(tokenizer, validation)
    return EncodedCorpus(
        tokenizer=tokenizer,
        training=encoded,
        validation=judged,
        validation_bytes=len(validation.encode("utf-8", "replace")),
        unknown_share=float((judged == 0).mean()) if config.tokenizer == "words" else 0.0,
    )


def encode(tokenizer: Tokenizer, text: str, progress: OnProgress = lambda words: None) -> Tokens:
    """Text of any length -> (N,) token ids, piece by piece."""
    encoded, done = [np.zeros(0, dtype=np.int32)], 0
    for piece in chunks(text):
        encoded.append(tokenizer.encode(piece))
        done += len(piece)
        progress(f"turning text into tokens, {done / len(text):.0%}")
    return np.concatenate(encoded)


def check_length(
    training: Sequence[object] | Tokens,
    validation: Sequence[object] | Tokens,
    title: str,
    sequence_length: int,
    least: int,
) -> None:
    """Raise ConfigError when a part is too short for one sequence and the token after it.

    `least` is the shortest sequence there can be: no shorter one is proposed.
    """
    shortest = min(len(training), len(validation))
    if shortest <= sequence_length:
        part = "validation" if len(validation) == shortest else "training"
        fits = f"choose at most {shortest - 1:,}, or " if shortest > least else "choose "
        raise ConfigError(
            "model.sequence_length",
            f"Sequence Length is {sequence_length:,}, but the {part} part of {title} has "
            f"only {shortest:,} tokens: {fits}a longer text.",
        )
