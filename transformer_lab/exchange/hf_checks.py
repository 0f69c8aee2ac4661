"""Checks of a GPT-2 from elsewhere: its config.json, and the tensors its weights declare."""

from collections.abc import Mapping
from typing import Any

import torch

from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.huggingface import ACTIVATIONS
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.peft import PARTS
from transformer_lab.model import ModelConfig
from transformer_lab.model.weights import outline
from transformer_lab.settings import ConfigError, from_mapping, shown

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# What a config.json leaves out has these values; those of the first can be no others.
FIXED: dict[str, Any] = {
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
USUAL = {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}
TYPES = ("F32", "F16", "BF16")
LARGEST_NUMBER = 4  # bytes
OUTER_PREFIX = "transformer."
NORMS = {"norm_1": "ln_1", "norm_2": "ln_2"}
OUTER = {
    "embedding.weight": "wte.weight",
    "positions.table": "wpe.weight",
    "norm.weight": "ln_f.weight",
    "norm.bias": "ln_f.bias",
}


def model_config(about: Mapping[str, Any]) -> ModelConfig:
    """The shape of a model by its config.json. Raises ImportRefusedError."""
    kind = about.get("model_type")
    if kind != "gpt2":
        raise ImportRefusedError(
            f"{CONFIG} tells of a model of the type {shown(kind)}: only gpt2 can be brought in."
        )
    for key, needed in FIXED.items():
        if about.get(key, needed) != needed:
            raise ImportRefusedError(f"{key} is {shown(about[key])}, and must be {shown(needed)}.")
    width, layers, heads, length = (about.get(key, usual) for key, usual in USUAL.items())
    hidden, multiple = about.get("n_inner"), 4
    if hidden is not None:
        whole = type(hidden) is int and type(width) is int and width > 0 and hidden % width == 0
        if not whole:
            raise ImportRefusedError(
                f"n_inner is {shown(hidden)}, and must be a multiple of n_embd, {shown(width)}."
            )
        multiple = hidden // width
    try:
        return from_mapping(
            ModelConfig,
            {
                "layers": layers,
                "heads": heads,
                "embedding_dim": width,
                "sequence_length": length,
                "dropout": about.get("resid_pdrop", 0.1),
                "feedforward": _activation(about.get("activation_function", "gelu_new")),
                "feedforward_multiple": multiple,
                "tied_head": about.get("tie_word_embeddings", True),
            },
        )
    except ConfigError as error:
        raise ImportRefusedError(f"The model in {CONFIG} cannot be used here. {error}") from error


def _activation(named: object) -> str:
    known = {theirs: ours for ours, theirs in ACTIVATIONS.items()}
    known["gelu_pytorch_tanh"] = known["gelu_new"]
    if not isinstance(named, str) or named not in known:
        raise ImportRefusedError(
            f"activation_function is {shown(named)}, and must be one of {', '.join(known)}."
        )
    return known[named]


def declared_names(
    config: ModelConfig, size: int, header: Mapping[str, Any], left: int, limits: Limits
) -> dict[str, str]:
    """What each of our weights is called there, when all are declared in their shapes.

    `size` is their number of tokens, `left` how many bytes of numbers there are. Raises
    ImportRefusedError.
    """
    shapes = {name: tensor.shape for name, tensor in outline(config, size).state_dict().items()}
    needed = sum(shape.numel() for shape in shapes.values())
    if needed > limits.parameters:
        raise ImportRefusedError(f"It has more than {limits.parameters:,} parameters.")
    declared = {key: about for key, about in header.items() if key != "__metadata__"}
    prefix = OUTER_PREFIX if any(key.startswith(OUTER_PREFIX) for key in declared) else ""
    names = {ours: _their_name(ours, prefix) for ours in shapes}
    for ours, theirs in names.items():
        shape = shapes[ours][::-1] if is_transposed(ours) else shapes[ours]
        _check_tensor(theirs, declared.get(theirs), shape)
    spare = _spare(config, size, prefix)
    for key in declared:
        if key not in spare and key not in names.values():
            raise ImportRefusedError(f"{WEIGHTS} has {shown(key)}, which no GPT-2 has.")
    if left > LARGEST_NUMBER * (needed + sum(spare.values())):
        raise ImportRefusedError(f"{WEIGHTS} is longer than the tensors of such a model.")
    return names


def _spare(config: ModelConfig, size: int, prefix: str) -> dict[str, int]:
    """Tensors that may be there and are not read, and how many numbers each may have at most.

    Older files hold which token sees which (`attn.bias`), and a tied head once more.
    """
    found = {"lm_head.weight": size * config.embedding_dim} if config.tied_head else {}
    for layer in range(config.layers):
        found[f"{prefix}h.{layer}.attn.bias"] = config.sequence_length**2
        found[f"{prefix}h.{layer}.attn.masked_bias"] = 1
    return found


def _check_tensor(name: str, about: object, shape: torch.Size | tuple[int, ...]) -> None:
    if not isinstance(about, dict):
        raise ImportRefusedError(f"{WEIGHTS} does not fit {CONFIG}: {name} is missing.")
    kind = about.get("dtype")
    if about.get("shape") != [*shape] or kind not in TYPES:
        raise ImportRefusedError(
            f"{WEIGHTS} does not fit {CONFIG}: {name} is {shown(about.get('shape'))} of "
            f"{shown(kind)}, and must be {[*shape]} of {', '.join(TYPES)}."
        )


def _their_name(ours: str, prefix: str) -> str:
    """blocks.3.norm_1.bias -> transformer.h.3.ln_1.bias"""
    if ours == "head.weight":
        return "lm_head.weight"
    if ours in OUTER:
        return prefix + OUTER[ours]
    _, layer, inner = ours.split(".", 2)
    part, _, kind = inner.rpartition(".")
    return f"{prefix}h.{layer}.{(PARTS | NORMS)[part]}.{kind}"


def is_transposed(ours: str) -> bool:
    """Whether a weight of ours is written transposed there: a linear map."""
    path, _, kind = ours.rpartition(".")
    return kind == "weight" and path.endswith(tuple(PARTS))
