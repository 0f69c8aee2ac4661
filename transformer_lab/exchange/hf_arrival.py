"""A GPT-2 from elsewhere as a run: a Hugging Face folder, or a .zip of one.

Nothing in it is believed, and nothing of it is run: only config.json, model.safetensors and the
files of the vocabulary are read. The shapes and sizes that the weights declare are compared with
those of the model before anything large is unpacked, and every number is looked at after that. The
run has no steps: it was trained elsewhere, on a text of which nothing is known here.
"""

import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import safetensors
import torch
from torch import Tensor

from transformer_lab.exchange.archive import INDEX
from transformer_lab.exchange.arrival import NEW, arriving, read_archive
from transformer_lab.exchange.checks import parsed, write_json
from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.hf_checks import (
    CONFIG,
    WEIGHTS,
    declared_names,
    is_transposed,
    model_config,
)
from transformer_lab.exchange.hf_vocabulary import (
    CAN_BE_READ,
    Vocabulary,
    from_tokenizer_json,
    from_vocab_and_merges,
)
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.package import Package, header_of
from transformer_lab.exchange.run_folder import CHECKPOINTS, MANIFEST
from transformer_lab.model import ModelConfig
from transformer_lab.model.weights import count_parameters, outline
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import save_checkpoint
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.files import Manifest
from transformer_lab.settings import shown
from transformer_lab.text import DataConfig

TOKENIZER, VOCAB, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
READ = (CONFIG, WEIGHTS, TOKENIZER, VOCAB, MERGES)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
UNKNOWN_TEXT = "unknown"  # what a base from elsewhere learned from, in the place of a text's name
BATCH_TOKENS, BATCH = 4096, 64  # of a fine-tuning that begins with it, at most


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


class Folder:
    """A folder of this computer. Raises ImportRefusedError where it cannot be read."""

    def __init__(self, place: Path, limits: Limits) -> None:
        self.place, self.limits = place, limits
        try:
            found = sorted(path.name for path in place.iterdir() if path.is_file())
        except OSError as error:
            raise ImportRefusedError(f"{place} cannot be read: {error.strerror}.") from error
        self.names = [name for name in found if name in READ]
        self.others = [name for name in found if name not in READ]

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

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        try:
            with (self.place / name).open("rb") as file:
                yield file, os.fstat(file.fileno()).st_size
        except OSError as error:
            raise ImportRefusedError(f"{name} cannot be read: {error.strerror}.") from error


def bring_in(
    file: BinaryIO, runs_folder: Path, new_id: str, *, limits: Limits | None = None, order: int = 0
) -> Path:
    """A .zip as a run: an archive of one, or a Hugging Face folder. As `read_archive` otherwise."""
    if not _is_huggingface(file):
        return read_archive(file, runs_folder, new_id, limits=limits, order=order)
    with arriving(runs_folder, new_id) as staging, zipfile.ZipFile(file) as archive:
        package = Package(archive, limits or Limits(), CONFIG, READ)
        model = _checked(package)
        unpacked = staging / WEIGHTS
        package.unpack(WEIGHTS, unpacked)
        model.make_run(staging / NEW, unpacked, new_id, order)
    return runs_folder / new_id


def bring_in_folder(
    place: Path, runs_folder: Path, new_id: str, *, limits: Limits | None = None, order: int = 0
) -> Path:
    """A Hugging Face folder of this computer as a run. Raises ImportRefusedError."""
    with arriving(runs_folder, new_id) as staging:
        model = _checked(Folder(place, limits or Limits()))
        model.make_run(staging / NEW, place / WEIGHTS, new_id, order)
    return runs_folder / new_id


def _is_huggingface(file: BinaryIO) -> bool:
    """Whether a .zip has a config.json, and no list of an archive of a run."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    finally:
        file.seek(0)
    return CONFIG in names and INDEX not in names


class _Arriving:
    """A model whose settings, vocabulary and declared weights are in order."""

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary, names: dict[str, str]) -> None:
        self.config, self.vocabulary = config, vocabulary
        self.names = names  # of the weights, by ours

    def make_run(self, folder: Path, weights: Path, new_id: str, order: int) -> None:
        """Fill the folder of the run."""
        tokenizer = self.vocabulary.tokenizer.to_json()
        kind = str(tokenizer["kind"])
        batch = max(1, min(BATCH, BATCH_TOKENS // self.config.sequence_length))
        setup = Setup(
            data=DataConfig(corpus=UNKNOWN_TEXT, tokenizer=kind), model=self.config
        ).with_values({"train.steps": 1, "train.batch_size": batch})
        model = outline(self.config, self.vocabulary.tokenizer.vocabulary_size)
        manifest = Manifest(
            format=1,
            id=new_id,
            created=time.time(),
            recipe="imported",
            setup=setup.to_mapping(),
            tokenizer=tokenizer,
            parameters=count_parameters(model),
            imported={"from": "a Hugging Face folder", "time": time.time()},
        )
        place = {"order": order} if order else {}
        write_json(folder / MANIFEST, {**manifest.plain(), **place})
        meta = {"step": 0, "run": new_id, "best_loss": None}
        saved = folder / CHECKPOINTS / "step-00000000"
        save_checkpoint(saved, self._weights(weights), tokenizer, meta)
        writer = RunWriter(folder, new=True)
        try:
            writer.state("finished", 0, "Brought in from a Hugging Face folder.")
            if left := self.vocabulary.left_out:
                writer.event("note", 0, _left_out(left))
        finally:
            writer.close()

    def _weights(self, path: Path) -> dict[str, Tensor]:
        """Its weights under our names, in 32 bits. Raises ImportRefusedError."""
        found = {}
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                for ours, theirs in self.names.items():
                    tensor = file.get_tensor(theirs).float()
                    if not torch.isfinite(tensor).all():
                        raise ImportRefusedError(
                            f"{WEIGHTS} holds numbers that are not finite: {theirs}."
                        )
                    found[ours] = tensor.T if is_transposed(ours) else tensor
        except safetensors.SafetensorError as error:
            raise ImportRefusedError(f"{WEIGHTS} is damaged: {error}.") from error
        rows = torch.tensor(self.vocabulary.rows)
        for name in ("embedding.weight", "head.weight"):
            if name in found:
                found[name] = found[name][rows]
        return found


def _left_out(names: Sequence[str]) -> str:
    named = ", ".join(shown(name) for name in names[:4])
    more = f" and {len(names) - 4:,} more" if len(names) > 4 else ""
    return f"Tokens that no text becomes were left out of its vocabulary: {named}{more}."


def _checked(source: Source) -> _Arriving:
    """Everything that can be known before the weights are read. Raises ImportRefusedError."""
    if CONFIG not in source.names:
        raise ImportRefusedError(f"There is no {CONFIG}: this is no Hugging Face folder.")
    about = parsed(source.read(CONFIG), CONFIG)
    config = model_config(about)
    _check_form(source)
    vocabulary = _vocabulary(source)
    size = about.get("vocab_size", 50_257)
    largest = max(vocabulary.rows) + 1
    if type(size) is not int or not largest <= size <= source.limits.vocabulary:
        raise ImportRefusedError(
            f"{CONFIG} says that there are {shown(size)} tokens, and the vocabulary needs "
            f"{largest:,}: they do not belong together."
        )
    names = declared_names(config, size, *source.header(WEIGHTS), source.limits)
    return _Arriving(config, vocabulary, names)


def _check_form(source: Source) -> None:
    """Weights must be there, in one file that cannot run code."""
    if WEIGHTS in source.names:
        return
    pickle = next((name for name in source.others if name.endswith(PICKLES)), None)
    if pickle:
        raise ImportRefusedError(
            f"{shown(pickle)} could run code when it is opened, so it is not opened. Save the "
            "model as safetensors where it is trusted: model.save_pretrained(folder)."
        )
    if f"{WEIGHTS}.index.json" in source.others:
        raise ImportRefusedError(
            "Its weights are in several files: save them as one, with "
            'model.save_pretrained(folder, max_shard_size="8GB").'
        )
    raise ImportRefusedError(f"{WEIGHTS} is missing: the folder has no weights to read.")


def _vocabulary(source: Source) -> Vocabulary:
    if TOKENIZER in source.names:
        return from_tokenizer_json(parsed(source.read(TOKENIZER), TOKENIZER))
    if {VOCAB, MERGES} <= set(source.names):
        merges = source.read(MERGES).decode("utf-8", "replace")
        return from_vocab_and_merges(parsed(source.read(VOCAB), VOCAB), merges)
    raise ImportRefusedError(
        f"There is neither {TOKENIZER} nor {VOCAB} with {MERGES}: of vocabularies, {CAN_BE_READ}."
    )
