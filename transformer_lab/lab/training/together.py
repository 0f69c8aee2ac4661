"""One model, several processes: what the first tells the others, and how they follow it.

The first has the run: it prepares it, writes, evaluates and samples. The others get the settings,
the text and the weights from it, take the same steps, and write nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from transformer_lab.lab.device import choose_device, physical_cores
from transformer_lab.lab.training.recorded import Made
from transformer_lab.model import build_model
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.run import Seam
from transformer_lab.settings import ConfigError
from transformer_lab.training import Begin, LiveSettings
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import (
    OPTIMIZERS,
    Optimizer,
    optimizer_state,
    restore_optimizer,
)
from transformer_lab.training.ranks import Ranks, Together
from transformer_lab.training.trainer import training_steps

WEIGHT, MEMORY, TOKENS = "weight ", "memory ", "tokens"


def check(ranks: Ranks, setup: Setup, finetune: Mapping[str, Any] | None) -> None:
    """Whether several processes can train this. Raises ConfigError."""
    ranks.check(setup.train.batch_size)
    if finetune and ranks.count > 1:
        raise ConfigError(
            "finetune", "Only whole models are trained by several processes: fine-tune in one."
        )


def note_on(ranks: Ranks, setup: Setup) -> str:
    """What the learner should know of a training by several processes; empty for one alone."""
    if ranks.count == 1:
        return ""
    words = f"{ranks.count} processes train it together, each on its rows of every batch."
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
) -> None:
    """Give the others what they begin with. Raises RankLostError."""
    if ranks.count == 1:
        return
    facts = {
        "setup": setup.to_mapping(),
        "vocabulary_size": made.encoded.tokenizer.vocabulary_size,
        "step": step,
        "seam": seams[-1].step if seams else 0,
        "micro_batch": live.micro_batch,
        "uncompiled": live.uncompiled,
    }
    weights = {WEIGHT + name: value for name, value in made.model.state_dict().items()}
    memory = {MEMORY + key: value for key, value in optimizer_state(made.model, optimizer).items()}
    ranks.send(facts, {TOKENS: torch.from_numpy(made.encoded.training), **weights, **memory})


def follow(ranks: Together) -> None:
    """Take the steps that rank 0 takes, until it has ended. Raises RankLostError."""
    facts, tensors = ranks.receive()
    setup = setup_from(facts["setup"])
    train, device = setup.train, choose_device(setup.train.device).device
    torch.set_num_threads(train.threads or max(1, physical_cores() // ranks.count))
    model = build_model(setup.model, facts["vocabulary_size"], train.seed)
    model.load_state_dict(_named(WEIGHT, tensors))
    model.to(device)
    optimizer = OPTIMIZERS[train.optimizer](model, train)
    restore_optimizer(model, optimizer, _named(MEMORY, tensors))
    batches = Batches(
        tensors[TOKENS].to(device),
        train.batch_size,
        setup.model.sequence_length,
        train.seed,
        train.piece,
    )
    live = LiveSettings(micro_batch=facts["micro_batch"], uncompiled=facts["uncompiled"])
    begin = Begin(step=facts["step"], seam=facts["seam"])
    for _ in training_steps(model, optimizer, batches, batches, train, live, begin, ranks):
        pass
    ranks.wait()


def _named(kind: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)
    }
