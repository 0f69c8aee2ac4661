"""The texts of a home folder: what is on offer, what is known of each, and their tokens."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.settings import ConfigError
from transformer_lab.text import DataConfig
from transformer_lab.text.cache import ByteCache
from transformer_lab.text.corpora import (
    ALWAYS_THERE,
    CORPORA,
    TITLES,
    Corpus,
    CorpusMissingError,
    corpus_file,
    corpus_folders,
    load_corpus,
    text_files,
)
from transformer_lab.text.library import Library
from transformer_lab.text.overlap import overlap
from transformer_lab.text.pieces import Tokens
from transformer_lab.text.split import (
    EncodedCorpus,
    Progress,
    check_length,
    encode_corpus,
    learn_tokenizer,
    parts,
)
from transformer_lab.text.tokenizers import Tokenizer, UnknownTextError, tokenizer_from_json

KEPT_TEXTS = 4
KEPT_ENCODED = 3
KEPT_TOKENIZERS = 12
# In English prose; only to tell beforehand about how many tokens there will be.
CHARACTERS_PER_TOKEN = {"characters": 1.0, "bytes": 1.0, "bpe": 3.0, "gpt2": 3.5, "words": 2.3}
SHORTEST = int(SETTINGS["model.sequence_length"].low or 1)
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class TextFacts:
    """What can be told of a setup's text without turning it into tokens.

    `vocabulary_size` is the number of different tokens, at most, `tokens` about how many the text
    has; `corpus` may be the one that is always there in place of one that is missing.
    """

    corpus: Corpus
    vocabulary_size: int
    tokens: float


class Texts:
    """Finds, encodes and, where it may, fetches corpora; keeps the last few of each."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.library = Library(home / "corpora")
        self._cache = ByteCache(home / "cache" / "texts")
        self._lock = threading.Lock()
        self._corpora: OrderedDict[Any, Corpus] = OrderedDict()
        self._facts: OrderedDict[Any, int] = OrderedDict()
        self._encoded: OrderedDict[Any, EncodedCorpus] = OrderedDict()
        self._tokenizers: OrderedDict[Any, Tokenizer] = OrderedDict()

    def close(self) -> None:
        """Let go of the files of the cache."""
        self._cache.close()

    def titles(self) -> dict[str, str]:
        """Names and titles of the corpora on offer: built in, the learner's, files in folders."""
        files = text_files(corpus_folders(self._home))
        own = {entry.id: entry.name for entry in self.library.list()}
        return (
            TITLES | own | {name: path.name for name, path in files.items() if name not in CORPORA}
        )

    def corpus(self, name: str, *, download: bool = False) -> Corpus:
        """A text by its name, its id in the library, or its path. Raises CorpusError."""
        folders = corpus_folders(self._home)
        entry = self.library.find(name) if name not in CORPORA else None
        if entry:
            known = self._kept(
                self._corpora, entry.sha256, KEPT_TEXTS, lambda: self.library.load(entry)
            )
            return known if known.title == entry.name else replace(known, title=entry.name)
        target = self._home / "data" if download else None
        path = corpus_file(name, folders)
        try:
            status = path.stat() if path else None
        except (OSError, ValueError):
            return load_corpus(name, folders, download_to=target)  # which says what is wrong
        key = (name, str(path), status and (status.st_mtime_ns, status.st_size))
        return self._kept(
            self._corpora, key, KEPT_TEXTS, lambda: load_corpus(name, folders, download_to=target)
        )

    def missing(self, name: str) -> str:
        """Why a known corpus is not at hand, as a sentence; empty when it is."""
        try:
            self.corpus(name)
        except CorpusMissingError as error:
            return str(error)
        return ""

    def facts(self, setup: Setup) -> TextFacts:
        """What a training with this setup would read, told at once.

        While its text is missing, the facts of the text that is always there. Raises ConfigError
        when the text cannot be used, or is too short by any reckoning.
        """
        config = setup.data
        try:
            corpus = self.corpus(config.corpus)
        except CorpusMissingError:
            corpus = self.corpus(ALWAYS_THERE)
        size = self._kept(
            self._facts,
            (corpus.sha256, config.tokenizer, config.vocabulary_size),
            64,
            lambda: _vocabulary_size(corpus, config),
        )
        if config.tokenizer == "characters":  # for others it shows once there are tokens
            halves = parts(corpus, config.validation_share)
            check_length(*halves, corpus.title, setup.model.sequence_length, SHORTEST)
        tokens = corpus.characters / CHARACTERS_PER_TOKEN[config.tokenizer]
        return TextFacts(corpus, size, tokens)

    def encoded(self, config: DataConfig, progress: Progress = lambda words: None) -> EncodedCorpus:
        """The tokens of a text that is at hand, from the cache if they are there.

        Raises ConfigError.
        """
        corpus = self.corpus(config.corpus)
        key = _key(corpus, config)
        return self._kept(
            self._encoded, key, KEPT_ENCODED, lambda: self._encode(key, corpus, config, progress)
        )

    def tokenizer(self, config: DataConfig) -> Tokenizer:
        """The tokenizer a setup would have, learned if need be. Raises ConfigError."""
        corpus = self.corpus(config.corpus)
        key = _key(corpus, config)
        with self._lock:
            if key in self._encoded:
                return self._encoded[key].tokenizer
        return self._kept(
            self._tokenizers, key, KEPT_TOKENIZERS, lambda: learn_tokenizer(corpus, config)
        )

    def fetched(
        self, setup: Setup, progress: Progress = lambda words: None
    ) -> tuple[Corpus, EncodedCorpus, str]:
        """Text and tokens for a training, downloaded if need be; else the text always there.

        The third is a note on what was done instead. Raises ConfigError.
        """
        config, note = self._at_hand(setup.data, progress)
        corpus, encoded = self.corpus(config.corpus), self.encoded(config, progress)
        return _long_enough(corpus, encoded, setup), encoded, note

    def again(
        self, setup: Setup, manifest: Mapping[str, Any], progress: Progress = lambda words: None
    ) -> tuple[Corpus, EncodedCorpus, str]:
        """The text and tokens of a stored run, the very same. Raises ConfigError when they changed.

        `manifest` is what its run.json says.
        """
        stood_in = manifest["corpus"]["name"] == ALWAYS_THERE
        name = ALWAYS_THERE if stood_in else setup.data.corpus
        corpus = self.corpus(name, download=True)
        if corpus.sha256 != manifest["corpus"]["sha256"]:
            raise ConfigError(
                "data.corpus",
                f"{corpus.title} is no longer the text this run began with (its sha256 was "
                f"{manifest['corpus']['sha256'][:12]}…): put that text back, or branch from a "
                "checkpoint to go on with the new one.",
            )
        config = replace(setup.data, corpus=name)
        return corpus, self._in_tokens(corpus, config, manifest, progress), ""

    def in_tokens_of(
        self, setup: Setup, manifest: Mapping[str, Any], progress: Progress = lambda words: None
    ) -> tuple[Corpus, EncodedCorpus, str]:
        """A text as `fetched` gives it, but in the tokens of a stored run. Raises ConfigError."""
        config, note = self._at_hand(setup.data, progress)
        corpus = self.corpus(config.corpus)
        encoded = self._in_tokens(corpus, config, manifest, progress)
        return _long_enough(corpus, encoded, setup), encoded, note

    def _at_hand(self, config: DataConfig, progress: Progress) -> tuple[DataConfig, str]:
        """The text to use, downloaded if need be, and a note when it is another than asked for."""
        if self.missing(config.corpus):
            progress("downloading the text")
            try:
                self.corpus(config.corpus, download=True)
            except CorpusMissingError as error:
                note = f"This run learns from the {TITLES[ALWAYS_THERE]} instead. {error}"
                return replace(config, corpus=ALWAYS_THERE), note
        return config, ""

    def _in_tokens(
        self, corpus: Corpus, config: DataConfig, manifest: Mapping[str, Any], progress: Progress
    ) -> EncodedCorpus:
        stored = manifest["tokenizer"]
        if corpus.sha256 == manifest["corpus"]["sha256"]:  # most likely it is in the cache
            encoded = self.encoded(config, progress)
            if encoded.tokenizer.to_json() == stored:
                return encoded
        try:
            return encode_corpus(corpus, config, progress, tokenizer_from_json(stored))
        except UnknownTextError as error:
            raise ConfigError(
                "data.corpus",
                f"{corpus.title} has what this model has no tokens for. {error} "
                "Choose another text, or train a new model on this one.",
            ) from error

    def overlap(self, name: str, validation_share: float) -> float:
        """The share of the validation text that stands in the training text too, see overlap.py."""
        corpus = self.corpus(name)
        key = f"overlap {corpus.sha256} {validation_share}"
        known = self._cache.get(key)
        if known is not None:
            return float(bytes(known))
        share = overlap(*parts(corpus, validation_share))
        self._cache.set(key, repr(share).encode())
        return share

    def _encode(
        self, key: str, corpus: Corpus, config: DataConfig, progress: Progress
    ) -> EncodedCorpus:
        about = self._cache.get(f"{key} about")
        if about is not None:
            stored = json.loads(bytes(about))
            training, validation = (
                self._tokens(f"{key} {part}") for part in ("training", "validation")
            )
            if training is not None and validation is not None:
                return EncodedCorpus(
                    tokenizer_from_json(stored["tokenizer"]),
                    training,
                    validation,
                    stored["validation_bytes"],
                    stored["unknown_share"],
                )
        encoded = encode_corpus(corpus, config, progress)
        self._store(key, encoded)
        return encoded

    def _store(self, key: str, encoded: EncodedCorpus) -> None:
        about = {
            "tokenizer": encoded.tokenizer.to_json(),
            "validation_bytes": encoded.validation_bytes,
            "unknown_share": encoded.unknown_share,
        }
        self._cache.set(f"{key} training", encoded.training.tobytes())
        self._cache.set(f"{key} validation", encoded.validation.tobytes())
        self._cache.set(f"{key} about", json.dumps(about).encode())  # then the others are there

    def _tokens(self, key: str) -> Tokens | None:
        """Tokens from the cache."""
        found = self._cache.get(key)
        return None if found is None else np.frombuffer(found, dtype=np.int32)

    def _kept(
        self, shelf: "OrderedDict[Any, Kept]", key: Any, most: int, make: Callable[[], Kept]
    ) -> Kept:
        """What is on the shelf under that key, made first if it is not there; the oldest go."""
        with self._lock:
            if key in shelf:
                shelf.move_to_end(key)
                return shelf[key]
        made = make()
        with self._lock:
            shelf[key] = made
            while len(shelf) > most:
                shelf.popitem(last=False)
        return made


def _long_enough(corpus: Corpus, encoded: EncodedCorpus, setup: Setup) -> Corpus:
    length = setup.model.sequence_length
    check_length(encoded.training, encoded.validation, corpus.title, length, SHORTEST)
    return corpus


def _vocabulary_size(corpus: Corpus, config: DataConfig) -> int:
    if config.tokenizer == "characters":
        return corpus.distinct_characters
    return {"bytes": 256, "gpt2": 50_256}.get(config.tokenizer, config.vocabulary_size)


def _key(corpus: Corpus, config: DataConfig) -> str:
    learned = config.vocabulary_size if config.tokenizer in ("bpe", "words") else 0
    return f"1 {corpus.sha256} {config.tokenizer} {learned} {config.validation_share}"
