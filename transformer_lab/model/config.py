"""The shape of a GPT, as settings."""

from dataclasses import dataclass

from transformer_lab.model.attention import ATTENTIONS
from transformer_lab.model.feedforward import FEEDFORWARDS
from transformer_lab.model.norms import NORM_PLACES, NORMS
from transformer_lab.model.positions import POSITIONS
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
    feedforward: str = choice(
        "relu",
        FEEDFORWARDS,
        "Feed-forward",
        "The non-linearity between the two linear maps of each layer.",
        words={"relu": "ReLU", "gelu": "GELU", "relu_squared": "Squared ReLU"},
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

    def __post_init__(self) -> None:
        """Check bounds, then what heads and positions ask of the width."""
        super().__post_init__()
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
