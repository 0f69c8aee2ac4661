"""Generation: the model writes, one token at a time.

Shapes: B batch (1 here), T time, V vocabulary.
"""

import codecs
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.model.cache import Cache
from transformer_lab.model.one_token import OneToken, fits
from transformer_lab.settings import Config, ConfigError, exact, knob, shown, text
from transformer_lab.text.pieces import Tokens
from transformer_lab.text.tokenizers import Tokenizer, UnknownTextError

LEAST_TEMPERATURE = 1e-6  # besides 0: logits divided by it are still far from what float32 can hold


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
    top_p: float = knob(
        1.0,
        0.01,
        1.0,
        "Top-p",
        "Draw only from the fewest most likely tokens that together have this share; 1 is off.",
    )
    seed: int = knob(1, 0, 2**31 - 1, "Seed", "The same seed writes the same text.")

    def __post_init__(self) -> None:
        """Check bounds, and that logits can be divided by the temperature."""
        super().__post_init__()
        if 0 < self.temperature < LEAST_TEMPERATURE:
            raise ConfigError(
                "sample.temperature",
                f"Temperature is {shown(self.temperature)}, too low to divide by: choose 0, which "
                "always takes the most likely token, or at least "
                f"{exact(LEAST_TEMPERATURE)}.",
            )


class Reader:
    """Feeds tokens to a model; gives the logits of what comes after them.

    When the model's context is full, the last half of it is kept and read again. With
    `cached=False` the whole context is read for every token instead of keeping keys and values:
    slower, to check against. So is every model without a causal mask, in which what was read of a
    token depends on those after it.
    """

    def __init__(self, model: GPT, *, cached: bool = True) -> None:
        self._model = model
        self._cached = cached and model.config.causal
        self._cache = model.new_cache() if self._cached else None
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
        with torch.inference_mode():
            logits = self._model(torch.tensor([fresh]), self._cache)  # (1, t, V)
            return logits[0, -1].to("cpu", torch.float32, copy=True)  # lets the other places go


class QuickReader(Reader):
    """A reader with a cache whose single tokens take the short way, where the model has one."""

    def __init__(self, model: GPT) -> None:
        super().__init__(model)
        self._one_token = OneToken(model) if self._cached and fits(model) else None
        self._followed: Cache | None = None

    def read(self, tokens: Sequence[int]) -> Tensor:
        """Token ids, which follow those read before -> (V,) logits of the next one, on the CPU"""
        cache, one = self._cache, self._one_token
        full = len(self._context) >= self._model.config.sequence_length
        if one is None or cache is None or len(tokens) != 1 or not self._context or full:
            self._followed = None  # what the model itself reads makes its cache the newer one
            return super().read(tokens)
        with torch.inference_mode():
            if self._followed is not cache:
                one.follow(cache)
                self._followed = cache
            self._context.extend(tokens)
            return one.read(tokens[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One token the model wrote, and the (V,) logits it was drawn from, float32 on the CPU.

    What follows from the logits is computed when it is asked for, so that writing costs no more.
    """

    token: int
    logits: Tensor

    @property
    def probability(self) -> float:
        """The share the model itself gave this token, before temperature and cuts."""
        return float(self.logits.softmax(0)[self.token])

    @property
    def entropy(self) -> float:
        """How undecided the model was, in nats: 0 is certain, ln V knows nothing."""
        return entropy(self.logits.softmax(0))


def steps(
    model: GPT, prompt: Tokens, config: SampleConfig, *, cached: bool = True
) -> Iterator[Step]:
    """Yield `config.length` steps that continue the (T,) prompt, which must not be empty.

    To branch, pass what was written up to that place, another token after it, as the prompt.
    """
    generator = torch.Generator().manual_seed(config.seed)
    reader = QuickReader(model) if cached else Reader(model, cached=False)
    fresh = prompt.tolist()
    for _ in range(config.length):
        logits = reader.read(fresh)
        token = choose(logits, config, generator)
        yield Step(token=token, logits=logits)
        fresh = [token]


def generate(
    model: GPT, prompt: Tokens, config: SampleConfig, *, cached: bool = True
) -> Iterator[int]:
    """Yield only the token ids of `steps`."""
    for step in steps(model, prompt, config, cached=cached):
        yield step.token


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
    """Draw one token id from (V,) logits, as temperature, top-k and top-p say."""
    if config.temperature == 0:
        return int(logits.argmax())
    return draw(shaped(logits, config), generator)


def draw(probabilities: Tensor, generator: torch.Generator) -> int:
    """Draw one token id from (V,) probabilities: the one that `torch.multinomial` draws, sooner.

    Each probability is divided by a number drawn from an exponential distribution, and the largest
    quotient wins. Raises RuntimeError for what are no probabilities.
    """
    quotients = torch.empty_like(probabilities).exponential_(generator=generator)
    largest, token = torch.div(probabilities, quotients, out=quotients).max(0)
    if math.isnan(largest):
        return int(torch.multinomial(probabilities, 1, generator=generator))  # says what is wrong
    return int(token)


def shaped(logits: Tensor, config: SampleConfig) -> Tensor:
    """(V,) logits -> (V,) probabilities that are drawn from: temperature, then top-k, then top-p.

    Tokens exactly as likely as the last one kept are kept too.
    """
    if config.temperature == 0:
        return torch.zeros_like(logits).index_fill(0, logits.argmax(), 1.0)
    logits = logits / config.temperature
    if 0 < config.top_k < len(logits):
        least = logits.topk(config.top_k).values[-1]
        logits = logits.masked_fill(logits < least, -math.inf)
    probabilities = logits.softmax(0)
    return nucleus(probabilities, config.top_p) if config.top_p < 1 else probabilities


def nucleus(probabilities: Tensor, share: float) -> Tensor:
    """The fewest most likely tokens that together have `share`, made to sum to 1: (V,) -> (V,)

    Source: arXiv:1904.09751, nucleus sampling.
    """
    likely = np.sort(probabilities.numpy())[::-1]  # several times faster than torch's on a CPU
    enough = np.searchsorted(likely.cumsum(dtype=np.float64), share)
    least = float(likely[min(int(enough), len(likely) - 1)])
    kept = probabilities.masked_fill(probabilities < least, 0.0)
    return kept / kept.sum()


def entropy(probabilities: Tensor) -> float:
    """-Σ p ln p, in nats: (V,) -> a number"""
    return float(torch.special.entr(probabilities).sum())
