"""What a training will cost, before it starts: arithmetic, memory and time.

Arithmetic is counted. Memory is a formula whose factors `tests/bench/memory.py` fits to trainings
of many sizes. Time is that of `step_time.py`: guessed, until steps were really taken.
"""

import math
from dataclasses import dataclass, replace

from transformer_lab.lab.cost.step_time import Speed, guessed_step, in_all
from transformer_lab.lab.device import memory_free
from transformer_lab.model import ModelConfig, parameter_breakdown
from transformer_lab.model.weights import products_per_token, settled_per_token
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError
from transformer_lab.training.learning_rules import passes
from transformer_lab.training.micro_batches import TOKENS

MARGIN = 1.2  # over the formula, which errs by up to this much
LONG = 600.0  # seconds from which a training on this computer is called long

# Bytes, fitted by tests/bench/memory.py: see docs/performance.md for the error on other points.
PER_PARAMETER = 27.0
PER_WIDTH = 72.0  # per token, layer and number of its vector
PER_HIDDEN = 4.8  # per token, layer and hidden unit of the feed-forward
PER_LOOK = 9.9  # per token, layer, head and token of the sequence, with dropout
PER_SCORE = 11.0  # per token and token of the vocabulary
PER_SETTLED = 19.0  # per token, step and number of what settles in the model
PER_LATENT = 100.0  # per token, layer and number of its vector, with predictive-coding learning
PER_BATCHED = 28.0  # per token of the whole batch, and of one for evaluation
CONSTANT = 108e6


@dataclass(frozen=True)
class Estimate:
    """What a training will need.

    `flops` are per step, `memory` its peak in bytes with a margin beside what is `free`, both None
    on a GPU; `step_seconds` and `seconds` (in all, with evaluations) the time, None where nothing
    is known of the device yet; `measured` says whether it comes from steps really taken.
    `micro_batch` is in sequences.
    """

    parameters: int
    flops: float
    memory: float | None
    free: float | None
    micro_batch: int
    step_seconds: float | None
    seconds: float | None
    measured: bool

    @property
    def long(self) -> bool:
        """Whether one should know before starting it how long it takes."""
        return (self.seconds or 0) > LONG


def flops_per_step(setup: Setup, vocabulary_size: int) -> float:
    """Multiplications and additions of one batch, forward and backward (which is twice forward).

    Source: arXiv:2204.02311, appendix B, with half the attention, since no token sees later ones.
    """
    tokens = setup.train.batch_size * setup.model.sequence_length
    products = products_per_token(setup.model, vocabulary_size)
    return tokens * 2.0 * passes(setup.train, setup.model.layers) * products


def peak_memory(model: ModelConfig, vocabulary_size: int, parameters: int, sequences: int) -> float:
    """Bytes a training takes at its peak on a CPU, on top of what the process has before it.

    The peak is in a step: an evaluation computes as many `sequences` at a time, only forward.
    """
    tokens = sequences * model.sequence_length
    hidden = model.feedforward_multiple * model.embedding_dim
    look = PER_LOOK * model.heads * model.sequence_length if model.dropout else 0.0
    layer = PER_WIDTH * model.embedding_dim + PER_HIDDEN * hidden + look
    settled = PER_SETTLED * settled_per_token(model, vocabulary_size)
    activations = tokens * (model.layers * layer + PER_SCORE * vocabulary_size + settled)
    return CONSTANT + PER_PARAMETER * parameters + activations


def choose_micro_batch(setup: Setup, vocabulary_size: int, device: str, free: float) -> int:
    """Sequences to compute at once: on a GPU all of them, on a CPU what is fast and fits.

    A system that runs out of memory kills the program, so this is settled beforehand. Raises
    ConfigError, saying what to reduce and by how much, when there is no room for even one.
    """
    wanted = setup.train.micro_batch or setup.train.batch_size
    if device != "cpu":
        return wanted
    if not setup.train.micro_batch:
        wanted = min(wanted, max(1, TOKENS // setup.model.sequence_length))
    parameters = sum(parameter_breakdown(setup.model, vocabulary_size).values())
    sequences = wanted
    while _needed(setup, vocabulary_size, parameters, sequences) > free:
        if sequences == 1:
            raise _too_large(setup, vocabulary_size, free)
        sequences = math.ceil(sequences / 2)
    return sequences


def _needed(setup: Setup, vocabulary_size: int, parameters: int, sequences: int) -> float:
    model = setup.model
    needed = peak_memory(model, vocabulary_size, parameters, sequences)
    if setup.train.learning_rule != "backprop":
        tokens = sequences * model.sequence_length
        needed += PER_LATENT * tokens * model.layers * model.embedding_dim
    needed += PER_BATCHED * setup.train.batch_size * model.sequence_length
    return MARGIN * needed


def _too_large(setup: Setup, vocabulary_size: int, free: float) -> ConfigError:
    """The error for a model of which not one sequence fits, with the nearest settings that do."""
    model = setup.model

    def needed(model: ModelConfig) -> float:
        parameters = sum(parameter_breakdown(model, vocabulary_size).values())
        return _needed(replace(setup, model=model), vocabulary_size, parameters, 1)

    ways = []
    for name, label, lowest in (
        ("sequence_length", "Sequence Length", 8),
        ("layers", "Layers", 2 if model.architecture == "pc_alternating" else 1),
        ("embedding_dim", "Embedding Dimension", 8 * model.heads),
    ):
        value = getattr(model, name) // 2
        while value >= lowest and needed(replace(model, **{name: value})) > free:
            value //= 2
        if value >= lowest:
            ways.append(f"{label} to {value:,}")
    way = f"reduce {' or '.join(ways)}" if ways else "choose a much smaller model"
    return ConfigError(
        "model.sequence_length",
        f"Even one sequence needs about {needed(model) / 1e9:.1f} GB of memory and "
        f"{free / 1e9:.1f} GB are free: {way}.",
    )


def estimate(
    setup: Setup,
    vocabulary_size: int,
    device: str,
    *,
    speed: Speed | None,
    measured: float | None = None,
) -> Estimate:
    """What a training will cost. `measured` seconds a step replace those guessed by `speed`.

    Raises ConfigError when it cannot fit.
    """
    free = memory_free()
    train, on_cpu = setup.train, device == "cpu"
    parameters = sum(parameter_breakdown(setup.model, vocabulary_size).values())
    micro_batch = choose_micro_batch(setup, vocabulary_size, device, free)
    flops = flops_per_step(setup, vocabulary_size)
    parts = math.ceil(train.batch_size / micro_batch)
    step = measured or (guessed_step(setup, flops, parts, speed) if speed else None)
    needed = _needed(setup, vocabulary_size, parameters, micro_batch)
    return Estimate(
        parameters=parameters,
        flops=flops,
        memory=needed if on_cpu else None,
        free=free if on_cpu else None,
        micro_batch=micro_batch,
        step_seconds=step,
        seconds=step and in_all(setup, step, parameters, speed),
        measured=measured is not None,
    )
