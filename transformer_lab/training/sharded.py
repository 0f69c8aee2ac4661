"""Several processes that train a model none of them has the whole of (FSDP2); see `shards.py`.

The steps are those of `ranks.py`, and the same numbers but for rounding. What else rank 0 does with
the model, a look at the validation text or a copy of the weights, needs everybody: it says so
before, while the others wait to be told of the next step. So all do the same things in the same
order; one that cannot go on takes its pieces with it.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed

from transformer_lab.model import GPT
from transformer_lab.settings import ConfigError
from transformer_lab.training.config import TrainConfig
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.optimizers import Learning, Optimizer, optimizer_state
from transformer_lab.training.ranks import END, STEP, Result, Together
from transformer_lab.training.shards import Shards, splits_on

WEIGHTS, MEMORY, LOOK = 2, 3, 4  # what rank 0 says besides END and STEP
LOST = " Its part of the model is lost with it."


class Sharded(Together):
    """One of several processes, each with a part of the model."""

    whole = False
    _shards: Shards | None = None

    def __init__(self, others: Together) -> None:
        super().__init__(others.rank, others.count, others.line)
        self.line.afterwards = LOST
        self._asked: dict[int, Callable[[], object]] = {}

    @property
    def lost(self) -> bool:  # type: ignore[override]
        """Once one has ended, or failed in the middle of a step, nothing can be gathered."""
        return self.line.ended

    def check(self, config: TrainConfig, device: str) -> None:
        super().check(config, device)
        if not splits_on(device):
            raise ConfigError(
                "train.shard",
                f"PyTorch {torch.__version__} does not split models on this device ({device}): "
                "install a newer one, or turn Shard off.",
            )
        if config.learning_rule != "backprop":
            raise ConfigError(
                "train.shard",
                "A model that is split over processes learns by backpropagation only: turn Shard "
                "off (each process then has the whole model), or choose that learning rule.",
            )
        if config.compile == "on":
            raise ConfigError(
                "train.compile",
                "A model that is split over processes is not compiled: choose auto or off.",
            )

    def split(self, model: GPT, device: str) -> None:
        self._shards = self._all(lambda: Shards(model, device, self.rank, self.count))

    @property
    def shards(self) -> Shards:
        """Its part of the model; there once that is split."""
        assert self._shards is not None
        return self._shards

    def cut(self, whole: Tensor) -> Tensor:
        return self.shards.cut(whole)

    def fill(self, model: GPT, name: str, whole: Tensor) -> None:
        self.shards.fill(name, whole)

    def follow(self, model: GPT, optimizer: Optimizer, look: Callable[[], object]) -> None:
        self._asked = {
            WEIGHTS: partial(self.weights, model),
            MEMORY: partial(self.memory, model, optimizer),
            LOOK: look,
        }

    def said(self, what: int, number: float = math.nan) -> tuple[int, float]:
        heard, number = super().said(what, number)
        while self.rank and heard not in (END, STEP):
            self._asked[heard]()
            heard, number = super().said(what, number)
        return heard, number

    def parts(self, live: LiveSettings, batch_size: int, *own: Tensor) -> Iterator[tuple[Any, ...]]:
        """As many for everybody, since all compute together. One too many is of no weight.

        FSDP takes the mean of the gradients, so they are weighted N times.
        """
        pieces = math.ceil(math.ceil(batch_size / self.count) / live.micro_batch)
        for some in zip(*(rows.tensor_split(pieces) for rows in own), strict=True):
            weight = self.count * len(some[0]) / batch_size
            yield *(some if weight else (rows[:1] for rows in own)), weight

    def stops(self, stop: bool) -> bool:
        return bool(self.line.say(torch.tensor([float(stop)])).item())

    def together(self, model: GPT, learn: Callable[[], Tensor | None]) -> Tensor | None:
        """The loss; FSDP has added up the gradients."""
        loss = self._all(learn)
        if loss is None:  # all have stopped
            return None
        self.shards.refresh()
        return self._sum(loss) / self.count

    def learning(self, model: GPT) -> Learning:
        return self.shards

    def norm(self, own: Tensor) -> Tensor:
        return self._sum(own.double().square()).sqrt().to(own.dtype)

    def _sum(self, number: Tensor) -> Tensor:
        self._all(lambda: distributed.all_reduce(number))
        return number

    def step(self, optimizer: Optimizer) -> None:
        self._all(optimizer.step)  # Muon gathers matrices

    def look(self, work: Callable[[], Result]) -> Result:
        """All look at the same, each with the whole of what is read."""
        self._ask(LOOK)
        return self._all(work)

    def weights(self, model: GPT) -> dict[str, Tensor]:
        if self._shards is None:
            return super().weights(model)
        self._ask(WEIGHTS)
        return self._gathered({name: p.detach() for name, p in self.shards.named_parameters()})

    def memory(self, model: GPT, optimizer: Optimizer) -> dict[str, Tensor]:
        if self._shards is None:
            return super().memory(model, optimizer)
        self._ask(MEMORY)
        return self._gathered(optimizer_state(self.shards, optimizer))

    def _ask(self, what: int) -> None:
        if self.rank == 0:
            self.said(what)

    def _gathered(self, pieces: dict[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors in rank 0's main memory, one after another; the others keep none."""
        found = {}
        for key, piece in pieces.items():
            whole = piece  # one number is the same everywhere
            if piece.dim():
                name = key.rpartition("/")[0] or key
                whole, _ = self._all(partial(self.shards.gathered, name, piece))
            if self.rank == 0:
                found[key] = whole.cpu()
        return found

    def _all(self, work: Callable[[], Result]) -> Result:
        """What all do together. Whoever fails in it can no longer be followed, nor follow."""
        if self.line.ended:
            raise self.line.parted()
        try:
            return work()
        except BaseException as error:
            self.line.ended = True
            if isinstance(error, distributed.DistError) or "gloo" in str(error):
                raise self.line.parted() from error
            raise
