"""LoRA: fine-tuning that leaves every weight as it is, and learns a small change beside it.

    W' = W + (alpha/r) B A        A: (r, inputs), B: (outputs, r)

W stays. Only A and B learn, which have r (inputs + outputs) numbers in place of inputs · outputs. B
starts at zero, so before the first step the model is the base, bit for bit.

Where several matrices stand in one map (queries, keys, values), each has an A and a B of its own.

Source: arXiv:2106.09685, eq. 3. Shapes: B batch, T time, r rank, n stacked matrices that change.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_lab.model.dropout import Dropout
from transformer_lab.model.growth import HIDDEN, tables
from transformer_lab.model.linear import Linear, normal
from transformer_lab.model.lora_product import Slices, changed
from transformer_lab.settings import Config, ConfigError, choice, knob, shown, text

FACTORS = ("lora_A", "lora_B", "magnitude", "rows")  # the last: of new tokens, see growth.py


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
    "single": (),
}
NAMES: dict[tuple[str, int], tuple[str, ...]] = {  # of a map, by how many stand in it
    ("query_key_value", 3): ("query", "key", "value"),
    ("expand", 1): ("up",),
    ("expand", 2): ("gate", "up"),  # of SwiGLU
    ("contract", 1): ("down",),
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
        words={
            "attention": "Attention only",
            "feedforward": "Feed-forward only",
            "single": "Single ones, by their names",
        },
    )
    single: str = text(
        "query, value",
        "Single Matrices",
        "Their names, with commas between them: query, key, value and output of attention, up and "
        "down of the feed-forward, and gate where it has one.",
    )

    def chosen(self, path: str, count: int) -> tuple[bool, ...]:
        """Which of the `count` matrices in the map at `path` get a change beside them."""
        if self.matrices == "single":
            wanted = {name.strip() for name in self.single.split(",")}
            return tuple(name in wanted for name in matrix_names(path, count))
        groups = MATRICES[self.matrices]
        return (not groups or bool(set(groups) & set(path.split("."))),) * count

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return VARIANTS[self.variant].scale(self.alpha, self.rank)


def matrix_names(path: str, count: int) -> tuple[str, ...]:
    """What the `count` matrices in the map at `path` are called: query, key, value."""
    last = next(step for step in path.split(".")[::-1] if not step.isdigit())
    usual = (last,) if count == 1 else tuple(f"{last} {place}" for place in range(1, count + 1))
    return NAMES.get((last, count), usual)


class LoRALinear(Linear):
    """y = x Wᵀ + b + s (dropout(x) Aᵀ) Bᵀ, (..., inputs) -> (..., outputs); W and b are frozen.

    `lora_A` (n r, inputs) and `lora_B` (outputs, r) hold those of the stacked matrices that are
    `chosen` (all, unless said), one above the other. DoRA multiplies each of their rows in
    W + s B A by its learned length over the length it has, through which no gradient goes.
    """

    def __init__(self, base: Linear, config: LoRAConfig, chosen: Sequence[bool] = ()) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.deviation, self.stacked = base.deviation, base.stacked
        self.weight, self.bias = base.weight, base.bias
        self.rank, self.scale = config.rank, config.scale
        self.dropout = Dropout(config.dropout)
        self.rows = chosen_rows(self.stacked, chosen)
        heights = [rows.stop - rows.start for rows in self.rows]
        count = len(heights) * config.rank
        self.lora_A = nn.Parameter(self.weight.new_empty(count, self.in_features))
        self.lora_B = nn.Parameter(self.weight.new_zeros(sum(heights), config.rank))
        if VARIANTS[config.variant].magnitude:
            self.magnitude = nn.Parameter(self.weight.detach().norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)"""
        dropped = self.training and self.dropout.share > 0
        mixed = torch.is_autocast_enabled(x.device.type)  # 16 bits, in which W' would be rounded
        if dropped or mixed or hasattr(self, "magnitude"):
            return self.plain(x)
        return changed(self, x)  # the same, in one product

    def plain(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs): the formula as it stands above."""
        read = F.linear(self.dropout(x), self.lora_A)  # (..., n r)
        y = F.linear(x, self.weight, self.bias) + self.scale * F.linear(read, self.diagonal())
        if not hasattr(self, "magnitude"):
            return y
        return y + (self.gain() - 1) * (y if self.bias is None else y - self.bias)

    def diagonal(self) -> Tensor:
        """The B's of the stacked matrices, each for its own part of what A reads: (outputs, n r)"""
        return on_diagonal(self.lora_B, self.rows, self.out_features)

    def change(self) -> Tensor:
        """s B A: (outputs, inputs)"""
        return self.scale * self.diagonal() @ self.lora_A

    def gain(self) -> Tensor:
        """What DoRA multiplies each row by, 1 where nothing changes: (outputs,)"""
        own = torch.zeros_like(self.magnitude, dtype=torch.bool)
        for rows in self.rows:
            own[rows] = True
        lengths = (self.weight + self.change()).detach().norm(dim=1)
        return torch.where(own, self.magnitude / lengths, 1.0)

    @torch.no_grad()
    def merged(self) -> Tensor:
        """W', the one matrix that does the same: (outputs, inputs)"""
        merged = self.weight + self.change()
        return merged * self.gain()[:, None] if hasattr(self, "magnitude") else merged

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw A; B is zero."""
        normal(self.lora_A, self.in_features**-0.5, generator)


def chosen_rows(heights: Sequence[int], chosen: Sequence[bool] = ()) -> Slices:
    """Which rows of a map are those of its chosen matrices: of all, where none are chosen."""
    ends = list(itertools.accumulate(heights))
    places = [slice(end - height, end) for end, height in zip(ends, heights, strict=True)]
    if not chosen:
        return places
    return [place for place, wanted in zip(places, chosen, strict=True) if wanted]


def on_diagonal(b: Tensor, rows: Slices, outputs: int) -> Tensor:
    """B's one above the other -> each in its own rows and columns: (rows, r) -> (outputs, n r)"""
    rank = b.shape[1]
    placed = b.new_zeros(outputs, len(rows) * rank)
    for number, (place, own) in enumerate(zip(rows, split_rows(b, rows), strict=True)):
        placed[place, number * rank : (number + 1) * rank] = own
    return placed


def split_rows(b: Tensor, rows: Slices) -> Sequence[Tensor]:
    """The B of each chosen matrix."""
    return b.split([place.stop - place.start for place in rows])


def adapt(model: nn.Module, config: LoRAConfig, seed: int) -> None:
    """Freeze a model, and put a change beside the matrices of its blocks. Raises ConfigError."""
    chosen = chosen_maps(model, config)
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for path, part in chosen.items():
        owner, _, name = path.rpartition(".")
        adapted = LoRALinear(part, config, config.chosen(path, len(part.stacked)))
        adapted.init_weights(generator)
        setattr(model.get_submodule(owner), name, adapted)


def chosen_maps(model: nn.Module, config: LoRAConfig) -> dict[str, Linear]:
    """The linear maps that get a change beside them, by their paths. Raises ConfigError."""
    maps = {path: part for path, part in model.named_modules() if isinstance(part, Linear)}
    maps.pop("head", None)
    found = {p: part for p, part in maps.items() if any(config.chosen(p, len(part.stacked)))}
    if config.matrices == "single":
        _check_names(config, maps)
    if not found:
        raise ConfigError(
            "lora.matrices",
            f"Matrices is {config.matrices}, and the base has none of these: choose all.",
        )
    width = max(part.in_features for part in maps.values())
    narrow = min(part.in_features for part in found.values())
    if config.rank > narrow:
        raise ConfigError(
            "lora.rank",
            f"Rank is {config.rank:,}, but a matrix of the base reads only {narrow:,} of at most "
            f"{width:,} numbers, so more directions there are none: choose at most {narrow:,}.",
        )
    return found


def _check_names(config: LoRAConfig, maps: Mapping[str, Linear]) -> None:
    """Every name that is chosen must be that of a matrix. Raises ConfigError."""
    known = [name for path, part in maps.items() for name in matrix_names(path, len(part.stacked))]
    for name in config.single.split(","):
        if name.strip() not in known:
            raise ConfigError(
                "lora.single",
                f"Single Matrices has {shown(name.strip())}, which the base has not: choose from "
                f"{', '.join(dict.fromkeys(known))}, with commas between them.",
            )


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
    for path, part in tables(model).items():
        found[f"{path}.weight"] = part.weight.detach()
    names = [n for n in found if n.rpartition(".")[2] not in FACTORS and HIDDEN not in n]
    return {name: found[name] for name in names}
