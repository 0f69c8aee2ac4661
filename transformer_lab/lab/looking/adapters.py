"""What fine-tuning did to a model: the change of every matrix, its length and its directions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.lab.training.tuning import tuning_of
from transformer_lab.model.linear import Linear
from transformer_lab.model.weights import outline
from transformer_lab.recipes import setup_from
from transformer_lab.runs.checkpoint import BASE, CheckpointError, load_adapter, load_checkpoint
from transformer_lab.runs.run import Run, RunNotFoundError

STACKED = {
    ("query_key_value", 3): ("query", "key", "value"),
    ("expand", 2): ("gate", "hidden"),  # of SwiGLU
}


@dataclass(frozen=True, kw_only=True)
class Changed:
    """The change of one matrix: of layer `layer` (counted from 1, 0 is below all) the part `part`.

    `norm` is its Frobenius norm, `share` that over the norm of the base's matrix, `singular` its
    singular values from the largest down, where the change is B A.
    """

    layer: int
    part: str
    norm: float
    share: float
    singular: tuple[float, ...] = ()


def changes_of(run: Run) -> tuple[int, list[Changed]]:
    """After which step, and the change of each matrix in the blocks; none before the first save.

    Raises CheckpointError and RunNotFoundError.
    """
    newest = next(iter(run.checkpoints()[::-1]), None)
    if newest is None:
        return 0, []
    base, _, _ = load_checkpoint(run.checkpoint(BASE))
    weights, _, meta = load_checkpoint(newest)
    adapter = load_adapter(newest)
    tuning = tuning_of(run.manifest.get("finetune"))
    setup = setup_from(run.manifest["setup"])
    found = []
    for path, part in outline(setup.model, run.tokenizer.vocabulary_size).named_modules():
        name = f"{path}.weight"
        if not isinstance(part, Linear) or path == "head":
            continue
        heights = list(part.stacked)
        a, b = adapter.get(f"{path}.lora_A"), adapter.get(f"{path}.lora_B")
        for place, before in enumerate(base[name].split(heights)):
            change = weights[name].split(heights)[place] - before
            singular: tuple[float, ...] = ()
            if a is not None and b is not None and tuning:
                rank = b.shape[1]
                change = tuning.lora.scale * b.split(heights)[place] @ a.split(rank)[place]
                singular = _singular_values(b.split(heights)[place], a.split(rank)[place])
                singular = tuple(tuning.lora.scale * value for value in singular)
            elif adapter or not change.any():
                continue
            found.append(_changed(path, place, len(heights), before, change, singular))
    return int(meta["step"]), found


def _singular_values(b: Tensor, a: Tensor) -> tuple[float, ...]:
    """Those of B A, by way of matrices no larger than the rank: (outputs, r), (r, inputs)."""
    small = torch.linalg.qr(b).R @ torch.linalg.qr(a.T).R.T
    return tuple(torch.linalg.svdvals(small).tolist())


def _changed(
    path: str, place: int, count: int, before: Tensor, change: Tensor, singular: tuple[float, ...]
) -> Changed:
    steps = path.split(".")
    layer = int(steps[1]) + 1 if steps[0] == "blocks" else 0
    names = STACKED.get((steps[-1], count))
    last = names[place] if names else steps[-1] + (f" {place + 1}" if count > 1 else "")
    part = " ".join([*steps[2:-1], last]) if layer else " ".join([*steps[:-1], last])
    norm, whole = float(change.norm()), float(before.norm())
    share = norm / whole if whole else 0.0
    return Changed(layer=layer, part=part, norm=norm, share=share, singular=singular)


__all__ = ["Changed", "CheckpointError", "RunNotFoundError", "changes_of"]
