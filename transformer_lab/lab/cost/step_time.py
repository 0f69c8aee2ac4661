"""How long a training takes: guessed from this computer's speed, or by steps really taken.

A guess is the arithmetic of a step by the speed of a large product, and the calls of its
operations by the time of the smallest model's. A probe takes a few steps of the real model. Each is
the fastest of several short timings, because other work only ever makes them slower.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from transformer_lab.lab.cost.threads import candidates, promising, short_product
from transformer_lab.model import ModelConfig, build_model
from transformer_lab.model.weights import settled_per_token
from transformer_lab.recipes import Setup
from transformer_lab.training import train
from transformer_lab.training.batches import Batches
from transformer_lab.training.learning_rules import passes
from transformer_lab.training.optimizers import OPTIMIZERS

EFFICIENCY = 0.5  # of the speed of one large product, which a whole step reaches
LARGE = 384  # rows and columns of a large product
SLOWEST = 2e10  # FLOP/s below which hardly any CPU is, when it is not busy
LARGE_TIMES = 8
PROBE_SECONDS = 0.5
PROBE_STEPS = 12
WARM = 1  # steps that are slower, because they are the first
SAMPLE_SHARE = 10  # samples may take at most this fraction of the time: they slow the training
LONGEST_SAMPLE = 300  # tokens
PER_TOKEN = 0.2  # of the calls of a step are those of writing one token
SAVE_SECONDS = 0.1  # a save takes, besides its bytes: everything in it goes through to the disk
BYTES_SAVED = 16.0  # for each parameter: weights, the optimizer's memory, a moment
DISK_SPEED = 200e6  # bytes a second


@dataclass(frozen=True)
class Speed:
    """How fast this CPU is: `flops` a second in a large product.

    The smallest step takes `step` seconds and `layer` for each layer, however small they are: the
    time of calling its operations.
    """

    flops: float
    step: float
    layer: float


def guessed_step(setup: Setup, flops: float, parts: int, speed: Speed) -> float:
    """Seconds a step of `parts` micro-batches will take, by its arithmetic and its operations."""
    model, again = setup.model, passes(setup.train, setup.model.layers) / 3
    if settled_per_token(model, 2):
        again *= model.pc_steps
    calls = speed.step + again * parts * model.layers * speed.layer
    return flops / (EFFICIENCY * speed.flops) + calls


def in_all(setup: Setup, step: float, parameters: int, speed: Speed | None) -> float:
    """Seconds of a whole training whose steps take `step`, with evaluations, samples and saves."""
    train = setup.train
    evaluations = math.ceil(train.steps / train.evaluate_every)
    looks = (
        evaluations * train.evaluation_batches / passes(train, setup.model.layers)
    )  # forward only
    training = step * (train.steps + looks)
    token = (speed.step + setup.model.layers * speed.layer) * PER_TOKEN if speed else 0.0
    samples = evaluations * min(setup.sample.length, LONGEST_SAMPLE) * token
    saves = SAVE_SECONDS + BYTES_SAVED * parameters / DISK_SPEED
    saved = saves * (1 + (train.steps // train.save_every if train.save_every else 0))
    return training + min(samples, training / SAMPLE_SHARE) + saved


def measured_speed() -> Speed:
    """How fast this CPU is, on the number of threads that suits it now; takes some milliseconds.

    For the worker's thread only, as `probe`.
    """
    matrix = torch.ones(LARGE, LARGE)
    found = []
    for count in {1, *promising(candidates(), short_product(LARGE, LARGE))[:1]}:
        torch.set_num_threads(count)
        found += timings(lambda: matrix @ matrix, LARGE_TIMES)[WARM:]
    large = min(found)
    torch.set_num_threads(1)
    one, three = (fastest_step(_smallest(layers), 2, 1) for layers in (1, 3))
    step, layer = split(one, three)
    return Speed(flops=2 * LARGE**3 / large, step=step, layer=layer)


def split(one: float, three: float) -> tuple[float, float]:
    """Of the times of one and of three layers: that of a step without any, and of each layer.

    Where other work came between, neither becomes nothing: half of the smallest step stays.
    """
    layer = min(max(0.0, three - one) / 2, one / 2)
    return one - layer, layer


def _smallest(layers: int) -> Setup:
    """A model whose steps take no time but that of calling its operations."""
    model = ModelConfig(layers=layers, heads=1, embedding_dim=16, sequence_length=8, dropout=0.0)
    return replace(Setup(), model=model).with_values({"train.batch_size": 1})


def probe(setup: Setup, vocabulary_size: int, micro_batch: int, flops: float) -> float | None:
    """Seconds a step takes, measured on a few sequences; None where that would take too long.

    `flops` are those of a step. For the worker's thread only: it uses torch's default random
    generator for dropout.
    """
    batch = setup.train.batch_size
    if flops / batch / SLOWEST > PROBE_SECONDS:  # not by a measured speed: this moment may be busy
        return None
    rows, width = micro_batch * setup.model.sequence_length, setup.model.embedding_dim
    counts = [setup.train.threads] if setup.train.threads else candidates()
    found = []
    for count in promising(counts, short_product(rows, width))[:2]:
        torch.set_num_threads(count)
        seconds = fastest_step(setup, vocabulary_size, 1)
        if seconds / batch * micro_batch < PROBE_SECONDS:
            seconds = fastest_step(setup, vocabulary_size, micro_batch)
        found.append(seconds)
    return min(found)


def fastest_step(setup: Setup, vocabulary_size: int, sequences: int) -> float:
    """Seconds of the fastest of a few real steps on `sequences` at a time, for a whole batch.

    The fastest, since other work in the same moment only ever makes them slower.
    """
    config = replace(
        setup.train,
        batch_size=sequences,
        steps=PROBE_STEPS + 1,
        evaluate_every=PROBE_STEPS + 1,
        micro_batch=0,
        compile="off",
        learning_rate=1e-6,
    )
    model = build_model(setup.model, vocabulary_size, seed=0)
    optimizer = OPTIMIZERS[config.optimizer](model, config)
    length = setup.model.sequence_length
    batches = Batches(torch.zeros(2 * length + 2, dtype=torch.int64), sequences, length, 0)
    steps = train(model, optimizer, batches, batches, config)
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < PROBE_STEPS and (len(taken) <= WARM or _soon(begun)):
        taken.append(sequences * length / next(steps).tokens_per_second)
    update = min(timings(optimizer.step, 2))  # once a batch, however many parts that has
    steps.close()
    step = min(taken[WARM:])
    return step + max(0.0, step - update) * (setup.train.batch_size / sequences - 1)


def _soon(begun: float) -> bool:
    return time.perf_counter() - begun < PROBE_SECONDS


def timings(work: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` times that something is done."""
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return found
