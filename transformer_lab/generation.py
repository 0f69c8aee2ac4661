"""Generation: the model writes, one token at a time.

Shapes: B batch (1 here), T time, V vocabulary.
"""

import codecs
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.settings import Config, ConfigError, knob, text
from transformer_lab.text.pieces import Tokens
from transformer_lab.text.tokenizers import Tokenizer, UnknownTextError


@dataclass(frozen=True, kw_only=True)
class SampleConfig(Config):
    """How text is drawn from a model."""

    GROUP = "sample"

    prompt: str = text("ROMEO:", "Prompt", "The beginning, which the model continues.")
    length: int = knob(300, 1, 20_000, "Length", "How many tokens to write.")
    temperature: float = knob(
        0.8,
        0.0,
        5.0,
        "Temperature",
        "Below 1 plays safe, above 1 takes risks; 0 always takes the most likely token.",
    )
    top_k: int = knob(
        0, 0, 100_000, "Top-k", "Draw only from this many most likely tokens; 0 draws from all."
    )
    seed: int = knob(1, 0, 2**31 - 1, "Seed", "The same seed writes the same text.")


class Reader:
    """Feeds tokens to a model; gives the logits of what comes after them.

    When the model's context is full, the last half of it is kept and read again. With
    `cached=False` the whole context is read for every token instead of keeping keys and values:
    slower, to check against.
    """

    def __init__(self, model: GPT, *, cached: bool = True) -> None:
        self._model = model
        self._cached = cached
        self._cache = model.new_cache() if cached else None
        self._context: list[int] = []

    def read(self, tokens: Sequence[int]) -> Tensor:
        """Token ids, which follow those read before -> (V,) logits of the next one, on the CPU"""
        limit = self._model.config.sequence_length
        self._context.extend(tokens)
        fresh = tokens
        if len(self._context) > limit:
            self._context = self._context[-max(limit // 2, 1) :]
            self._cache = self._model.new_cache() if self._cached else None
        if self._cache is None or self._cache.length == 0:
            fresh = self._context
        device = self._model.embedding.weight.device
        with torch.inference_mode():
            logits = self._model(torch.tensor([fresh], device=device), self._cache)  # (1, t, V)
        return logits[0, -1].float().cpu()


def generate(
    model: GPT, prompt: Tokens, config: SampleConfig, *, cached: bool = True
) -> Iterator[int]:
    """Yield `config.length` token ids that continue the (T,) prompt, which must not be empty."""
    generator = torch.Generator().manual_seed(config.seed)
    reader = Reader(model, cached=cached)
    fresh = prompt.tolist()
    for _ in range(config.length):
        token = choose(reader.read(fresh), config, generator)
        yield token
        fresh = [token]


def write(model: GPT, tokenizer: Tokenizer, config: SampleConfig) -> Iterator[str]:
    """Yield the text that follows `config.prompt`, piece by piece.

    Raises ConfigError for an empty prompt and UnknownTextError for one the model cannot read,
    before anything is written.
    """
    prompt = encode_prompt(tokenizer, config)
    return _pieces(tokenizer, generate(model, prompt, config))


def _pieces(tokenizer: Tokenizer, tokens: Iterator[int]) -> Iterator[str]:
    """The text of each token; one that ends within a character waits for those that finish it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        yield decoder.decode(tokenizer.token_bytes(token))
    if tail := decoder.decode(b"", final=True):
        yield tail


def encode_prompt(tokenizer: Tokenizer, config: SampleConfig) -> Tokens:
    """(T,) token ids of the prompt. Raises ConfigError and UnknownTextError."""
    if not config.prompt:
        raise ConfigError(
            "sample.prompt",
            "Prompt is empty: type at least one character for the model to continue.",
        )
    unknown = tokenizer.unknown(config.prompt)
    if unknown:
        raise UnknownTextError(unknown)
    return tokenizer.encode(config.prompt)


def choose(logits: Tensor, config: SampleConfig, generator: torch.Generator) -> int:
    """Draw one token id from (V,) logits, as temperature and top-k say."""
    if config.temperature == 0:
        return int(logits.argmax())
    logits = logits / config.temperature
    if 0 < config.top_k < len(logits):
        least = logits.topk(config.top_k).values[-1]
        logits = logits.masked_fill(logits < least, -math.inf)
    return int(torch.multinomial(logits.softmax(0), 1, generator=generator))
