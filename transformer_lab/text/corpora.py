"""Corpora: the texts a model can learn from, and where they are found.

A corpus is looked for by name: first among the built-in ones (`CORPORA`), then as a .txt file in
the corpus folders, then as a path.
"""

import codecs
import hashlib
import os
import sysconfig
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pooch

from transformer_lab.settings import ConfigError
from transformer_lab.text.tasks import TASKS, task_text

TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TINY_SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
TINY_SHAKESPEARE_FILE = "tinyshakespeare.txt"
SHORTEST = 64  # characters; below this there is nothing to learn or to hold back
LARGEST = 50_000_000  # bytes of a text
LARGEST_SOURCE = 12_000_000  # bytes taken of Python's library
OUTSIDE = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})


class CorpusError(ConfigError):
    """A corpus that cannot be had or used; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__("data.corpus", message)


class CorpusMissingError(CorpusError):
    """A known corpus that is neither on this computer nor reachable now."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A text and what is known of it: `sha256` is over its UTF-8 bytes."""

    name: str
    title: str
    text: str
    source: str
    sha256: str

    @property
    def characters(self) -> int:
        """How long the text is."""
        return len(self.text)

    @cached_property
    def distinct_characters(self) -> int:
        """How many different characters it uses."""
        return len(set(self.text))


def corpus_of(name: str, title: str, text: str, source: str) -> Corpus:
    """A corpus from text in hand. Raises CorpusError when there is too little of it."""
    if len(text) < SHORTEST:
        found = "is empty" if not text else f"has only {len(text)} characters"
        raise CorpusError(f"{title} {found}: a corpus needs at least {SHORTEST}.")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Corpus(name=name, title=title, text=text, source=source, sha256=digest)


def corpus_folders(home: Path) -> list[Path]:
    """Where text files are looked for, in order; downloads go to the one in `home`."""
    named = os.environ.get("TRANSFORMER_LAB_DATA")
    checkout = Path(__file__).parents[2] / "data"
    candidates = [Path(named)] if named else []
    candidates += [home / "data", checkout]
    return [folder for folder in candidates if folder == home / "data" or folder.is_dir()]


def tiny_shakespeare(folders: Sequence[Path], download_to: Path | None) -> Corpus:
    """The works the field's small models are measured on: 1,115,394 characters, 65 distinct.

    A file that is there is checked first, so a damaged one is called damaged, not missing.
    """
    for folder in folders:
        path = folder / TINY_SHAKESPEARE_FILE
        if path.is_file():
            return _verified_shakespeare(path, f"file {TINY_SHAKESPEARE_FILE}")
    if download_to is None:
        raise CorpusMissingError("Tiny Shakespeare is not on this computer yet.")
    path = download(TINY_SHAKESPEARE_URL, TINY_SHAKESPEARE_SHA256, download_to)
    return _verified_shakespeare(path, f"downloaded from {TINY_SHAKESPEARE_URL}")


def _verified_shakespeare(path: Path, source: str) -> Corpus:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != TINY_SHAKESPEARE_SHA256:
        raise CorpusError(
            f"{path} is damaged: it is not the known Tiny Shakespeare text. "
            "Delete it to download it again, or rename it to train on it as a text of your own."
        )
    return corpus_of("tiny_shakespeare", "Tiny Shakespeare", data.decode("utf-8"), source)


def download(url: str, sha256: str, folder: Path, patience: float = 5.0) -> Path:
    """Fetch one file and check its hash; nothing is kept unless it is right.

    Gives up when the server says nothing for `patience` seconds, or takes over three times that in
    all. Raises CorpusMissingError.
    """
    outcome: list[Path | Exception] = []

    def fetch() -> None:
        try:
            pooch.get_logger().setLevel("WARNING")
            folder.mkdir(parents=True, exist_ok=True)
            found = pooch.retrieve(
                url=url,
                known_hash=f"sha256:{sha256}",
                fname=TINY_SHAKESPEARE_FILE,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=patience),
            )
            outcome.append(Path(found))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            outcome.append(error)

    # A thread of its own: looking up a host's name can hang longer than any time-out reaches.
    fetching = threading.Thread(target=fetch, name="download", daemon=True)
    fetching.start()
    fetching.join(3 * patience)
    result = outcome[0] if outcome else TimeoutError("no answer in time")
    if isinstance(result, Path):
        return result
    reason = (
        "what came was not the known text" if isinstance(result, ValueError) else "no connection"
    )
    raise CorpusMissingError(
        f"Tiny Shakespeare is not on this computer and could not be downloaded ({reason}). "
        f"Put the file at {folder / TINY_SHAKESPEARE_FILE}, or choose another corpus."
    )


def python_documentation(folders: Sequence[Path], download_to: Path | None) -> Corpus:
    """The help texts that come with every Python: real English prose, no network needed."""
    from pydoc_data.topics import topics  # noqa: PLC0415 - half a megabyte, read only when wanted

    text = "\n\n".join(str(topics[name]).strip() for name in sorted(topics))
    return corpus_of(
        "python_docs", "Python documentation", text, "pydoc_data.topics of this Python"
    )


def python_source(folders: Sequence[Path], download_to: Path | None) -> Corpus:
    """Python's own library, as it is written: ASCII files, without its tests."""
    root = Path(sysconfig.get_paths()["stdlib"])
    kept, size = [], 0
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).parts
        if not OUTSIDE.intersection(inside) and size < LARGEST_SOURCE:
            data = path.read_bytes()
            if data.isascii() and data:
                kept.append(data.decode("ascii").replace("\r\n", "\n"))
                size += len(data)
    return corpus_of(
        "python_source", "Python library source", "\n".join(kept), "the .py files of this Python"
    )


def task(name: str) -> Callable[[Sequence[Path], Path | None], Corpus]:
    """The made-up text of one task."""

    def made(folders: Sequence[Path], download_to: Path | None) -> Corpus:
        return corpus_of(name, TASKS[name].title, task_text(name), "made by the lab")

    return made


CORPORA: dict[str, Callable[[Sequence[Path], Path | None], Corpus]] = {
    "tiny_shakespeare": tiny_shakespeare,
    "python_docs": python_documentation,
    "python_source": python_source,
    **{name: task(name) for name in TASKS},
}
TITLES = {
    "tiny_shakespeare": "Tiny Shakespeare",
    "python_docs": "Python documentation",
    "python_source": "Python library source",
    **{name: made.title for name, made in TASKS.items()},
}
ALWAYS_THERE = "python_docs"


def text_files(folders: Sequence[Path]) -> dict[str, Path]:
    """The learner's own .txt files by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.txt")) if folder.is_dir() else []:
            if path.name != TINY_SHAKESPEARE_FILE and path.is_file():
                found.setdefault(path.stem, path)
    return found


def corpus_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The file behind a corpus, there or not; None for one that has no file of its own."""
    if name == "tiny_shakespeare":
        found = [folder / TINY_SHAKESPEARE_FILE for folder in folders]
        return next((path for path in found if path.is_file()), None)
    if name in CORPORA:
        return None
    return text_files(folders).get(name) or Path(name).expanduser()


def load_corpus(name: str, folders: Sequence[Path], *, download_to: Path | None = None) -> Corpus:
    """The corpus of that name, or the text file at that path.

    With `download_to` a missing built-in corpus may be fetched into that folder.
    Raises CorpusError, and CorpusMissingError for a known corpus that cannot be had now.
    """
    if name in CORPORA:
        return CORPORA[name](folders, download_to)
    path = corpus_file(name, folders)
    assert path is not None
    return read_text_file(path, name if path.stem == name else None)


def read_text_file(path: Path, name: str | None = None) -> Corpus:
    """A corpus from a UTF-8 text file. Raises CorpusError for anything that is not one."""
    if not path.is_file():
        raise CorpusError(
            f"There is no corpus {str(path)!r}: choose {', '.join(CORPORA)}, "
            "or give the path of a .txt file."
        )
    try:
        with path.open("rb") as file:
            data = file.read(2 * LARGEST + 4)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}.") from error
    # Where the system's own encoding lacks a letter, a file's name is not yet text.
    title = os.fsencode(path.name).decode("utf-8", "replace")
    return corpus_of(name or Path(title).stem, title, decoded(data, title), f"file {title}")


def decoded(data: bytes, title: str) -> str:
    """Bytes as text with plain line ends: UTF-8, or UTF-16 that begins with its mark.

    Raises CorpusError for anything else.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if len(data) > (2 if wide else 1) * LARGEST + 3:  # 3 for the mark
        raise CorpusError(
            f"{title} has more than {LARGEST // 10**6} MB, the most a corpus may have: "
            "cut it into parts."
        )
    if b"\0" in data and not wide:
        raise CorpusError(f"{title} is not a text file: it has zero bytes. Save it as plain text.")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{title} is not {'UTF-16' if wide else 'UTF-8'} text (byte {error.start:,} does not "
            "fit): save it as UTF-8."
        ) from error
    return text.replace("\r\n", "\n")
