"""How a model is trained, as settings."""

from dataclasses import dataclass

from transformer_lab.settings import ConfigError, choice, exact, flag, knob
from transformer_lab.training.batches import BatchSettings
from transformer_lab.training.learning_rules import LearningRuleSettings
from transformer_lab.training.optimizers import OptimizerSettings
from transformer_lab.training.schedule import ScheduleSettings

DEVICES = ("auto", "cpu", "cuda", "mps")
COMPILE = ("auto", "on", "off")
PLACES = ("thread", "process", "cluster")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LearningRuleSettings, ScheduleSettings, OptimizerSettings, BatchSettings):
    """Everything the training loop needs to know besides the model and the text.

    What belongs to the batch, the optimizer, the schedule and the learning rule is declared there.
    """

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
    where: str = choice(
        "thread",
        PLACES,
        "Where It Trains",
        "In the lab itself; in a process of its own, whose crash harms nothing else, one a GPU; or "
        "on the cluster with which the lab was started (serve --ray).",
        words={"thread": "The lab", "process": "Own process", "cluster": "Cluster"},
        advanced=True,
    )
    workers: int = knob(
        1,
        1,
        64,
        "Workers",
        "Processes of the cluster that train this model together, each on its rows of every batch.",
        advanced=True,
    )
    shard: bool = flag(
        False,
        "Shard",
        "Of several processes for one model (torchrun) each holds a part of it, where the whole "
        "does not fit.",
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
    compile: str = choice(
        "auto",
        COMPILE,
        "Compile",
        "Turn the model into one program first: a minute's wait, then faster steps on a GPU.",
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
        "CPU threads to compute on; 0 measures which number is fastest, and may change it later.",
        advanced=True,
    )

    def __post_init__(self) -> None:
        """Check bounds, that the phases of the schedule fit into one training, and the rule."""
        super().__post_init__()
        if self.learning_rule != "backprop" and self.compile == "on":
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
