"""Speed of training and writing, each number beside the plain implementation's; judges nothing.

    python tests/bench/speed.py [steps] [loss] [writing]      # all of them: about six minutes

Both sides take turns in one process, so what slows the computer slows both. Losses are measured on
the second half of the validation text: the recipes were tuned on the first. Uses Tiny Shakespeare
when it is at hand (TRANSFORMER_LAB_DATA names a folder of corpora).
"""

import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from plain import CPU_EXAMPLE, TUTORIAL, Plain, PlainGPT, plain_step, plain_training
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.generation import SampleConfig, generate
from transformer_lab.lab.cost.estimate import choose_micro_batch
from transformer_lab.lab.device import available_cores
from transformer_lab.lab.text.texts import Texts
from transformer_lab.model import GPT, build_model
from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.training import LiveSettings, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS

SEEDS = (101, 102, 103)
GOAL = 2.0
LOOK, PLAIN_LOOK = 10, 50  # steps between two looks at the validation loss
ROUNDS = 7  # of writing, in which the sides take turns


def main() -> None:
    wanted = sys.argv[1:] or ["steps", "loss", "writing"]
    with tempfile.TemporaryDirectory() as home:
        corpus = Texts(Path(home)).fetched(Setup())
    print(f"{platform.machine()}, {available_cores()} cores, torch {torch.__version__}")
    print(f"{corpus[0].title}, {torch.get_num_threads()} threads\n")
    training = torch.from_numpy(corpus[1].training).long()
    validation = torch.from_numpy(corpus[1].validation).long()
    judged = validation[len(validation) // 2 :]
    if "steps" in wanted:
        steps(training)
    if "loss" in wanted:
        seconds_to(training, judged)
    if "writing" in wanted:
        writing()


def steps(tokens: Tensor) -> None:
    """Milliseconds a step, on batches of the same shape."""
    print(f"{'step, median':28} {'lab':>9} {'plain':>9} {'ratio':>6} {'lab, tokens/s':>14}")
    for slug, plain, count in (
        ("tiny_shakespeare", TUTORIAL, 6),
        ("quick_start", replace(CPU_EXAMPLE, batch=16), 60),
    ):
        recipe = load_recipes()[slug]
        lab, other = paces(recipe.setup, plain, tokens, count)
        speed = plain.batch * plain.sequence / lab
        row = f"{recipe.title:28} {1e3 * lab:6.0f} ms {1e3 * other:6.0f} ms"
        print(f"{row} {other / lab:5.1f}x {speed:14,.0f}", flush=True)
    print()


def paces(setup: Setup, plain: Plain, tokens: Tensor, count: int) -> tuple[float, float]:
    """Seconds a step of ours and of the plain one takes, each the median of steps taken in turn."""
    ours = our_training(setup, tokens, seed=1)
    theirs = plain_step(plain, PlainGPT(plain))
    batches = Batches(tokens, plain.batch, plain.sequence, 1)
    taken: list[tuple[float, float]] = []
    for number in range(1, count + 3):
        begun = time.perf_counter()
        next(ours)
        middle = time.perf_counter()
        theirs(number, *batches(number))
        taken.append((middle - begun, time.perf_counter() - middle))
    lab, other = (statistics.median(side) for side in zip(*taken[2:], strict=True))
    return lab, other


def our_training(setup: Setup, tokens: Tensor, seed: int) -> Iterator[tuple[float, GPT]]:
    """Train as the lab does; yields the seconds so far and the model."""
    setup = setup.with_values({"train.seed": seed, "train.evaluate_every": 1_000_000})
    vocabulary = int(tokens.max()) + 1
    model = build_model(setup.model, vocabulary, seed)
    live = LiveSettings(micro_batch=choose_micro_batch(setup, vocabulary, "cpu", 8e9))
    batches = Batches(tokens, setup.train.batch_size, setup.model.sequence_length, seed)
    config = replace(setup.train, evaluation_batches=1)
    optimizer = OPTIMIZERS[config.optimizer](model, config)
    for metrics in train(model, optimizer, batches, batches, config, live):
        yield metrics.seconds, model


def seconds_to(tokens: Tensor, judged: Tensor) -> None:
    """Seconds of training until the validation loss is below the goal, over fresh seeds.

    They are the steps it takes times the median of steps taken in turn, so that a computer that is
    slow for a while changes nothing.
    """
    setup = load_recipes()["quick_start"].setup
    lab, other = paces(setup, CPU_EXAMPLE, tokens, 60)
    print(f"time to validation loss {GOAL}, judged on text no recipe was tuned on; a step of")
    print(f"Quick start {1e3 * lab:.0f} ms, of the plain training {1e3 * other:.0f} ms")
    print(f"{'seed':>6} {'Quick start':>18} {'plain':>18} {'ratio':>6} {'Quick start ends at':>20}")
    rows = []
    for seed in SEEDS:
        ours, last = reached(lab_run(setup, tokens, judged, seed), to_the_end=True)
        theirs, _ = reached(plain_run(CPU_EXAMPLE, tokens, judged, seed))
        rows.append((ours * lab, theirs * other))
        sides = f"{ours:5.0f} steps {ours * lab:4.1f} s {theirs:5.0f} steps {theirs * other:4.1f} s"
        print(f"{seed:6} {sides} {theirs * other / (ours * lab):5.1f}x {last:20.3f}", flush=True)
    ours, theirs = (statistics.median(side) for side in zip(*rows, strict=True))
    print(f"median {ours:16.1f} s {theirs:16.1f} s {theirs / ours:5.1f}x\n")


Point = tuple[int, float]  # steps, validation loss


def reached(points: Iterator[Point], *, to_the_end: bool = False) -> tuple[float, float]:
    """Steps at which the goal was reached, between two looks, and the loss where it was left."""
    found, before, loss = float("inf"), (0, float("inf")), float("inf")
    for step, loss in points:
        if loss < GOAL and found == float("inf"):
            share = (before[1] - GOAL) / (before[1] - loss)
            found = before[0] + share * (step - before[0])
            if not to_the_end:
                break
        before = (step, loss)
    return found, loss


def lab_run(setup: Setup, tokens: Tensor, judged: Tensor, seed: int) -> Iterator[Point]:
    for number, (_, model) in enumerate(our_training(setup, tokens, seed), start=1):
        if number % LOOK == 0:
            yield number, judge(model.eval(), judged)


def plain_run(plain: Plain, tokens: Tensor, judged: Tensor, seed: int) -> Iterator[Point]:
    plain = replace(plain, vocabulary=int(tokens.max()) + 1, evaluate_every=PLAIN_LOOK)
    for step, _, loss in plain_training(plain, tokens, lambda model: judge(model, judged), seed):
        if loss is not None:
            yield step, loss


@torch.no_grad()
def judge(model: Callable[[Tensor], Tensor], judged: Tensor) -> float:
    """Mean loss on 32 batches, always the same ones, of 16 sequences of 64 tokens."""
    batches, total = Batches(judged, 16, 64, 0), 0.0
    for number in range(32):
        inputs, targets = batches(number)
        total += F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).item()
    return total / 32


def writing(count: int = 400) -> None:
    """Tokens per second of processor time on one thread, refills of the context included."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"{'writing, tokens/s':28} {'cached':>8} {'uncached':>9} {'plain':>8} {'ratio':>6}")
    config, prompt = SampleConfig(length=count), torch.arange(6)
    for slug in ("tiny_shakespeare", "quick_start"):
        recipe = load_recipes()[slug]
        model = build_model(recipe.setup.model, 65, 1).eval().requires_grad_(False)
        plain = PlainGPT(replace(TUTORIAL, sequence=recipe.setup.model.sequence_length)).eval()
        sides = (
            lambda model=model: generate(model, prompt.numpy(), config),
            lambda model=model: generate(model, prompt.numpy(), config, cached=False),
            lambda plain=plain: plain.generate(prompt[None], count),
        )
        rounds = [[spent(side) for side in sides] for _ in range(ROUNDS)]
        speeds = [count / statistics.median(side) for side in zip(*rounds, strict=True)]
        row = f"{recipe.title:28} {speeds[0]:8,.0f} {speeds[1]:9,.0f} {speeds[2]:8,.0f}"
        print(f"{row} {statistics.median(taken[2] / taken[0] for taken in rounds):5.1f}x")
    torch.set_num_threads(threads)
    print()


def spent(side: Callable[[], Iterator[int]]) -> float:
    """Processor seconds of writing, which other programs change less than seconds."""
    begun = time.process_time()
    for _ in side():
        pass
    return time.process_time() - begun


if __name__ == "__main__":
    main()
