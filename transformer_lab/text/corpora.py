"""Corpora: the texts a model can learn from, and where they are found.

A corpus is looked for by name: first among the built-in ones (`CORPORA`), then as a .txt file in
the corpus folders, then as a path.
"""

import hashlib
import os
import sysconfig
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pooch

from transformer_lab.text.decoding import LARGEST_FILE, decoded
from transformer_lab.text.errors import CorpusError, CorpusMissingError
from transformer_lab.text.plays import PLAYS_FILE, fetch_plays, read_plays
from transformer_lab.text.tasks import TASKS, task_text

TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TINY_SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
TINY_SHAKESPEARE_FILE = "tinyshakespeare.txt"
SHORTEST = 64  # characters; below this there is nothing to learn or to hold back
LARGEST_SOURCE = 12_000_000  # bytes taken of Python's library
OUTSIDE = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A text and what is known of it: `sha256` is over its UTF-8 bytes.

    `note` says what was done to a file to make plain text of it.
    """

    name: str
    title: str
    text: str
    source: str
    sha256: str
    note: str = ""

    @property
    def characters(self) -> int:
        """How long the text is."""
        return len(self.text)

    @cached_property
    def distinct_characters(self) -> int:
        """How many different characters it uses."""
        return len(set(self.text))


def corpus_of(name: str, title: str, text: str, source: str, note: str = "") -> Corpus:
    """A corpus from text in hand. Raises CorpusError when there is too little of it."""
    check_size(text, title)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Corpus(name=name, title=title, text=text, source=source, sha256=digest, note=note)


def check_size(text: str, title: str) -> None:
    """Raise CorpusError when there is too little of a text."""
    if len(text) < SHORTEST:
        found = "is empty" if not text else f"has only {len(text)} characters"
        raise CorpusError(f"{title} {found}: a corpus needs at least {SHORTEST}.")


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
    data = bytes_of(path)
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


def shakespeares_plays(folders: Sequence[Path], download_to: Path | None) -> Corpus:
    """38 plays, one after another: 4,781,210 characters, 71 distinct."""
    path = next((path for folder in folders if (path := folder / PLAYS_FILE).is_file()), None)
    if path is None:
        if download_to is None:
            raise CorpusMissingError("Shakespeare's plays are not on this computer yet.")
        path = fetch_plays(download_to)
    return corpus_of(
        "shakespeare_plays", "Shakespeare's plays", read_plays(path), f"file {PLAYS_FILE}"
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
    "shakespeare_plays": shakespeares_plays,
    "python_docs": python_documentation,
    "python_source": python_source,
    **{name: task(name) for name in TASKS},
}
TITLES = {
    "tiny_shakespeare": "Tiny Shakespeare",
    "shakespeare_plays": "Shakespeare's plays",
    "python_docs": "Python documentation",
    "python_source": "Python library source",
    **{name: made.title for name, made in TASKS.items()},
}
ALWAYS_THERE = "python_docs"
FILES = {"tiny_shakespeare": TINY_SHAKESPEARE_FILE, "shakespeare_plays": PLAYS_FILE}
SIZES = {"tiny_shakespeare": "1.1 MB", "shakespeare_plays": "2.1 MB"}  # of their downloads
STAND_INS = {  # what is used in place of a text that cannot be had, in this order
    "tiny_shakespeare": ("shakespeare_plays", ALWAYS_THERE),
    "shakespeare_plays": ("tiny_shakespeare", ALWAYS_THERE),
}


def text_files(folders: Sequence[Path]) -> dict[str, Path]:
    """The learner's own .txt files by name, which is that of the file without its ending.

    A file whose name is taken, by a built-in text or by a file before it, is called by its whole
    name, or else by its path.
    """
    found: dict[str, Path] = {}
    for path in _own_files(folders):
        names = (path.stem, path.name, str(path))
        found[next(name for name in names if name not in CORPORA and name not in found)] = path
    return found


def _own_files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in {os.path.realpath(folder): folder for folder in folders}.values():
        try:
            paths = sorted(folder.iterdir())
        except OSError:  # it is not there, or may not be read
            continue
        for path in paths:
            mine = path.suffix.lower() == ".txt" and path.name != TINY_SHAKESPEARE_FILE
            if mine and path.is_file():
                yield path


def corpus_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The file behind a corpus, there or not; None for one that has no file of its own."""
    if name in FILES:
        found = [folder / FILES[name] for folder in folders]
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
    return read_text_file(path, name if name in text_files(folders) else None)


def fetch_missing(folders: Sequence[Path], target: Path) -> dict[str, str]:
    """Fetch the texts that come from elsewhere and are in none of the folders.

    For each its name and why it cannot be had, empty when it is there.
    """
    outcome = {}
    for name in FILES:
        try:
            load_corpus(name, folders, download_to=target)
            outcome[name] = ""
        except CorpusError as error:
            outcome[name] = str(error)
    return outcome


def load_or_stand_in(name: str, folders: Sequence[Path]) -> Corpus:
    """That corpus when it is on this computer, else the first that can stand in for it."""
    for other in (name, *STAND_INS.get(name, ())):
        try:
            return load_corpus(other, folders)
        except CorpusMissingError:
            continue
    raise CorpusMissingError(f"{TITLES.get(name, name)} is not on this computer.")


def read_text_file(path: Path, name: str | None = None, encoding: str = "") -> Corpus:
    """A corpus from a text file, by default UTF-8. Raises as bytes_of and decoded do."""
    title = title_of(path)
    read = decoded(bytes_of(path), title, encoding)
    name = name or (title if path.stem in CORPORA else Path(title).stem)
    return corpus_of(name, title, read.text, f"file {title}", read.note)


def title_of(path: Path) -> str:
    """A file's name; where the system's own encoding lacks a letter, it is not yet text."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def bytes_of(path: Path) -> bytes:
    """What stands in a text file, cut where it is too large for a text. Raises CorpusError."""
    if not path.is_file():
        raise CorpusError(
            f"There is no corpus {str(path)!r}: choose {', '.join(CORPORA)}, "
            "or give the path of a .txt file."
        )
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 4)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}.") from error
