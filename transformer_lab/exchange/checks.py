"""What a run from elsewhere must be so that the lab can show it and write with it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.run_folder import MANIFEST, flush_file
from transformer_lab.model.weights import count_parameters, outline
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.settings import ConfigError, shown
from transformer_lab.text.tokenizers import TOKENIZERS, Tokenizer

FORMAT = 1  # of run.json and meta.json
LONGEST_TEXT = 10_000  # characters of a title or a reason
NUMBER = (int, float)
FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "id": str,
    "created": NUMBER,
    "recipe": str,
    "setup": dict,
    "corpus": dict,
    "tokenizer": dict,
    "parameters": int,
    "device": dict,
    "threads": int,
    "environment": dict,
}
CORPUS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "title": str,
    "source": str,
    "sha256": str,
    "characters": int,
    "distinct_characters": int,
    "training_tokens": int,
    "validation_tokens": int,
    "validation_bytes": int,
    "unknown_share": NUMBER,
}
DEVICE: dict[str, type | tuple[type, ...]] = {"name": str, "reason": str}
SEAM: dict[str, type | tuple[type, ...]] = {"run": str, "step": int, "kind": str}
MOST_THREADS = 1024
MOST_SEQUENCES = 1_000_000  # computed at once


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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as the lab does."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    flush_file(path)


def checked_manifest(text: bytes, limits: Limits) -> ArrivingRun:
    """A run.json whose every part the lab can use. Raises ImportRefusedError."""
    content = parsed(text, MANIFEST)
    for key, kind in FIELDS.items():
        member(content, key, kind, MANIFEST)
    for group, known in (("corpus", CORPUS), ("device", DEVICE)):
        for key, kind in known.items():
            member(content[group], key, kind, f"{group} in {MANIFEST}")
    if content["format"] != FORMAT:
        raise ImportRefusedError(
            f"{MANIFEST} has format {content['format']}, and this lab knows {FORMAT}: "
            "bring the run in with a newer Transformer Lab."
        )
    try:
        setup = setup_from(content["setup"])
    except ConfigError as error:
        raise ImportRefusedError(f"The settings in {MANIFEST} cannot be used: {error}") from error
    content["setup"] = setup.to_mapping()  # all of them, also those an older lab did not have
    _check_training(content, setup)
    tokenizer = _checked_tokenizer(content["tokenizer"])
    _check_size(content, setup, tokenizer, limits)
    return ArrivingRun(content, setup, tokenizer)


def _check_training(content: Mapping[str, Any], setup: Setup) -> None:
    """What training on from the run would rest on."""
    known = {"threads": MOST_THREADS, "micro_batch": MOST_SEQUENCES}
    for key in known.keys() & content.keys():
        if member(content, key, int, MANIFEST) > known[key]:
            raise ImportRefusedError(f"{MANIFEST} is not ours: {key} is {content[key]:,}.")
    seams = content.get("seams", [])
    if not isinstance(seams, list) or not all(isinstance(seam, dict) for seam in seams):
        raise ImportRefusedError(f"{MANIFEST} is not ours: seams is {shown(seams)}.")
    for seam in seams:
        for key, kind in SEAM.items():
            member(seam, key, kind, f"a seam in {MANIFEST}")
        if set(seam) != set(SEAM) or seam["step"] > setup.train.steps:
            raise ImportRefusedError(f"{MANIFEST} is not ours: a seam is {shown(seam)}.")


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


def _checked_tokenizer(stored: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that was stored, when it can be made and is stored again just so."""
    kind = stored.get("kind")
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise ImportRefusedError(f"Its tokenizer is {shown(kind)}, which is not known here.")
    refused = ImportRefusedError(f"The vocabulary of its tokenizer, {kind}, is damaged.")
    for key in ("characters", "words", "pieces"):
        entries = stored.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise refused
    if kind == "bpe" and not {f"{byte:02x}" for byte in range(256)} <= set(stored["pieces"]):
        raise refused  # without these there is text that it cannot write
    try:
        tokenizer: Tokenizer = TOKENIZERS[kind].from_json(stored)
    except ConfigError as error:  # GPT-2's files are not here
        raise ImportRefusedError(str(error)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise refused from error
    if tokenizer.to_json() != stored:
        raise refused
    return tokenizer
