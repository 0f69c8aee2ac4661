"""The learner's own texts: kept under the hash of their content, whatever their names say.

corpora/<sha256>/text.txt     the text, as UTF-8
corpora/<sha256>/about.json   its name, where it came from, its size
"""

import contextlib
import hashlib
import json
import re
import shutil
import time
import unicodedata
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from transformer_lab.text.corpora import Corpus, check_size
from transformer_lab.text.decoding import decoded
from transformer_lab.text.errors import CorpusError

LONGEST_NAME = 80
INCOMING = ".incoming-"
JOINERS = "\u200c\u200d"  # zero width non-joiner and joiner


@dataclass(frozen=True)
class Entry:
    """One text of the library; `id` is the beginning of its hash.

    `note` says what was done to the file to make plain text of it.
    """

    id: str
    name: str
    source: str
    sha256: str
    size: int
    characters: int
    added: float
    note: str = ""

    @property
    def arrival(self) -> str:
        """What to say once it is there."""
        return f"{self.name} was added. {self.note}".strip()


class Library:
    """A folder of texts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> list[Entry]:
        """Every text, newest first."""
        found = [self._entry(path.parent) for path in self.folder.glob("*/about.json")]
        return sorted((e for e in found if e), key=lambda entry: entry.added, reverse=True)

    def find(self, name: str) -> Entry | None:
        """A text by its id, or by its name."""
        entries = self.list()
        by_id = [entry for entry in entries if entry.id == name]
        return next(iter(by_id or [entry for entry in entries if entry.name == name]), None)

    def add(
        self,
        data: bytes,
        name: str,
        source: str,
        encoding: str = "",
        taken: Collection[str] = (),
    ) -> Entry:
        """Keep a text; the same text again gives the entry that is there.

        It gets a name that no other text has, nor is among those `taken`. Raises CorpusError for
        what is not a text to learn from, as `decoded` does, and leaves nothing behind.
        """
        name = clean_name(name)
        read = decoded(data, name, encoding)
        check_size(read.text, name)
        stored = read.text.encode()
        sha256 = hashlib.sha256(stored).hexdigest()
        place = self.folder / sha256
        known = self._entry(place)
        if known:
            return known
        name = self._free(name, taken)
        entry = Entry(
            sha256[:16],
            name,
            source,
            sha256,
            len(stored),
            len(read.text),
            time.time(),
            read.note,
        )
        staging = self.folder / f"{INCOMING}{uuid.uuid4().hex}"
        try:
            staging.mkdir(parents=True)
            (staging / "text.txt").write_bytes(stored)
            self._write(staging, entry)
            shutil.rmtree(place, ignore_errors=True)  # a spoiled one of the same text
            staging.rename(place)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise CorpusError(f"{name} could not be kept: {error.strerror or error}.") from error
        return entry

    def load(self, entry: Entry) -> Corpus:
        """The text itself. Raises CorpusError when it is damaged."""
        path = self.folder / entry.sha256 / "text.txt"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CorpusError(f"{entry.name} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise CorpusError(f"{entry.name} is damaged ({path}): delete it and add it again.")
        return Corpus(
            name=entry.id,
            title=entry.name,
            text=data.decode("utf-8"),
            source=entry.source,
            sha256=entry.sha256,
            note=entry.note,
        )

    def rename(self, entry: Entry, name: str, taken: Collection[str] = ()) -> Entry:
        """Give a text another name, one that no other text has, nor is among those `taken`.

        Raises CorpusError.
        """
        name = clean_name(name)
        name = name if name == entry.name else self._free(name, taken)
        changed = Entry(**(asdict(entry) | {"name": name}))
        try:
            self._write(self.folder / entry.sha256, changed)
        except OSError as error:
            raise CorpusError(f"{entry.name} keeps its name: {error.strerror or error}.") from error
        return changed

    def delete(self, entry: Entry) -> None:
        """Remove a text from this computer. Raises CorpusError."""
        try:
            shutil.rmtree(self.folder / entry.sha256)
        except OSError as error:
            raise CorpusError(
                f"{entry.name} could not be deleted: {error.strerror or error}."
            ) from error

    def sweep(self) -> None:
        """Remove what interrupted additions left behind more than an hour ago."""
        for leftover in self.folder.glob(f"{INCOMING}*"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > 3600:
                    shutil.rmtree(leftover)

    def _free(self, name: str, taken: Collection[str]) -> str:
        """The name, with a number behind it when another text is called so."""
        used = {*taken, *(entry.name for entry in self.list())}
        numbered = (f"{name} ({number})" for number in count(2))
        return name if name not in used else next(new for new in numbered if new not in used)

    def _write(self, folder: Path, entry: Entry) -> None:
        staged = folder / ".about.json"
        staged.write_text(json.dumps(asdict(entry), indent=2, ensure_ascii=False), encoding="utf-8")
        staged.replace(folder / "about.json")

    def _entry(self, folder: Path) -> Entry | None:
        try:
            stored: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            return Entry(**stored)
        except (OSError, ValueError, TypeError):
            return None


def clean_name(name: str) -> str:
    """A name as it is shown: the last part of a path, printable, not too long, never empty."""
    last = re.split(r"[/\\]", name.strip())[-1]
    shown = printable(last)[:LONGEST_NAME].strip(JOINERS)
    return (shown.lstrip(".") and shown) or "Untitled text"


def printable(name: str) -> str:
    """A name without what cannot be seen; joiners stay, for many scripts and emoji need them."""
    spaced = ("".join(" " if unicodedata.category(c) == "Zs" else c for c in name)).strip()
    return "".join(c for c in spaced if c.isprintable() or c in JOINERS).strip(f" {JOINERS}")
