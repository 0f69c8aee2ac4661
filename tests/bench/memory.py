"""Fits the memory formula of `lab/cost/estimate.py` to trainings; says how far it errs.

    python tests/bench/memory.py          # three to five minutes
    python tests/bench/memory.py check    # only the points the formula was not fitted to
    python tests/bench/memory.py whole    # large batches, evaluations included

Each point is a training of two steps through the lab, in a process of its own, whose peak is read
from the system. Half of the error's square is relative, so that small models count too.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from transformer_lab.lab.cost import estimate
from transformer_lab.lab.lab import Lab
from transformer_lab.model import ModelConfig, parameter_breakdown
from transformer_lab.recipes import Setup, setup_from

# layers, heads, width, sequence, micro-batch, dropout, vocabulary, feed-forward multiple
FITTED = [
    (1, 2, 64, 64, 16, 0.0, 65, 4),
    (4, 4, 128, 64, 16, 0.0, 65, 4),
    (4, 4, 128, 256, 16, 0.0, 65, 4),
    (4, 4, 128, 256, 16, 0.1, 65, 4),
    (4, 4, 128, 256, 64, 0.1, 65, 4),
    (4, 4, 128, 256, 64, 0.0, 65, 4),
    (8, 8, 256, 256, 8, 0.1, 65, 4),
    (8, 8, 256, 128, 32, 0.0, 500, 4),
    (2, 2, 256, 512, 8, 0.1, 65, 4),
    (2, 8, 128, 512, 8, 0.1, 65, 2),
    (6, 6, 384, 128, 8, 0.0, 2000, 4),
    (2, 4, 128, 128, 32, 0.0, 5000, 4),
    (2, 4, 128, 128, 8, 0.0, 20000, 4),
    (4, 4, 128, 64, 16, 0.0, 50257, 4),
    (2, 4, 256, 128, 16, 0.0, 50257, 4),
    (4, 4, 128, 256, 16, 0.0, 65, 16),
    (6, 8, 512, 64, 4, 0.0, 65, 4),
]
HELD_OUT = [
    (2, 4, 128, 128, 16, 0.0, 65, 4),
    (6, 4, 192, 256, 16, 0.2, 65, 4),
    (4, 8, 256, 512, 8, 0.1, 1000, 4),
    (3, 4, 128, 128, 16, 0.0, 10000, 4),
    (2, 2, 128, 64, 32, 0.0, 50257, 4),
    (8, 8, 384, 128, 16, 0.0, 300, 4),
    (4, 4, 128, 256, 32, 0.1, 65, 8),
]
WHOLE = [  # the same with a batch of so many sequences, computed as the lab chooses
    (1, 2, 16, 256, 2048, 0.0, 65, 4),
    (1, 2, 16, 256, 256, 0.0, 4096, 4),
]
NAMES = ("PER_PARAMETER", "PER_WIDTH", "PER_HIDDEN", "PER_LOOK", "PER_SCORE", "CONSTANT")


def main() -> None:
    if sys.argv[1:] == ["check"]:
        check()
    elif sys.argv[1:] == ["whole"]:
        whole()
    elif sys.argv[1:]:
        print(peak_of(json.loads(sys.argv[1])))
    else:
        fit()
        check()


def fit() -> None:
    """Least squares over the fitted points, with no factor below zero."""
    rows = np.array([features(point) for point in FITTED])
    peaks = np.array([measured(point) for point in FITTED])
    weight = peaks**-0.75
    factors = positive_fit(rows * weight[:, None], peaks * weight)
    for name, factor in zip(NAMES, factors, strict=True):
        print(f"{name} = {factor:.4g}")
        setattr(estimate, name, factor)
    print("in sample:")
    table(FITTED, peaks)


def positive_fit(rows: Any, values: Any) -> Any:
    """Least squares; a factor that would be below zero is left out."""
    kept = np.arange(rows.shape[1])
    while True:
        found = np.linalg.lstsq(rows[:, kept], values, rcond=None)[0]
        if (found >= 0).all():
            factors = np.zeros(rows.shape[1])
            factors[kept] = found
            return factors
        kept = kept[found >= 0]


def check() -> None:
    """The formula as it stands against points it was not fitted to."""
    print("held out:")
    table(HELD_OUT, np.array([measured(point) for point in HELD_OUT]))


def whole() -> None:
    """What is promised for large batches, and the peak of a training with its evaluations."""
    for point in WHOLE:
        model, setup = model_of(point), setup_of(point, micro_batch=0)
        said = estimate.estimate(setup, point[6], "cpu", speed=None)
        assert said.memory
        print(
            f"{point[4]} x {model.sequence_length}, vocabulary {point[6]:,}: computed "
            f"{said.micro_batch} at a time, promised {said.memory / 1e6:,.0f} MB, "
            f"measured {measured((*point, 0)) / 1e6:,.0f} MB"
        )


def table(points: list[tuple[Any, ...]], peaks: Any) -> None:
    print(f"{'L':>2} {'H':>2} {'D':>4} {'T':>4} {'B':>3} {'drop':>4} {'V':>6}  measured  predicted")
    for point, peak in zip(points, peaks, strict=True):
        model, vocabulary = model_of(point), point[6]
        count = sum(parameter_breakdown(model, vocabulary).values())
        predicted = estimate.peak_memory(model, vocabulary, count, point[4])
        layers, heads, width, length, batch, dropout = point[:6]
        shape = f"{layers:2} {heads:2} {width:4} {length:4} {batch:3} {dropout:4} {vocabulary:6}"
        error = f"{100 * (predicted / peak - 1):+.0f} %"
        print(f"{shape}  {peak / 1e6:5,.0f} MB  {predicted / 1e6:6,.0f} MB  {error}")


def features(point: tuple[Any, ...]) -> list[float]:
    layers, heads, width, length, batch, dropout, vocabulary, multiple = point
    tokens = batch * length
    count = sum(parameter_breakdown(model_of(point), vocabulary).values())
    look = tokens * layers * heads * length if dropout else 0
    hidden = tokens * layers * width * multiple
    return [count, tokens * layers * width, hidden, look, tokens * vocabulary, 1.0]


def model_of(point: tuple[Any, ...]) -> ModelConfig:
    layers, heads, width, length, _, dropout, _, multiple = point
    return ModelConfig(
        layers=layers,
        heads=heads,
        embedding_dim=width,
        sequence_length=length,
        dropout=dropout,
        feedforward_multiple=multiple,
    )


def measured(point: tuple[Any, ...]) -> int:
    command = [sys.executable, __file__, json.dumps(point)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def setup_of(point: tuple[Any, ...], micro_batch: int, folder: str = "") -> Setup:
    """A training of that size; its text is not there yet."""
    model = model_of(point[:8])
    return setup_from(
        {
            "data": {"corpus": str(Path(folder, "letters.txt"))},
            "model": {name: getattr(model, name) for name in model.__dataclass_fields__},
            "train": {
                "batch_size": point[4],
                "micro_batch": micro_batch,
                "steps": 3,
                "evaluation_batches": 2,
            },
            "sample": {"prompt": letters(point[6])[0], "length": 20},
        }
    )


def letters(vocabulary: int) -> str:
    """So many different ones."""
    return "".join(chr(0x100 + n) for n in range(vocabulary))


def peak_of(point: list[Any]) -> int:
    """Bytes a training of this size adds to the process at its peak.

    Batches are computed whole, unless a ninth number says in which micro-batches.
    """
    batch, vocabulary = point[4], point[6]
    with tempfile.TemporaryDirectory() as home:
        text = letters(vocabulary) * max(2, 40_000 // vocabulary)
        Path(home, "letters.txt").write_text(text, encoding="utf-8")
        setup = setup_of(tuple(point), point[8] if point[8:] else batch, home)
        lab = Lab(Path(home))
        before = psutil.Process().memory_info().rss
        lab.trainings.start(setup)
        while lab.trainings.current and not lab.trainings.current.ended:
            time.sleep(0.05)
        lab.close()
        assert lab.trainings.current
        assert lab.trainings.current.status.state == "finished", lab.trainings.current.status.reason
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


if __name__ == "__main__":
    main()
