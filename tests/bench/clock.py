"""Quick start by the user's clock, beside the plain implementation; judges nothing.

    python tests/bench/clock.py [--seeds 101 102 103] [--threads 0] [--no-plain]

The clock of Quick start runs in a `Lab` with a new home, as the page has one, from `start` to the
first look below the goal: preparing, measuring threads, looks, samples, snapshots and saves count.
That of the plain training (nanoGPT's settings for a CPU) counts its steps alone. Below the goal are
weights whose loss on the second half of the validation text is: no recipe was tuned on that. Both
sides of a seed run one after the other, the plain one in a process of its own, so that nothing the
lab sets helps it; processor time is changed less by other programs than seconds are. Last, where
the processor time of the last training of Quick start went, to its end.
"""

import argparse
import functools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from plain import CPU_EXAMPLE, plain_training
from speed import GOAL, PLAIN_LOOK, judge
from torch import Tensor

from transformer_lab.lab.cost.threads import RunThreads
from transformer_lab.lab.device import available_cores
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training import preparing, recorded, sampling, saves
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.runs.database import RunWriter
from transformer_lab.training import optimizers, trainer

PARTS: list[tuple[Any, str, str]] = [
    (preparing.PreparedRun, "prepare", "preparing text and model"),
    (preparing.PreparedRun, "begin", "opening the run"),
    (RunThreads, "__init__", "timing threads"),
    (trainer, "forward_backward", "steps: forward and backward"),
    (optimizers.Together, "step", "steps: optimizer"),
    (trainer, "validate", "looks at the validation text"),
    (recorded.RecordedRun, "publish", "snapshots"),
    (saves.Saves, "remember_moment", "moments kept"),
    (saves.Saves, "save", "saves"),
    (RunWriter, "append", "database"),
    (LiveRun, "advance", "the rest of a step"),
]


@dataclass(frozen=True)
class Look:
    """What the page shows after a look at the validation text, and when."""

    seconds: float
    processor: float
    step: int
    shown: float
    snapshot: Snapshot


class Watched(Lab):
    """A lab that remembers when its training was looked at."""

    def begin(self, setup: Setup) -> None:
        """Press Start."""
        self.looks: list[Look] = []
        self.begun, self.used = time.perf_counter(), time.process_time()
        self.trainings.start(setup, "quick_start")

    def _observe(self, run: LiveRun, evaluated: bool) -> None:
        now = time.perf_counter() - self.begun, time.process_time() - self.used
        if evaluated and run.status.step and run.snapshot and run.validation_loss is not None:
            self.looks.append(Look(*now, run.status.step, run.validation_loss, run.snapshot))
        super()._observe(run, evaluated)


def main() -> None:
    """Print a row for each seed, then where the time went."""
    parser = argparse.ArgumentParser(description="Quick start by the user's clock.")
    parser.add_argument("--seeds", type=int, nargs="*", default=[101, 102, 103])
    parser.add_argument("--threads", type=int, default=0, help="0 measures, as the page does")
    parser.add_argument("--no-plain", action="store_true", help="Quick start alone")
    parser.add_argument("--plain", type=int, help="only the plain training, of this seed")
    wish = parser.parse_args()
    if wish.plain is None:  # a second group of threads, of this one, would slow the lab's
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        encoded = Texts(Path(home)).fetched(Setup())[1]
    tokens = torch.from_numpy(encoded.training).long()
    judged = torch.from_numpy(encoded.validation).long()[len(encoded.validation) // 2 :]
    if wish.plain is not None:
        print(*plain(wish.plain, wish.threads, tokens, judged))
        return
    print(f"{platform.machine()}, {available_cores()} cores, torch {torch.__version__}")
    print(f"to a validation loss below {GOAL}; load {os.getloadavg()[0]:.1f}\n")
    spent = clocks()
    rows = []
    for seed in wish.seeds:
        spent.clear()
        ours = quick_start(seed, wish.threads, judged)
        theirs = [0.0, 0.0] if wish.no_plain else plain_apart(seed, wish.threads)
        rows.append((ours.seconds, ours.processor, *theirs))
        said = f"step {ours.step}, shown {ours.shown:.3f}  {described(rows[-1])}"
        print(f"{seed:6}  {said}", flush=True)
    print(f"median  {described([statistics.median(row) for row in zip(*rows, strict=True)])}\n")
    print("processor seconds of the last training, all of it")
    for part, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{part:32} {seconds:6.2f} {100 * seconds / sum(spent.values()):5.1f} %")


def described(row: Any) -> str:
    """Both sides and their ratios, by the clock and by processor time."""
    seconds, processor, plain_seconds, plain_processor = row
    return (
        f"Quick start {seconds:5.1f} s ({processor:5.1f} of the processor)"
        f"  plain {plain_seconds:6.1f} s ({plain_processor:6.1f})"
        f"  {plain_seconds / seconds:5.1f}x ({plain_processor / processor:.1f}x)"
    )


def quick_start(seed: int, threads: int, judged: Tensor) -> Look:
    """Train as the page does, to the end; the first look at weights that are below the goal."""
    setup = load_recipes()["quick_start"].setup
    setup = setup.with_values({"train.seed": seed, "train.threads": threads})
    with tempfile.TemporaryDirectory() as home:
        lab = Watched(Path(home))
        lab.begin(setup)
        lab.trainings.wait()
        while lab.trainings.busy():
            time.sleep(0.1)
        lab.close()
    return next(look for look in lab.looks if judge(look.snapshot.model(), judged) < GOAL)


def plain_apart(seed: int, threads: int) -> list[float]:
    """What `plain` gives in another process."""
    command = [sys.executable, __file__, "--plain", str(seed), "--threads", str(threads)]
    return [float(number) for number in subprocess.check_output(command).split()]


def plain(seed: int, threads: int, tokens: Tensor, judged: Tensor) -> tuple[float, float]:
    """Seconds, and of the processor, of the plain training's steps until it is below the goal."""
    if threads:
        torch.set_num_threads(threads)
    settings = replace(CPU_EXAMPLE, vocabulary=int(tokens.max()) + 1, evaluate_every=PLAIN_LOOK)
    seconds = processor = 0.0
    looking = [0.0, 0.0]

    def look(model: Callable[[Tensor], Tensor]) -> float:
        begun, used = time.perf_counter(), time.process_time()
        loss = judge(model, judged)
        looking[0] += time.perf_counter() - begun
        looking[1] += time.process_time() - used
        return loss

    begun, used = time.perf_counter(), time.process_time()
    before = 0.0, 0.0, float("inf")
    for _, _, loss in plain_training(settings, tokens, look, seed):
        seconds = time.perf_counter() - begun - looking[0]
        processor = time.process_time() - used - looking[1]
        if loss is not None and loss < GOAL:  # in between the two looks
            share = (before[2] - GOAL) / (before[2] - loss)
            return (
                before[0] + share * (seconds - before[0]),
                before[1] + share * (processor - before[1]),
            )
        if loss is not None:
            before = seconds, processor, loss
    return seconds, processor


def clocks() -> dict[str, float]:
    """Measure from now on what each part takes of the processor, without the parts within it."""
    spent: dict[str, float] = defaultdict(float)
    within = threading.local()  # what the parts took that a part called, of each thread

    def timed(work: Callable[..., Any], part: str) -> Callable[..., Any]:
        @functools.wraps(work)
        def measured(*args: Any, **named: Any) -> Any:
            begun, outer = time.thread_time(), vars(within).get("inner", 0.0)
            within.inner = 0.0
            try:
                return work(*args, **named)
            finally:
                taken = time.thread_time() - begun
                spent[part] += taken - within.inner
                within.inner = outer + taken

        return measured

    for owner, name, part in PARTS:
        setattr(owner, name, timed(getattr(owner, name), part))
    write = vars(sampling)["write"]
    vars(sampling)["write"] = timed(lambda *given: list(write(*given)), "samples")
    return spent


if __name__ == "__main__":
    main()
