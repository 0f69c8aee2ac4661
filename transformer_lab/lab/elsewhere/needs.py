"""What trainings ask of a cluster, and what its computers have."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transformer_lab.recipes import Setup


@dataclass(frozen=True, kw_only=True)
class Computer:
    """A computer of the cluster, and how much of it trainings may use."""

    id: str
    name: str
    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a training asks for: so much for each of its workers."""

    cpus: int
    gpus: int
    workers: int = 1

    def fit(self, computers: Sequence[Computer]) -> bool:
        """Whether computers have as much, if nothing else is on them."""
        return sum(map(self._room, computers)) >= self.workers

    def _room(self, computer: Computer) -> int:
        """How many workers a computer could have."""
        by_gpus = int(computer.gpus / self.gpus) if self.gpus else self.workers
        return min(int(computer.cpus / self.cpus), by_gpus)

    def __str__(self) -> str:
        gpus = f" and {self.gpus} GPU" if self.gpus else ""
        each = f"{self.cpus} CPU{'s' * (self.cpus > 1)}{gpus}"
        return each if self.workers == 1 else f"{self.workers} workers with {each} each"


def names_of(computers: Sequence[Computer]) -> dict[str, str]:
    """What to call each computer: its name; with the end of its id where several have the same."""
    count = Counter(computer.name for computer in computers)
    return {
        one.id: one.name if count[one.name] == 1 else f"{one.name}-{one.id[:4]}"
        for one in computers
    }


def needs_of(setup: Setup, computers: Sequence[Computer]) -> Needs:
    """What a training asks for: for each of its Workers a GPU where there are any and it may take
    one, and as many CPUs as it has Threads; one where they are automatic."""
    device, some = setup.train.device, any(computer.gpus for computer in computers)
    return Needs(
        cpus=setup.train.threads or 1,
        gpus=int(device == "cuda" or (device == "auto" and some)),
        workers=setup.train.workers,
    )
