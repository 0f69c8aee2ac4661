"""What passes between a training and whoever advances it."""

from dataclasses import dataclass, field


@dataclass
class LiveSettings:
    """Read and written before and after each step; no more than one thread writes each.

    Set from outside: `learning_rate` (the peak, in place of the config's) and `stop`. Set by the
    training: `micro_batch`, the sequences computed at once, halved when a GPU has no room for them;
    `ahead`, how many steps the weights are past the metrics just yielded (0 on a CPU); `doing`,
    what a long step is busy with; `notes`, sentences for the learner.
    """

    learning_rate: float | None = None
    stop: bool = False
    micro_batch: int = 0
    ahead: int = 0
    doing: str = ""
    notes: list[str] = field(default_factory=list)
