"""Several processes that train one model together: data parallelism.

Of N processes, rank r computes rows r, r + N, r + 2N ... of every batch. Since a batch follows from
(seed, step), nothing of it is sent. The gradients of all are added up, each weighted by its share
of the rows, so that every rank takes the very step that one process alone would take. Rank 0 says
before each step whether there is one, and the peak learning rate. Dropout is drawn by each rank for
its own rows.

`torchrun` starts the processes; torch.distributed connects them.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from transformer_lab.settings import ConfigError
from transformer_lab.training.live import LiveSettings

PATIENCE = timedelta(days=30)  # for rank 0, which may pause; one that died is noticed at once


class RankLostError(RuntimeError):
    """Another of the processes that train together has ended."""


class Ranks:
    """One process alone: it computes everything, and nothing is sent."""

    rank, count = 0, 1

    def check(self, batch_size: int) -> None:
        """Whether every process gets a row of each batch. Raises ConfigError."""

    def agree(self, live: LiveSettings) -> bool:
        """Whether there is another step; afterwards all have rank 0's learning rate."""
        return True

    def rows(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """(B, ...) each -> (B / N, ...), the rows of this process"""
        return tensors

    def together(self, model: nn.Module, loss: Tensor | None) -> Tensor | None:
        """The loss () and the gradients of the whole batch, from everybody's part of them.

        None when one of them has stopped in the middle of it. Raises RankLostError.
        """
        return loss

    def send(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Give the others what they begin with. Raises RankLostError."""

    def end(self) -> None:
        """Tell the others that no step comes any more."""


ALONE = Ranks()


class Together(Ranks):
    """One of several processes."""

    def __init__(self, rank: int, count: int, device: str) -> None:
        """Wait for the others, and connect to them. `device` is "cuda" or "cpu"."""
        self.rank, self.count = rank, count
        self._ended = False
        distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
        # What is no gradient goes through main memory: rank 0 may pause while a GPU waits.
        self._messages = distributed.new_group(backend="gloo", timeout=PATIENCE)

    def check(self, batch_size: int) -> None:
        if batch_size < self.count:
            raise ConfigError(
                "train.batch_size",
                f"Batch Size is {batch_size}, but {self.count} processes share each batch: choose "
                f"at least {self.count}, or start fewer.",
            )

    def agree(self, live: LiveSettings) -> bool:
        """A message of two numbers: whether there is a step, and the peak rate, or NaN."""
        peak = float("nan") if live.learning_rate is None else live.learning_rate
        message = torch.tensor([1.0, peak], dtype=torch.float64)
        self._connected(lambda: distributed.broadcast(message, src=0, group=self._messages))
        goes_on, peak = message.tolist()
        if self.rank:
            live.learning_rate = None if peak != peak else peak
        return bool(goes_on)

    def rows(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor[self.rank :: self.count] for tensor in tensors)

    def together(self, model: nn.Module, loss: Tensor | None) -> Tensor | None:
        """All in one sum: a 1 of each process that has its part, the losses, the gradients."""
        learning = [p for p in model.parameters() if p.requires_grad]
        if loss is None:
            numbers = [torch.zeros_like(p).flatten() for p in learning]
            head = torch.zeros(2)
        else:
            numbers = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                       for p in learning]  # fmt: skip
            head = torch.stack([torch.ones_like(loss), loss])
        flat = torch.cat([head.to(numbers[0]), *numbers])
        self._connected(lambda: distributed.all_reduce(flat))
        here, whole, *parts = flat.split([1, 1, *(p.numel() for p in learning)])
        if loss is None or round(here.item()) < self.count:
            return None
        for parameter, part in zip(learning, parts, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))
        return whole[0].to(loss.dtype)

    def send(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """First a line of JSON with the shape of everything, then every tensor as bytes."""
        here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        shapes = {name: [str(t.dtype)[6:], *t.shape] for name, t in here.items()}
        head = json.dumps({"facts": facts, "shapes": shapes}).encode()
        self._broadcast(torch.tensor([len(head)]))
        for part in (torch.frombuffer(bytearray(head), dtype=torch.uint8), *here.values()):
            self._broadcast(part.flatten().view(torch.uint8))

    def receive(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What rank 0 sends. Raises RankLostError."""
        length = self._broadcast(torch.zeros(1, dtype=torch.int64))
        head = self._broadcast(torch.zeros(int(length), dtype=torch.uint8))
        received = json.loads(head.numpy().tobytes())
        made = {
            name: torch.zeros(shape, dtype=getattr(torch, dtype))
            for name, (dtype, *shape) in received["shapes"].items()
        }
        for tensor in made.values():
            self._broadcast(tensor.flatten().view(torch.uint8))  # the very numbers, not a copy
        return received["facts"], made

    def _broadcast(self, tensor: Tensor) -> Tensor:
        self._connected(lambda: distributed.broadcast(tensor, src=0, group=self._messages))
        return tensor

    def wait(self) -> None:
        """Wait until rank 0 has saved everything and ended."""
        with contextlib.suppress(RankLostError):
            while self.agree(LiveSettings()):
                pass

    def end(self) -> None:
        if self.rank == 0 and not self._ended:
            with contextlib.suppress(RankLostError):
                self._broadcast(torch.tensor([0.0, float("nan")], dtype=torch.float64))
        self._ended = True

    def _connected(self, work: Callable[[], Any]) -> None:
        if self._ended:
            raise RankLostError("The processes that trained together have parted.")
        try:
            work()
        except RuntimeError as error:
            self._ended = True
            raise RankLostError(
                f"Another of the {self.count} processes that train this model has ended. What was "
                "learned up to here is saved: go on with any number of processes."
            ) from error


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
