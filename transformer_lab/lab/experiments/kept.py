"""Comparisons on disk: what was asked and measured, one JSON file each, and those deleted."""

import contextlib
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformer_lab.experiments.comparison import comparison_from
from transformer_lab.experiments.comparison_result import Cell, Outcome
from transformer_lab.runs.comparison import ComparisonRecord
from transformer_lab.runs.record import RecordError, checked
from transformer_lab.runs.store import KEPT_IN_TRASH
from transformer_lab.settings import ConfigError

log = logging.getLogger(__name__)
FORMAT = 1
FOLDER, DELETED = "comparisons", "deleted"
LARGEST = 20_000_000  # bytes of a file that is read


class Kept:
    """The folder of comparisons. One that was deleted can be brought back for as long as a run."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._trash = self._folder / DELETED
        for path in self._trash.glob("*.json"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > KEPT_IN_TRASH:
                    path.unlink()

    def stamps(self) -> dict[str, tuple[int, int]]:
        """What changes when the file of a comparison is written, by name, the oldest first."""
        found = {path.stem: stamp for path in _json(self._folder) if (stamp := _stamp(path))}
        return dict(sorted(found.items(), key=lambda one: one[1]))

    def find(self, name: str) -> Outcome | None:
        """One by its name, as it is on disk now; None where it is not there or cannot be read."""
        path = next((path for path in _json(self._folder) if path.stem == name), None)
        return _readable(path) if path else None

    def names(self) -> set[str]:
        """Those that were deleted too, which may come back."""
        return {path.stem for folder in (self._folder, self._trash) for path in _json(folder)}

    def write(self, name: str, outcome: Outcome) -> None:
        """Keep what was measured; where that is not possible it is logged."""
        one = outcome.comparison
        content: dict[str, Any] = {
            "format": FORMAT,
            "slug": one.slug,
            "quick": one.quick,
            "content": one.content,
            "cells": [asdict(cell) for cell in outcome.cells],
        }
        try:
            self._folder.mkdir(exist_ok=True)
            staged = self._folder / f".{name}.part"
            staged.write_text(json.dumps(content, default=str), encoding="utf-8")
            staged.replace(self._folder / f"{name}.json")
        except OSError as error:
            log.warning("comparison %s could not be written: %s", name, error)

    def delete(self, name: str) -> None:
        """Move one to the trash, if it is there."""
        with contextlib.suppress(OSError):
            self._trash.mkdir(parents=True, exist_ok=True)
            place = (self._folder / f"{name}.json").replace(self._trash / f"{name}.json")
            place.touch()  # it is kept from now on

    def restore(self, name: str) -> Outcome | None:
        """Bring a deleted one back; None where it is not there or cannot be read."""
        deleted = next((path for path in _json(self._trash) if path.stem == name), None)
        if deleted is None:
            return None
        with contextlib.suppress(OSError):
            return _readable(deleted.replace(self._folder / deleted.name))
        return None


def _json(folder: Path) -> list[Path]:
    try:
        return list(folder.glob("*.json"))
    except OSError:
        return []


def _stamp(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns, path.stat().st_size
    return None


def _readable(path: Path) -> Outcome | None:
    with contextlib.suppress(RecordError, ConfigError, OSError, ValueError):
        return _read(path)
    return None


def _read(path: Path) -> Outcome:
    """A comparison from disk. Raises RecordError, ConfigError, OSError and ValueError."""
    if path.stat().st_size > LARGEST:
        raise RecordError(f"{path.name} is too large.")
    record = checked(ComparisonRecord, json.loads(path.read_text(encoding="utf-8")), path.name)
    comparison = comparison_from(record.content, record.slug, quick=record.quick)
    cells = [Cell(**cell.plain()) for cell in record.cells]
    for cell in cells:
        lengths = {len(cell.steps), len(cell.losses), len(cell.seconds)}
        if cell.variant not in comparison.lanes or len(lengths) != 1:
            raise RecordError(f"{path.name} has a cell that is no lane of it.")
    return Outcome(comparison=comparison, cells=cells)
