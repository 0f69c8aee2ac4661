"""The loss as it is computed on this device: how precisely, and whether compiled first."""

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.training.live import LiveSettings

if TYPE_CHECKING:
    from transformer_lab.training.config import TrainConfig

log = logging.getLogger(__name__)
Loss = Callable[[Tensor, Tensor], Tensor]

COMPILE_AFTER = (
    20  # micro-batches computed first, so that the learner sees the model learn meanwhile
)
PROOFS = 3  # passes: CUDA graphs are warmed up, recorded and replayed
WORTH_COMPILING = 1000  # steps, below which compiling takes longer than it saves


def precision(config: "TrainConfig", device: torch.device) -> torch.dtype:
    """The number format of most products: bfloat16 where a GPU is built for it, else float32."""
    if config.precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if config.precision == "bfloat16" else torch.float32


def compiles(config: "TrainConfig", device: torch.device) -> bool:
    """Whether the model is to be compiled: by itself only for a long training on an NVIDIA GPU."""
    if config.compile == "auto":
        return device.type == "cuda" and config.steps >= WORTH_COMPILING
    return config.compile == "on"


def loss_function(model: GPT, config: "TrainConfig", live: LiveSettings) -> Loss:
    """A function from (B, T) inputs and targets to the loss (), in nats per token."""
    device = model.embedding.weight.device

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with number_format(config, device):
            return model.loss(inputs, targets)

    return Compiled(loss, model, live) if compiles(config, device) else loss


def number_format(
    config: "TrainConfig", device: torch.device
) -> contextlib.AbstractContextManager[None]:
    """A context in which most products are computed in the format that `precision` names."""
    dtype = precision(config, device)
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


class Compiled:
    """A loss that is compiled after its first calls, and left as it was when that fails.

    On a GPU the compiled program is recorded as CUDA graphs: one launch in place of hundreds, which
    is what a small model waits for.
    """

    def __init__(self, loss: Loss, model: GPT, live: LiveSettings) -> None:
        self._plain = self._loss = loss
        self._model = model
        self._live = live
        self._calls = 0

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """(B, T), (B, T) -> ()"""
        self._calls += 1
        if self._calls == COMPILE_AFTER:
            self._loss = self._compiled(inputs, targets)
        if self._loss is self._plain:
            return self._plain(inputs, targets)
        torch.compiler.cudagraph_mark_step_begin()
        return self._loss(inputs, targets).clone()  # the next replay overwrites its output

    def _compiled(self, inputs: Tensor, targets: Tensor) -> Loss:
        """The compiled loss, proven by a few passes in both directions; or the plain one."""
        self._live.doing = "compiling"
        try:
            mode = "reduce-overhead" if inputs.is_cuda else "default"
            compiled = torch.compile(self._plain, mode=mode, dynamic=False)
            for _ in range(PROOFS):
                torch.compiler.cudagraph_mark_step_begin()
                torch.autograd.grad(compiled(inputs, targets), list(self._model.parameters()))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            log.warning("compiling failed", exc_info=error)
            self._live.notes.append(
                f"The model runs uncompiled: compiling failed ({type(error).__name__})."
            )
            return self._plain
        finally:
            self._live.doing = ""
        return compiled
