"""One model, several processes: what the first tells the others, and how they follow it.

The first has the run: it prepares it, writes, evaluates and samples. The others get the settings,
the text and the weights from it, take the same steps, and write nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from transformer_lab.lab.device import choose_device, physical_cores
from transformer_lab.lab.training.recorded import Made
from transformer_lab.model import GPT, build_model
from transformer_lab.model.weights import outline
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.run import Seam
from transformer_lab.settings import ConfigError
from transformer_lab.training import Begin, LiveSettings
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import (
    OPTIMIZERS,
    Learning,
    Optimizer,
    optimizer_state,
    restore_optimizer,
)
from transformer_lab.training.ranks import Ranks, Together
from transformer_lab.training.trainer import training_steps, validate

WEIGHT, MEMORY, TEXT, VALIDATION = "weight ", "memory ", "text training", "text validation"
ONE_ALONE = "Shard is on, but one process trains it, so it has all of the model."


def dividing(ranks: Ranks, setup: Setup) -> Ranks:
    """The processes; they split the model where its settings, or who started them, want that."""
    wanted = setup.train.shard if ranks.shard is None else ranks.shard
    return sharded(ranks) if wanted and isinstance(ranks, Together) else ranks


def sharded(ranks: Together) -> Together:
    """The same processes, each with a part of the model."""
    # To import it takes half a second, and others do without.
    from transformer_lab.training.sharded import Sharded  # noqa: PLC0415

    return Sharded(ranks)


def check(ranks: Ranks, setup: Setup, device: str, finetune: Mapping[str, Any] | None) -> None:
    """Whether several processes can train this on such a device. Raises ConfigError."""
    ranks.check(setup.train, device)
    if finetune and ranks.count > 1:
        raise ConfigError(
            "finetune", "Only whole models are trained by several processes: fine-tune in one."
        )


def note_on(ranks: Ranks, setup: Setup) -> str:
    """What the learner should know of a training by several processes; empty for one alone."""
    if ranks.count == 1:
        return ONE_ALONE if setup.train.shard else ""
    words = f"{ranks.count} processes train it together, each on its rows of every batch."
    if not ranks.whole:
        words += " Each has its part of the model, and of what the optimizer remembers."
    if setup.model.dropout:
        words += " Each draws dropout for its own rows, so another number of them draws otherwise."
    return words


def lead(
    ranks: Ranks,
    setup: Setup,
    made: Made,
    optimizer: Optimizer,
    step: int,
    seams: Sequence[Seam],
    live: LiveSettings,
) -> Optimizer:
    """Give the others what they begin with, and split the model where that is wanted.

    Gives the optimizer to go on with. Raises RankLostError.
    """
    if ranks.count == 1:
        return optimizer
    if not ranks.whole:  # then all compute the same number of sequences at once
        live.halves = False
        live.replay = [change for change in live.replay if change.name != "micro_batch"]
    facts = {
        "setup": setup.to_mapping(),
        "vocabulary_size": made.encoded.tokenizer.vocabulary_size,
        "step": step,
        "seam": seams[-1].step if seams else 0,
        "micro_batch": live.micro_batch,
        "uncompiled": live.uncompiled,
        "whole": ranks.whole,
    }
    texts = {TEXT: made.encoded.training, VALIDATION: made.encoded.validation}
    tensors = {name: torch.from_numpy(text) for name, text in texts.items()}
    tensors |= {WEIGHT + name: value for name, value in made.model.state_dict().items()}
    memory = optimizer_state(made.model, optimizer)
    tensors |= {MEMORY + key: value for key, value in memory.items()}
    device = choose_device(setup.train.device).device.type
    ranks.send(facts, tensors, lambda: ranks.split(made.model, device))
    if ranks.whole:
        return optimizer
    kept = {key: ranks.cut(value) for key, value in memory.items()}
    return _optimizer(ranks.learning(made.model), setup, kept)


def follow(ranks: Together, splitting: Callable[[], object] = lambda: None) -> None:
    """Take the steps that rank 0 takes, until it has ended; `splitting` is called if it splits.

    Raises RankLostError.
    """
    facts, received = ranks.receive()
    setup = setup_from(facts["setup"])
    train, device = setup.train, choose_device(setup.train.device).device
    torch.set_num_threads(train.threads or max(1, physical_cores() // ranks.count))
    if facts["whole"]:
        model = build_model(setup.model, facts["vocabulary_size"], train.seed).to(device)
    else:
        splitting()
        ranks, model = sharded(ranks), outline(setup.model, facts["vocabulary_size"])
    ranks.split(model, device.type)
    memory, texts = _taken(ranks, model, received)
    optimizer = _optimizer(ranks.learning(model), setup, memory)
    batches, validation = (
        Batches(
            texts[name].to(device), train.batch_size, setup.model.sequence_length, seed, train.piece
        )
        for name, seed in ((TEXT, train.seed), (VALIDATION, 0))
    )
    live = LiveSettings(
        micro_batch=facts["micro_batch"], uncompiled=facts["uncompiled"], halves=facts["whole"]
    )
    ranks.follow(model, optimizer, lambda: validate(model, validation, train, live, 0, ranks))
    begin = Begin(step=facts["step"], seam=facts["seam"])
    for _ in training_steps(model, optimizer, batches, validation, train, live, begin, ranks):
        pass
    ranks.wait()


def _taken(
    ranks: Together, model: GPT, received: Iterable[tuple[str, Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What comes from rank 0: the weights into the model, then the optimizer's memory, the text."""
    memory, texts = {}, {}
    for name, tensor in received:
        if name.startswith(WEIGHT):
            ranks.fill(model, name.removeprefix(WEIGHT), tensor)
        elif name.startswith(MEMORY):
            memory[name.removeprefix(MEMORY)] = ranks.cut(tensor)
        else:
            texts[name] = tensor
    return memory, texts


def _optimizer(learning: Learning, setup: Setup, memory: Mapping[str, Tensor]) -> Optimizer:
    """An optimizer that remembers what an earlier one did."""
    optimizer = OPTIMIZERS[setup.train.optimizer](learning, setup.train)
    restore_optimizer(learning, optimizer, memory)
    return optimizer
