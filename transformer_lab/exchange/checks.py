"""Checks of an imported run: everything the lab needs to show it and to generate with it."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.run_folder import MANIFEST
from transformer_lab.model.weights import count_parameters, outline
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.files import Manifest, stored_tokenizer
from transformer_lab.runs.record import LONGEST_TEXT, RecordError, checked
from transformer_lab.settings import shown
from transformer_lab.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class ArrivingRun:
    """A run.json that is in order: its content and what it stands for."""

    content: dict[str, Any]
    setup: Setup
    tokenizer: Tokenizer

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """The shapes of its weights, by name."""
        model = outline(self.setup.model, self.tokenizer.vocabulary_size)
        return {name: tensor.shape for name, tensor in model.state_dict().items()}


def any_json(text: bytes, where: str) -> Any:
    """Any JSON value. Raises ImportRefusedError."""
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()  # halves of surrogate pairs
    except (ValueError, RecursionError) as error:
        raise ImportRefusedError(f"{where} is not JSON: {error}.") from error
    return content


def parsed(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises ImportRefusedError."""
    content = any_json(text, where)
    if not isinstance(content, dict):
        raise ImportRefusedError(f"{where} must be a JSON object.")
    return content


def member(content: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """One value of a JSON object, of the right kind: numbers not negative, texts not endless."""
    value = content.get(key)
    right = isinstance(value, kind) and not isinstance(value, bool)
    if right and isinstance(value, int | float):
        right = math.isfinite(value) and 0 <= value < 2**53
    if right and isinstance(value, str):
        right = len(value) <= LONGEST_TEXT
    if not right:
        raise ImportRefusedError(f"{where} is not ours: {key} is {shown(value)}.")
    return value


def checked_manifest(text: bytes, limits: Limits) -> ArrivingRun:
    """A run.json whose every part the lab can use. Raises ImportRefusedError."""
    content = parsed(text, MANIFEST)
    with refusing():
        record = checked(Manifest, content, MANIFEST)
        content = record.plain()  # with all settings, also those an older lab did not have
        tokenizer = stored_tokenizer(content["tokenizer"])
    setup = setup_from(content["setup"])
    for seam in record.seams:
        if seam.step > setup.train.steps:
            raise ImportRefusedError(f"{MANIFEST} is not ours: a seam is {shown(seam.plain())}.")
    _check_size(content, setup, tokenizer, limits)
    return ArrivingRun(content, setup, tokenizer)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn what is wrong with a record into a refusal."""
    try:
        yield
    except RecordError as error:
        raise ImportRefusedError(str(error)) from error


def _check_size(
    content: Mapping[str, Any], setup: Setup, tokenizer: Tokenizer, limits: Limits
) -> None:
    size = tokenizer.vocabulary_size
    if not 0 < size <= limits.vocabulary:
        raise ImportRefusedError(
            f"Its vocabulary has {size:,} tokens; 1 to {limits.vocabulary:,} can be used."
        )
    parameters = count_parameters(outline(setup.model, size))
    if parameters != content["parameters"] or parameters > limits.parameters:
        raise ImportRefusedError(
            f"Its model has {parameters:,} parameters, where {MANIFEST} says "
            f"{content['parameters']:,} and {limits.parameters:,} are the most that can be used."
        )
