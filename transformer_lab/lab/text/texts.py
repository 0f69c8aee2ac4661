"""The texts of a home folder: what is on offer, what is known of each, and their tokens."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transformer_lab.lab.shelves import Shelf, Shelves
from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.settings import ConfigError, shown
from transformer_lab.text import DataConfig
from transformer_lab.text.cache import LIMIT, ByteCache
from transformer_lab.text.corpora import (
    CORPORA,
    FILES,
    STAND_INS,
    TITLES,
    Corpus,
    bytes_of,
    corpus_file,
    corpus_folders,
    load_corpus,
    text_files,
    title_of,
)
from transformer_lab.text.errors import CorpusError, CorpusMissingError
from transformer_lab.text.library import Entry, Library
from transformer_lab.text.overlap import overlap
from transformer_lab.text.pieces import Tokens
from transformer_lab.text.split import (
    EncodedCorpus,
    OnProgress,
    check_length,
    encode_corpus,
    learn_tokenizer,
    parts,
)
from transformer_lab.text.tokenizers import Tokenizer, UnknownTextError, tokenizer_from_json
from transformer_lab.text.unknown import Unknown

PER_TOKENIZER_ENTRY = 300  # bytes, about
# In English prose; only to tell beforehand about how many tokens there will be.
CHARACTERS_PER_TOKEN = {"characters": 1.0, "bytes": 1.0, "bpe": 3.0, "gpt2": 3.5, "words": 2.3}
SHORTEST = int(SETTINGS["model.sequence_length"].low or 1)


@dataclass(frozen=True)
class TextFacts:
    """What is known of a setup's text before it is encoded.

    `vocabulary_size` is the number of different tokens, at most, `tokens` about how many the text
    has; `corpus` may be the one that is always there in place of one that is missing.
    """

    corpus: Corpus
    vocabulary_size: int
    tokens: float


class Texts:
    """Finds, encodes and, where it may, fetches corpora, and keeps them for a while."""

    def __init__(self, home: Path, shelves: Shelves | None = None, on_disk: int = LIMIT) -> None:
        """`on_disk` are the bytes of encoded texts to keep there."""
        self.paths_allowed = True  # whether a text may be named by its path on this computer
        self._home = home
        self.library = Library(home / "corpora")
        self._cache = ByteCache(home / "cache" / "texts", on_disk)
        shelves = shelves or Shelves()
        self._corpora: Shelf[Corpus] = shelves.shelf()
        self._facts: Shelf[int] = shelves.shelf()
        self._encoded: Shelf[EncodedCorpus] = shelves.shelf()
        self._tokenizers: Shelf[Tokenizer] = shelves.shelf()

    def close(self) -> None:
        """Close the files of the cache."""
        self._cache.close()

    def titles(self) -> dict[str, str]:
        """Names and titles of the corpora on offer: built in, the learner's, files in folders."""
        files = text_files(corpus_folders(self._home))
        own = {entry.id: entry.name for entry in self.library.list()}
        found = {name: name if name == str(path) else path.name for name, path in files.items()}
        return TITLES | own | found

    def add(self, data: bytes, name: str, source: str, encoding: str = "") -> Entry:
        """Keep a text in the library, by a name that no other text has. Raises CorpusError."""
        taken = {*TITLES, *TITLES.values(), *text_files(corpus_folders(self._home))}
        return self.library.add(data, name, source, encoding, taken)

    def add_file(self, path: Path, name: str = "", encoding: str = "") -> Entry:
        """Keep what stands in a file, as it is now. Raises CorpusError."""
        self.check_path(str(path))
        title = title_of(path)
        return self.add(bytes_of(path), name or title, f"file {title}", encoding)

    def rename(self, entry: Entry, name: str) -> Entry:
        """Give a text of the library another name, one that no other text has."""
        taken = {*TITLES, *TITLES.values(), *text_files(corpus_folders(self._home))}
        return self.library.rename(entry, name, taken)

    def corpus(self, name: str, *, download: bool = False) -> Corpus:
        """A text by its name, its id in the library, or its path. Raises CorpusError."""
        folders = corpus_folders(self._home)
        entry = self._entry(name, folders)
        if entry:
            known = self._corpora.get(entry.sha256, lambda: self.library.load(entry))
            return known if known.title == entry.name else replace(known, title=entry.name)
        if name not in CORPORA and name not in text_files(folders):
            self.check_path(name)
        target = self._home / "data" if download else None
        path = corpus_file(name, folders)
        if path is None and name in FILES:  # once it is fetched the next call finds its file
            return load_corpus(name, folders, download_to=target)
        try:
            status = path.stat() if path else None
        except (OSError, ValueError):
            return load_corpus(name, folders, download_to=target)  # which says what is wrong
        key = (name, str(path), status and (status.st_mtime_ns, status.st_size))
        return self._corpora.get(key, lambda: load_corpus(name, folders, download_to=target))

    def _entry(self, name: str, folders: list[Path]) -> Entry | None:
        """A text of the library by its id; by its name too where no other text is called so."""
        found = None if name in CORPORA else self.library.find(name)
        return None if found and found.id != name and name in text_files(folders) else found

    def files_of(self, names: Iterable[str]) -> dict[str, Path]:
        """The files in which texts stand, by what to call them in another home; of those that have
        one."""
        folders = corpus_folders(self._home)
        found: dict[str, Path] = {}
        for name in names:
            if entry := self._entry(name, folders):
                place = self.library.folder / entry.sha256
                files = [place / "text.txt", place / "about.json"]
                found |= {f"corpora/{entry.sha256}/{path.name}": path for path in files}
            elif (path := corpus_file(name, folders)) and path.is_file():
                found[f"data/{path.name}"] = path
        return found

    def check_path(self, path: str) -> None:
        """Raise CorpusError where naming a file would let any visitor read what is in it."""
        if not self.paths_allowed:
            raise CorpusError(
                f"There is no corpus {shown(path)}, and while others may visit the lab, a file of "
                "its computer cannot be named by its path: upload the file, or let the lab be "
                "started with --allow-paths."
            )

    def missing(self, name: str) -> str:
        """Why a known corpus is not at hand, as a sentence; empty when it is."""
        try:
            self.corpus(name)
        except CorpusMissingError as error:
            return str(error)
        return ""

    def trouble(self, name: str) -> str:
        """Why a text cannot be used now, as a sentence; empty when it can."""
        try:
            return self.missing(name)
        except CorpusError as error:
            return str(error)

    def at_hand(self, name: str) -> str:
        """That text if it can be used now, else the first that stands in for it and can."""
        others = (name, *STAND_INS.get(name, ()))
        return next((other for other in others if not self.trouble(other)), name)

    def downloading(self, name: str) -> Iterator[str]:
        """Fetch a text, as interactive work; yields what came of it in a sentence."""
        try:
            yield f"{self.corpus(name, download=True).title} is here now."
        except CorpusError as error:
            yield str(error)

    def facts(self, setup: Setup) -> TextFacts:
        """What a training with this setup would read; answers at once.

        While its text is missing, the facts of the one that stands in for it. Raises ConfigError
        when the text cannot be used, or is too short by any reckoning.
        """
        config = setup.data
        missing = self.missing(config.corpus)  # one that is damaged is said to be
        corpus = self.corpus(self.at_hand(config.corpus) if missing else config.corpus)
        size = self._facts.get(
            (corpus.sha256, config.tokenizer, config.vocabulary_size),
            lambda: _vocabulary_size(corpus, config),
        )
        if config.tokenizer == "characters":  # for others it shows once there are tokens
            halves = parts(corpus, config.validation_share)
            check_length(*halves, corpus.title, setup.longest_piece, SHORTEST)
        tokens = corpus.characters / CHARACTERS_PER_TOKEN[config.tokenizer]
        return TextFacts(corpus, size, tokens)

    def encoded(
        self, config: DataConfig, progress: OnProgress = lambda words: None
    ) -> EncodedCorpus:
        """The tokens of a text that is at hand, from the cache if they are there.

        Raises ConfigError.
        """
        corpus = self.corpus(config.corpus)
        key = _key(corpus, config)
        return self._encoded.get(key, lambda: self._encode(key, corpus, config, progress))

    def tokenizer(self, config: DataConfig) -> Tokenizer:
        """The tokenizer a setup would have, learned if need be. Raises ConfigError."""
        corpus = self.corpus(config.corpus)
        key = _key(corpus, config)
        encoded = self._encoded.find(key)
        if encoded is not None:
            return encoded.tokenizer
        found = self._tokenizers.find(key)
        if found is None:
            found = learn_tokenizer(corpus, config)
            self._tokenizers.keep(key, found, PER_TOKENIZER_ENTRY * found.vocabulary_size)
        return found

    def fetched(
        self, setup: Setup, progress: OnProgress = lambda words: None
    ) -> tuple[Corpus, EncodedCorpus, str]:
        """Text and tokens for a training, downloaded if need be; else those of a stand-in.

        The third is a note on what was done instead. Raises ConfigError.
        """
        config, note = self._at_hand(setup.data, progress)
        corpus, encoded = self.corpus(config.corpus), self.encoded(config, progress)
        return _long_enough(corpus, encoded, setup), encoded, note

    def again(
        self, setup: Setup, manifest: Mapping[str, Any], progress: OnProgress = lambda words: None
    ) -> tuple[Corpus, EncodedCorpus, str]:
        """The text and tokens of a stored run, the very same. Raises ConfigError when they changed.

        `manifest` is what its run.json says.
        """
        name = learned_from(setup, manifest)
        check_known(manifest)
        corpus = self.corpus(name, download=True)
        if corpus.sha256 != manifest["corpus"]["sha256"]:
            raise ConfigError(
                "data.corpus",
                f"{corpus.title} is no longer the text this run began with (its sha256 was "
                f"{manifest['corpus']['sha256'][:12]}…): put that text back, or branch from a "
                "checkpoint to go on with the new one.",
            )
        config = replace(setup.data, corpus=name)
        stored = tokenizer_from_json(manifest["tokenizer"])
        corpus, tokenizer = unknown_of(manifest).applied(corpus, stored)
        return corpus, self._in_tokens(corpus, config, manifest, tokenizer, progress), ""

    def in_tokens_of(
        self,
        setup: Setup,
        manifest: Mapping[str, Any],
        progress: OnProgress = lambda words: None,
        unknown: Unknown | None = None,
    ) -> tuple[Corpus, EncodedCorpus, str]:
        """A text as `fetched` gives it, but in the tokens of a stored run. Raises ConfigError.

        With what they do not know is done what `unknown` says; without it such a text is refused.
        """
        config, note = self._at_hand(setup.data, progress)
        stored = tokenizer_from_json(manifest["tokenizer"])
        unknown = unknown or Unknown()
        corpus, tokenizer = unknown.applied(self.corpus(config.corpus), stored)
        encoded = self._in_tokens(corpus, config, manifest, tokenizer, progress)
        return _long_enough(corpus, encoded, setup), encoded, note

    def _at_hand(self, config: DataConfig, progress: OnProgress) -> tuple[DataConfig, str]:
        """The text to use, downloaded if need be, and a note when it is another than asked for.

        What may stand in for it is downloaded too, for it is better than what is always there.
        """
        name, why = config.corpus, ""
        for name in (config.corpus, *STAND_INS.get(config.corpus, ())):
            try:
                if self.missing(name):
                    progress("downloading the text")
                    self.corpus(name, download=True)
                break
            except CorpusError as error:
                if name == config.corpus and not isinstance(error, CorpusMissingError):
                    raise
                why = why or str(error)
        note = f"This run learns from {TITLES[name]} instead. {why}" if why else ""
        return replace(config, corpus=name), note

    def _in_tokens(
        self,
        corpus: Corpus,
        config: DataConfig,
        manifest: Mapping[str, Any],
        tokenizer: Tokenizer,
        progress: OnProgress,
    ) -> EncodedCorpus:
        if corpus.sha256 == manifest["corpus"]["sha256"]:  # most likely it is in the cache
            encoded = self.encoded(config, progress)
            if encoded.tokenizer.to_json() == tokenizer.to_json():
                return encoded
        try:
            return encode_corpus(corpus, config, progress, tokenizer)
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
        self, key: str, corpus: Corpus, config: DataConfig, progress: OnProgress
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


def check_known(manifest: Mapping[str, Any]) -> None:
    """Raise ConfigError where nothing is known of the text that a stored run learned from."""
    if not manifest["corpus"]["sha256"]:
        raise ConfigError(
            "data.corpus",
            f"{manifest.get('id') or 'It'} was trained elsewhere, and the text that it learned "
            "from is not known here.",
        )


def unknown_of(manifest: Mapping[str, Any]) -> Unknown:
    """What a stored run did with characters that its tokens do not know.

    One whose embedding grew knows them all by now.
    """
    about = manifest.get("finetune")
    settings = about["settings"]["finetune"] if about else {"unknown": "extend"}
    if settings["unknown"] == "extend":
        return Unknown()
    return Unknown(settings["unknown"], settings.get("replacement", ""))


def learned_from(setup: Setup, manifest: Mapping[str, Any]) -> str:
    """The name of the text a stored run learned from: what its settings say, or its stand-in."""
    name = str(manifest["corpus"]["name"])
    return name if name in STAND_INS.get(setup.data.corpus, ()) else setup.data.corpus


def _long_enough(corpus: Corpus, encoded: EncodedCorpus, setup: Setup) -> Corpus:
    check_length(encoded.training, encoded.validation, corpus.title, setup.longest_piece, SHORTEST)
    return corpus


def _vocabulary_size(corpus: Corpus, config: DataConfig) -> int:
    if config.tokenizer == "characters":
        return corpus.distinct_characters
    return {"bytes": 256, "gpt2": 50_256}.get(config.tokenizer, config.vocabulary_size)


def _key(corpus: Corpus, config: DataConfig) -> str:
    learned = config.vocabulary_size if config.tokenizer in ("bpe", "words") else 0
    return f"1 {corpus.sha256} {config.tokenizer} {learned} {config.validation_share}"
