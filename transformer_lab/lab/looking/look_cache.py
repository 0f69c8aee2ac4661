"""What a look inside found, kept: in memory, and on disk where its weights can be read again.

A look is a dataclass of arrays, numbers and words. On disk it is numpy's .npz, which holds nothing
but arrays: what would have to be unpickled is neither written nor read.
"""

import io
import typing
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from transformer_lab.lab.shelves import Shelf, Shelves
from transformer_lab.text.cache import ByteCache

VERSION = 1  # of what is stored: another one when a look comes to mean something else
ROOM_ON_DISK = 500_000_000
UNREADABLE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile)

Look = TypeVar("Look")


class LookCache:
    """Looks by their kind and a key that names weights, tokens and what else was asked for."""

    def __init__(self, folder: Path, shelves: Shelves) -> None:
        self._disk = ByteCache(folder, ROOM_ON_DISK)
        self._memory: Shelf[Any] = shelves.shelf()

    def get(self, kind: type[Look], key: str, make: Callable[[], Look], *, on_disk: bool) -> Look:
        """The look of that key, made first if it is not known; `on_disk` keeps it there too."""
        found = self.find(kind, key, on_disk=on_disk)
        return self.put(key, make(), on_disk=on_disk) if found is None else found

    def find(self, kind: type[Look], key: str, *, on_disk: bool) -> Look | None:
        """The look of that key, if it is known."""
        name = _name(kind, key)
        known: Look | None = self._memory.find(name)
        if known is not None:
            return known
        found = self._read(kind, name) if on_disk else None
        return None if found is None else self._memory.keep(name, found)

    def put(self, key: str, look: Look, *, on_disk: bool) -> Look:
        name = _name(type(look), key)
        self._memory.keep(name, look)
        if on_disk:
            self._disk.set(name, packed(look))
        return look

    def close(self) -> None:
        """Close the files of the cache."""
        self._disk.close()

    def _read(self, kind: type[Look], key: str) -> Look | None:
        data = self._disk.get(key)
        try:
            return None if data is None else unpacked(kind, bytes(data))
        except UNREADABLE:
            return None


def _name(kind: type[Any], key: str) -> str:
    return f"{VERSION} {kind.__name__} {key}"


def packed(look: Any) -> bytes:
    """A look as bytes. Raises TypeError for a field that is no array, number, word or tuple."""
    arrays = {item.name: np.asarray(getattr(look, item.name)) for item in fields(look)}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{name} of {type(look).__name__} would have to be pickled")
    with io.BytesIO() as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()


def unpacked(kind: type[Look], data: bytes) -> Look:
    """The look that `packed` gave. Raises one of UNREADABLE for anything else."""
    kinds = typing.get_type_hints(kind)
    with np.load(io.BytesIO(data)) as stored:
        values = {item.name: stored[item.name] for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _plain(value, kinds[name]) for name, value in values.items()})


def _plain(array: Any, kind: Any) -> Any:
    """An array as the field's own type."""
    if kind in (str, int, float, bool):
        return kind(array[()])
    return tuple(array.tolist()) if typing.get_origin(kind) is tuple else array
