"""How long it takes to list a hundred runs of 10,000 steps: after a start, and from then on.

python tests/bench/runs.py
"""

import statistics
import tempfile
import time
from pathlib import Path

from transformer_lab.runs.store import RunStore
from transformer_lab.training import StepMetrics

RUNS, STEPS = 100, 10_000
MANIFEST = {
    "recipe": "quick_start",
    "setup": {"train": {"steps": STEPS}},
    "corpus": {
        "title": "Tiny Shakespeare",
        "validation_bytes": 111_540,
        "validation_tokens": 111_540,
    },
    "parameters": 804_096,
}


def fill(store: RunStore) -> None:
    """A hundred runs as a training would have left them."""
    for _ in range(RUNS):
        writer = store.create("long", MANIFEST)
        writer.copy(
            StepMetrics(n, 4.0 / n**0.1, 0.1, 1.0, 1e4, 0.1 * n, 3.0 if n % 100 == 0 else None)
            for n in range(1, STEPS + 1)
        )
        writer.state("finished", STEPS)
        writer.close()


def milliseconds(store: RunStore) -> float:
    """One listing."""
    begun = time.perf_counter()
    assert len(store.list()) == RUNS
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        fill(RunStore(Path(home)))
        first = statistics.median(milliseconds(RunStore(Path(home))) for _ in range(5))
        store = RunStore(Path(home))
        milliseconds(store)
        later = statistics.median(milliseconds(store) for _ in range(5))
    print(f"{RUNS} runs of {STEPS:,} steps: listed first in {first:.0f} ms, then in {later:.1f} ms")


if __name__ == "__main__":
    main()
