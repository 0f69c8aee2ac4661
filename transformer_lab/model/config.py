"""The shape of a GPT, as settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformer_lab.model.architectures import ARCHITECTURES
from transformer_lab.model.attention import ATTENTIONS, AttentionShape
from transformer_lab.model.feedforward import FEEDFORWARDS, FeedForwardShape
from transformer_lab.model.linear import DEVIATION
from transformer_lab.model.norms import NORM_PLACES, NORMS
from transformer_lab.model.positions import POSITIONS, PositionShape
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
        [*FEEDFORWARDS, "none"],
        "Feed-forward",
        "The non-linearity between the two linear maps of each layer; with PC its hidden units "
        "settle before they are read, which backprop through the steps learns, not a local rule.",
        words={
            "relu": "ReLU",
            "gelu": "GELU",
            "gelu_tanh": "GELU by tanh, as in GPT-2",
            "relu_squared": "Squared ReLU",
            "swiglu": "SwiGLU",
            "pc": "PC: GELU that settles",
            "gelu_matched": "GELU with as many parameters as PC",
            "none": "None: layers of attention alone",
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
        words={
            "alibi": "ALiBi",
            "pc": "PC: learned vectors that settle on the token",
            "pc_zero": "PC: the same, all places alike (a control)",
            "none": "None",
        },
        advanced=True,
    )
    attention: str = choice(
        "multi_head",
        ATTENTIONS,
        "Attention",
        "How tokens look back at one another.",
        words={
            "multi_head": "Multi-head",
            "written_out": "Multi-head, written out step by step (slow)",
            "linear": "Linear: sums instead of softmax",
        },
        advanced=True,
    )
    key_value_heads: int = knob(
        0,
        0,
        32,
        "Key/Value Heads",
        "Heads of keys and values, which several query heads share: 1 is multi-query attention, a "
        "few are grouped-query, 0 gives each head its own.",
        advanced=True,
    )
    window: int = knob(
        32,
        1,
        4096,
        "Window",
        "How many tokens, itself included, each token sees with sliding-window attention.",
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
    ngrams: int = knob(
        1,
        1,
        4,
        "N-grams",
        "Add to each embedding those learned for the last 2, 3, ... up to so many tokens taken "
        "together; 1 is off.",
        advanced=True,
    )
    ngram_rows: int = knob(
        8192,
        16,
        65_536,
        "N-gram Rows",
        "Embeddings in the table of n-grams, which share them where they are more.",
        advanced=True,
    )
    causal: bool = flag(
        True,
        "Causal Mask",
        "No token sees those after it. Off is broken on purpose: each prediction reads its answer, "
        "so the loss falls impossibly low and the model cannot write.",
        advanced=True,
    )
    norm: str = choice(
        "layer_norm",
        NORMS,
        "Normalization",
        "What keeps the size of activations in bounds.",
        words={"layer_norm": "LayerNorm", "rms_norm": "RMSNorm", "none": "None"},
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
    residual: bool = flag(
        True,
        "Residual Connections",
        "Let each sub-layer add to what it reads; without, it replaces it, and deep models fail.",
        advanced=True,
    )
    logit_softcap: float = knob(
        0.0,
        0.0,
        1000.0,
        "Logit Softcap",
        "Keeps logits between plus and minus this number, softly; 0 leaves them free.",
        advanced=True,
    )
    bias: bool = flag(
        True, "Biases", "Add a learned constant in every linear map and norm.", advanced=True
    )
    tied_head: bool = flag(
        False,
        "Weight Tying",
        "Use the token embedding again to score the next token, instead of a matrix of its own.",
        advanced=True,
    )

    zero_init: bool = flag(
        False,
        "Zero-init Projections",
        "Start the head and what each layer writes at zero, so that every layer begins as nothing.",
        advanced=True,
    )
    zero_weights: bool = flag(
        False,
        "All Weights Zero",
        "Start every weight at zero. Broken on purpose: no gradient reaches any of them, so the "
        "loss stays where it began.",
        advanced=True,
    )
    embedding_deviation: float = knob(
        0.02,
        0.001,
        2.0,
        "Embedding Init Std",
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
    def attention_shape(self) -> AttentionShape:
        """The settings that each attention is built from."""
        return AttentionShape(
            width=self.embedding_dim,
            heads=self.heads,
            key_value_heads=self.key_value_heads or self.heads,
            window=self.window,
            capacity=self.sequence_length,
            dropout=self.dropout,
            bias=self.bias,
            qk_norm=self.qk_norm,
            deviation=self.output_deviation,
            causal=self.causal,
        )

    @property
    def feedforward_shape(self) -> FeedForwardShape:
        """The settings that each feed-forward is built from."""
        return FeedForwardShape(
            width=self.embedding_dim,
            hidden=self.feedforward_multiple * self.embedding_dim,
            bias=self.bias,
            deviation=self.output_deviation,
            settling=self.settling,
        )

    @property
    def position_shape(self) -> PositionShape:
        """The settings that positions are built from."""
        return PositionShape(
            sequence_length=self.sequence_length,
            width=self.embedding_dim,
            heads=self.heads,
            deviation=self.embedding_deviation,
            settling=self.settling,
        )

    @property
    def output_deviation(self) -> float:
        """Standard deviation of the first weights that write into the residual stream.

        Divided by √(2 layers), so that the stream does not grow with depth.
        Source: GPT-2 report, section 2.3.
        """
        return 0.0 if self.zero_init else DEVIATION / math.sqrt(2 * self.layers)

    @property
    def head_deviation(self) -> float:
        """That of the head: so small that every token is about equally likely, a loss of ln V."""
        return 0.0 if self.zero_init else min(DEVIATION, 0.2 / math.sqrt(self.embedding_dim))

    @property
    def block(self) -> str:
        """Which of the standard blocks it has: a key of `STANDARD_BLOCKS`."""
        if self.feedforward == "none":
            return "attention"
        return self.norm_place if self.residual else "no_residual"

    @property
    def ends_in_norm(self) -> bool:
        """Whether a norm stands before the head; post-norm blocks end in one of their own."""
        return self.norm_place == "pre"

    @property
    def settling(self) -> SettlingRule:
        """How its PC parts settle."""
        return SettlingRule(
            steps=self.pc_steps, step_size=self.pc_step_size, precision=self.pc_precision
        )

    def __post_init__(self) -> None:
        """Check bounds, then what settings ask of one another."""
        super().__post_init__()
        self._check_heads()
        self._check_attention()
        self._check_blocks()

    def _check_heads(self) -> None:
        width, heads = self.embedding_dim, self.heads
        if width % heads:
            fitting = [n for n in range(1, 33) if width % n == 0]
            raise ConfigError(
                "model.heads",
                f"Attention Heads is {heads}, which does not divide Embedding Dimension {width}: "
                f"choose {either(fitting)}."
                if len(fitting) > 1
                else f"Embedding Dimension {width} can only have 1 head.",
            )
        if self.key_value_heads and heads % self.key_value_heads:
            raise ConfigError(
                "model.key_value_heads",
                f"Key/Value Heads is {self.key_value_heads}, which does not divide Attention Heads "
                f"{heads}: choose {either([n for n in range(1, heads + 1) if heads % n == 0])}, or "
                "0 for one each.",
            )
        if self.positions == "rotary" and (width // heads) % 2:
            raise ConfigError(
                "model.heads",
                f"Rotary positions turn pairs of numbers, but {heads} heads of Embedding Dimension "
                f"{width} leave {width // heads} numbers each: choose a dimension that leaves an "
                "even count.",
            )

    def _check_attention(self) -> None:
        if self.attention == "linear" and self.positions == "alibi":
            raise ConfigError(
                "model.positions",
                "ALiBi adds to scores before a softmax, and linear attention has none: choose "
                "other positions, or another attention.",
            )

    def _check_blocks(self) -> None:
        """Residual connections, norms and architectures that exclude one another."""
        if not self.residual and self.norm_place == "post":
            raise ConfigError(
                "model.norm_place",
                "Post-norm normalizes the sums of residual connections, which are off: choose pre.",
            )
        plain = self.architecture == "standard" and self.feedforward != "none"
        if not self.residual and not plain:
            raise ConfigError(
                "model.residual",
                "Residual connections can be off only in the standard architecture with a "
                "feed-forward: switch them on.",
            )
        if self.architecture == "pc_alternating":
            self._check_alternating()

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
                "PC, or GELU as large as PC, is chosen as Feed-forward, but the alternating "
                "architecture has PC layers there: choose ReLU, or the standard architecture.",
            )


def either(numbers: Sequence[int]) -> str:
    """1, 2 or 4"""
    *others, last = [str(number) for number in numbers]
    return f"{', '.join(others)} or {last}" if others else last
