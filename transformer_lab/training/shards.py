"""A model that does not fit: split over N processes, each of which holds an Nth of its numbers.

PyTorch's FSDP2 (`fully_shard`) cuts every weight into N pieces along its first axis. To compute, a
block is put together from everybody's pieces and let go again; its gradient is added up over all,
and each process keeps its own piece of it. An optimizer works on each number by itself, so here it
gets the pieces as a small model of plain tensors, and remembers no more than they need.

Source: arXiv:2304.11277. Shapes: R rows of a weight, and whatever follows.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from transformer_lab.model import GPT


def splits_on(device: str) -> bool:
    """Whether this PyTorch splits models on such a device: on CPUs not yet in 2.6."""
    return device == "cuda" or (device == "cpu" and hasattr(torch.cpu.Stream(), "record_event"))


class Shards:
    """The pieces of a model that this process holds."""

    def __init__(self, model: GPT, device: str, rank: int, count: int) -> None:
        """Split `model`, on the CPU or only laid out ("meta"), over all processes; all do so.

        One block after another comes to `device` whole, so that never all of them are there. Of a
        model that was only laid out, the numbers are still to come, by `fill`.
        """
        self._model, self._rank, self._count = model, rank, count
        mesh = init_device_mesh(device, (count,))
        for part in (*model.blocks, model):
            room = {name: torch.empty(p.shape) for name, p in part.named_parameters() if p.is_meta}
            part.load_state_dict(room, strict=False, assign=True)
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
        model.to(device)  # tables that are not weights
        self._pieces = {
            name: nn.Parameter(piece.to_local().detach(), piece.requires_grad)
            for name, piece in self._split()
        }

    def _split(self) -> Iterator[tuple[str, DTensor]]:
        """The parameters as FSDP has them."""
        for name, parameter in self._model.named_parameters():
            assert isinstance(parameter, DTensor)  # since it is not computing
            yield name, parameter

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """This process's piece of every parameter, some of them empty, by the whole one's name."""
        yield from self._pieces.items()

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Those of the model."""
        yield from self._model.named_modules()

    def refresh(self) -> None:
        """Give the pieces the gradients that a backward pass has left in the model."""
        for name, split in self._split():
            piece = self._pieces[name]
            piece.data = split.to_local().detach()  # the same numbers, where FSDP has them now
            assert split.grad is None or isinstance(split.grad, DTensor)
            piece.grad = None if split.grad is None else split.grad.to_local()

    def rows(self, rows: int) -> slice:
        """Which of so many rows this process holds; fewer, or none, where they do not suffice."""
        most = -(-rows // self._count)
        return slice(min(self._rank * most, rows), min((self._rank + 1) * most, rows))

    def cut(self, whole: Tensor) -> Tensor:
        """This process's piece of (R, ...) numbers, as a copy; what is one number, as it is."""
        return whole[self.rows(len(whole))].clone() if whole.dim() else whole

    @torch.no_grad()
    def fill(self, name: str, whole: Tensor) -> None:
        """Take the numbers of a parameter, of which every process gets the whole."""
        split = self._model.get_parameter(name)
        assert isinstance(split, DTensor)
        split.to_local().copy_(self.cut(whole))

    @torch.no_grad()
    def gathered(self, name: str, piece: Tensor) -> tuple[Tensor, slice]:
        """The (R, ...) numbers whose rows stand beside those of a parameter, and which they are.

        All take part.
        """
        split = self._model.get_parameter(name)
        assert isinstance(split, DTensor)
        beside = DTensor.from_local(
            piece.contiguous(),
            split.device_mesh,
            split.placements,
            run_check=False,
            shape=split.shape,
            stride=split.stride(),
        )
        return beside.full_tensor(), self.rows(len(split))
