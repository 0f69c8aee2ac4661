"""LoRA: fine-tuning that leaves every weight as it is, and learns a small change beside it.

    W' = W + (alpha/r) B A        A: (r, inputs), B: (outputs, r)

W stays. Only A and B learn, which have r (inputs + outputs) numbers in place of inputs · outputs. B
starts at zero, so before the first step the model is the base, bit for bit.

Where several matrices stand in one map (queries, keys, values), each has an A and a B of its own.

Source: arXiv:2106.09685, eq. 3. Shapes: B batch, T time, r rank, n stacked matrices.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.dropout import Dropout
from transformer_lab.model.linear import Linear, normal
from transformer_lab.settings import Config, ConfigError, choice, knob

FACTORS = ("lora_A", "lora_B", "magnitude")


@dataclass(frozen=True)
class Variant:
    """How a change is scaled; with `magnitude` the length of each row learns by itself."""

    scale: Callable[[float, int], float]
    magnitude: bool = False


VARIANTS: dict[str, Variant] = {
    "lora": Variant(lambda alpha, rank: alpha / rank),
    "rslora": Variant(lambda alpha, rank: alpha / math.sqrt(rank)),  # arXiv:2312.03732, eq. 5
    "dora": Variant(lambda alpha, rank: alpha / rank, magnitude=True),  # arXiv:2402.09353, eq. 5
}
MATRICES: dict[str, tuple[str, ...]] = {  # the names of parts, one of which a path must have
    "all": (),
    "attention": ("attention",),
    "feedforward": ("feedforward",),
}


@dataclass(frozen=True, kw_only=True)
class LoRAConfig(Config):
    """The size of the change, and where it stands."""

    GROUP = "lora"

    variant: str = choice(
        "lora",
        VARIANTS,
        "Variant",
        "LoRA; rsLoRA multiplies by alpha / sqrt(rank); in DoRA the length of each row learns by "
        "itself. With a tuned rate all end within one or two percent (arXiv:2602.04998).",
        words={"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA"},
    )
    rank: int = knob(
        8,
        1,
        1024,
        "Rank",
        "How many directions the change of each matrix may have: more can learn more, and costs "
        "more.",
    )
    alpha: float = knob(
        16.0,
        0.01,
        4096.0,
        "Alpha",
        "How much the change counts: it is multiplied by alpha / rank.",
    )
    dropout: float = knob(
        0.0,
        0.0,
        0.9,
        "LoRA Dropout",
        "Share of the numbers that A reads which is set to zero, in training only.",
    )
    matrices: str = choice(
        "all",
        MATRICES,
        "Matrices",
        "Which matrices get a change beside them.",
        words={"attention": "Attention only", "feedforward": "Feed-forward only"},
    )

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return VARIANTS[self.variant].scale(self.alpha, self.rank)


class LoRALinear(Linear):
    """y = x Wᵀ + b + s (dropout(x) Aᵀ) Bᵀ, (..., inputs) -> (..., outputs); W and b are frozen.

    `lora_A` (n r, inputs) and `lora_B` (outputs, r) hold those of the stacked matrices one above
    the other. DoRA multiplies each row of W + s B A by its learned length over the length it has,
    through which no gradient goes.
    """

    def __init__(self, base: Linear, config: LoRAConfig) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.deviation, self.stacked = base.deviation, base.stacked
        self.weight, self.bias = base.weight, base.bias
        self.rank, self.scale = config.rank, config.scale
        self.dropout = Dropout(config.dropout)
        rows = len(self.stacked) * config.rank
        self.lora_A = nn.Parameter(self.weight.new_empty(rows, self.in_features))
        self.lora_B = nn.Parameter(self.weight.new_zeros(self.out_features, config.rank))
        if VARIANTS[config.variant].magnitude:
            self.magnitude = nn.Parameter(self.weight.detach().norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)"""
        read = F.linear(self.dropout(x), self.lora_A)  # (..., n r)
        y = self.add_change(F.linear(x, self.weight, self.bias), read)
        if not hasattr(self, "magnitude"):
            return y
        return y + (self.gain() - 1) * (y if self.bias is None else y - self.bias)

    def add_change(self, y: Tensor, read: Tensor) -> Tensor:
        """y + s B A x in one product, the scale in the small B: (..., outputs), (..., n r)"""
        b = self.scale * torch.block_diag(*self.lora_B.split(self.stacked))  # (outputs, n r)
        return torch.addmm(y.flatten(0, -2), read.flatten(0, -2), b.T).view(y.shape)

    def change(self) -> Tensor:
        """s B A: (outputs, inputs)"""
        pairs = zip(self.lora_B.split(self.stacked), self.lora_A.split(self.rank), strict=True)
        return self.scale * torch.cat([b @ a for b, a in pairs])

    def gain(self) -> Tensor:
        """What DoRA multiplies each row by: (outputs,)"""
        return self.magnitude / (self.weight + self.change()).detach().norm(dim=1)

    @torch.no_grad()
    def merged(self) -> Tensor:
        """W', the one matrix that does the same: (outputs, inputs)"""
        merged = self.weight + self.change()
        return merged * self.gain()[:, None] if hasattr(self, "magnitude") else merged

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw A; B is zero."""
        normal(self.lora_A, self.in_features**-0.5, generator)


def adapt(model: nn.Module, config: LoRAConfig, seed: int) -> None:
    """Freeze a model, and put a change beside the matrices of its blocks. Raises ConfigError."""
    chosen = chosen_maps(model, config)
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for path, part in chosen.items():
        owner, _, name = path.rpartition(".")
        adapted = LoRALinear(part, config)
        adapted.init_weights(generator)
        setattr(model.get_submodule(owner), name, adapted)


def chosen_maps(model: nn.Module, config: LoRAConfig) -> dict[str, Linear]:
    """The linear maps that get a change beside them, by their paths. Raises ConfigError."""
    wanted = MATRICES[config.matrices]
    maps = {path: part for path, part in model.named_modules() if isinstance(part, Linear)}
    found = {
        path: part
        for path, part in maps.items()
        if path != "head" and (not wanted or set(wanted) & set(path.split(".")))
    }
    if not found:
        raise ConfigError(
            "lora.matrices",
            f"Matrices is {config.matrices}, and the base has none of these: choose all.",
        )
    width = max(part.in_features for path, part in maps.items() if path != "head")
    narrow = min(part.in_features for part in found.values())
    if config.rank > narrow:
        raise ConfigError(
            "lora.rank",
            f"Rank is {config.rank:,}, but a matrix of the base reads only {narrow:,} of at most "
            f"{width:,} numbers, so more directions there are none: choose at most {narrow:,}.",
        )
    return found


def adapted_maps(model: nn.Module) -> dict[str, LoRALinear]:
    """The linear maps that have a change beside them, by their paths."""
    return {path: part for path, part in model.named_modules() if isinstance(part, LoRALinear)}


def factors(model: nn.Module) -> dict[str, Tensor]:
    """A, B and lengths of all changes, by their names in the model; empty without any."""
    return {
        name: weight.detach()
        for name, weight in model.named_parameters()
        if name.rpartition(".")[2] in FACTORS
    }


@torch.no_grad()
def load_factors(model: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Set the values that `factors` gave. Raises ValueError for those of another model or rank."""
    own = factors(model)
    odd = sorted(
        name for name in {*own, *stored}
        if getattr(own.get(name), "shape", None) != getattr(stored.get(name), "shape", None)
    )  # fmt: skip
    if odd:
        raise ValueError(f"the adapter was made for another base or another rank ({odd[0]})")
    for name, weight in own.items():
        weight.copy_(stored[name])


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model without changes beside them that computes the same."""
    found = {name: weight.detach() for name, weight in model.state_dict().items()}
    for path, part in adapted_maps(model).items():
        found[f"{path}.weight"] = part.merged()
    return {name: w for name, w in found.items() if name.rpartition(".")[2] not in FACTORS}
