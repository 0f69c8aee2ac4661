"""What stays in memory after much has been written, with a model that rests and one that trains.

    python tests/bench/kept.py

Resident memory in MB: before, after each third, and at the end.
"""

import tempfile
import time
from pathlib import Path

import psutil

from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Setup

TEXTS = 45
TOKENS = 1000
SHORT = 60
SMALL = {
    "data.corpus": "python_docs",
    "data.tokenizer": "gpt2",
    "model.layers": 1,
    "model.heads": 2,
    "model.embedding_dim": 16,
    "model.sequence_length": 64,
    "train.batch_size": 1,
}
MILLIONS = SMALL | {  # 12.7 of them
    "data.tokenizer": "characters",
    "model.layers": 7,
    "model.embedding_dim": 388,
    "train.steps": 1_000_000,
    "train.evaluate_every": 1_000_000,
    "train.evaluation_batches": 1,
    "train.save_every": 0,
    "train.save_minutes": 0.0,
}


def main() -> None:
    """Both, each in a home of its own."""
    for measured in (long_texts, short_texts):
        with tempfile.TemporaryDirectory() as home:
            lab = Lab(Path(home))
            measured(lab)
            lab.close()


def long_texts(lab: Lab) -> None:
    """Texts in GPT-2's tokens, by a model that rests."""
    lab.trainings.initialize(Setup().with_values(SMALL))
    lab.trainings.wait()
    figures = [resident()]
    for number in range(TEXTS):
        config = SampleConfig(prompt="The ", length=TOKENS, seed=number)
        lab.writings.start(lab.models.snapshot(), config).job.wait()
        if (number + 1) % (TEXTS // 3) == 0:
            figures.append(resident())
    print(f"{TEXTS} texts of {TOKENS:,} GPT-2 tokens: {' -> '.join(figures)} MB", flush=True)


def short_texts(lab: Lab) -> None:
    """Texts by a model that trains, each by newer weights."""
    lab.trainings.start(Setup().with_values(MILLIONS))
    while not (lab.trainings.current and lab.trainings.current.status.step > 2):
        time.sleep(0.1)
    figures, before = [resident()], None
    for number in range(SHORT):
        while (snapshot := lab.models.snapshot()) is before:
            time.sleep(0.05)
        before = snapshot
        config = SampleConfig(prompt="The ", length=5, seed=number)
        lab.writings.start(snapshot, config).job.wait()
        if (number + 1) % (SHORT // 3) == 0:
            figures.append(resident())
    parameters = lab.trainings.current.parameters / 1e6
    lab.trainings.stop()
    while not lab.trainings.current.ended:
        time.sleep(0.1)
    del snapshot, before
    lab.trainings.wait()
    figures.append(resident())
    print(
        f"{SHORT} short texts while {parameters:.1f} M parameters train, then Stop: "
        f"{' -> '.join(figures)} MB"
    )


def resident() -> str:
    return f"{psutil.Process().memory_info().rss / 1e6:,.0f}"


if __name__ == "__main__":
    main()
