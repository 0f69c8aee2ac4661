"""Compiling: the loss as one program, which on a GPU is one launch in place of hundreds."""

import logging

import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.training.config import TrainConfig
from transformer_lab.training.live import Change, LiveSettings
from transformer_lab.training.precision import Loss

log = logging.getLogger(__name__)

COMPILE_AFTER = 20  # steps taken first, so that the learner sees the model learn meanwhile
PROOFS = 3  # passes: CUDA graphs are warmed up, recorded and replayed
WORTH_COMPILING = 1000  # steps, below which compiling takes longer than it saves


def compiles(config: TrainConfig, device: torch.device) -> bool:
    """Whether the model is to be compiled: by itself only for a long training on an NVIDIA GPU.

    Only backpropagation is; another rule takes gradients within its loss.
    """
    if config.learning_rule != "backprop":
        return False
    if config.compile == "auto":
        return device.type == "cuda" and config.steps >= WORTH_COMPILING
    return config.compile == "on"


def compiles_at(step: int, first: int, config: TrainConfig, device: torch.device) -> bool:
    """Whether to compile before `step`: a training that goes on at `first` may be late for it."""
    return step == max(first, COMPILE_AFTER) and compiles(config, device)


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
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    live.doing = "compiling"
    try:
        mode = "reduce-overhead" if inputs.is_cuda else "default"
        program = torch.compile(plain, mode=mode, dynamic=False)
        for _ in range(PROOFS):
            torch.compiler.cudagraph_mark_step_begin()
            torch.autograd.grad(program(inputs, targets), learning)
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
