"""Several processes that train one model, as torchrun starts them.

    torchrun --nproc-per-node=2 -m transformer_lab.cli train --recipe tiny_shakespeare

Only the first, rank 0, is a command as any other; the rest follow it.
"""

import os
import signal
from typing import NoReturn

from transformer_lab.cli.common import FAILED
from transformer_lab.lab.elsewhere.processes import VISIBLE, gpus
from transformer_lab.lab.training.together import follow
from transformer_lab.settings import ConfigError
from transformer_lab.training.ranks import (
    ALONE,
    Line,
    RankLostError,
    Ranks,
    Together,
    started_by_torchrun,
)


def joined(shard: bool | None = None) -> Ranks:
    """The processes that train together, where torchrun has started several; else this one.

    Each has one GPU, where there are any. `shard` says whether they split the model; None: as its
    settings say. Raises ConfigError.
    """
    rank, count = started_by_torchrun()
    if count == 1:
        return ALONE
    local = int(os.environ.get("LOCAL_RANK", rank))
    names = gpus()
    if names and local >= len(names):
        raise ConfigError(
            "nproc-per-node", f"There are {len(names)} GPUs: start at most so many processes here."
        )
    if names:  # before anything is computed: each takes the only one it sees
        os.environ[VISIBLE] = names[local]
    return Together(rank, count, Line("cuda" if names else "cpu"), shard)


def follow_the_first(ranks: Together) -> NoReturn:
    """Take part in what rank 0 trains, which alone prints and writes; then end this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches rank 0, which ends for all
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # while it waits for others, nothing else works

    def splitting() -> None:
        """Its part is needed when rank 0, which is asked to end at the same time, saves."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    code = 0
    try:
        follow(ranks, splitting)
        ranks.end()
    except RankLostError:
        code = FAILED
    # There is nothing to tidy up, and threads of torch.distributed now and then abort a process
    # that is leaving.
    os._exit(code)


def interrupted(ranks: Ranks) -> str:
    """Why a training ends by a signal; torchrun sends one when another of its processes ended."""
    if ranks.count == 1:
        return "Interrupted."
    return (
        f"Interrupted, or another of the {ranks.count} processes that train this model has ended."
    )
