"""The shape of a GPT, as settings."""

from dataclasses import dataclass

from transformer_lab.model.attention import ATTENTIONS
from transformer_lab.model.feedforward import FEEDFORWARDS
from transformer_lab.model.norms import NORM_PLACES, NORMS
from transformer_lab.model.positions import POSITIONS
from transformer_lab.model.predictive import ARCHITECTURES
from transformer_lab.model.settling import SettlingRule
from transformer_lab.settings import Config, ConfigError, choice, flag, knob


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Shape of a GPT. Immutable, so a run's config is a fact, not a variable."""

    GROUP = "model"

    layers: int = knob(
        4, 1, 48, "Layers", "Blocks stacked on one another: more is better but slower."
    )
    heads: int = knob(
        4,
        1,
        32,
        "Attention Heads",
        "Attentions working side by side in each layer; must divide the embedding dimension.",
    )
    embedding_dim: int = knob(
        128, 8, 2048, "Embedding Dimension", "Numbers that stand for each token: more can say more."
    )
    sequence_length: int = knob(
        256, 8, 4096, "Sequence Length", "How many tokens the model sees at once."
    )
    dropout: float = knob(
        0.1,
        0.0,
        0.9,
        "Dropout",
        "Share of connections dropped at random while training, against overfitting.",
    )
    architecture: str = choice(
        "standard",
        ARCHITECTURES,
        "Architecture",
        "What the layers are made of; those named PC let latents settle on the input first.",
        words={
            "pc_alternating": "PC alternating: attention, PC, attention, ...",
            "pc_hierarchical": "PC hierarchical: PC levels below the layers",
            "pc_dual": "PC dual-stream: both side by side",
        },
        advanced=True,
    )
    feedforward: str = choice(
        "relu",
        FEEDFORWARDS,
        "Feed-forward",
        "The non-linearity between the two linear maps of each layer; with PC its hidden units "
        "settle before they are read, which backprop through the steps learns, not a local rule.",
        words={
            "relu": "ReLU",
            "gelu": "GELU",
            "relu_squared": "Squared ReLU",
            "pc": "PC: GELU that settles",
            "gelu_matched": "GELU with as many parameters as PC",
        },
        advanced=True,
    )
    feedforward_multiple: int = knob(
        4,
        1,
        16,
        "Feed-forward Width",
        "Hidden units of the feed-forward, in multiples of the embedding dimension.",
        advanced=True,
    )
    positions: str = choice(
        "learned",
        POSITIONS,
        "Positions",
        "How the model knows where in the sequence a token stands.",
        words={"pc": "PC: learned vectors that settle on the token"},
        advanced=True,
    )
    attention: str = choice(
        "multi_head",
        ATTENTIONS,
        "Attention",
        "How tokens look back at one another.",
        words={"multi_head": "Multi-head"},
        advanced=True,
    )
    qk_norm: bool = flag(
        False,
        "QK-norm",
        "Scale queries and keys to unit size, so that attention scores cannot explode.",
        advanced=True,
    )
    smear: int = knob(
        0,
        0,
        8,
        "Smear",
        "Mix a learned share of this many previous tokens' embeddings into each; 0 is off.",
        advanced=True,
    )
    norm: str = choice(
        "layer_norm",
        NORMS,
        "Normalization",
        "What keeps the size of activations in bounds.",
        words={"layer_norm": "LayerNorm", "rms_norm": "RMSNorm"},
        advanced=True,
    )
    norm_place: str = choice(
        "pre",
        NORM_PLACES,
        "Norm Position",
        "Before each sub-layer (pre-norm, steadier) or after it (post-norm, as in the 2017 paper).",
        words={"pre": "Pre-norm", "post": "Post-norm"},
        advanced=True,
    )
    bias: bool = flag(
        True, "Biases", "Add a learned constant in every linear map and norm.", advanced=True
    )
    tied_head: bool = flag(
        False,
        "Tied Head",
        "Use the token embedding again to score the next token, instead of a matrix of its own.",
        advanced=True,
    )

    zero_init: bool = flag(
        False,
        "Zero Projections",
        "Start the head and what each layer writes at zero, so that every layer begins as nothing.",
        advanced=True,
    )
    embedding_deviation: float = knob(
        0.02,
        0.001,
        2.0,
        "Embedding Start",
        "Standard deviation of the first token and position vectors; PC learning is steadier with "
        "about 0.7, where norms amplify less.",
        advanced=True,
    )
    pc_steps: int = knob(
        4,
        0,
        64,
        "PC Steps",
        "How many steps PC parts settle for each token; 0 leaves them at their first guess.",
        advanced=True,
    )
    pc_step_size: float = knob(
        0.1,
        0.001,
        1.0,
        "PC Step Size",
        "How far PC parts settle in each step; lowered by itself where a step could overshoot.",
        advanced=True,
    )
    pc_precision: float = knob(
        1.0,
        0.0,
        100.0,
        "PC Precision",
        "How strongly PC parts are held to their first guess while they settle.",
        advanced=True,
    )
    pc_levels: int = knob(
        2,
        1,
        8,
        "PC Levels",
        "Levels of latents that settle together in each PC part of an architecture named PC.",
        advanced=True,
    )

    @property
    def settling(self) -> SettlingRule:
        """How its PC parts settle."""
        return SettlingRule(
            steps=self.pc_steps, step_size=self.pc_step_size, precision=self.pc_precision
        )

    def __post_init__(self) -> None:
        """Check bounds, then what architecture, heads and positions ask of the rest."""
        super().__post_init__()
        if self.architecture == "pc_alternating":
            self._check_alternating()
        width, heads = self.embedding_dim, self.heads
        if width % heads:
            fitting = [str(n) for n in range(1, 33) if width % n == 0]
            raise ConfigError(
                "model.heads",
                f"Attention Heads is {heads}, which does not divide Embedding Dimension {width}: "
                f"choose {' or '.join([', '.join(fitting[:-1]), fitting[-1]])}."
                if len(fitting) > 1
                else f"Embedding Dimension {width} can only have 1 head.",
            )
        if self.positions == "rotary" and (width // heads) % 2:
            raise ConfigError(
                "model.heads",
                f"Rotary positions turn pairs of numbers, but {heads} heads of Embedding Dimension "
                f"{width} leave {width // heads} numbers each: choose a dimension that leaves an "
                "even count.",
            )

    def _check_alternating(self) -> None:
        """Its layers alternate, and have no feed-forward."""
        if self.layers < 2:
            raise ConfigError(
                "model.layers",
                f"Layers is {self.layers}, but the alternating architecture takes attention and PC "
                "in turn: choose at least 2.",
            )
        if self.feedforward in ("pc", "gelu_matched"):
            raise ConfigError(
                "model.feedforward",
                f"Feed-forward is {self.feedforward}, but the alternating architecture has PC "
                "layers in place of feed-forwards: choose relu, or the standard architecture.",
            )
