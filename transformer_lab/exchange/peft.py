"""The adapter of a fine-tuned run, alone, as Hugging Face's PEFT loads it; and its base beside it.

    model = AutoModelForCausalLM.from_pretrained("base")
    model = PeftModel.from_pretrained(model, "adapter")

It works for bases that are built like GPT-2. Queries, keys and values have an A and a B each, and
are one map there: their A's stand one above the other, and their B's on the diagonal, so its rank
is three times ours. Rows of tokens that the base did not have go along as PEFT's trainable tokens.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
from torch import Tensor

from transformer_lab.exchange.errors import ExportRefusedError
from transformer_lab.exchange.huggingface import save_huggingface, write_zip
from transformer_lab.exchange.run_folder import CHECKPOINTS, checkpoint_names, read_manifest
from transformer_lab.model.lora import VARIANTS, LoRAConfig, chosen_rows, on_diagonal
from transformer_lab.runs.checkpoint import BASE, CheckpointError, load_adapter
from transformer_lab.text.tokenizers import tokenizer_from_json
from transformer_lab.training.finetune import fine_tuning_from

PARTS = {  # what our linear maps are called in GPT-2
    "attention.query_key_value": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feedforward.expand": "mlp.c_fc",
    "feedforward.contract": "mlp.c_proj",
}
FUSED = "attn.c_attn"
STACKED = 3  # queries, keys and values
TABLES = {"embedding": "wte", "head": "lm_head"}
ROWS = "token_adapter.trainable_tokens_delta"
NONE = "It has no adapter: only a run that was fine-tuned by LoRA has one."


def save_peft(run_folder: Path, folder: Path) -> None:
    """Write `adapter` and `base` into a folder, which is made when it is not there.

    Raises ExportRefusedError with every reason.
    """
    config, stored = _adapter(run_folder)
    save_huggingface(run_folder, folder / "base", checkpoint=BASE)
    tensors = peft_tensors(stored, config)
    place = folder / "adapter"
    place.mkdir(parents=True, exist_ok=True)
    about = peft_config(tensors, config, _added(run_folder))
    text = json.dumps(about, indent=2)
    (place / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    safetensors.torch.save_file(
        tensors, place / "adapter_model.safetensors", metadata={"format": "pt"}
    )
    (folder / "README.md").write_text(_readme(run_folder.name), encoding="utf-8")


def write_peft(run_folder: Path, stream: BinaryIO) -> None:
    """The same as a .zip, which need not be seekable. Raises as `save_peft` does."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / f"{run_folder.name}-adapter"
        save_peft(run_folder, folder)
        write_zip(folder, stream)


def _adapter(run_folder: Path) -> tuple[LoRAConfig, dict[str, Tensor]]:
    """How it was made, and the matrices of the newest save. Raises ExportRefusedError."""
    about = read_manifest(run_folder).get("finetune")
    if not about or not (tuning := fine_tuning_from(about["settings"])).is_lora:
        raise ExportRefusedError(f"{run_folder.name}: {NONE}")
    for name in checkpoint_names(run_folder)[::-1]:
        try:
            found = load_adapter(run_folder / CHECKPOINTS / name)
        except CheckpointError as error:
            raise ExportRefusedError(str(error)) from error
        if found:
            return tuning.lora, {key: one for key, one in found.items() if "/" not in key}
    raise ExportRefusedError(f"{run_folder.name} has no adapter yet: it is saved on pause.")


def _added(run_folder: Path) -> list[int]:
    """The tokens that were added to the base's."""
    manifest = read_manifest(run_folder)
    tokenizer = tokenizer_from_json(manifest["tokenizer"])
    return tokenizer.encode(manifest["finetune"].get("added", "")).tolist()


def peft_tensors(stored: Mapping[str, Tensor], config: LoRAConfig) -> dict[str, Tensor]:
    """The matrices of an adapter under PEFT's names."""
    found = {}
    for key, tensor in stored.items():
        path, _, kind = key.rpartition(".")
        if kind == "rows":
            found[f"base_model.model.{_table(path)}.{ROWS}"] = tensor
            continue
        _, layer, part = path.split(".", 2)
        name = f"base_model.model.transformer.h.{layer}.{PARTS[part]}"
        if kind == "magnitude":
            found[f"{name}.lora_magnitude_vector"] = tensor
        elif kind == "lora_B" and PARTS[part] == FUSED:
            heights = [stored[f"{path}.lora_A"].shape[1]] * STACKED
            rows = chosen_rows(heights, config.chosen(path, STACKED))
            found[f"{name}.lora_B.weight"] = on_diagonal(tensor, rows, sum(heights))
        else:
            found[f"{name}.{kind}.weight"] = tensor
    return {name: tensor.contiguous().clone() for name, tensor in found.items()}


def _table(path: str) -> str:
    """embedding.parametrizations.weight.0 -> transformer.wte"""
    name = path.split(".")[0]
    return TABLES[name] if name == "head" else f"transformer.{TABLES[name]}"


def peft_config(
    tensors: Mapping[str, Tensor], config: LoRAConfig, added: Sequence[int] = ()
) -> dict[str, Any]:
    """The adapter_config.json: PEFT scales by alpha over the rank, or over its root."""
    rooted = config.variant == "rslora"
    rank = sum(config.chosen("attention.query_key_value", STACKED)) * config.rank
    matrices = [name for name in tensors if not name.endswith(ROWS)]
    targets = sorted({".".join(name.split(".")[5:7]) for name in matrices})
    grown = [name.split(".")[-3] for name in tensors if name.endswith(ROWS)]
    alpha = config.scale * (rank**0.5 if rooted else rank)
    fused = FUSED in targets
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "base",
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "rank_pattern": {FUSED: rank} if fused else {},
        "alpha_pattern": {FUSED: alpha} if fused else {},
        "lora_dropout": config.dropout,
        "use_rslora": rooted,
        "use_dora": VARIANTS[config.variant].magnitude,
        "bias": "none",
        "fan_in_fan_out": True,
        "target_modules": targets,
        **({"trainable_token_indices": {name: list(added) for name in grown}} if grown else {}),
    }


def _readme(run: str) -> str:
    return f"""# {run}

An adapter made by LoRA in Transformer Lab, and the small GPT it stands on.

    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), "adapter")
    tokenizer = AutoTokenizer.from_pretrained("base")
"""
