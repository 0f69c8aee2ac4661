"""Fine-tuning: which weights of a finished model learn from a new text, and how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from transformer_lab.model import GPT
from transformer_lab.model.growth import let_rows_learn
from transformer_lab.model.lora import LoRAConfig, adapt
from transformer_lab.settings import (
    Config,
    ConfigError,
    Setting,
    checked,
    choice,
    from_mapping,
    knob,
    settings_of,
    shown,
    text,
    unknown_key,
)
from transformer_lab.text.unknown import WAYS, Unknown

METHODS = {
    "lora": "LoRA: a small change beside each matrix",
    "full": "Full: every weight",
    "frozen": "The upper layers: the lower ones are frozen",
}
FULL_RATE = 3e-4
LORA_RATE = 3e-3
WHY_RATE = (
    "LoRA wants about ten times the learning rate of full fine-tuning, since B starts at zero and "
    "few numbers make the whole change."
)
# What a fine-tuning begins with, whatever the base was trained with; short, and at AdamW's rates.
TRAINING = {
    "train.where": "thread",  # which the page of a fine-tuning follows
    "train.workers": 1,
    "train.shard": False,  # it takes one process
    "train.steps": 200,
    "train.optimizer": "adamw",
    "train.learning_rule": "backprop",
    "train.weight_decay": 0.0,
    "train.embedding_rate": 1.0,
    "train.beta_1": 0.9,
    "train.beta_2": 0.95,
    "train.gradient_clip": 1.0,
    "train.evaluate_every": 20,
    "train.keep_best": False,
}


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Config):
    """Which weights learn, and what is done with characters that the base does not know."""

    GROUP = "finetune"

    method: str = choice(
        "lora", METHODS, "Method", "Which numbers learn; all others stay as they are.",
        words=METHODS,
    )  # fmt: skip
    frozen_layers: int = knob(
        1,
        1,
        64,
        "Frozen Layers",
        "How many layers from the bottom, with the embeddings, stay as they are; only where the "
        "upper layers learn.",
    )
    unknown: str = choice(
        "refuse",
        WAYS,
        "Unknown Characters",
        "What to do where the new text has characters that the base has no tokens for.",
        words=WAYS,
    )
    replacement: str = text(
        "?",
        "Replacement",
        "The character that takes the place of each unknown one, where they are replaced.",
    )

    def __post_init__(self) -> None:
        """Check every value, and that a replacement is one character."""
        super().__post_init__()
        if self.unknown == "replace" and len(self.replacement) != 1:
            raise ConfigError(
                "finetune.replacement",
                f"Replacement is {shown(self.replacement)}: type one character that the base "
                "knows.",
            )


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """All settings of a fine-tuning that those of a training do not have."""

    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """Plain values by group and name."""
        return asdict(self)

    def with_values(self, values: Mapping[str, Any]) -> "FineTuning":
        """The same with some settings changed, by dotted name. Raises ConfigError."""
        changed = self.to_mapping()
        for key, value in values.items():
            if key not in FINETUNE_SETTINGS:
                raise unknown_key("", key, FINETUNE_SETTINGS)
            setting = FINETUNE_SETTINGS[key]
            changed[setting.group][setting.name] = checked(setting, value)
        return fine_tuning_from(changed)

    @property
    def is_lora(self) -> bool:
        """Whether the base's own weights stay, and a change is learned beside them."""
        return self.finetune.method == "lora"

    @property
    def rate(self) -> float:
        """The learning rate to begin with."""
        return LORA_RATE if self.is_lora else FULL_RATE

    @property
    def unknown(self) -> Unknown:
        """What is done with characters that the base does not know."""
        return Unknown(self.finetune.unknown, self.finetune.replacement)

    def apply(self, model: GPT, seed: int, added: Sequence[int] = ()) -> int:
        """Let only what is to learn be trained; how many numbers that are. Raises ConfigError.

        The rows of tokens that were `added` learn, whatever else is frozen.
        """
        if self.is_lora:
            adapt(model, self.lora, seed)
        elif self.finetune.method == "frozen":
            freeze(model, self.finetune.frozen_layers)
        let_rows_learn(model, added)
        return trained_numbers(model)


def fine_tuning_from(values: Mapping[str, Any]) -> FineTuning:
    """The settings of a fine-tuning from plain values by group and name. Raises ConfigError."""
    for group in values:
        if group not in GROUPS:
            raise unknown_key("", group, GROUPS)
    configs: dict[str, Any] = {
        group: from_mapping(config, values.get(group, {})) for group, config in GROUPS.items()
    }
    return FineTuning(**configs)


def freeze(model: GPT, layers: int) -> None:
    """Keep the embeddings and the lower layers as they are. Raises ConfigError."""
    if layers > model.config.layers:
        raise ConfigError(
            "finetune.frozen_layers",
            f"Frozen Layers is {layers}, but the base has {model.config.layers}: choose at most "
            f"{model.config.layers}, with which only the last norm and the head learn.",
        )
    embedding = (model.embedding, model.ngrams, model.smear, model.positions, model.hierarchy)
    for part in [*embedding, *list(model.blocks)[:layers]]:
        if part is not None:
            part.requires_grad_(False)
    if not trained_numbers(model):
        raise ConfigError(
            "finetune.frozen_layers",
            f"With {layers} Frozen Layers nothing of this base is left to learn: choose fewer.",
        )


def trained_numbers(model: nn.Module) -> int:
    """How many numbers of a model learn."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


GROUPS: dict[str, type[Config]] = {config.GROUP: config for config in (FinetuneConfig, LoRAConfig)}
FINETUNE_SETTINGS: dict[str, Setting] = {
    setting.key: setting for config in GROUPS.values() for setting in settings_of(config)
}
