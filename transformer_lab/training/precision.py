"""How precisely a loss is computed, and whether a GPU has to repeat it bit for bit."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.model.products import multiplies_bfloat16
from transformer_lab.settings import Config, choice, flag

Loss = Callable[[Tensor, Tensor], Tensor]
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class PrecisionSettings(Config):
    """Number formats and repeatability."""

    GROUP = "train"

    precision: str = choice(
        "auto",
        PRECISIONS,
        "Precision",
        "Number format of large products; auto takes bfloat16 on a GPU that is built for it, and "
        "for Muon's directions on a CPU that is.",
        words={"float32": "float32", "bfloat16": "bfloat16"},
        advanced=True,
    )
    deterministic: bool = flag(
        False,
        "Deterministic",
        "Repeat bit for bit: a GPU uses only algorithms that do, a little slower; a CPU one thread "
        "for each core, unless Threads says another number.",
        advanced=True,
    )


def precision(config: PrecisionSettings, device: torch.device) -> torch.dtype:
    """The number format of most products: bfloat16 where a GPU is built for it, else float32."""
    if config.precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if config.precision == "bfloat16" else torch.float32


def direction_format(config: PrecisionSettings, device: torch.device) -> torch.dtype:
    """The number format in which Muon makes directions orthogonal.

    They need not be precise, so bfloat16 is taken where it is built in, a CPU's too, unless another
    format was asked for.
    """
    if config.precision == "auto" and device.type == "cpu" and multiplies_bfloat16():
        return torch.bfloat16
    return precision(config, device)


@contextlib.contextmanager
def repeatable(config: PrecisionSettings) -> Iterator[None]:
    """While it lasts, a GPU may only use algorithms that give the same bits every time.

    A CPU does so anyway. The switch is one for the whole process, so it is never left on; and it is
    not touched without need, since that loads PyTorch's compiler, which takes a second.
    """
    if not config.deterministic or torch.are_deterministic_algorithms_enabled():
        yield
        return
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def plain_loss(model: GPT, config: PrecisionSettings) -> Loss:
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
