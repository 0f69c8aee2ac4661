"""What fine-tuning did to a model: the change of every matrix, its length and its directions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.lab.training.tuning import tuning_of
from transformer_lab.model.linear import Linear
from transformer_lab.model.lora import LoRAConfig, chosen_rows, matrix_names, split_rows
from transformer_lab.model.weights import outline
from transformer_lab.recipes import setup_from
from transformer_lab.runs.checkpoint import BASE, CheckpointError, load_adapter, load_checkpoint
from transformer_lab.runs.run import Run, RunNotFoundError


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
        names = matrix_names(path, len(part.stacked))
        factors = _factors(adapter, path, part, tuning.lora) if tuning else {}
        for place, rows in enumerate(chosen_rows(part.stacked)):
            change = weights[name][rows] - base[name][rows]
            singular: tuple[float, ...] = ()
            if place in factors and tuning:
                b, a = factors[place]
                change = tuning.lora.scale * b @ a
                singular = tuple(tuning.lora.scale * one for one in _singular_values(b, a))
            elif adapter or not change.any():
                continue
            found.append(_changed(path, names[place], base[name][rows], change, singular))
    return int(meta["step"]), found


def _factors(
    adapter: dict[str, Tensor], path: str, part: Linear, config: LoRAConfig
) -> dict[int, tuple[Tensor, Tensor]]:
    """B and A of the stacked matrices of a map that have them, by their places."""
    a, b = adapter.get(f"{path}.lora_A"), adapter.get(f"{path}.lora_B")
    if a is None or b is None:
        return {}
    chosen = config.chosen(path, len(part.stacked))
    places = [place for place, wanted in enumerate(chosen) if wanted]
    pairs = zip(split_rows(b, chosen_rows(part.stacked, chosen)), a.split(b.shape[1]), strict=True)
    return dict(zip(places, pairs, strict=True))


def _singular_values(b: Tensor, a: Tensor) -> tuple[float, ...]:
    """Those of B A, by way of matrices no larger than the rank: (outputs, r), (r, inputs)."""
    small = torch.linalg.qr(b).R @ torch.linalg.qr(a.T).R.T
    return tuple(torch.linalg.svdvals(small).tolist())


def _changed(
    path: str, called: str, before: Tensor, change: Tensor, singular: tuple[float, ...]
) -> Changed:
    steps = path.split(".")
    layer = int(steps[1]) + 1 if steps[0] == "blocks" else 0
    part = " ".join([*(steps[2:-1] if layer else steps[:-1]), called])
    norm, whole = float(change.norm()), float(before.norm())
    share = norm / whole if whole else 0.0
    return Changed(layer=layer, part=part, norm=norm, share=share, singular=singular)


__all__ = ["Changed", "CheckpointError", "RunNotFoundError", "changes_of"]
