"""Fine-tuning: a new run that begins as a base was at one of its moments, on another text."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from transformer_lab.lab.cost.threads import Kept
from transformer_lab.lab.queue import Waiting
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.origins import OriginError, Text
from transformer_lab.lab.training.pace import Pace
from transformer_lab.lab.training.saves import Saved
from transformer_lab.lab.training.tuning import grown_to
from transformer_lab.model.weights import outline
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.checkpoint import BASE, CheckpointError, load_checkpoint, save_checkpoint
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.files import Progress
from transformer_lab.runs.moments import MomentError, Moments
from transformer_lab.runs.run import Run, Seam, step_of
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.text.errors import CorpusError
from transformer_lab.text.split import OnProgress
from transformer_lab.text.tokenizers import UnknownTextError, tokenizer_from_json
from transformer_lab.text.unknown import added_characters
from transformer_lab.training import StepMetrics
from transformer_lab.training.finetune import TRAINING, FineTuning, fine_tuning_from

PER_FROZEN = 12  # bytes that no gradient and no memory of the optimizer takes


class FineTuned:
    """A new run, whose first checkpoint is its base: it needs the base's run no more."""

    def __init__(self, base: Run, step: int | None, tuning: FineTuning) -> None:
        self.base = base
        self.reads = base.id
        self.step = base_step(base, step)
        self.tuning = tuning
        self.added = ""  # characters of the new text that get a token

    def saved(self) -> Saved:
        """The base's weights, as those after no step of this run."""
        weights = base_weights(self.base, self.step)
        optimizer = str(TRAINING["train.optimizer"])
        return Saved(weights, self.base.manifest["tokenizer"], {}, Progress(optimizer=optimizer))

    def past(self) -> list[StepMetrics]:
        return []

    def best(self) -> Saved | None:
        return None

    def seams(self) -> list[Seam]:
        return []

    def micro_batch(self) -> int:
        return 0

    def text(self, texts: Texts, setup: Setup, progress: OnProgress) -> Text:
        """The new text, in the base's tokens, to which some may be added."""
        manifest, unknown = self.base.manifest, self.tuning.unknown
        found = texts.in_tokens_of(setup, manifest, progress, unknown)
        if unknown.way == "extend":
            tokenizer = tokenizer_from_json(manifest["tokenizer"])
            self.added = added_characters(found[0].text, tokenizer)
        return found

    def threads(self) -> Kept:
        return Kept()

    def finetune(self) -> dict[str, Any]:
        """What run.json is to say of it."""
        manifest = self.base.manifest
        return {
            "run": self.base.id,
            "step": self.step,
            "settings": self.tuning.to_mapping(),
            "old_data": manifest["setup"]["data"],
            "old_corpus": manifest["corpus"],
            **({"added": self.added} if self.added else {}),
        }

    def open(self, store: RunStore, recipe: str, manifest: dict[str, Any]) -> RunWriter:
        """A new folder, the base its first checkpoint, from which it can begin again."""
        tokenizer = tokenizer_from_json(manifest["tokenizer"])
        saved = grown_to(self.saved(), self.finetune(), tokenizer)
        writer = store.create(f"{self.base.id}-tuned", manifest)
        try:
            save_checkpoint(
                writer.folder / "checkpoints" / BASE,
                saved.weights,
                saved.tokenizer,
                {"step": 0, "run": writer.folder.name, "best_loss": None},
                optimizer={},
                progress=asdict(saved.progress),
            )
        except BaseException:
            writer.close()
            shutil.rmtree(writer.folder, ignore_errors=True)
            raise
        return writer

    def release(self) -> None:
        pass


def base_step(base: Run, step: int | None) -> int:
    """The moment that was asked for, or that of the weights it writes with. Raises OriginError."""
    if step is not None:
        return step
    folders = base.usable_checkpoints()
    if not folders:
        raise OriginError(f"{base.id} was never saved: train it first, or choose another base.")
    return step_of(folders[0])


def base_weights(base: Run, step: int) -> dict[str, Tensor]:
    """The weights of a base after `step`: a save if there is one, else a moment in 16 bits.

    Raises OriginError.
    """
    why = ""
    for folder in base.usable_checkpoints():
        if step_of(folder) == step:
            try:
                return load_checkpoint(folder)[0]
            except CheckpointError as error:
                why = str(error)
    try:
        return Moments(base.folder).load(step)
    except MomentError as error:
        raise OriginError(
            f"{base.id} cannot be fine-tuned from step {step:,}. {why or error} "
            "Choose another moment of it."
        ) from error


def finetuning_setup(base: Run, corpus: str, tuning: FineTuning) -> Setup:
    """With what a fine-tuning begins when nothing else is said: the base's model and batches."""
    setup = setup_from(base.manifest["setup"])
    values = {"data.corpus": corpus, "train.learning_rate": tuning.rate, **TRAINING}
    return setup.with_values(values)


def finetuning(
    store: RunStore, texts: Texts, run_id: str, step: int | None, setup: Setup, tuning: FineTuning
) -> Waiting:
    """A base that learns from another text, as a new run; all that can be checked at once is.

    Raises LabError, RunNotFoundError and ConfigError.
    """
    base = store.open(run_id)
    if base.problem:
        raise LabError(f"{run_id} is damaged, and cannot be a base. {base.problem}")
    expected = setup_from(base.manifest["setup"]).model
    if setup.model != expected:
        raise ConfigError(
            "model",
            f"A fine-tuning has the model of its base {run_id}: only data, train, sample, "
            "finetune and lora can be set.",
        )
    try:
        step = base_step(base, step)
        base_weights(base, step)
    except OriginError as error:
        raise LabError(str(error)) from error
    check_known(texts, setup, base.manifest, tuning)
    added = added_by(texts, setup, base.manifest, tuning)
    check_adapts(setup, base.manifest["tokenizer"], tuning, added)
    return Waiting(
        kind="finetuned",
        recipe=f"{run_id}-tuned",
        setup=setup.to_mapping(),
        run=run_id,
        checkpoint=str(step),
        finetune=tuning.to_mapping(),
    )


def check_adapts(
    setup: Setup, tokenizer: Mapping[str, Any], tuning: FineTuning, added: int = 0
) -> int:
    """How many numbers would learn, without making the model. Raises ConfigError."""
    size = tokenizer_from_json(tokenizer).vocabulary_size + added
    return tuning.apply(outline(setup.model, size), seed=0, added=range(added))


def added_by(texts: Texts, setup: Setup, manifest: Mapping[str, Any], tuning: FineTuning) -> int:
    """How many tokens the base gets. Raises ConfigError where they are too many."""
    if tuning.unknown.way != "extend":
        return 0
    pieces = unknown_pieces(texts, setup.data.corpus, manifest)
    return len(added_characters("".join(pieces), tokenizer_from_json(manifest["tokenizer"])))


@dataclass(frozen=True)
class Cost:
    """What a fine-tuning takes: numbers that learn and all, tokens of the new text, bytes, seconds.

    `memory`, `free` and `seconds` are None where nothing is known; `seconds` are those that a
    training of every weight takes. `added` are the tokens that the base gets, and `rows` the rows
    that its tables grow by for them, of `width` numbers each.
    """

    trained: int
    parameters: int
    tokens: float
    memory: float | None
    free: float | None
    seconds: float | None
    added: int = 0
    rows: int = 0
    width: int = 0


def cost_of(
    costs: Pace, texts: Texts, setup: Setup, manifest: Mapping[str, Any], tuning: FineTuning
) -> Cost:
    """What a fine-tuning takes, at once; asked again it may know better. Raises ConfigError."""
    added = added_by(texts, setup, manifest, tuning)
    trained = check_adapts(setup, manifest["tokenizer"], tuning, added)
    size = tokenizer_from_json(manifest["tokenizer"]).vocabulary_size + added
    whole = costs.estimate(setup, size)
    frozen = whole.parameters - trained if tuning.is_lora else 0
    saved = PER_FROZEN * frozen
    memory = None if whole.memory is None else whole.memory - saved
    tokens = texts.facts(setup).tokens * (1 - setup.data.validation_share)
    return Cost(
        trained,
        whole.parameters,
        tokens,
        memory,
        whole.free,
        whole.seconds,
        added=added,
        rows=added if setup.model.tied_head else 2 * added,
        width=setup.model.embedding_dim,
    )


def unknown_pieces(texts: Texts, corpus: str, manifest: Mapping[str, Any]) -> list[str]:
    """What of a text a base has no tokens for; of one that is not at hand nothing is known yet."""
    tokenizer = tokenizer_from_json(manifest["tokenizer"])
    if manifest["tokenizer"]["kind"] == "words":  # has a token for what it does not know
        return []
    try:
        text = texts.corpus(texts.at_hand(corpus)).text
    except CorpusError:
        return []
    return tokenizer.unknown("".join(sorted(set(text))))


def check_known(
    texts: Texts, setup: Setup, manifest: Mapping[str, Any], tuning: FineTuning
) -> None:
    """Refuse a text with characters that the base does not know, unless they are left out."""
    pieces = unknown_pieces(texts, setup.data.corpus, manifest)
    if not pieces:
        return
    tuning.unknown.check_replacement(tokenizer_from_json(manifest["tokenizer"]))
    if tuning.unknown.way == "refuse":
        raise ConfigError(
            "finetune.unknown",
            f"{UnknownTextError(pieces)} Leave them out of the new text (finetune.unknown = "
            "leave_out), replace them (replace), give each a token (extend), or choose another "
            "text.",
        )


def finetuned_origin(store: RunStore, item: Waiting) -> FineTuned:
    """Where a fine-tuning that waited begins. Raises RunNotFoundError, LabError and ConfigError."""
    try:
        return FineTuned(
            store.open(item.run), int(item.checkpoint), fine_tuning_from(item.finetune)
        )
    except (OriginError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise LabError(str(error)) from error
