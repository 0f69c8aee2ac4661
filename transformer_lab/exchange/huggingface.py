"""A run as a folder that Hugging Face's transformers opens as a GPT-2, with the same logits.

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

It works for models that are built like GPT-2; `why_not` says what is in the way of another. What is
only missing is filled in: biases with zeros, and the waves of sinusoidal positions as a table.

Shapes: D width, T sequence length.
"""

import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor, nn

from transformer_lab.exchange.errors import ExportRefusedError
from transformer_lab.exchange.hf_tokenizers import tokenizer_files, why_not_tokenizer
from transformer_lab.exchange.run_folder import load_model, read_manifest
from transformer_lab.generation import SampleConfig
from transformer_lab.model import GPT, ModelConfig, model_from_weights
from transformer_lab.model.positions import LearnedPositions, SinusoidalPositions
from transformer_lab.recipes import setup_from
from transformer_lab.settings import Setting, settings_of

# What our settings are called there. Activations are exact: "gelu" is the one without tanh.
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_new",
    "relu_squared": "relu2",
}
FREE = (
    "layers",
    "heads",
    "embedding_dim",
    "sequence_length",
    "dropout",
    "feedforward_multiple",
    "bias",
    "tied_head",
    "zero_init",
    "zero_weights",
    "embedding_deviation",
    "pc_steps",  # what settles, and whether anything does, is said by the settings below
    "pc_step_size",
    "pc_precision",
    "pc_levels",
    "ngram_rows",  # of a table that is there only with n-grams, which are named below
)
NEEDED: dict[str, tuple[tuple[object, ...], str]] = {
    "feedforward": (tuple(ACTIVATIONS), "GPT-2 has two linear maps with one of these between them"),
    "positions": (("learned", "sinusoidal"), "GPT-2 adds a vector for each position"),
    "attention": (("multi_head",), "GPT-2 knows no other"),
    "qk_norm": ((False,), "GPT-2 takes queries and keys as they are"),
    "ngrams": ((1,), "GPT-2 reads each token's embedding alone"),
    "smear": ((0,), "GPT-2 reads each token's embedding alone"),
    "causal": ((True,), "GPT-2 never sees the future"),
    "norm": (("layer_norm",), "GPT-2 knows no other"),
    "norm_place": (("pre",), "GPT-2 has its norms before the sub-layers"),
}
README = "README.md"


def why_not(config: ModelConfig, tokenizer: Mapping[str, Any] | None = None) -> list[str]:
    """Each setting that keeps a model from being a GPT-2, as a sentence; empty when none does.

    With what a tokenizer's `to_json` gave, what keeps that from being written too.
    """
    reasons = []
    for setting in settings_of(ModelConfig):
        value = getattr(config, setting.name)
        usual = (setting.default,), "GPT-2 has nothing like it"
        wanted, why = NEEDED.get(setting.name, usual)
        if setting.name not in FREE and value not in wanted:
            choices = " or ".join(_words(setting, one) for one in wanted)
            reasons.append(
                f"{setting.label} is {_words(setting, value)}, and must be {choices}: {why}."
            )
    return reasons + (why_not_tokenizer(tokenizer) if tokenizer is not None else [])


def _words(setting: Setting, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return (setting.choices or {}).get(value, str(value))


def save_huggingface(run_folder: Path, folder: Path, *, checkpoint: str | None = None) -> None:
    """Write a run as a Hugging Face folder; `folder` is made when it is not there.

    The weights are those of `checkpoint`, or without it those the lab writes with. Raises
    ExportRefusedError with every reason.
    """
    manifest = read_manifest(run_folder)
    setup = setup_from(manifest["setup"])
    name, weights, tokenizer = load_model(run_folder, checkpoint)
    if reasons := why_not(setup.model, tokenizer):
        raise ExportRefusedError(" ".join(reasons))
    size = weights["embedding.weight"].shape[0]
    model = model_from_weights(setup.model, size, weights)
    files = {
        "config.json": gpt2_config(model),
        "generation_config.json": generation_config(setup.sample, setup.model),
        **tokenizer_files(tokenizer, setup.model.sequence_length),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / file).write_text(text + "\n", encoding="utf-8")
    (folder / README).write_text(_readme(run_folder.name, name), encoding="utf-8")
    safetensors.torch.save_file(
        gpt2_weights(model), folder / "model.safetensors", metadata={"format": "pt"}
    )


def write_huggingface(run_folder: Path, stream: BinaryIO, *, checkpoint: str | None = None) -> None:
    """The same as a .zip, which need not be seekable. Raises as `save_huggingface` does."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / run_folder.name
        save_huggingface(run_folder, folder, checkpoint=checkpoint)
        write_zip(folder, stream)


def write_zip(folder: Path, stream: BinaryIO) -> None:
    """A folder and all in it as a .zip, which need not be seekable."""
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            weights = path.suffix == ".safetensors"
            kind = zipfile.ZIP_STORED if weights else zipfile.ZIP_DEFLATED
            archive.write(path, path.relative_to(folder.parent).as_posix(), kind)


def gpt2_config(model: GPT) -> dict[str, Any]:
    """The config.json of a model."""
    config, norm = model.config, model.norm
    assert isinstance(norm, nn.LayerNorm)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": model.vocabulary_size,
        "n_positions": config.sequence_length,
        "n_embd": config.embedding_dim,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.feedforward_multiple * config.embedding_dim,
        "activation_function": ACTIVATIONS[config.feedforward],
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "layer_norm_epsilon": norm.eps,
        "tie_word_embeddings": config.tied_head,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": "float32",
    }


def generation_config(sample: SampleConfig, config: ModelConfig) -> dict[str, Any]:
    """How text is drawn. A GPT-2 stops where its positions end; the lab would forget and go on."""
    greedy = sample.temperature == 0
    names = () if greedy else ("temperature", "top_k", "top_p")
    drawn = {name: getattr(sample, name) for name in names}
    return {"do_sample": not greedy, "max_length": config.sequence_length, **drawn}


def gpt2_weights(model: GPT) -> dict[str, Tensor]:
    """The weights of a model under GPT-2's names, in which linear maps are written transposed."""
    positions = model.positions
    assert isinstance(positions, LearnedPositions | SinusoidalPositions)
    table = (
        positions.table if isinstance(positions, LearnedPositions) else positions.waves
    )  # (T, D)
    found = {
        "transformer.wte.weight": model.embedding.weight,
        "transformer.wpe.weight": table,
        **_norm("transformer.ln_f", model.norm),
    }
    blocks: Iterable[Any] = model.blocks
    for number, block in enumerate(blocks):
        name = f"transformer.h.{number}"
        found |= _norm(f"{name}.ln_1", block.norm_1)
        found |= _linear(f"{name}.attn.c_attn", block.attention.query_key_value)
        found |= _linear(f"{name}.attn.c_proj", block.attention.output)
        found |= _norm(f"{name}.ln_2", block.norm_2)
        found |= _linear(f"{name}.mlp.c_fc", block.feedforward.expand)
        found |= _linear(f"{name}.mlp.c_proj", block.feedforward.contract)
    if not model.config.tied_head:
        found["lm_head.weight"] = model.head.weight
    return {name: tensor.detach().contiguous().clone() for name, tensor in found.items()}


def _linear(name: str, layer: Any) -> dict[str, Tensor]:
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
    return {f"{name}.weight": layer.weight.T, f"{name}.bias": bias}


def _norm(name: str, layer: Any) -> dict[str, Tensor]:
    bias = torch.zeros_like(layer.weight) if layer.bias is None else layer.bias
    return {f"{name}.weight": layer.weight, f"{name}.bias": bias}


def _readme(run: str, checkpoint: str) -> str:
    return f"""# {run}

A small GPT made in Transformer Lab, with the weights of {checkpoint}, in the form of a GPT-2.

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(".").eval()
    tokenizer = AutoTokenizer.from_pretrained(".")
    prompt = tokenizer("The", return_tensors="pt")
    print(tokenizer.decode(model.generate(**prompt)[0]))

There are no special tokens, so a text never ends by itself.
"""
