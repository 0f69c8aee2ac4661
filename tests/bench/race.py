"""What five lanes cost in a race, against the same five one after another.

python tests/bench/race.py [--steps 40] [--rounds 5]

Both do the very same steps, looks at the validation text and saves, in one process, in turn: a
round is one of each, and every other round begins with the race. Seconds depend on what else the
computer does; the ratio of one round, and that of processor time, hardly do.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Setup, find_recipe

LANES = 5
CHANGES = {
    "model.layers": 2,
    "model.embedding_dim": 64,
    "train.evaluate_every": 10,
    "train.evaluation_batches": 8,
    "train.threads": 1,
    "train.save_minutes": 0.0,
    "train.save_every": 0,
}


def ended(lab: Lab) -> None:
    """Wait until nothing trains any more."""
    while lab.trainings.busy():
        time.sleep(0.002)
    lab.trainings.wait()


def raced(lab: Lab, lanes: dict[str, Setup]) -> None:
    """All of them, a step at a time in turn."""
    lab.trainings.race("bench", lanes)
    ended(lab)


def one_by_one(lab: Lab, lanes: dict[str, Setup]) -> None:
    """Each of them to its end before the next begins."""
    for setup in lanes.values():
        lab.trainings.start(setup)
        ended(lab)


def measured(act: Callable[[Lab, dict[str, Setup]], None], lab: Lab, lanes: dict[str, Setup]):
    """Seconds by the clock, and of the processor."""
    begun, used = time.perf_counter(), time.process_time()
    act(lab, lanes)
    return time.perf_counter() - begun, time.process_time() - used


def main() -> None:
    """Print a line a round, and the median ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    base = find_recipe("quick_start").setup.with_values(CHANGES | {"train.steps": given.steps})
    lanes = {f"lane {n}": base.with_values({"train.seed": n}) for n in range(1, LANES + 1)}
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as home:
        lab = Lab(Path(home))
        one_by_one(lab, {"warm": base.with_values({"train.steps": 5})})
        for turn in range(given.rounds):
            order = (raced, one_by_one) if turn % 2 else (one_by_one, raced)
            took = {act: measured(act, lab, lanes) for act in order}
            (race, race_cpu), (alone, alone_cpu) = took[raced], took[one_by_one]
            ratios.append((race / alone, race_cpu / alone_cpu))
            print(
                f"race {race:.1f} s, one after another {alone:.1f} s, ratio {race / alone:.3f}; "
                f"of processor time {race_cpu / alone_cpu:.3f}; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
        lab.close()
    clock, processor = (statistics.median(found) for found in zip(*ratios, strict=True))
    print(f"median ratio {clock:.3f}, of processor time {processor:.3f}")


if __name__ == "__main__":
    main()
