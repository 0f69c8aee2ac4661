"""How a model is trained, as settings."""

from dataclasses import dataclass

from transformer_lab.settings import Config, ConfigError, choice, exact, flag, knob
from transformer_lab.training.learning_rules import LEARNING_RULES
from transformer_lab.training.optimizers import OPTIMIZERS
from transformer_lab.training.schedule import SCHEDULES

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
COMPILE = ("auto", "on", "off")
LEAST_RATE = 1e-7


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Everything the training loop needs to know besides the model and the text."""

    GROUP = "train"

    batch_size: int = knob(
        64,
        1,
        4096,
        "Batch Size",
        "Sequences processed together: more is steadier, fewer is faster per step.",
    )
    learning_rate: float = knob(
        3e-4,
        LEAST_RATE,
        1.0,
        "Learning Rate",
        "How far each step moves the weights: too high is unstable, too low is slow.",
    )
    weight_decay: float = knob(
        0.1,
        0.0,
        10.0,
        "Weight Decay",
        "Pulls the weights of matrices towards zero, another guard against overfitting.",
    )
    steps: int = knob(1000, 1, 10_000_000, "Steps", "How many batches the model learns from.")
    optimizer: str = choice(
        "adamw",
        OPTIMIZERS,
        "Optimizer",
        "The rule that turns gradients into changes of the weights.",
        words={"adamw": "AdamW", "muon": "Muon and AdamW"},
        advanced=True,
    )
    matrix_rate: float = knob(
        5.0,
        0.01,
        100.0,
        "Matrix Rate",
        "Learning rate of the matrices under Muon, in multiples of Learning Rate.",
        advanced=True,
    )
    embedding_rate: float = knob(
        1.0,
        0.01,
        100.0,
        "Embedding Rate",
        "Learning rate of the token embedding, in multiples of Learning Rate.",
        advanced=True,
    )
    momentum: float = knob(
        0.9,
        0.0,
        0.999,
        "Momentum",
        "How long Muon remembers past gradients.",
        advanced=True,
    )
    beta_1: float = knob(
        0.9,
        0.0,
        0.999,
        "Beta 1",
        "How long AdamW remembers the direction of past gradients.",
        advanced=True,
    )
    beta_2: float = knob(
        0.95,
        0.0,
        0.9999,
        "Beta 2",
        "How long AdamW remembers the size of past gradients.",
        advanced=True,
    )
    gradient_clip: float = knob(
        1.0,
        0.0,
        1000.0,
        "Gradient Clip",
        "Longest gradient allowed; longer ones are shortened to it. 0 turns this off.",
        advanced=True,
    )
    schedule: str = choice(
        "three_phase",
        SCHEDULES,
        "Schedule",
        "How the learning rate changes over the steps.",
        words={"three_phase": "Warm-up, main, fine-tuning"},
        advanced=True,
    )
    warmup_share: float = knob(
        0.1,
        0.0,
        0.9,
        "Warm-up Share",
        "First part of the steps, in which the learning rate rises.",
        advanced=True,
    )
    final_share: float = knob(
        0.1,
        0.0,
        0.9,
        "Fine-tuning Share",
        "Last part of the steps, with a lower learning rate.",
        advanced=True,
    )
    final_factor: float = knob(
        0.1,
        0.0,
        1.0,
        "Fine-tuning Rate",
        "The learning rate of the last part, as a share of the main one.",
        advanced=True,
    )
    evaluate_every: int = knob(
        100,
        1,
        1_000_000,
        "Evaluate Every",
        "Steps between two looks at the validation text (and two samples).",
        advanced=True,
    )
    evaluation_batches: int = knob(
        10,
        1,
        1000,
        "Evaluation Batches",
        "Batches of validation text, always the same ones, in each look.",
        advanced=True,
    )
    keep_best: bool = flag(
        False,
        "Keep the Best",
        "At the end go back to the weights with the lowest validation loss, before overfitting.",
        advanced=True,
    )
    seed: int = knob(1337, 0, 2**31 - 1, "Seed", "The same seed gives the same run.", advanced=True)
    device: str = choice(
        "auto",
        DEVICES,
        "Device",
        "Where the arithmetic happens; auto takes a GPU when there is one.",
        words={"cpu": "CPU", "cuda": "NVIDIA GPU (cuda)", "mps": "Apple GPU (mps)"},
        advanced=True,
    )
    micro_batch: int = knob(
        0,
        0,
        4096,
        "Micro-batch",
        "Sequences computed at once; several make up a batch. 0 takes what suits the device.",
        advanced=True,
    )
    precision: str = choice(
        "auto",
        PRECISIONS,
        "Precision",
        "Number format of large products; auto takes bfloat16 on a GPU that is built for it.",
        words={"float32": "float32", "bfloat16": "bfloat16"},
        advanced=True,
    )
    compile: str = choice(
        "auto",
        COMPILE,
        "Compile",
        "Turn the model into one program first: a minute's wait, then faster steps on a GPU.",
        advanced=True,
    )
    deterministic: bool = flag(
        False,
        "Deterministic",
        "On a GPU use only algorithms that repeat bit for bit, a little slower; a CPU always does.",
        advanced=True,
    )
    save_every: int = knob(
        1000,
        0,
        10_000_000,
        "Save Every",
        "Steps between two saves that a crash cannot take away; 0 saves by time alone.",
        advanced=True,
    )
    save_minutes: float = knob(
        1.0,
        0.0,
        1440.0,
        "Save Minutes",
        "Minutes between two saves; 0 saves by steps alone.",
        advanced=True,
    )
    threads: int = knob(
        0,
        0,
        256,
        "Threads",
        "CPU threads the arithmetic may use; 0 takes one for each core.",
        advanced=True,
    )
    learning_rule: str = choice(
        "backprop",
        LEARNING_RULES,
        "Learning Rule",
        "Where gradients come from: errors sent back through the whole network, or (PC) latents "
        "that settle with the target in sight, and gradients local to each layer.",
        words={"backprop": "Backpropagation", "pc": "Predictive coding (PC)"},
        advanced=True,
    )
    pc_learning_steps: int = knob(
        10,
        1,
        200,
        "PC Learning Steps",
        "How many steps the latents of PC learning settle for each batch; no fewer than Layers.",
        advanced=True,
    )
    pc_learning_step_size: float = knob(
        0.05,
        0.0001,
        1.0,
        "PC Learning Step Size",
        "How far latents of PC learning settle in each step; halved where the energy would rise.",
        advanced=True,
    )

    def __post_init__(self) -> None:
        """Check bounds, that the phases of the schedule fit into one training, and the rule."""
        super().__post_init__()
        if self.learning_rule == "pc" and self.compile == "on":
            raise ConfigError(
                "train.compile",
                "Compile is on, but only backpropagation can be compiled: choose auto or off, or "
                "the learning rule backprop.",
            )
        left = round(1 - self.warmup_share, 9)
        if self.final_share > left + 1e-9:
            raise ConfigError(
                "train.final_share",
                f"Warm-up Share {self.warmup_share:g} and Fine-tuning Share {self.final_share:g} "
                f"are more than the whole: choose at most {exact(left)}.",
            )
