"""The variants in the comparison of transformers, their controls, and the settings all share.

Everyone has the same text, batches, number of steps and learning rate; what both have starts with
the same numbers. A variant differs from the standard transformer in one idea, and stands beside two
controls: itself with T = 0, which shows what settling is worth, and a standard transformer as
large, which shows what its parameters are worth. PC positions have a third, see `ZERO_TABLE`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformer_lab.model.weights import parameter_breakdown
from transformer_lab.recipes import Setup, find_recipe
from transformer_lab.settings import Config, ConfigError, flag, knob

STANDARD = "standard"
MATCHED, IDENTITY = "pc_ffn_as_large", "pc_ffn_t0"  # the controls of PC-FFN
LEARNING_TWIN = "pc_learning_t0"  # only the head learns, whichever way nothing settles
ZERO_TABLE = (
    "positions_zero_table"  # PC positions with T = 0 that know no place, only the token before
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A transformer: its name, and in what it differs from the standard one.

    `controls` are those it is compared with; `as_large` names the variant whose number of
    parameters a standard one is to have.
    """

    words: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    as_large: str = ""


def _with_controls(
    name: str, words: str, changes: Mapping[str, Any], *more: str
) -> dict[str, Variant]:
    """A variant of the model, itself with T = 0, and a standard one as large."""
    still, large = f"{name}_t0", f"{name}_as_large"
    return {
        name: Variant(words=words, changes=changes, controls=(large, still, *more)),
        still: Variant(words=f"{words} with T = 0", changes={**changes, "model.pc_steps": 0}),
        large: Variant(words=f"Standard, as large as {words}", as_large=name),
    }


_NOTHING_SETTLES = {"train.learning_rule": "pc", "train.pc_learning_steps": 0}
VARIANTS: dict[str, Variant] = {
    STANDARD: Variant(words="Standard"),
    **_with_controls("pc_ffn", "PC-FFN", {"model.feedforward": "pc"}),
    "pc_learning": Variant(
        words="PC learning",
        changes={"train.learning_rule": "pc"},
        controls=(STANDARD, LEARNING_TWIN),
    ),
    "epc_learning": Variant(
        words="ePC learning",
        changes={"train.learning_rule": "epc"},
        controls=(STANDARD, LEARNING_TWIN),
    ),
    LEARNING_TWIN: Variant(words="PC learning with T = 0", changes=_NOTHING_SETTLES),
    **_with_controls("alternating", "Alternating", {"model.architecture": "pc_alternating"}),
    **_with_controls("hierarchical", "Hierarchical", {"model.architecture": "pc_hierarchical"}),
    **_with_controls("dual_stream", "Dual-stream", {"model.architecture": "pc_dual"}),
    **_with_controls("positions", "PC positions", {"model.positions": "pc"}, ZERO_TABLE),
    ZERO_TABLE: Variant(
        words="PC positions with T = 0 and a table of zeros",
        changes={"model.positions": "pc_zero", "model.pc_steps": 0},
    ),
}
CHOSEN = [name for name, variant in VARIANTS.items() if variant.controls]

# Everyone's settings, where the race's own do not say otherwise: those of Quick start, but for
SHARED: Mapping[str, Any] = {
    "model.feedforward": "gelu",  # what PC-FFN is with T = 0
    "model.ngrams": 1,  # attention and positions find out what stands before a token
    "model.embedding_deviation": 0.7,  # learning by settling needs vectors that are not short
    "train.evaluation_batches": 8,
    "train.save_minutes": 0.0,
    "train.save_every": 0,
    "sample.prompt": "The ",
    "sample.length": 120,
    "train.threads": 1,  # sums over several would differ in their last bits from lane to lane
}
HEADS = 4
LOOKS = 10  # at the validation text
LAYERS, MULTIPLES = range(1, 9), range(1, 17)  # what a standard model as large may have


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
    epc_learning: bool = flag(
        False,
        "ePC Learning",
        "The same with errors instead of latents that settle, so that the signal reaches all "
        "layers at once; its inner gradient is backpropagation.",
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
        "How often latents, or errors, settle for each batch under PC learning.",
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
    def racers(self) -> list[str]:
        """The chosen variants."""
        return [name for name in CHOSEN if getattr(self, name)]

    @property
    def variants(self) -> list[str]:
        """The chosen variants and the controls of each, in the order of VARIANTS."""
        controls = {control for name in self.racers for control in VARIANTS[name].controls}
        return [name for name in VARIANTS if name in {STANDARD, *self.racers, *controls}]

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
        return {name: _setup(common, VARIANTS[name]) for name in self.variants}


def _setup(common: Setup, variant: Variant) -> Setup:
    if not variant.as_large:
        return common.with_values(variant.changes)
    large = VARIANTS[variant.as_large].changes
    if variant.as_large == "pc_ffn":  # this one can be met to half a hidden unit
        return common.with_values({"model.feedforward": "gelu_matched"})
    return common.with_values(as_large(common, _size(common.with_values(large))))


def _size(setup: Setup) -> int:
    """How many parameters; the size of the vocabulary cancels among models as wide."""
    return sum(parameter_breakdown(setup.model, 64).values())


def as_large(common: Setup, parameters: int) -> dict[str, int]:
    """Layers and feed-forward width of the standard model whose size comes nearest."""

    def size(layers: int, multiple: int) -> int:
        values = {"model.layers": layers, "model.feedforward_multiple": multiple}
        return _size(common.with_values(values))

    least, wider, deeper = size(1, 1), size(1, 2) - size(1, 1), size(2, 1) - size(1, 1)
    best = min(
        ((layers, multiple) for layers in LAYERS for multiple in MULTIPLES),
        key=lambda found: (
            abs(least + (found[0] - 1) * deeper + found[0] * (found[1] - 1) * wider - parameters),
            abs(found[0] - common.model.layers),
        ),
    )
    return {"model.layers": best[0], "model.feedforward_multiple": best[1]}
