"""A PEFT adapter for a run that is here, as a fine-tuned run of it: `peft.py` backwards.

PEFT sees queries, keys and values as one map with one A and one B; here each has its own. So each
of the three gets that A, and its part of that B, which is the same change. Ranks and scales of
single matrices come to one: smaller ranks are filled up with zeros, other scales multiplied into B.
"""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from transformer_lab.exchange.arrival import NEW
from transformer_lab.exchange.checks import parsed
from transformer_lab.exchange.errors import ExportRefusedError, ImportRefusedError
from transformer_lab.exchange.peft import PARTS
from transformer_lab.exchange.run_folder import CHECKPOINTS, MANIFEST, load_model, read_manifest
from transformer_lab.exchange.sources import Source, check_no_pickle
from transformer_lab.model import GPT
from transformer_lab.model.lora import LoRAConfig, adapt, adapted_maps, load_factors, plain_weights
from transformer_lab.model.weights import model_from_weights
from transformer_lab.recipes import setup_from
from transformer_lab.runs.checkpoint import BASE, save_checkpoint
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.files import Manifest, write_json
from transformer_lab.runs.run import step_of
from transformer_lab.settings import ConfigError, from_mapping, shown
from transformer_lab.training.finetune import FineTuning, trained_numbers

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
READ = (CONFIG, WEIGHTS)
STEP = 1  # stands for all its training elsewhere; step 0 is its base
KEY = re.compile(
    r"(?:base_model\.model\.)?(?:transformer\.)?h\.(\d+)\.([a-z_.]+)\."
    r"(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)(?:\.weight)?"
)
KINDS = {"lora_A.weight": "lora_A", "lora_B.weight": "lora_B", "lora_magnitude_vector": "magnitude"}
OURS = {theirs: ours for ours, theirs in PARTS.items()}
FIXED: dict[str, tuple[object, ...]] = {  # what is not understood at other values
    "peft_type": ("LORA",),
    "bias": ("none",),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, [], {}),
    "fan_in_fan_out": (True, False),
}
LARGEST_NUMBER = 4  # bytes
Factors = dict[str, dict[str, Tensor]]  # by the path of the map, and the kind


def take_adapter(source: Source, staging: Path, base: Path | None, new_id: str, order: int) -> None:
    """Make the fine-tuned run in the folder NEW of `staging`. Raises ImportRefusedError."""
    if base is None:
        raise ImportRefusedError(
            "This is an adapter, which needs the model it was made for: choose that run as its "
            "base (on the command line with --base RUN)."
        )
    about = parsed(source.read(CONFIG), CONFIG)
    for key, known in FIXED.items():
        if about.get(key, known[0]) not in known:
            raise ImportRefusedError(
                f"{key} is {shown(about[key])}, and must be {shown(known[0])}."
            )
    if WEIGHTS not in source.names:
        check_no_pickle(source)
        raise ImportRefusedError(f"{WEIGHTS} is missing: the folder has no adapter to read.")
    try:
        manifest, (name, weights, tokenizer) = read_manifest(base), load_model(base)
    except ExportRefusedError as error:
        raise ImportRefusedError(f"{base.name} cannot be its base. {error}") from error
    setup = setup_from(manifest["setup"])
    size = weights["embedding.weight"].shape[0]
    model = model_from_weights(setup.model, size, weights)
    _check_size(source, model)
    found = _read(source.file(WEIGHTS, staging))
    tuning = _adapted(model, about, found, base.name)
    record = {
        "run": base.name,
        "step": step_of(Path(name)),
        "settings": tuning.to_mapping(),
        "trained": trained_numbers(model),
        "old_data": manifest["setup"]["data"],
        "old_corpus": manifest["corpus"],
    }
    folder = staging / NEW
    unknown = setup.with_values({"data.corpus": "unknown", "train.steps": STEP})
    made = Manifest(
        format=1,
        id=new_id,
        created=time.time(),
        recipe="imported",
        setup=unknown.to_mapping(),
        tokenizer=tokenizer,
        parameters=manifest["parameters"],
        imported={"from": "a PEFT adapter", "time": time.time()},
    )
    place = {"order": order} if order else {}
    write_json(folder / MANIFEST, {**made.plain(), "finetune": record, **place})
    _save(folder, new_id, weights, model, tokenizer)


def _save(
    folder: Path, new_id: str, base: Mapping[str, Tensor], model: GPT, tokenizer: Mapping[str, Any]
) -> None:
    """The base and the adapter as checkpoints, and how the run stands."""
    adapter = {
        f"{path}.{kind}": getattr(part, kind)
        for path, part in adapted_maps(model).items()
        for kind in KINDS.values()
        if hasattr(part, kind)
    }
    for place, step, weights, beside in (
        (BASE, 0, base, {}),
        (f"step-{STEP:08d}", STEP, plain_weights(model), adapter),
    ):
        save_checkpoint(
            folder / CHECKPOINTS / place,
            weights,
            tokenizer,
            {"step": step, "run": new_id, "best_loss": None},
            optimizer={},
            progress={"step": step, "optimizer": "adamw"},
            adapter=beside,
        )
    writer = RunWriter(folder, new=True)
    try:
        writer.state("finished", STEP, "An adapter that was trained elsewhere.")
    finally:
        writer.close()


def _check_size(source: Source, model: GPT) -> None:
    """An adapter is no longer than twice its base. Before it is unpacked."""
    _, left = source.header(WEIGHTS)
    numbers = sum(weight.numel() for weight in model.parameters())
    if left > 2 * LARGEST_NUMBER * numbers:
        raise ImportRefusedError(f"{WEIGHTS} is longer than any adapter of such a base.")


def _read(path: Path) -> Factors:
    """All matrices of an adapter, by the paths of our maps. Raises ImportRefusedError."""
    found: Factors = {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - it is no dict
                match = KEY.fullmatch(key)
                if match is None or match[2] not in OURS:
                    raise ImportRefusedError(
                        f"The adapter changes {shown(key)}; here only the matrices of GPT-2's "
                        f"blocks can be changed ({', '.join(OURS)})."
                    )
                tensor = file.get_tensor(key).float()
                if not torch.isfinite(tensor).all():
                    raise ImportRefusedError(f"{WEIGHTS} holds numbers that are not finite: {key}.")
                path_of = f"blocks.{match[1]}.{OURS[match[2]]}"
                found.setdefault(path_of, {})[KINDS[match[3]]] = tensor
    except safetensors.SafetensorError as error:
        raise ImportRefusedError(f"{WEIGHTS} is damaged: {error}.") from error
    if not found:
        raise ImportRefusedError(f"{WEIGHTS} is empty: there is no adapter in it.")
    return found


def _adapted(model: GPT, about: Mapping[str, Any], found: Factors, base: str) -> FineTuning:
    """Put the adapter beside the matrices of its base. Raises ImportRefusedError."""
    maps = dict(model.named_modules())
    dora = any("magnitude" in one for one in found.values())
    wanted = {"lora_A", "lora_B", "magnitude"} if dora else {"lora_A", "lora_B"}
    for path, one in found.items():
        part: Any = maps.get(path)
        fits = part is not None and one.keys() == wanted and _fits(one, part)
        if not fits:
            raise ImportRefusedError(
                f"This adapter was made for another base: its {path} does not fit that of {base}."
            )
    scales = {path: _scale(about, path, one["lora_A"].shape[0]) for path, one in found.items()}
    separate = {path: _separated(one, maps[path]) for path, one in found.items()}
    rank = max(one["lora_B"].shape[1] for one in separate.values())
    parts = {path.split(".")[2] for path in found}
    try:
        config = from_mapping(
            LoRAConfig,
            {
                "variant": "dora" if dora else "rslora" if about.get("use_rslora") else "lora",
                "rank": rank,
                "alpha": _number(about, "lora_alpha", 8),
                "dropout": _number(about, "lora_dropout", 0.0),
                "matrices": parts.pop() if len(parts) == 1 else "all",
            },
        )
        adapt(model, config, seed=0)
    except ConfigError as error:
        raise ImportRefusedError(f"This adapter cannot be used on {base}. {error}") from error
    factors: dict[str, Tensor] = {}
    for path, adapted in adapted_maps(model).items():
        own = separate.get(path, {})
        a, b = own.get("lora_A", adapted.lora_A), own.get("lora_B", adapted.lora_B)
        factors[f"{path}.lora_A"] = _padded(a, len(adapted.stacked), rank)
        times = scales.get(path, config.scale) / config.scale
        factors[f"{path}.lora_B"] = torch.nn.functional.pad(b * times, (0, rank - b.shape[1]))
        if dora:
            factors[f"{path}.magnitude"] = own.get("magnitude", adapted.magnitude)
    load_factors(model, factors)
    return FineTuning(lora=config)


def _fits(one: Mapping[str, Tensor], part: Any) -> bool:
    """Whether A (r, inputs), B (outputs, r) and lengths (outputs,) are those of a map."""
    a, b = one["lora_A"], one["lora_B"]
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1] or not a.shape[0]:
        return False
    long = one.get("magnitude")
    right = long is None or long.shape == (part.out_features,)
    return right and (a.shape[1], b.shape[0]) == (part.in_features, part.out_features)


def _scale(about: Mapping[str, Any], path: str, rank: int) -> float:
    """What PEFT multiplies B A of one matrix by: alpha over the rank, or over its root."""
    name, alpha = PARTS[path.split(".", 2)[2]], _number(about, "lora_alpha", 8)
    own = about.get("alpha_pattern") or {}
    for key in own if isinstance(own, dict) else ():
        if (
            key == name
            or name.endswith(f".{key}")
            or f"h.{path.split('.')[1]}.{name}".endswith(key)
        ):
            alpha = _number(own, key, alpha)
    return alpha / (rank**0.5 if about.get("use_rslora") else rank)


def _separated(one: Mapping[str, Tensor], part: Any) -> dict[str, Tensor]:
    """An A and a B for each of the matrices that stand in one map: (n r, inputs), (outputs, r).

    Where B's are on the diagonal, as the lab exports them, each has an n-th of the rank; else each
    has that whole A.
    """
    a, b = one["lora_A"], one["lora_B"]
    count, rank = len(part.stacked), a.shape[0]
    if count == 1:
        return dict(one)
    if rank % count == 0:
        blocks = [rows.split(rank // count, 1) for rows in b.split(part.stacked)]
        own = [blocks[i][i] for i in range(count)]
        if torch.equal(torch.block_diag(*own), b):
            return {**one, "lora_B": torch.cat(own)}
    return {**one, "lora_A": a.repeat(count, 1)}


def _padded(a: Tensor, count: int, rank: int) -> Tensor:
    """(n r, inputs) -> (n rank, inputs), filled up with zeros."""
    short = rank - a.shape[0] // count
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, short)) for part in a.chunk(count)])


def _number(about: Mapping[str, Any], key: str, usual: float) -> float:
    value = about.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ImportRefusedError(f"{key} in {CONFIG} is {shown(value)}: it must be a number.")
    return float(value)
