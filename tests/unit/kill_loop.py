"""Kill a training again and again with SIGKILL, and see whether anything was lost.

Run as a program: `kill_loop.py HOME KILLS SEED`. Each round a forked process goes on with the run,
saving after every step, and tells of each save that is done; it is killed at a random moment, which
three times out of four is sought while a save is being written. Prints what was seen as JSON. A
process of its own, because forking wants no other threads.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.saves import Saves, newest_save
from transformer_lab.recipes import Setup
from transformer_lab.runs.store import RunStore

# A large optimizer and a small batch, so that most of the time goes into saving.
SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 2,
        "model.heads": 2,
        "model.embedding_dim": 256,
        "model.sequence_length": 8,
        "train.batch_size": 1,
        "train.steps": 100_000,
        "train.evaluate_every": 100_000,
        "train.evaluation_batches": 1,
        "train.threads": 1,
        "train.save_every": 1,
        "train.schedule": "constant",
        "sample.length": 1,
        "sample.prompt": "The ",
    }
)


def train(home: Path, told: int) -> None:
    """In the child: start the run or go on with it, and tell of every save that is done."""
    save = Saves.save

    def telling(self, model, optimizer, tokenizer, progress):  # type: ignore[no-untyped-def]
        done = save(self, model, optimizer, tokenizer, progress)
        os.write(told, f"{progress.step}\n".encode() if done else b"")
        return done

    Saves.save = telling  # type: ignore[method-assign]
    lab = Lab(home)
    runs = lab.trainings.interrupted()
    lab.trainings.resume(runs[0].id) if runs else lab.trainings.start(SETUP, "killed")
    time.sleep(600)


def stop_in_save(child: int, home: Path, chance: random.Random) -> None:
    """Let the child rest somewhere in the middle of writing a save."""
    while True:
        while not being_saved(home):
            time.sleep(0.0005)
        time.sleep(chance.uniform(0.0, 0.01))
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        if being_saved(home):  # else this computer was faster, or too busy
            return
        os.kill(child, signal.SIGCONT)


def being_saved(home: Path) -> bool:
    return bool(list(home.glob("runs/*/checkpoints/.staging-*")))


def kill_once(home: Path, chance: random.Random, *, aimed: bool) -> int:
    """Let a child train, kill it, and give the last step of which it told that it was saved."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        train(home, write)
        os._exit(1)
    os.close(write)
    with os.fdopen(read) as told:
        first = told.readline()
        time.sleep(chance.uniform(0.0, 0.4))
        if aimed:
            stop_in_save(child, home, chance)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return int([first, *told.read().splitlines()][-1])


def main(home: Path, kills: int, seed: int) -> None:
    """Do it `kills` times and print what was seen."""
    torch.set_num_threads(1)
    chance, lost, middle, gaps, furthest = random.Random(seed), 0, 0, 0, 0
    for number in range(kills):
        acknowledged = kill_once(home, chance, aimed=number % 4 > 0)
        (run,) = RunStore(home).all()
        middle += bool(list((run.folder / "checkpoints").glob(".staging-*")))
        saved, _ = newest_save(run)
        found = saved.progress.step if saved else 0
        lost += found < acknowledged
        gaps += [point.step for point in run.since()[0]][:found] != list(range(1, found + 1))
        furthest = found
    seen = {"kills": kills, "lost": lost, "mid_save": middle, "gaps": gaps, "step": furthest}
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
