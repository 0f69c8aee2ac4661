"""Advanced settings in sections, and which of them apply to what else is chosen.

A setting that stands nowhere here gets into the section of its group, and always applies.
"""

from collections.abc import Mapping

from transformer_lab.settings import Setting

OF_GROUP = {"model": "Architecture", "train": "Hardware", "data": "Text"}
SECTIONS = {
    "Text": (),
    "Architecture": (),
    "Optimizer": (
        "train.optimizer",
        "train.matrix_rate",
        "train.matrix_heads",
        "train.embedding_rate",
        "train.momentum",
        "train.beta_1",
        "train.beta_2",
        "train.gradient_clip",
    ),
    "Schedule": (
        "train.schedule",
        "train.warmup_share",
        "train.final_share",
        "train.final_factor",
    ),
    "Evaluation": (
        "train.evaluate_every",
        "train.evaluation_batches",
        "train.keep_best",
        "train.save_every",
        "train.save_minutes",
        "train.seed",
    ),
    "Hardware": (),
    "Predictive coding": (
        "train.learning_rule",
        "train.pc_learning_steps",
        "train.pc_learning_step_size",
        "model.pc_steps",
        "model.pc_step_size",
        "model.pc_precision",
        "model.pc_levels",
    ),
}
PC_ARCHITECTURES = ("pc_alternating", "pc_hierarchical", "pc_dual")
PC_PARTS = {
    "model.architecture": PC_ARCHITECTURES,
    "model.feedforward": ("pc",),
    "model.positions": ("pc", "pc_zero"),
}
# A setting applies when any of the settings named has one of the values named.
NEEDS: dict[str, dict[str, tuple[str, ...]]] = {
    "data.vocabulary_size": {"data.tokenizer": ("bpe", "words")},
    "model.window": {"model.attention": ("sliding_window",)},
    "train.matrix_rate": {"train.optimizer": ("muon",)},
    "train.matrix_heads": {"train.optimizer": ("muon",)},
    "train.momentum": {"train.optimizer": ("muon", "sgd")},
    "train.beta_1": {"train.optimizer": ("adamw", "muon")},
    "train.beta_2": {"train.optimizer": ("adamw", "muon")},
    "train.warmup_share": {"train.schedule": ("three_phase", "cosine")},
    "train.final_share": {"train.schedule": ("three_phase", "one_cycle")},
    "train.final_factor": {"train.schedule": ("three_phase", "cosine")},
    "train.pc_learning_steps": {"train.learning_rule": ("pc", "epc")},
    "train.pc_learning_step_size": {"train.learning_rule": ("pc", "epc")},
    "model.pc_steps": PC_PARTS,
    "model.pc_step_size": PC_PARTS,
    "model.pc_precision": PC_PARTS,
    "model.pc_levels": {"model.architecture": PC_ARCHITECTURES},
}


def section_of(setting: Setting) -> str:
    """The section in which an advanced setting stands."""
    named = (title for title, keys in SECTIONS.items() if setting.key in keys)
    return next(named, OF_GROUP[setting.group])


def needs(key: str, settings: Mapping[str, Setting]) -> str:
    """What a setting needs to have an effect, in words; empty when it always has one."""
    parts = []
    for other, allowed in NEEDS.get(key, {}).items():
        choices = settings[other].choices or {}
        words = [choices[value].partition(":")[0] for value in allowed]
        parts.append(f"{settings[other].label}: {' or '.join(words)}")
    return f"Only with {'; or '.join(parts)}." if parts else ""


def applies(key: str, values: Mapping[str, object]) -> bool:
    """Whether a setting has an effect beside these values."""
    rules = NEEDS.get(key, {})
    return not rules or any(values.get(other) in allowed for other, allowed in rules.items())
