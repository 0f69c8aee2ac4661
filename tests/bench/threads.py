"""The measured number of CPU threads against every fixed one: quiet, and beside busy neighbours.

    python tests/bench/threads.py [--cpus 0,1] [--recipe quick_start] [--steps 120] [--rounds 2]

A neighbour is another program on the same cores. All take turns in one run, so their ratios can be
trusted: goal beside a busy neighbour, at most 1.3 times the best fixed number. The time of the
automatic training counts from before its first timing; a fixed number that is very slow is given up
after 20 seconds and its pace taken for the rest. Judges nothing.
"""

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import torch

from transformer_lab.lab.cost.estimate import choose_micro_batch
from transformer_lab.lab.cost.threads import Kept, RunThreads, candidates
from transformer_lab.lab.device import available_cores
from transformer_lab.model import build_model
from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.training import LiveSettings, StepMetrics, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS

VOCABULARY = 65
PATIENCE = 20.0  # seconds for a fixed number
LOOP = [sys.executable, "-c", "while True: pass"]
PRODUCTS = [sys.executable, "-c", "import torch; a = torch.ones(300, 300)\nwhile True: a @ a"]
NEIGHBOURS = {
    "quiet": [],
    "one loop": [LOOP],
    "a loop a core": [LOOP] * available_cores(),
    "another PyTorch": [PRODUCTS],
}


def main() -> None:
    """Print a table for each neighbour."""
    parser = argparse.ArgumentParser(description="Threads, measured against fixed.")
    parser.add_argument("--cpus", help="the cores to use, as in 0,1,2,3")
    parser.add_argument("--recipe", default="quick_start")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--neighbours", nargs="*", choices=NEIGHBOURS, default=list(NEIGHBOURS))
    wish = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)  # it would limit what is tried
    if wish.cpus:
        os.sched_setaffinity(0, map(int, wish.cpus.split(",")))
    print(f"{platform.machine()}, {available_cores()} cores, torch {torch.__version__}")
    print(f"{wish.recipe}, {wish.steps} steps, seconds; load before: {os.getloadavg()[0]:.1f}\n")
    counts = candidates()
    head = "".join(f"{count:>9}" for count in counts)
    print(f"{'threads':18} {'automatic':>10}{head} {'ratio':>7}  chosen")
    setup = load_recipes()[wish.recipe].setup.with_values({"train.evaluate_every": 1_000_000})
    for name in wish.neighbours:
        with neighbours(name):
            report(name, setup, counts, wish.steps, wish.rounds)


def report(name: str, setup: Setup, counts: list[int], steps: int, rounds: int) -> None:
    """One row: seconds of all steps, and how many times those of the best fixed number."""
    automatic: list[float] = []
    fixed: dict[int, list[float]] = {count: [] for count in counts}
    chosen = []
    for _ in range(rounds):
        seconds, path = measured(setup, steps)
        automatic.append(seconds)
        chosen.append("-".join(map(str, path)))
        for count in counts:
            fixed[count].append(at(count, setup, steps))
    ours = statistics.mean(automatic)
    theirs = {count: statistics.mean(found) for count, found in fixed.items()}
    cells = "".join(f"{theirs[count]:9.1f}" for count in counts)
    ratio = ours / min(theirs.values())
    print(f"{name:18} {ours:10.1f}{cells} {ratio:6.2f}x  {', '.join(chosen)}", flush=True)


def measured(setup: Setup, steps: int) -> tuple[float, list[int]]:
    """Seconds of a training that chooses, and its numbers of threads in their order."""
    begun = time.perf_counter()
    live, training = prepared(setup)
    run = RunThreads(live, setup, "cpu", Kept())
    path = [live.threads]
    for step in range(1, steps + 1):
        run.before(step)
        if live.threads != path[-1]:
            path.append(live.threads)
        run.took(next(training))
        run.changed(step)
    return time.perf_counter() - begun, path


def at(count: int, setup: Setup, steps: int) -> float:
    """Seconds of a training on so many threads."""
    begun = time.perf_counter()
    _, training = prepared(setup)
    torch.set_num_threads(count)
    for taken in range(1, steps + 1):
        next(training)
        if (passed := time.perf_counter() - begun) > PATIENCE:
            return passed * steps / taken
    return time.perf_counter() - begun


def prepared(setup: Setup) -> tuple[LiveSettings, Iterator[StepMetrics]]:
    """A training of new weights on tokens drawn at random."""
    model = build_model(setup.model, VOCABULARY, 1)
    live = LiveSettings(micro_batch=choose_micro_batch(setup, VOCABULARY, "cpu", 8e9))
    tokens = torch.randint(VOCABULARY, (100_000,), generator=torch.Generator().manual_seed(1))
    batches = Batches(tokens, setup.train.batch_size, setup.model.sequence_length, 1)
    optimizer = OPTIMIZERS[setup.train.optimizer](model, setup.train)
    return live, train(model, optimizer, batches, batches, setup.train, live)


@contextlib.contextmanager
def neighbours(name: str) -> Iterator[None]:
    """Other programs that compute meanwhile, on the same cores."""
    programs = [subprocess.Popen(command) for command in NEIGHBOURS[name]]
    try:
        time.sleep(3 if programs else 0)
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


if __name__ == "__main__":
    main()
