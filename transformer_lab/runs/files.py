"""The JSON files of a run: run.json and about.json, and those of a checkpoint."""

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from transformer_lab.recipes import GROUPS, setup_from
from transformer_lab.runs.checkpoint import flush_folder
from transformer_lab.runs.record import (
    FORMAT,
    STRICT,
    Count,
    Record,
    RecordError,
    Share,
    Text,
    Time,
    mended,
    parsed,
    sentence,
)
from transformer_lab.settings import ConfigError, from_mapping, settings_of, shown
from transformer_lab.text import DataConfig
from transformer_lab.text.tokenizers import TOKENIZERS, Tokenizer
from transformer_lab.training.finetune import fine_tuning_from


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    return setup_from(values).to_mapping()


def _fine_tuning(values: dict[str, Any]) -> dict[str, Any]:
    return fine_tuning_from(values).to_mapping()


def _data(values: dict[str, Any]) -> dict[str, Any]:
    return asdict(from_mapping(DataConfig, values))


def _tokenizer(stored: dict[str, Any]) -> dict[str, Any]:
    kind = stored.get("kind")
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise ValueError(f"is {shown(kind)}, which is not known here")
    return stored


class CorpusRecord(Record):
    """The text a run learned from."""

    OPTIONAL = frozenset({"asked_for"})
    name: Text = ""
    title: Text = "a text of which nothing is known"
    source: Text = ""
    sha256: Text = ""
    characters: Count = 0
    distinct_characters: Count = 0
    asked_for: Text = ""
    training_tokens: Count = 0
    validation_tokens: Count = 0
    validation_bytes: Count = 0
    unknown_share: Share = 0.0


class DeviceRecord(Record):
    """What computed, and the reason for choosing it."""

    name: Text = "unknown"
    reason: Text = ""


class EnvironmentRecord(Record):
    """Versions, and what was free at the start, in bytes."""

    OPTIONAL = frozenset(
        [
            "transformer_lab",
            "python",
            "torch",
            "cuda",
            "platform",
            "cores",
            "memory_free",
            "disk_free",
        ]
    )
    transformer_lab: Text = "unknown"
    python: Text = "unknown"
    torch: Text = "unknown"
    cuda: Text | None = None
    platform: Text = "unknown"
    cores: Count = 0
    memory_free: Count = 0
    disk_free: Count = 0


class SeamRecord(Record):
    """Where a run left its parent."""

    model_config = STRICT | {"extra": "forbid"}
    run: Text
    step: Count
    kind: Text


class FinetuneRecord(Record):
    """What a run was fine-tuned from, and how; `old_*` are the text that its base learned from.

    `added` are the characters that got a token.
    """

    OPTIONAL = frozenset({"added"})
    run: Text
    step: Count
    settings: Annotated[dict[str, dict[str, Any]], AfterValidator(_fine_tuning)]
    trained: Count
    old_data: Annotated[dict[str, Any], AfterValidator(_data)]
    old_corpus: CorpusRecord
    added: Text = ""


class Manifest(Record):
    """What run.json holds: with what a run was started."""

    OPTIONAL = frozenset({"micro_batch", "seams", "imported", "race", "lane", "order", "finetune"})
    format: Literal[1]
    id: Text = ""
    created: Time = 0.0
    recipe: Text = "custom"
    setup: Annotated[dict[str, dict[str, Any]], AfterValidator(_settings)]
    corpus: CorpusRecord = CorpusRecord()
    tokenizer: Annotated[dict[str, Any], AfterValidator(_tokenizer)] = Field(default_factory=dict)
    parameters: Count = 0
    device: DeviceRecord = DeviceRecord()
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    environment: EnvironmentRecord = EnvironmentRecord()
    micro_batch: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    seams: list[SeamRecord] = Field(default_factory=list)
    imported: dict[str, Any] = Field(default_factory=dict)
    race: Text = ""
    lane: Text = ""
    order: Count = 0
    finetune: FinetuneRecord | None = None


class AboutRecord(Record):
    """What about.json holds: a title, notes, a pin."""

    OPTIONAL = frozenset({"title", "notes", "pinned", "race_title"})
    title: Text = ""
    notes: Text = ""
    pinned: bool = False
    race_title: Text = ""


class Meta(Record):
    """meta.json of a checkpoint."""

    OPTIONAL = frozenset({"run", "best_loss"})
    format: Literal[1]
    step: Count
    run: Text = ""
    best_loss: float | None = None
    sha256: dict[str, str]


LIKE_A_RECORD = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=LIKE_A_RECORD)
class Progress:
    """progress.json: what a training knows besides its weights and its optimizer's memory.

    After `step` steps. `optimizer` names whose memory it is; `learning_rate` is the peak where it
    was changed by hand.
    """

    step: Count = 0
    optimizer: Text = ""
    learning_rate: Annotated[float, Field(ge=0)] | None = None
    micro_batch: Count = 0
    uncompiled: bool = False
    best_loss: Annotated[float, Field(ge=0)] | None = None


def known_settings(setup: object) -> object:
    """A run's settings without those that a newer lab may have written; nothing else is changed."""
    if not isinstance(setup, dict):
        return setup
    names = {group: {item.name for item in settings_of(GROUPS[group])} for group in GROUPS}
    return {
        group: {key: value for key, value in values.items() if key in names[group]}
        if isinstance(values, dict)
        else values
        for group, values in setup.items()
        if group in names
    }


def read_manifest(text: str | bytes, where: str) -> dict[str, Any]:
    """What run.json says, mended. Raises RecordError when it is no JSON or its settings are lost.

    Settings are never mended: a run with other ones would be another run.
    """
    content = parsed(text, where)
    content = {"format": FORMAT, **content}
    if "setup" in content:
        content["setup"] = known_settings(content["setup"])
    return mended(Manifest, content, where).plain()


def stored_tokenizer(stored: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that was stored, when it can be made and is stored again just so.

    Raises RecordError.
    """
    kind = stored.get("kind")
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise RecordError(f"Its tokenizer is {shown(kind)}, which is not known here.")
    damaged = RecordError(f"The vocabulary of its tokenizer, {kind}, is damaged.")
    for key in ("characters", "words", "pieces"):
        entries = stored.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise damaged
    if kind == "bpe" and not {f"{byte:02x}" for byte in range(256)} <= set(
        stored.get("pieces", [])
    ):
        raise damaged  # without these there is text that it cannot write
    try:
        tokenizer: Tokenizer = TOKENIZERS[kind].from_json(stored)
    except ConfigError as error:  # GPT-2's files are not here
        raise RecordError(str(error)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise damaged from error
    if tokenizer.to_json() != stored:
        raise damaged
    return tokenizer


def read_progress(stored: Mapping[str, Any], where: str) -> Progress:
    """What progress.json says. Raises RecordError."""
    try:
        return Progress(**stored)
    except ValidationError as error:
        raise RecordError(sentence(error.errors()[0], where)) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file of plain values at one stroke. Raises OSError."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # A path that is no text, as in Python's surrogates, is spelled as JSON does: \udcff.
        with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(content, file, indent=2, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)
