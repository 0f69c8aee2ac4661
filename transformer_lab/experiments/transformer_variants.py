"""The variants in the comparison of transformers, and the settings all of them share.

Everyone has the same text, batches, number of steps and learning rate; what both have starts with
the same numbers. A variant differs from the standard transformer in one idea.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformer_lab.recipes import Setup, find_recipe
from transformer_lab.settings import Config, ConfigError, flag, knob

STANDARD, MATCHED, IDENTITY = "standard", "matched", "identity"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A transformer: its name, and in what it differs from the standard one.

    `control` is whom it is compared with.
    """

    words: str
    changes: Mapping[str, Any]
    control: str = STANDARD


VARIANTS: dict[str, Variant] = {
    STANDARD: Variant(words="Standard", changes={}),
    IDENTITY: Variant(
        words="PC-FFN with T = 0", changes={"model.feedforward": "pc", "model.pc_steps": 0}
    ),
    MATCHED: Variant(
        words="Standard, as large as PC-FFN", changes={"model.feedforward": "gelu_matched"}
    ),
    "pc_ffn": Variant(words="PC-FFN", changes={"model.feedforward": "pc"}, control=MATCHED),
    "pc_learning": Variant(words="PC learning", changes={"train.learning_rule": "pc"}),
    "alternating": Variant(words="Alternating", changes={"model.architecture": "pc_alternating"}),
    "hierarchical": Variant(
        words="Hierarchical", changes={"model.architecture": "pc_hierarchical"}
    ),
    "dual_stream": Variant(words="Dual-stream", changes={"model.architecture": "pc_dual"}),
    "positions": Variant(words="PC positions", changes={"model.positions": "pc"}),
}
CHOSEN = [name for name in VARIANTS if name not in (STANDARD, MATCHED, IDENTITY)]

# Everyone's settings, where the race's own do not say otherwise: those of Quick start, but for
SHARED: Mapping[str, Any] = {
    "model.feedforward": "gelu",  # what PC-FFN is with T = 0
    "model.embedding_deviation": 0.7,  # learning by settling needs vectors that are not short
    "train.evaluation_batches": 8,
    "train.save_minutes": 0.0,
    "train.save_every": 0,
    "sample.prompt": "The ",
    "sample.length": 120,
}
HEADS = 4
LOOKS = 6  # at the validation text


@dataclass(frozen=True, kw_only=True)
class TransformerSettings(Config):
    """The knobs of the race of transformers, and which variants take part."""

    GROUP = "pcn_transformers"

    pc_ffn: bool = flag(
        True, "PC-FFN", "Hidden units of every feed-forward settle before they are read."
    )
    pc_learning: bool = flag(
        True,
        "PC Learning",
        "The standard model, whose layers learn from local errors after latents have settled "
        "with the target in sight; it predicts by one forward pass.",
    )
    alternating: bool = flag(
        False, "Alternating", "Attention and predictive coding in turn, no feed-forwards."
    )
    hierarchical: bool = flag(
        False, "Hierarchical", "Levels of latents settle on the embeddings, below the layers."
    )
    dual_stream: bool = flag(
        False, "Dual-stream", "An ordinary and a predictive block side by side in every layer."
    )
    positions: bool = flag(
        False, "PC Positions", "Position vectors settle as latents that predict their token."
    )
    steps: int = knob(
        4, 0, 64, "Inference Steps", "T: settling steps of PC parts for each token; 0 does nothing."
    )
    step_size: float = knob(
        0.1, 0.001, 1.0, "Step Size", "How far PC parts settle in each step, at most."
    )
    precision: float = knob(
        1.0, 0.0, 100.0, "PC Precision", "How strongly latents are held to their first guess."
    )
    width: int = knob(64, 16, 256, "Width", "Embedding dimension; a multiple of 4, for 4 heads.")
    training_steps: int = knob(
        60, 10, 5000, "Training Steps", "Batches that every model learns from."
    )
    seeds: int = knob(
        3, 1, 20, "Seeds", "Independent repetitions, from weights to batches; 3 for a verdict."
    )
    layers: int = knob(2, 2, 8, "Layers", "Blocks of every model.", advanced=True)
    learning_rate: float = knob(
        0.012, 1e-5, 0.1, "Learning Rate", "Of Muon and AdamW, the same for all.", advanced=True
    )
    learning_steps: int = knob(
        6,
        1,
        64,
        "PC Learning Steps",
        "How often latents settle for each batch under PC learning.",
        advanced=True,
    )

    def __post_init__(self) -> None:
        """Check bounds, that the heads divide the width, and that a variant is chosen."""
        super().__post_init__()
        if self.width % HEADS:
            below = self.width - self.width % HEADS
            raise ConfigError(
                "pcn_transformers.width",
                f"Width is {self.width}, which cannot be split among {HEADS} heads: "
                f"choose {below} or {below + HEADS}.",
            )
        if not any(getattr(self, name) for name in CHOSEN):
            raise ConfigError(
                "pcn_transformers.pc_ffn",
                "There is no variant to compare with the standard one: choose at least one.",
            )

    @property
    def variants(self) -> list[str]:
        """The chosen variants, controls included: those of PC-FFN come with it."""
        chosen = [name for name in CHOSEN if getattr(self, name)]
        controls = [STANDARD, *([IDENTITY, MATCHED] if self.pc_ffn else [])]
        return [*controls, *chosen]

    def setups(self, corpus: str, seed: int) -> dict[str, Setup]:
        """The settings of every chosen variant, by name. Raises ConfigError."""
        common = find_recipe("quick_start").setup.with_values(
            {
                **SHARED,
                "data.corpus": corpus,
                "model.layers": self.layers,
                "model.heads": HEADS,
                "model.embedding_dim": self.width,
                "model.pc_steps": self.steps,
                "model.pc_step_size": self.step_size,
                "model.pc_precision": self.precision,
                "train.pc_learning_steps": self.learning_steps,
                "train.learning_rate": self.learning_rate,
                "train.steps": self.training_steps,
                "train.evaluate_every": max(1, self.training_steps // LOOKS),
                "train.seed": 1 + seed,
            }
        )
        return {name: common.with_values(VARIANTS[name].changes) for name in self.variants}
