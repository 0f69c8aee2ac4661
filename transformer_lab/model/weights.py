"""Models made from a seed, or from weights; and what a config costs, without making it.

A model is first laid out on the "meta" device (shapes without numbers) and then given its weights.
So nothing here draws from torch's default random generator, which belongs to the training.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lab.model.config import ModelConfig
from transformer_lab.model.gpt import GPT
from transformer_lab.model.settling import Settling


def build_model(config: ModelConfig, vocabulary_size: int, seed: int) -> GPT:
    """A new model on the CPU, its weights drawn from `seed`.

    Each part draws its own, by its `init_weights`. What predicts while latents settle is drawn
    last, so that all the rest starts as it does in a model without it. With `zero_weights` nothing
    of this is kept.
    """
    model = outline(config, vocabulary_size)
    room = {name: torch.empty(weight.shape) for name, weight in model.named_parameters()}
    model.load_state_dict(room, assign=True)
    generator = torch.Generator().manual_seed(seed)
    parts: list[Any] = [part for part in model.modules() if hasattr(part, "init_weights")]
    for part in sorted(parts, key=lambda part: isinstance(part, Settling)):
        part.init_weights(generator)
    if config.zero_weights:
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
    return model


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
        "Token embedding": ("embedding",),
        "N-grams": ("ngrams",),
        "Smear": ("smear",),
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
    token compares itself, on average, with half of the sequence, or without a mask with all of it.
    """
    products = 0
    length = config.sequence_length
    compared = (length + 1) / 2 if config.causal else length
    for name, parameter in outline(config, vocabulary_size).named_parameters():
        if "settling" in name:
            products += 2 * config.pc_steps * parameter.numel()
        elif name == "embedding.weight":
            products += config.tied_head * parameter.numel()
        elif parameter.dim() == 2 and not name.endswith((".table", "smear.weight")):
            products += parameter.numel()
        if name.endswith("attention.output.weight"):
            products += round(2 * config.embedding_dim * compared)
    return products


@lru_cache(maxsize=64)
def settled_per_token(config: ModelConfig, vocabulary_size: int) -> int:
    """Latents and errors of each token, over all steps, which learning through settling keeps."""
    parameters = outline(config, vocabulary_size).named_parameters()
    return config.pc_steps * sum(sum(p.shape) for name, p in parameters if "settling" in name)


def count_parameters(model: nn.Module) -> int:
    """How many trained numbers the model has."""
    return sum(parameter.numel() for parameter in model.parameters())
