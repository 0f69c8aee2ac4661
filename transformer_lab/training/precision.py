"""The loss as it is computed on this device: how precisely, and whether compiled first."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.training.live import Change, LiveSettings

if TYPE_CHECKING:
    from transformer_lab.training.config import TrainConfig

log = logging.getLogger(__name__)
Loss = Callable[[Tensor, Tensor], Tensor]

COMPILE_AFTER = 20  # steps taken first, so that the learner sees the model learn meanwhile
PROOFS = 3  # passes: CUDA graphs are warmed up, recorded and replayed
WORTH_COMPILING = 1000  # steps, below which compiling takes longer than it saves


def precision(config: "TrainConfig", device: torch.device) -> torch.dtype:
    """The number format of most products: bfloat16 where a GPU is built for it, else float32."""
    if config.precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if config.precision == "bfloat16" else torch.float32


def compiles(config: "TrainConfig", device: torch.device) -> bool:
    """Whether the model is to be compiled: by itself only for a long training on an NVIDIA GPU.

    Only backpropagation is; another rule takes gradients within its loss.
    """
    if config.learning_rule != "backprop":
        return False
    if config.compile == "auto":
        return device.type == "cuda" and config.steps >= WORTH_COMPILING
    return config.compile == "on"


def compiles_at(step: int, first: int, config: "TrainConfig", device: torch.device) -> bool:
    """Whether to compile before `step`: a training that goes on at `first` may be late for it."""
    return step == max(first, COMPILE_AFTER) and compiles(config, device)


@contextlib.contextmanager
def repeatable(config: "TrainConfig") -> Iterator[None]:
    """While it lasts, a GPU may only use algorithms that give the same bits every time.

    A CPU does so anyway. The switch is one for the whole process, so it is never left on.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(config.deterministic or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def plain_loss(model: GPT, config: "TrainConfig") -> Loss:
    """A function from (B, T) inputs and targets to the loss (), in nats per token."""
    device = model.embedding.weight.device
    dtype = precision(config, device)

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with number_format(device, dtype):
            return model.loss(inputs, targets)

    return loss


def number_format(
    device: torch.device, dtype: torch.dtype
) -> contextlib.AbstractContextManager[None]:
    """A context in which most products are computed in this format."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def compiled(
    plain: Loss, model: GPT, live: LiveSettings, batch: tuple[Tensor, Tensor], step: int
) -> Loss:
    """The same loss as one compiled program; the plain one when that fails, and a note.

    On a GPU the program is recorded as CUDA graphs: one launch in place of hundreds, which is what
    a small model waits for. It is proven by a few passes in both directions on part of `batch`.
    """
    if live.uncompiled:
        return plain
    inputs, targets = (part[: live.micro_batch] for part in batch)
    live.doing = "compiling"
    try:
        mode = "reduce-overhead" if inputs.is_cuda else "default"
        program = torch.compile(plain, mode=mode, dynamic=False)
        for _ in range(PROOFS):
            torch.compiler.cudagraph_mark_step_begin()
            torch.autograd.grad(program(inputs, targets), list(model.parameters()))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        log.warning("compiling failed", exc_info=error)
        live.uncompiled = True
        live.made.append(Change(step - 1, "uncompiled", 1))
        live.notes.append(f"The model runs uncompiled: compiling failed ({type(error).__name__}).")
        return plain
    finally:
        live.doing = ""

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return program(inputs, targets).clone()  # the next replay overwrites its output

    return loss
