"""Steps of a small model by one of several processes: `python rank_steps.py`, started for each."""

import json
import sys
from functools import partial
from pathlib import Path

import torch

from transformer_lab.model import ModelConfig, build_model
from transformer_lab.training import LiveSettings, TrainConfig
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS, optimizer_state
from transformer_lab.training.ranks import Line, Ranks, Together
from transformer_lab.training.sharded import Sharded
from transformer_lab.training.shards import splits_on
from transformer_lab.training.trainer import Begin, training_steps, validate

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
SPLIT = {  # one sequence at a time, of which the ranks have 3 and 2; 11 rows do not halve either
    "split, float32": {"dtype": "float32", "train": {"micro_batch": 1}},
    "split, float64": {"dtype": "float64", "train": {"gradient_clip": 0.5}},
    "split, muon": {
        "dtype": "float64",
        "train": {"optimizer": "muon", "micro_batch": 2, "gradient_clip": 0.5},
        "model": {"layers": 2, "embedding_dim": 22, "architecture": "pc_dual"},
    },
    "split, sgd": {
        "dtype": "float64",
        "train": {"optimizer": "sgd", "momentum": 0.9},
        "model": {"tied_head": True, "bias": True, "positions": "learned"},
    },
}
if splits_on("cpu"):  # not in PyTorch 2.6
    CASES |= SPLIT


def held(tensors) -> int:
    """Bytes that tensors take here."""
    return sum(tensor.nbytes for tensor in tensors)


def numbers(tensors) -> list[float]:
    return [x for tensor in tensors.values() for x in tensor.detach().flatten().tolist()]


def steps(name: str, ranks: Ranks) -> dict[str, object]:
    """The losses of some steps and of a look, the weights and the optimizer's memory after them.

    And how many bytes of these the process holds.
    """
    case, shape = CASES[name], {"layers": 1, "heads": 2, "embedding_dim": 16, "sequence_length": 16}
    given = {"learning_rate": 0.01, "batch_size": 5, "steps": STEPS} | case["train"]
    config = TrainConfig(**given)
    model = build_model(ModelConfig(dropout=0.0, **shape | case.get("model", {})), 31, seed=1)
    model.to(getattr(torch, case["dtype"]))
    if name in SPLIT and isinstance(ranks, Together):
        ranks = Sharded(ranks)
        ranks.check(config, "cpu")
    ranks.split(model, "cpu")
    learning, live = ranks.learning(model), LiveSettings(halves=ranks.whole)
    optimizer = OPTIMIZERS[config.optimizer](learning, config)
    live.micro_batch = config.micro_batch or config.batch_size
    batches, losses, looked = Batches(TOKENS, config.batch_size, 16, 0), [], None
    look = partial(validate, model, batches, config, live, 3, ranks)
    if isinstance(ranks, Together):
        ranks.follow(model, optimizer, look)
    taken = training_steps(model, optimizer, batches, batches, config, live, Begin(), ranks)
    for update in taken:
        losses.append(update.loss.item())
        if ranks.rank == 0 and update.step == 3:
            live.learning_rate = 0.002  # only the first is told, as by a hand on the page
            looked = look()
    found = {"losses": losses, "looked": looked}
    if ranks.rank == 0 or ranks.whole:
        found["weights"] = numbers(ranks.weights(model))
        found["memory"] = numbers(ranks.memory(model, optimizer))
    ranks.agree(live)  # the others gather with the first until then
    own = dict(learning.named_parameters())
    return found | {
        "held": held(own.values()),
        "remembered": held(optimizer_state(learning, optimizer).values()),
        "within": held(p.to_local() if not ranks.whole else p for p in model.parameters()),
    }


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
    ranks = Together(rank, count, Line("cpu"))
    found = {name: steps(name, ranks) for name in CASES}
    found["stopped"] = stopped(ranks)
    things = {"a": torch.arange(3, dtype=torch.int32), "b": torch.tensor(0.5), "c": torch.ones(0)}
    if rank == 0:
        ranks.send({"said": "begin"}, things)
        ranks.end()
    else:
        facts, received = ranks.receive()
        sent = dict(received)
        same = all(torch.equal(sent[name], value) for name, value in things.items())
        found |= {"sent": [facts, same, [str(value.dtype) for value in sent.values()]]}
        ranks.wait()
        ranks.end()
    results.with_suffix(f".{rank}").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
