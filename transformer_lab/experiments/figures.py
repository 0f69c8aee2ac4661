"""The numbers in the prose of the summary, each written there by the function that makes it.

    python -m transformer_lab.experiments.figures docs [paper_widths ...]

In docs/pcn_executive_summary.md each stands between `<!-- figure: NAME -->` and `<!-- end -->`.
Some are measured anew, in seconds; others are read from docs/pcn_tables, which `make pcn-report`
writes.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from transformer_lab.experiments.evaluator import infer_label
from transformer_lab.experiments.pictures import one_hot
from transformer_lab.experiments.report import SUMMARY, TABLES, VERDICTS, read_csv
from transformer_lab.experiments.statistics import spread
from transformer_lab.model import ModelConfig, build_model
from transformer_lab.pcn import generative
from transformer_lab.pcn.network import xavier
from transformer_lab.training import LiveSettings, TrainConfig
from transformer_lab.training.learning_rules import LEARNING_RULES

PAPER = (3072, 1000, 500, 10)  # its widths, from the image up; ten classes
STEPS, STEP_SIZE, CLASSES = 50, 0.05, 10  # its inference
NOISES = 100  # pictures of noise for each network
MARK = "<!-- figure: {} -->{}<!-- end -->"


def paper_widths(tables: Path) -> str:
    """The leak at the paper's own widths: never trained, noise, random labels"""
    found = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        network = generative(PAPER, CLASSES, generator)
        noise = torch.rand(NOISES, PAPER[0], generator=generator)
        label = one_hot(torch.randint(0, CLASSES, (NOISES,), generator=generator), CLASSES)
        *_, (says, _) = infer_label(
            network, noise, label, steps=STEPS, step_size=STEP_SIZE, generator=generator
        )
        found.append(100 * (says.argmax(1) == label.argmax(1)).double().mean().item())
    listed = ", ".join(f"{one:.0f}" for one in found)
    return (
        f"{listed} % with three untrained networks and {NOISES} pictures of noise each "
        f"(T = {STEPS}, step size {STEP_SIZE})"
    )


def top_widths(tables: Path) -> str:
    """How much of the label's error is left in the slowest direction of the readout"""
    left = {}
    for width in (10, 32):
        drawn = [xavier(CLASSES, width, torch.Generator().manual_seed(one)) for one in range(100)]
        slowest = [torch.linalg.svdvals(one)[-1].item() for one in drawn]
        left[width] = spread((1 - STEP_SIZE * one**2) ** STEPS for one in slowest).mean
    return (
        f"in the slowest direction of a new readout {left[10]:.2f} of the label's error are left "
        f"after {STEPS} steps with ten top latents, and {left[32]:.2f} with 32 (means of 100 draws)"
    )


def embeddings(tables: Path) -> str:
    """PC learning's gradient beside backpropagation's, by the deviation of the embeddings"""
    text = torch.tensor([ord(one) % 32 for one in "to be or not to be, that is the question. " * 3])
    batch = text[: 7 * 17].view(7, 17)
    inputs, targets = batch[:, :-1], batch[:, 1:]
    found = {}
    for deviation in (0.7, 0.02):
        ours, right = (
            _block_gradients(rule, deviation, inputs, targets) for rule in ("pc", "backprop")
        )
        found[deviation] = [
            F.cosine_similarity(one, other, dim=0).item()
            for one, other in zip(ours, right, strict=True)
        ]
    large, small = (" and ".join(f"{one:.2f}" for one in found[size]) for size in found)
    return (
        f"{large} in the two blocks with embeddings of deviation 0.7, and {small} with GPT-2's 0.02"
    )


def _block_gradients(
    rule: str, deviation: float, inputs: torch.Tensor, targets: torch.Tensor
) -> list[torch.Tensor]:
    """The gradient of each block of a new small model, as one vector each"""
    config = ModelConfig(
        layers=2, heads=2, embedding_dim=32, sequence_length=16, dropout=0.0,
        feedforward="gelu", embedding_deviation=deviation,
    )  # fmt: skip
    model = build_model(config, 32, seed=1).double()
    learns = TrainConfig(learning_rule=rule, pc_learning_steps=10, pc_learning_step_size=0.05)
    LEARNING_RULES[rule](model, learns, LiveSettings())(inputs, targets).backward()
    return [
        torch.cat([one.grad.flatten() for one in block.parameters() if one.grad is not None])
        for block in model.blocks
    ]


def never_learned(tables: Path) -> str:
    """The leaky score of a network that never learned, by top width"""
    found = {}
    for width, name in ((32, "leak"), (10, "leak_variant")):
        ends = {
            one["seed"]: float(one["accuracy_percent"])
            for one in read_csv(tables / f"{name}.csv")
            if (one["network"], one["evaluation"], one["steps"])
            == ("untrained", "leaky_noise", str(STEPS))
        }
        found[width] = spread(ends.values()).mean
    return (
        f"{found[32]:.0f} % of **pictures of noise with random labels** ({found[10]:.0f} % with "
        "the paper's ten top latents instead of 32, on our small pictures)"
    )


def learned(tables: Path) -> str:
    """What an honest network reaches, by predictive coding and by backpropagation"""
    (row,) = [one for one in verdicts(tables, "race") if "backpropagation" in one["difference"]]
    return f"{row['mean and interval']} points over {row['seeds']} seeds: {row['verdict']}"


def pc_ffn(tables: Path) -> str:
    """PC-FFN beside its controls"""
    return _race_of(tables, "PC-FFN, ")


def positions(tables: Path) -> str:
    """What settling is worth to PC positions, and what the table of positions is"""
    return _race_of(tables, "PC positions, ")


def _race_of(tables: Path, begins: str) -> str:
    return "; ".join(
        f"{one['difference'].removeprefix(begins)} {one['mean and interval']} nats, "
        f"{one['verdict']}"
        for one in verdicts(tables, "transformers")
        if one["difference"].startswith(begins)
    )


def verdicts(tables: Path, key: str) -> list[dict[str, str]]:
    """The comparisons of one experiment, as the report wrote them."""
    return [one for one in read_csv(tables / VERDICTS) if one["experiment"] == key]


MEASURED: Mapping[str, Callable[[Path], str]] = {
    "paper_widths": paper_widths,
    "top_widths": top_widths,
    "embeddings": embeddings,
}
READ: Mapping[str, Callable[[Path], str]] = {
    "never_learned": never_learned,
    "learned": learned,
    "pc_ffn": pc_ffn,
    "positions": positions,
}
FIGURES: Mapping[str, Callable[[Path], str]] = {**MEASURED, **READ}


def written(text: str, name: str) -> str:
    """What stands for a figure in a text. Raises ValueError when it has no place there."""
    found = re.search(MARK.format(name, "(.*?)"), text, flags=re.DOTALL)
    if found is None:
        raise ValueError(f"The text has no place for the figure {name}.")
    return " ".join(found.group(1).split())


def filled(text: str, name: str, says: str) -> str:
    """The text with a figure at its place"""
    return re.sub(
        MARK.format(name, ".*?"), lambda _: MARK.format(name, says), text, flags=re.DOTALL
    )


def main(arguments: Sequence[str], tell: Callable[[str], Any]) -> int:
    """The command: the folder, `docs` if nothing is said; then which figures, all if none."""
    folder, *names = arguments or ["docs"]
    if unknown := [name for name in names if name not in FIGURES]:
        tell(f"There is no figure {unknown[0]}: choose of {', '.join(FIGURES)}.\n")
        return 2
    torch.set_num_threads(1)
    path = Path(folder) / SUMMARY
    for name in names or FIGURES:
        says = FIGURES[name](Path(folder) / TABLES)
        path.write_text(filled(path.read_text(encoding="utf-8"), name, says), encoding="utf-8")
        tell(f"{name}: {says}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdout.write))
