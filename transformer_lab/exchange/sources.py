"""Where the files of a model from elsewhere lie: a folder here, or a .zip (`package.py`)."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.package import header_of

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class Source(Protocol):
    """Where the files are: a folder, or a .zip (`Package`)."""

    limits: Limits
    others: list[str]

    @property
    def names(self) -> list[str]:
        """Which of the files that are read there are."""

    def read(self, name: str) -> bytes:
        """A small file. Raises ImportRefusedError."""

    def header(self, name: str) -> tuple[dict[str, Any], int]:
        """What a file of tensors says it holds, and how many bytes follow."""

    def file(self, name: str, staging: Path) -> Path:
        """Where a file can be read; that of a .zip is unpacked to `staging`."""


class Folder:
    """A folder of this computer. Raises ImportRefusedError where it cannot be read."""

    def __init__(self, place: Path, limits: Limits, wanted: Collection[str]) -> None:
        self.place, self.limits = place, limits
        try:
            found = sorted(path.name for path in place.iterdir() if path.is_file())
        except OSError as error:
            raise ImportRefusedError(f"{place} cannot be read: {error.strerror}.") from error
        self.names = [name for name in found if name in wanted]
        self.others = [name for name in found if name not in wanted]

    def read(self, name: str) -> bytes:
        """A small file. Raises ImportRefusedError."""
        with self._opened(name) as (file, size):
            if size > self.limits.json:
                raise ImportRefusedError(f"{name} is larger than {self.limits.json:,} bytes.")
            return file.read(self.limits.json)

    def header(self, name: str) -> tuple[dict[str, Any], int]:
        """What a file of tensors says it holds, and how many bytes follow."""
        with self._opened(name) as (file, size):
            return header_of(file, name, size, self.limits)

    def file(self, name: str, staging: Path) -> Path:
        """Where a file can be read; nothing is unpacked."""
        return self.place / name

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        try:
            with (self.place / name).open("rb") as file:
                yield file, os.fstat(file.fileno()).st_size
        except OSError as error:
            raise ImportRefusedError(f"{name} cannot be read: {error.strerror}.") from error


def check_no_pickle(source: Source) -> None:
    """Say why weights are not read that lie in a file that could run code.

    Raises ImportRefusedError.
    """
    if pickle := next((name for name in source.others if name.endswith(PICKLES)), None):
        raise ImportRefusedError(
            f"{pickle} could run code when it is opened, so it is not opened. Save it as "
            "safetensors where it is trusted: model.save_pretrained(folder)."
        )
