"""Steps of a small model by one of several processes: `python rank_steps.py`, started for each."""

import json
import sys
from pathlib import Path

import torch

from transformer_lab.model import ModelConfig, build_model
from transformer_lab.training import LiveSettings, TrainConfig
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS
from transformer_lab.training.ranks import Ranks, Together
from transformer_lab.training.trainer import Begin, training_steps

STEPS, STOPPED_IN = 8, 4
TOKENS = torch.tensor([ord(c) % 32 for c in "to be or not to be, that is the question. " * 40])
CASES = {  # an odd batch, so that the ranks have unlike shares of it
    "float32": {"dtype": "float32", "train": {}},
    "float64": {"dtype": "float64", "train": {"micro_batch": 2}},
    "muon": {"dtype": "float64", "train": {"optimizer": "muon", "gradient_clip": 0.5}},
    "sgd, dual stream": {
        "dtype": "float64",
        "train": {"optimizer": "sgd"},
        "model": {"architecture": "pc_dual", "positions": "pc"},
    },
}


def steps(case, ranks: Ranks) -> tuple[list[float], list[float]]:
    """The losses of some steps, and the weights after them."""
    shape = {"layers": 1, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
    given = {"learning_rate": 0.01, "batch_size": 5, "steps": STEPS} | case["train"]
    config = TrainConfig(**given)
    model = build_model(ModelConfig(**shape | case.get("model", {})), 32, seed=1)
    model.to(getattr(torch, case["dtype"]))
    optimizer, live = OPTIMIZERS[config.optimizer](model, config), LiveSettings()
    live.micro_batch = config.micro_batch or config.batch_size
    batches, losses = Batches(TOKENS, config.batch_size, 16, 0), []
    taken = training_steps(model, optimizer, batches, batches, config, live, Begin(), ranks)
    for update in taken:
        losses.append(update.loss.item())
        if ranks.rank == 0 and update.step == 3:
            live.learning_rate = 0.002  # only the first is told, as by a hand on the page
    return losses, [x for p in model.parameters() for x in p.detach().flatten().tolist()]


def stopped(ranks: Ranks) -> int:
    """How many steps are taken when the first is stopped in the middle of one."""
    model = build_model(ModelConfig(layers=1, heads=2, embedding_dim=16, sequence_length=16), 32, 1)
    config = TrainConfig(batch_size=4, steps=STEPS)
    live, batches = LiveSettings(micro_batch=4), Batches(TOKENS, 4, 16, 0)

    class Stopping(Batches):
        def __call__(self, step):
            live.stop = ranks.rank == 0 and step == STOPPED_IN
            return batches(step)

    told = Stopping(TOKENS, 4, 16, 0)
    optimizer = OPTIMIZERS["adamw"](model, config)
    return len(list(training_steps(model, optimizer, told, told, config, live, Begin(), ranks)))


def main(rank: int, count: int, results: Path) -> None:
    torch.set_num_threads(1)
    ranks = Together(rank, count, "cpu")
    found = {name: steps(case, ranks) for name, case in CASES.items()}
    found["stopped"] = stopped(ranks)
    things = {"a": torch.arange(3, dtype=torch.int32), "b": torch.tensor(0.5), "c": torch.ones(0)}
    if rank == 0:
        ranks.send({"said": "begin"}, things)
        ranks.end()
    else:
        facts, sent = ranks.receive()
        same = all(torch.equal(sent[name], value) for name, value in things.items())
        found |= {"sent": [facts, same, [str(value.dtype) for value in sent.values()]]}
        ranks.wait()
    results.with_suffix(f".{rank}").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
