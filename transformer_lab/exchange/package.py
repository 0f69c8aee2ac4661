"""The files in a .zip from elsewhere: which there may be, how large, and whether they are the ones
that its list names.
"""

import stat
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, Any

from transformer_lab.exchange.archive import INDEX, README, SAMPLES, TABLE
from transformer_lab.exchange.checks import member, parsed
from transformer_lab.exchange.database import DATABASE
from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.run_folder import (
    CHECKPOINT_NAME,
    CHECKPOINTS,
    FILE_NAME,
    MOMENT_NAME,
    MOMENTS,
    digest,
    flush_file,
)
from transformer_lab.settings import shown

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
PLAIN = (INDEX, README, SAMPLES, TABLE, DATABASE)
KNOWN_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1  # bit of an entry's flags
HARMLESS = 1_000_000  # bytes below which a high ratio of compression does not matter


class Package:
    """An archive whose names and declared sizes are in order.

    Its names begin where the file `root` lies. Without `wanted` it is an archive of a run, which
    holds nothing else; of another, files that are not `wanted` are never unpacked: `others`.
    """

    def __init__(
        self,
        archive: zipfile.ZipFile,
        limits: Limits,
        root: str = INDEX,
        wanted: Collection[str] = (),
    ) -> None:
        self.limits = limits
        self._archive = archive
        entries = _checked_entries(archive, limits, root, allowed if not wanted else None)
        self._entries = {name: one for name, one in entries.items() if not wanted or name in wanted}
        self.others = sorted(set(entries) - set(self._entries))
        self._expected: Mapping[str, Any] = {}

    @property
    def names(self) -> list[str]:
        """The names of all files, without the folder they are in."""
        return list(self._entries)

    def expect(self, files: Mapping[str, Any]) -> None:
        """Hold every file from now on to its size and sum in the list."""
        for name in sorted({*files, *self._entries} - {INDEX}):
            if name not in files:
                raise ImportRefusedError(
                    f"{shown(name)} is not in the list of the archive's files."
                )
            if name not in self._entries:
                raise ImportRefusedError(f"{shown(name)} is missing from the archive.")
            about = files[name]
            if not isinstance(about, dict) or about.get("bytes") != self._entries[name].file_size:
                raise ImportRefusedError(
                    f"{shown(name)} is not as long as the archive's list says."
                )
            member(about, "sha256", str, INDEX)
        self._expected = files

    def sums(self, folder: str) -> dict[str, str]:
        """The sha256 of each file in a folder, by its name there."""
        return {
            name.removeprefix(f"{folder}/"): about["sha256"]
            for name, about in self._expected.items()
            if name.startswith(f"{folder}/")
        }

    def read(self, name: str) -> bytes:
        """A small file. Raises ImportRefusedError when it is large or not the right one."""
        if name not in self._entries:
            raise ImportRefusedError(f"{name} is missing from it.")
        if self._entries[name].file_size > self.limits.json:
            raise ImportRefusedError(f"{name} is larger than {self.limits.json:,} bytes.")
        found: list[bytes] = []
        self._copy(name, found.append)
        return b"".join(found)

    def header(self, name: str) -> tuple[dict[str, Any], int]:
        """What a file of tensors says it holds, and how many bytes follow; unpacks no more.

        Raises ImportRefusedError.
        """
        entry = self._entries[name]
        with self._archive.open(entry) as source:
            return header_of(source, name, entry.file_size, self.limits)

    def file(self, name: str, staging: Path) -> Path:
        """Where a file can be read, unpacked."""
        self.unpack(name, staging / name)
        return staging / name

    def unpack(self, name: str, target: Path | None) -> None:
        """A file of any size, piece by piece; without a target it is only checked."""
        if target is None:
            self._copy(name, len)
            return
        with target.open("xb") as file:
            self._copy(name, file.write)
        flush_file(target)

    def _copy(self, name: str, take: Any) -> None:
        size, entry = 0, self._entries[name]

        def counted(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            if size > entry.file_size:
                raise ImportRefusedError(f"{name} is larger than it claims to be.")
            take(piece)

        with self._archive.open(entry) as source:
            sha256 = digest(source, counted)  # type: ignore[arg-type]
        expected = self._expected.get(name)
        if size != entry.file_size or (expected and expected["sha256"] != sha256):
            raise ImportRefusedError(f"{name} is damaged: its sha256 does not match.")


def header_of(
    source: IO[bytes], name: str, size: int, limits: Limits
) -> tuple[dict[str, Any], int]:
    """What a file of tensors of `size` bytes says it holds, and how many bytes follow.

    Raises ImportRefusedError.
    """
    length = int.from_bytes(source.read(8), "little")
    left = size - 8 - length
    if left < 0 or length > limits.json:
        raise ImportRefusedError(f"{name} is damaged: it does not say what it holds.")
    return parsed(source.read(length), name), left


def _checked_entries(
    archive: zipfile.ZipFile,
    limits: Limits,
    root_file: str,
    allowed: Callable[[str], bool] | None,
) -> dict[str, zipfile.ZipInfo]:
    """Every file by its name within the folder of `root_file`. Raises ImportRefusedError.

    All must be there, and be `allowed`, if it is said what is.
    """
    entries = archive.infolist()
    if len(entries) > limits.files:
        raise ImportRefusedError(
            f"It holds {len(entries):,} files; a run has {limits.files} at most."
        )
    if sum(entry.file_size for entry in entries) > limits.total:
        raise ImportRefusedError(f"Unpacked it would take more than {limits.total:,} bytes.")
    _check_overlaps(entries)
    root = _root(entries, root_file)
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _check_entry(entry, limits)
        path = _path(entry)
        inside, name = path.startswith(root), path.removeprefix(root)
        if _is_litter(path) or (entry.is_dir() and not entry.file_size):
            continue
        if allowed and not (inside and allowed(name)):
            raise ImportRefusedError(f"It holds {shown(entry.orig_filename)}, which no run has.")
        if name in found:
            raise ImportRefusedError(f"It holds {shown(name)} twice.")
        if inside:
            found[name] = entry
    return found


def _path(entry: zipfile.ZipInfo) -> str:
    """Where an entry says it lies; some programs on Windows write backslashes."""
    return entry.orig_filename.replace("\\", "/")


def _root(entries: list[zipfile.ZipInfo], root_file: str) -> str:
    """What all names begin with: the folder of `root_file`, whatever it is called.

    It is empty where the files themselves were packed. No path on disk is ever made of it.
    """
    found = [path for path in map(_path, entries) if path.rpartition("/")[2] == root_file]
    if not found:
        raise ImportRefusedError(f"{root_file} is missing: this is no archive of a run.")
    return min(found, key=lambda path: path.count("/")).removesuffix(root_file)


def _is_litter(path: str) -> bool:
    """Whether a Mac or Windows put it there by itself when the files were packed again."""
    folder, _, name = path.rpartition("/")
    return "__MACOSX" in folder.split("/") or name in LITTER or name.startswith("._")


def allowed(name: str) -> bool:
    """Whether an archive of a run may hold a file of this name."""
    if name in PLAIN:
        return True
    if "/" not in name:
        return bool(FILE_NAME.fullmatch(name)) and name.endswith(".json")
    folder, checkpoint, file = (*name.split("/"), "", "")[:3]
    if folder == MOMENTS:
        return name == f"{MOMENTS}/{checkpoint}" and bool(MOMENT_NAME.fullmatch(checkpoint))
    return (
        name == f"{CHECKPOINTS}/{checkpoint}/{file}"
        and folder == CHECKPOINTS
        and bool(CHECKPOINT_NAME.fullmatch(checkpoint) and FILE_NAME.fullmatch(file))
    )


def _check_entry(entry: zipfile.ZipInfo, limits: Limits) -> None:
    name, kind = shown(entry.orig_filename), stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & ENCRYPTED:
        raise ImportRefusedError(f"{name} is encrypted: export the run without a password.")
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        raise ImportRefusedError(f"{name} is a link or something else that is no plain file.")
    if entry.compress_type not in KNOWN_COMPRESSION:
        raise ImportRefusedError(f"{name} is compressed in a way that is not known here.")
    large = entry.file_size > max(HARMLESS, limits.ratio * entry.compress_size)
    if large or (
        entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size
    ):
        raise ImportRefusedError(
            f"{name} would unpack to {entry.file_size:,} bytes: that is a trick."
        )


def _check_overlaps(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse entries that share bytes, with which a small file unpacks to a huge one."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise ImportRefusedError(f"{shown(entry.orig_filename)} overlaps another file in it.")
        end = entry.header_offset + entry.compress_size
