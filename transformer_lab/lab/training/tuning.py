"""What a fine-tuning has that other trainings have not: a base that stays, and a second text."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.saves import Saved
from transformer_lab.model import GPT
from transformer_lab.model.growth import grown
from transformer_lab.model.lora import load_factors
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import BASE, CheckpointError, load_checkpoint
from transformer_lab.runs.events import BothLossesEvent
from transformer_lab.settings import ConfigError, from_mapping
from transformer_lab.text import DataConfig
from transformer_lab.text.split import OnProgress
from transformer_lab.text.tokenizers import CharacterTokenizer, Tokenizer, tokenizer_from_json
from transformer_lab.training.batches import Batches
from transformer_lab.training.evaluate import evaluate
from transformer_lab.training.finetune import FineTuning, fine_tuning_from
from transformer_lab.training.live import LiveSettings

BOTH = "both_losses"  # the kind of event that holds the losses on both texts
About = Mapping[str, Any] | None  # what run.json says under `finetune`


def tuning_of(about: About) -> FineTuning | None:
    """The settings of a fine-tuning; None for any other training."""
    return fine_tuning_from(about["settings"]) if about else None


def to_go_on(saved: Saved, run_folder: Path, about: About) -> Saved:
    """A checkpoint as a training goes on from it: that of an adapter stands on its very base.

    A training that is no fine-tuning goes on with every weight. Raises CheckpointError.
    """
    tuning = tuning_of(about)
    if tuning is None:
        return replace(saved, adapter={}, remembered={} if saved.adapter else saved.remembered)
    if not tuning.is_lora:
        return saved
    if not saved.adapter and saved.progress.step:
        raise CheckpointError(
            f"{run_folder.name} has weights, but not the adapter that training goes on with: "
            "fine-tune them as a new run."
        )
    weights, _, _ = load_checkpoint(run_folder / "checkpoints" / BASE)
    return replace(saved, weights=weights)


def grown_to(saved: Saved, about: About, tokenizer: Tokenizer) -> Saved:
    """A base with a row for every token of a vocabulary to which characters were added."""
    stored = tokenizer.to_json()
    if not about or not about.get("added") or saved.tokenizer == stored:
        return saved
    before = tokenizer_from_json(saved.tokenizer)
    assert isinstance(before, CharacterTokenizer)
    kept = tokenizer.encode("".join(before.characters))
    weights = grown(saved.weights, kept.tolist(), tokenizer.vocabulary_size)
    return replace(saved, weights=weights, tokenizer=stored)


def apply_tuning(
    model: GPT, about: About, saved: Saved | None, tokenizer: Tokenizer, seed: int
) -> int:
    """Freeze what is not to be trained; returns how many numbers are.

    `model` has the base's weights. Raises ConfigError.
    """
    tuning = tuning_of(about)
    if tuning is None or about is None:
        return 0
    trained = tuning.apply(model, seed, tokenizer.encode(about.get("added", "")).tolist())
    if saved and saved.adapter:
        try:
            load_factors(model, saved.adapter)
        except ValueError as error:
            raise ConfigError("lora.rank", f"The adapter does not fit: {error}.") from error
    return trained


class OldText:
    """The validation text that the base was judged on: what is forgotten shows there."""

    def __init__(self, batches: Batches | None, count: int, problem: str = "") -> None:
        self.problem = problem
        self._batches = batches
        self._count = count

    def losses(
        self, model: GPT, live: LiveSettings, step: int, new: float | None
    ) -> BothLossesEvent | None:
        """The losses on both texts after `step`; None when it was stopped in between."""
        if new is None or self._batches is None:
            return None if new is None else BothLossesEvent(new=new)
        old = evaluate(
            model, self._batches, self._count, live, after=step, stopped=lambda: live.stop
        )
        return None if old is None else BothLossesEvent(new=new, old=old)


def old_text(
    texts: Texts,
    setup: Setup,
    about: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    device: torch.device,
    progress: OnProgress,
) -> OldText:
    """What a base was judged on, if that text is still at hand."""
    data = from_mapping(DataConfig, about["old_data"])
    manifest = {"corpus": about["old_corpus"], "tokenizer": tokenizer}
    try:
        _, encoded, _ = texts.again(replace(setup, data=data), manifest, progress)
    except ConfigError as error:
        why = f"What the model forgets of its first text is not measured. {error}"
        return OldText(None, 0, why)
    batches = Batches(
        torch.from_numpy(encoded.validation).to(device),
        setup.train.batch_size,
        setup.model.sequence_length,
        0,
    )
    return OldText(batches, setup.train.evaluation_batches)
