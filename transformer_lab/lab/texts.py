"""The texts of a home folder: what is on offer, encoded and kept while it is wanted."""

import threading
from dataclasses import replace
from pathlib import Path

from transformer_lab.recipes import Setup
from transformer_lab.text import DataConfig
from transformer_lab.text.corpora import (
    ALWAYS_THERE,
    CORPORA,
    TITLES,
    Corpus,
    CorpusMissingError,
    corpus_folders,
    load_corpus,
    text_files,
)
from transformer_lab.text.split import EncodedCorpus, encode_corpus


class Texts:
    """Finds, encodes and, where it may, fetches corpora. The last one encoded is kept."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._kept: tuple[tuple[str, str, float], tuple[Corpus, EncodedCorpus]] | None = None

    def titles(self) -> dict[str, str]:
        """Names and titles of the corpora on offer."""
        own = text_files(corpus_folders(self._home))
        return TITLES | {name: path.name for name, path in own.items() if name not in CORPORA}

    def missing(self, name: str) -> str:
        """Why a known corpus is not at hand, as a sentence; empty when it is."""
        try:
            load_corpus(name, corpus_folders(self._home))
        except CorpusMissingError as error:
            return str(error)
        return ""

    def encoded(self, config: DataConfig, sequence_length: int) -> tuple[Corpus, EncodedCorpus]:
        """A corpus that is at hand, encoded. Raises ConfigError."""
        corpus = load_corpus(config.corpus, corpus_folders(self._home))
        key = (corpus.sha256, config.tokenizer, config.validation_share)
        with self._lock:
            kept = self._kept
        if kept and kept[0] == key and len(kept[1][1].validation) > sequence_length:
            return kept[1]
        both = (corpus, encode_corpus(corpus, config, sequence_length))
        with self._lock:
            self._kept = (key, both)
        return both

    def at_hand(self, setup: Setup) -> tuple[Corpus, EncodedCorpus]:
        """The text of a setup, or the one that is always there while it is missing.

        Raises ConfigError.
        """
        length = setup.model.sequence_length
        try:
            return self.encoded(setup.data, length)
        except CorpusMissingError:
            return self.encoded(replace(setup.data, corpus=ALWAYS_THERE), length)

    def fetched(self, setup: Setup) -> tuple[Corpus, EncodedCorpus, str]:
        """The text of a setup, downloaded if need be; else the one always there, with a note.

        Raises ConfigError.
        """
        note = ""
        if self.missing(setup.data.corpus):
            try:
                folders, target = corpus_folders(self._home), self._home / "data"
                load_corpus(setup.data.corpus, folders, download_to=target)
            except CorpusMissingError as error:
                note = f"This run learns from the {TITLES[ALWAYS_THERE]} instead. {error}"
        return *self.at_hand(setup), note
