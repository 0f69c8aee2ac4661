"""A corpus cut in two: what the model may learn from, and what it is judged on."""

from dataclasses import dataclass

from transformer_lab.settings import ConfigError
from transformer_lab.text import DataConfig
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.tokenizers import TOKENIZERS, Tokenizer, Tokens


@dataclass(frozen=True)
class EncodedCorpus:
    """A tokenizer and the token ids of both parts: `training` (N,) and `validation` (M,)."""

    tokenizer: Tokenizer
    training: Tokens
    validation: Tokens


def encode_corpus(corpus: Corpus, config: DataConfig, sequence_length: int) -> EncodedCorpus:
    """Learn the tokenizer on the corpus, encode it, and keep its end for validation.

    Raises ConfigError when either part is too short for one sequence and the token after it.
    """
    tokenizer = TOKENIZERS[config.tokenizer].learn(corpus.text)
    tokens = tokenizer.encode(corpus.text)
    boundary = round(len(tokens) * (1 - config.validation_share))
    training, validation = tokens[:boundary], tokens[boundary:]
    shortest = min(len(training), len(validation))
    if shortest <= sequence_length:
        part = "validation" if len(validation) == shortest else "training"
        raise ConfigError(
            "model.sequence_length",
            f"Sequence Length is {sequence_length:,}, but the {part} part of {corpus.title} has "
            f"only {shortest:,} tokens: choose at most {shortest - 1:,}, or a longer text.",
        )
    return EncodedCorpus(tokenizer, training, validation)
