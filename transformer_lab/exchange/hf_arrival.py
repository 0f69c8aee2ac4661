"""A GPT-2 from elsewhere as a run: a Hugging Face folder, or a .zip of one.

Nothing in it is believed, and nothing of it is run: only config.json, the files of the vocabulary
and model.safetensors (or the parts that its index names) are read. The shapes and sizes that the
weights declare are compared with those of the model before anything large is unpacked, and every
number is looked at after that. The run has no steps: it was trained elsewhere, on a text of which
nothing is known here.
"""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from transformer_lab.exchange.arrival import NEW
from transformer_lab.exchange.checks import parsed
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
from transformer_lab.exchange.run_folder import CHECKPOINTS, MANIFEST
from transformer_lab.exchange.sources import Source, check_no_pickle
from transformer_lab.model import ModelConfig
from transformer_lab.model.weights import count_parameters, outline
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import save_checkpoint
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.files import Manifest, write_json
from transformer_lab.settings import shown
from transformer_lab.text import DataConfig

TOKENIZER, VOCAB, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
INDEX = f"{WEIGHTS}.index.json"  # which of its parts each tensor is in
PART = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
UNKNOWN_TEXT = "unknown"  # what a base from elsewhere learned from, in the place of a text's name
BATCH_TOKENS, BATCH = 4096, 64  # of a fine-tuning that begins with it, at most


class _Read(frozenset[str]):
    """The names of the files that are read: those, and every part of the weights."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or bool(PART.fullmatch(str(name)))


READ = _Read((CONFIG, WEIGHTS, INDEX, TOKENIZER, VOCAB, MERGES))


def take_model(source: Source, staging: Path, new_id: str, order: int) -> None:
    """Make the run of a model in the folder NEW of `staging`. Raises ImportRefusedError."""
    files = _weight_files(source)
    model = _checked(source, files)
    weights = [source.file(name, staging) for name in files]
    model.make_run(staging / NEW, weights, new_id, order)


class _Arriving:
    """A model whose settings, vocabulary and declared weights are in order."""

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary, names: dict[str, str]) -> None:
        self.config, self.vocabulary = config, vocabulary
        self.names = names  # of the weights, by ours

    def make_run(self, folder: Path, weights: Sequence[Path], new_id: str, order: int) -> None:
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

    def _weights(self, paths: Sequence[Path]) -> dict[str, Tensor]:
        """Its weights under our names, in 32 bits. Raises ImportRefusedError."""
        found = {}
        for path in paths:
            try:
                with safetensors.safe_open(path, framework="pt") as file:
                    declared = set(file.keys())
                    for ours, theirs in self.names.items():
                        if theirs in declared:
                            tensor = _finite(file.get_tensor(theirs).float(), path.name, theirs)
                            found[ours] = tensor.T if is_transposed(ours) else tensor
            except safetensors.SafetensorError as error:
                raise ImportRefusedError(f"{path.name} is damaged: {error}.") from error
        rows = torch.tensor(self.vocabulary.rows)
        for name in ("embedding.weight", "head.weight"):
            if name in found:
                found[name] = found[name][rows]
        return found


def _finite(tensor: Tensor, file: str, name: str) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise ImportRefusedError(f"{file} holds numbers that are not finite: {name}.")
    return tensor


def _left_out(names: Sequence[str]) -> str:
    named = ", ".join(shown(name) for name in names[:4])
    more = f" and {len(names) - 4:,} more" if len(names) > 4 else ""
    return f"Tokens that no text becomes were left out of its vocabulary: {named}{more}."


def _checked(source: Source, files: Sequence[str]) -> _Arriving:
    """Everything that can be known before the weights are read. Raises ImportRefusedError."""
    about = parsed(source.read(CONFIG), CONFIG)
    config = model_config(about)
    if not files:
        check_no_pickle(source)
        raise ImportRefusedError(f"{WEIGHTS} is missing: the folder has no weights to read.")
    vocabulary = _vocabulary(source)
    size = about.get("vocab_size", 50_257)
    largest = max(vocabulary.rows) + 1
    if type(size) is not int or not largest <= size <= source.limits.vocabulary:
        raise ImportRefusedError(
            f"{CONFIG} says that there are {shown(size)} tokens, and the vocabulary needs "
            f"{largest:,}: they do not belong together."
        )
    names = declared_names(config, size, *_header(source, files), source.limits)
    return _Arriving(config, vocabulary, names)


def _weight_files(source: Source) -> list[str]:
    """The file of the weights, or the parts that their index names; none where there are none.

    Raises ImportRefusedError.
    """
    if CONFIG not in source.names:
        raise ImportRefusedError(f"There is no {CONFIG}: this is no Hugging Face folder.")
    if WEIGHTS in source.names or INDEX not in source.names:
        return [WEIGHTS] * (WEIGHTS in source.names)
    places = parsed(source.read(INDEX), INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ImportRefusedError(f"{INDEX} does not say which files the weights are in.")
    files = sorted({str(name) for name in places.values()})
    for name in files:
        if not PART.fullmatch(name) or name not in source.names:
            raise ImportRefusedError(
                f"{INDEX} names {shown(name)}, which is not there: bring all parts of the weights."
            )
    return files


def _header(source: Source, files: Sequence[str]) -> tuple[dict[str, Any], int]:
    """What all files of weights say they hold, and how many bytes follow."""
    found: dict[str, Any] = {}
    length = 0
    for name in files:
        declared, left = source.header(name)
        declared.pop("__metadata__", None)
        if twice := found.keys() & declared.keys():
            raise ImportRefusedError(f"{shown(min(twice))} stands in two parts of the weights.")
        found |= declared
        length += left
    return found, length


def _vocabulary(source: Source) -> Vocabulary:
    if TOKENIZER in source.names:
        return from_tokenizer_json(parsed(source.read(TOKENIZER), TOKENIZER))
    if {VOCAB, MERGES} <= set(source.names):
        merges = source.read(MERGES).decode("utf-8", "replace")
        return from_vocab_and_merges(parsed(source.read(VOCAB), VOCAB), merges)
    raise ImportRefusedError(
        f"There is neither {TOKENIZER} nor {VOCAB} with {MERGES}: of vocabularies, {CAN_BE_READ}."
    )
