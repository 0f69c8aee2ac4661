"""Initial weights, all in one place; and models made from weights.

A model is first laid out on the "meta" device (shapes without numbers) and then given its weights.
So nothing here draws from torch's default random generator, which belongs to the training.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor, nn

from transformer_lab.model.config import ModelConfig
from transformer_lab.model.gpt import GPT

STANDARD_DEVIATION = 0.02  # GPT-2's


def build_model(config: ModelConfig, vocabulary_size: int, seed: int) -> GPT:
    """A new model on the CPU, its weights drawn from `seed`.

    What predicts while latents settle is drawn last, so that all the rest starts as it does in a
    model without it.
    """
    model = outline(config, vocabulary_size)
    generator = torch.Generator().manual_seed(seed)
    named = sorted(model.named_parameters(), key=lambda item: "settling" in item[0])
    weights = {
        name: initial_weight(name, parameter, config, generator) for name, parameter in named
    }
    model.load_state_dict(weights, assign=True)
    return model


def initial_weight(
    name: str, parameter: Tensor, config: ModelConfig, generator: torch.Generator
) -> Tensor:
    """What one parameter starts as.

    Matrices are normal with deviation 0.02; those that write into the stream are divided by
    √(2 layers), so that the stream does not grow with depth. Source: GPT-2 report, section 2.3.
    The head starts small enough that every token is about equally likely: a loss of ln V.
    Where latents settle, numbers keep about their size from level to level.
    """
    *path, role = name.split(".")
    kind = next((part for part in reversed(path) if not part.isdigit()), role)
    projects = kind in ("output", "contract", "head")
    if role in ("bias", "gate") or kind == "smear" or (config.zero_init and projects):
        return torch.zeros(parameter.shape)
    if kind.startswith("norm"):
        return torch.full(parameter.shape, _gain(name, config))
    deviation = STANDARD_DEVIATION
    if kind == "embedding" or role == "table":
        deviation = config.embedding_deviation
    if kind in ("output", "contract"):
        deviation /= math.sqrt(2 * config.layers)
    if kind in ("suggest", "predict"):
        deviation = parameter.shape[1] ** -0.5
    if kind == "head":
        deviation = min(deviation, 0.2 / math.sqrt(config.embedding_dim))
    return torch.empty(parameter.shape).normal_(0.0, deviation, generator=generator)


def _gain(name: str, config: ModelConfig) -> float:
    """1, but less before a tied head, where a token's own embedding would otherwise score high."""
    last = f"blocks.{config.layers - 1}."
    closes = name.startswith(last) and not name.endswith("norm_1.weight")  # the last block
    if config.norm_place == "pre":
        closes = name == "norm.weight"
    if not (config.tied_head and closes):
        return 1.0
    return min(1.0, 0.32 / (config.embedding_dim * config.embedding_deviation))


def outline(config: ModelConfig, vocabulary_size: int) -> GPT:
    """The model's modules and shapes, with no memory behind them."""
    with torch.device("meta"):
        return GPT(config, vocabulary_size)


def model_from_weights(
    config: ModelConfig, vocabulary_size: int, weights: Mapping[str, Tensor]
) -> GPT:
    """A model for reading (generation, inspection) that shares `weights`, and never trains them.

    Raises RuntimeError when they do not fit the config.
    """
    model = outline(config, vocabulary_size)
    model.load_state_dict(dict(weights), assign=True)
    model.to(next(iter(weights.values())).device)  # tables that are not weights
    return model.requires_grad_(False).eval()


@lru_cache(maxsize=64)
def parameter_breakdown(config: ModelConfig, vocabulary_size: int) -> Mapping[str, int]:
    """How many trained numbers each part has, by its name; nothing is allocated."""
    named: dict[str, tuple[str, ...]] = {
        "Token embedding": ("embedding", "smear"),
        "Positions": ("positions",),
        "Attention": ("attention",),
        "Predictive coding": ("settling", "predictive", "hierarchy", "stack", "output", "gate"),
        "Feed-forward": ("feedforward",),
        "Norms": ("norm", "norm_1", "norm_2"),
        "Head": ("head",),
    }
    parts = dict.fromkeys(named, 0)
    for name, parameter in outline(config, vocabulary_size).named_parameters():
        path = name.split(".")
        part = next(part for part, modules in named.items() if set(modules) & set(path))
        parts[part] += parameter.numel()
    return MappingProxyType({part: count for part, count in parts.items() if count})


@lru_cache(maxsize=64)
def products_per_token(config: ModelConfig, vocabulary_size: int) -> int:
    """Multiplications that a forward pass takes for each token, in a full sequence.

    Each matrix is used once, and one that predicts while latents settle twice in every step; and a
    token compares itself, on average, with half of the sequence.
    """
    products = 0
    for name, parameter in outline(config, vocabulary_size).named_parameters():
        if "settling" in name:
            products += 2 * config.pc_steps * parameter.numel()
        elif name == "embedding.weight":
            products += config.tied_head * parameter.numel()
        elif parameter.dim() == 2 and not name.endswith((".table", "smear.weight")):
            products += parameter.numel()
        if name.endswith("attention.output.weight"):
            products += config.embedding_dim * (config.sequence_length + 1)
    return products


@lru_cache(maxsize=64)
def settled_per_token(config: ModelConfig, vocabulary_size: int) -> int:
    """Latents and errors of each token, over all steps, which learning through settling keeps."""
    parameters = outline(config, vocabulary_size).named_parameters()
    return config.pc_steps * sum(sum(p.shape) for name, p in parameters if "settling" in name)


def count_parameters(model: nn.Module) -> int:
    """How many trained numbers the model has."""
    return sum(parameter.numel() for parameter in model.parameters())
