"""Moments: a model's weights at some steps, in 16 bits, small enough to keep with every run.

    moments/00000064-1f3a5b7c9d0e.safetensors

A moment is one file of weights in 16 bits; its name holds the step and the beginning of the sha256
of its content, so that a damaged one is seen. They lie at steps 0, 1, 2, 4, 8 … and at evaluations.
When there are too many, those go whose neighbours are nearest, counted in doublings of the step:
the quick changes of the beginning stay as visible as the slow ones of the end.
"""

import hashlib
import math
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

MOST = 28  # moments of one run
MOST_BYTES = 160_000_000  # of all of them together, but never fewer than three
FEWEST = 3
NAME = re.compile(r"(\d{8,12})-[0-9a-f]{12}\.safetensors")
LARGEST_HALF = 60_000.0  # beyond which a number does not fit into 16 bits


class MomentError(Exception):
    """A moment that is not there or damaged; the message says which."""


def is_landmark(step: int) -> bool:
    """Whether a moment belongs here even without an evaluation: 0, 1, 2, 4, 8 …"""
    return step & (step - 1) == 0


class Moments:
    """The moments of one run's folder."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / "moments"

    def steps(self) -> list[int]:
        """Where there are moments, in order."""
        return [step for step, _ in self._files()]

    def size(self) -> int:
        """Bytes all of them take."""
        return sum(path.stat().st_size for _, path in self._files())

    def add(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Keep this moment; others may have to go. Raises OSError and leaves nothing behind."""
        if step in self.steps():
            return
        data = safetensors.torch.save({name: _light(value) for name, value in weights.items()})
        name = f"{step:08d}-{hashlib.sha256(data).hexdigest()[:12]}.safetensors"
        self._folder.mkdir(exist_ok=True)
        part = self._folder / f".{uuid.uuid4().hex}"
        try:
            part.write_bytes(data)
            part.replace(self._folder / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self._thin(max(FEWEST, min(MOST, MOST_BYTES // max(len(data), 1))))

    def load(self, step: int) -> dict[str, Tensor]:
        """The weights after `step`, in 32 bits again. Raises MomentError."""
        path = dict(self._files()).get(step)
        if path is None:
            raise MomentError(f"Step {step:,} was not kept.")
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest()[:12] != path.stem.partition("-")[2]:
                raise MomentError(f"{path} is damaged: its sha256 does not match.")
            return {name: value.float() for name, value in safetensors.torch.load(data).items()}
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise MomentError(f"{path} cannot be read: {error}.") from error

    def inherit(self, parent: "Moments", until: int) -> None:
        """Take over a parent's moments up to a step: the same files, if the disk can share them."""
        for step, path in parent._files():
            if step <= until:
                self._folder.mkdir(exist_ok=True)
                try:
                    os.link(path, self._folder / path.name)
                except OSError:
                    (self._folder / path.name).write_bytes(path.read_bytes())

    def forget_after(self, step: int) -> None:
        """Remove what lies after a step, because these steps are taken again."""
        for kept, path in self._files():
            if kept > step:
                path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[int, Path]]:
        found = self._folder.glob("*.safetensors")
        named = ((NAME.fullmatch(path.name), path) for path in found)
        return sorted((int(match[1]), path) for match, path in named if match and path.is_file())

    def _thin(self, most: int) -> None:
        files = self._files()
        while len(files) > most:
            place = _most_crowded([step for step, _ in files])
            files.pop(place)[1].unlink(missing_ok=True)


def _most_crowded(steps: list[int]) -> int:
    """The place whose neighbours are nearest in doublings; never the first or the last."""
    ages = [math.log2(1 + step) for step in steps]
    return min(range(1, len(ages) - 1), key=lambda i: ages[i + 1] - ages[i - 1])


def _light(weight: Tensor) -> Tensor:
    """A weight in 16 bits, if all its numbers fit."""
    weight = weight.detach().cpu().contiguous()
    fits = weight.is_floating_point() and bool((weight.abs() < LARGEST_HALF).all())
    return weight.to(torch.float16) if fits else weight
