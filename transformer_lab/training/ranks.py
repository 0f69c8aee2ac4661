"""Several processes that train one model together: data parallelism.

Of N processes, rank r computes rows r, r + N, r + 2N ... of every batch. Since a batch follows from
(seed, step), nothing of it is sent. The gradients of all are added up, each weighted by its share
of the rows, so that every rank takes the very step that one process alone would take. Rank 0 says
before each step whether there is one, and the peak learning rate. Dropout is drawn by each rank for
its own rows.

`torchrun` starts the processes; torch.distributed connects them. Here each has the whole model;
`sharded.py` splits it.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from transformer_lab.model import GPT
from transformer_lab.model.lora import plain_weights
from transformer_lab.settings import ConfigError
from transformer_lab.training.config import TrainConfig
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.micro_batches import parts
from transformer_lab.training.optimizers import Learning, Optimizer, optimizer_state

PATIENCE = timedelta(days=30)  # for rank 0, which may pause; one that died is noticed at once
END, STEP = 0, 1  # what rank 0 says
SAVED = " What was learned up to here is saved: go on with any number of processes."
Result = TypeVar("Result")


class RankLostError(RuntimeError):
    """Another of the processes that train together has ended."""


class Ranks:
    """One process alone: it computes everything, and nothing is sent."""

    rank, count = 0, 1
    whole = True  # each process has the whole model
    shard: bool | None = None  # whether to split it, whatever the settings say; None: as they do
    lost = False  # parts of the model are out of reach, so it can no longer be saved

    def check(self, config: TrainConfig, device: str) -> None:
        """Whether these processes can train so, on such a device. Raises ConfigError."""

    def agree(self, live: LiveSettings) -> bool:
        """Whether there is another step; afterwards all have rank 0's learning rate."""
        return True

    def rows(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """(B, ...) each -> (B / N, ...), the rows of this process"""
        return tensors

    def parts(self, live: LiveSettings, batch_size: int, *own: Tensor) -> Iterator[tuple[Any, ...]]:
        """The rows of this process, of a batch of so many, a micro-batch at a time.

        Each comes with its weight: the gradients of all, so weighted, come to that of the batch.
        """
        for some in parts(live, *own):
            yield *some, len(some[0]) / batch_size

    def stops(self, stop: bool) -> bool:
        """Whether this process leaves off; where all must do so together, as rank 0 says."""
        return stop

    def together(self, model: GPT, learn: Callable[[], Tensor | None]) -> Tensor | None:
        """The loss () and the gradients of the whole batch, from everybody's part of them.

        None when one of them has stopped in the middle of it. Raises RankLostError.
        """
        return learn()

    def learning(self, model: GPT) -> Learning:
        """What this process has of the model's parameters, and of their gradients."""
        return model

    def norm(self, own: Tensor) -> Tensor:
        """The length () of the whole gradient, from that of what this process has of it."""
        return own

    def step(self, optimizer: Optimizer) -> None:
        """Update the weights; of a split model each process its own piece."""
        optimizer.step()

    def look(self, work: Callable[[], Result]) -> Result:
        """What a look at the model finds, in which all take part where that must be so."""
        return work()

    def weights(self, model: GPT) -> dict[str, Tensor]:
        """The whole weights, by name; on rank 0, between two steps. Raises RankLostError."""
        return plain_weights(model)

    def memory(self, model: GPT, optimizer: Optimizer) -> dict[str, Tensor]:
        """The whole of what the optimizer remembers; as `weights`."""
        return optimizer_state(model, optimizer)

    def send(
        self,
        facts: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        between: Callable[[], object] = lambda: None,
    ) -> None:
        """Give the others what they begin with; `between` is done once they know the facts.

        Raises RankLostError.
        """

    def split(self, model: GPT, device: str) -> None:
        """Split a model over all processes, where it is to be. Raises RankLostError."""

    def cut(self, whole: Tensor) -> Tensor:
        """What this process remembers of (R, ...) numbers that belong to a parameter."""
        return whole

    def end(self) -> None:
        """Part; rank 0 tells the others before that no step comes any more."""


ALONE = Ranks()


class Line:
    """What connects several processes: rank 0 speaks, and each notices when another has gone."""

    def __init__(self, device: str) -> None:
        """Wait for the others. `device` is "cuda" or "cpu"."""
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
        # What is no gradient goes through main memory: rank 0 may pause while a GPU waits.
        self._messages = distributed.new_group(backend="gloo", timeout=PATIENCE)
        self.ended = False
        self.afterwards = SAVED

    def say(self, tensor: Tensor) -> Tensor:
        """Rank 0's numbers, in the place of everybody's. Raises RankLostError."""
        self.connected(lambda: distributed.broadcast(tensor, src=0, group=self._messages))
        return tensor

    def connected(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, which needs the others. Raises RankLostError."""
        if self.ended:
            raise RankLostError("The processes that trained together have parted.")
        try:
            return work()
        except RuntimeError as error:
            self.ended = True
            raise self.parted() from error

    def close(self) -> None:
        """Part in order; a process that ends with its connections open may be aborted."""
        if not self.ended:  # else what is left of them may never answer
            distributed.destroy_process_group()
        self.ended = True

    def parted(self) -> RankLostError:
        """That another process is no longer there, in a sentence or two."""
        return RankLostError(
            f"Another of the {distributed.get_world_size()} processes that train this model has "
            f"ended.{self.afterwards}"
        )


class Together(Ranks):
    """One of several processes, each with the whole model."""

    def __init__(self, rank: int, count: int, line: Line, shard: bool | None = None) -> None:
        self.rank, self.count, self.line, self.shard = rank, count, line, shard

    def check(self, config: TrainConfig, device: str) -> None:
        if config.batch_size < self.count:
            raise ConfigError(
                "train.batch_size",
                f"Batch Size is {config.batch_size}, but {self.count} processes share each batch: "
                f"choose at least {self.count}, or start fewer.",
            )

    def agree(self, live: LiveSettings) -> bool:
        peak = float("nan") if live.learning_rate is None else live.learning_rate
        said, peak = self.said(STEP, peak)
        if self.rank:
            live.learning_rate = None if peak != peak else peak
        return said != END

    def said(self, what: int, number: float = float("nan")) -> tuple[int, float]:
        """A message of rank 0: what comes next, and a number that belongs to it."""
        message = torch.tensor([what, number], dtype=torch.float64)
        what, number = self.line.say(message).tolist()
        return int(what), number

    def rows(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor[self.rank :: self.count] for tensor in tensors)

    def together(self, model: GPT, learn: Callable[[], Tensor | None]) -> Tensor | None:
        """All in one sum: a 1 of each process that has its part, the losses, the gradients."""
        loss = learn()
        learning = [p for p in model.parameters() if p.requires_grad]
        if loss is None:
            numbers = [torch.zeros_like(p).flatten() for p in learning]
            head = torch.zeros(2)
        else:
            numbers = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                       for p in learning]  # fmt: skip
            head = torch.stack([torch.ones_like(loss), loss])
        flat = torch.cat([head.to(numbers[0]), *numbers])
        self.line.connected(lambda: distributed.all_reduce(flat))
        here, whole, *parts = flat.split([1, 1, *(p.numel() for p in learning)])
        if loss is None or round(here.item()) < self.count:
            return None
        for parameter, part in zip(learning, parts, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))
        return whole[0].to(loss.dtype)

    def send(
        self,
        facts: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        between: Callable[[], object] = lambda: None,
    ) -> None:
        """First a line of JSON with the shape of everything, then every tensor as bytes."""
        here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        shapes = {name: [str(t.dtype)[6:], *t.shape] for name, t in here.items()}
        head = json.dumps({"facts": facts, "shapes": shapes}).encode()
        self.said(STEP, len(head))
        self.line.say(torch.frombuffer(bytearray(head), dtype=torch.uint8))
        between()
        for tensor in here.values():
            self.line.say(tensor.flatten().view(torch.uint8))

    def receive(self) -> tuple[dict[str, Any], Iterator[tuple[str, Tensor]]]:
        """What rank 0 sends: facts, and tensors, of which each comes when it is asked for.

        Raises RankLostError, also when nothing comes of it.
        """
        what, length = self.said(STEP)
        if what == END:
            raise RankLostError("The first of the processes could not begin.")
        head = self.line.say(torch.zeros(int(length), dtype=torch.uint8))
        received = json.loads(head.numpy().tobytes())

        def tensors() -> Iterator[tuple[str, Tensor]]:
            for name, (dtype, *shape) in received["shapes"].items():
                tensor = torch.zeros(shape, dtype=getattr(torch, dtype))
                self.line.say(tensor.flatten().view(torch.uint8))  # the very numbers, not a copy
                yield name, tensor

        return received["facts"], tensors()

    @torch.no_grad()
    def fill(self, model: GPT, name: str, whole: Tensor) -> None:
        """Take the numbers of a parameter."""
        model.get_parameter(name).copy_(whole)

    def follow(self, model: GPT, optimizer: Optimizer, look: Callable[[], object]) -> None:
        """What to do where rank 0 looks at a split model, or gathers it."""

    def wait(self) -> None:
        """Wait until rank 0 has saved everything and ended."""
        with contextlib.suppress(RankLostError):
            while self.agree(LiveSettings()):
                pass

    def end(self) -> None:
        if self.rank == 0 and not self.line.ended:
            with contextlib.suppress(RankLostError):
                self.said(END)
        self.line.close()


def started_by_torchrun() -> tuple[int, int]:
    """The rank of this process, and how many there are; (0, 1) where torchrun has not started it.

    Raises ConfigError.
    """
    try:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        raise ConfigError(
            "RANK", "RANK and WORLD_SIZE are no numbers: unset them, or start this by torchrun."
        ) from None
