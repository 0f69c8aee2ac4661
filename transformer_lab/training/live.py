"""What a training and the code that advances it exchange."""

from dataclasses import dataclass, field
from typing import Literal

ChangeName = Literal["learning_rate", "micro_batch", "uncompiled", "threads"]


@dataclass(frozen=True)
class Change:
    """A change that no setting records, and that a repeated training must make again.

    `value` holds from step `after` + 1 on: the peak learning rate, the sequences computed at once,
    1 when compiling had failed, or CPU threads.
    """

    after: int
    name: ChangeName
    value: float


@dataclass
class LiveSettings:
    """Read and written before and after each step; no more than one thread writes each.

    Set from outside: `learning_rate` (the peak, in place of the config's), `stop`, `threads`, those
    of the CPU on which whoever advances the training lets it compute, and `replay`, changes that
    are to be made again in their order, and `halves`, whether fewer sequences may be computed at
    once than was settled on. Set by the training: `micro_batch`, the sequences computed
    at once, halved when a GPU has no room for them; `uncompiled`, that compiling failed; `made`,
    its own changes, to be recorded; `ahead`, how many steps the weights are past the metrics just
    yielded (0 on a CPU); `doing`, what a long step is busy with; `notes`, sentences for the
    learner.
    """

    learning_rate: float | None = None
    stop: bool = False
    replay: list[Change] = field(default_factory=list)
    halves: bool = True
    micro_batch: int = 0
    threads: int = 0
    uncompiled: bool = False
    made: list[Change] = field(default_factory=list)
    ahead: int = 0
    doing: str = ""
    notes: list[str] = field(default_factory=list)

    def before(self, step: int) -> None:
        """Make the recorded changes again that hold at `step`."""
        while self.replay and self.replay[0].after < step:
            change = self.replay.pop(0)
            if change.name == "learning_rate":
                self.learning_rate = change.value
            elif change.name == "micro_batch":
                self.micro_batch = int(change.value)
            elif change.name == "threads":
                self.threads = int(change.value)
            else:
                self.uncompiled = bool(change.value)
