"""What a step of fine-tuning costs with LoRA, against one that trains every weight.

    python tests/bench/finetune.py [rank] [width] [layers] [sequence length] [sequences] ...

What is given takes the place of QUICK_START, the last three being vocabulary, rounds and heads.
Steps of the real trainer, taken in turns; median times, their ratio, the optimizers' memories.
"""

import statistics
import sys
import time

import torch

from transformer_lab.model import GPT
from transformer_lab.model.weights import build_model
from transformer_lab.recipes import load_recipes
from transformer_lab.training.finetune import FineTuning, trained_numbers
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.optimizers import adamw
from transformer_lab.training.trainer import clipped_norm, forward_backward

QUICK_START = (8, 128, 4, 64, 16, 65, 40, 4)
METHODS = ("full", "lora")


class Tuned:
    """A model and its optimizer, of which one step after the other is taken."""

    def __init__(self, setup, method, rank, vocabulary):
        tuning = FineTuning().with_values({"finetune.method": method, "lora.rank": rank})
        self.config = setup.train
        self.model: GPT = build_model(setup.model, vocabulary, seed=1)
        tuning.apply(self.model, seed=1)
        self.trained = trained_numbers(self.model)
        self.optimizer = adamw(self.model, self.config)
        self.live = LiveSettings(micro_batch=setup.train.batch_size)
        self.seconds = []

    def step(self, number, inputs, targets):
        begun = time.perf_counter()
        self.model.train()
        forward_backward(
            self.model, self.model.loss, inputs, targets, self.config, self.live, number
        )
        clipped_norm(self.model, self.config.gradient_clip)
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - begun)

    def memory(self):
        states = self.optimizer.state.values()
        return sum(one.nbytes for state in states for one in state.values() if torch.is_tensor(one))


def main():
    """Both methods, step by step in turns."""
    given = [int(argument) for argument in sys.argv[1:]]
    rank, width, layers, length, batch, vocabulary, rounds, heads = [
        *given,
        *QUICK_START[len(given) :],
    ]
    setup = load_recipes()["quick_start"].setup.with_values(
        {
            "model.embedding_dim": width,
            "model.layers": layers,
            "model.heads": heads,
            "model.sequence_length": length,
            "train.batch_size": batch,
            "train.optimizer": "adamw",
            "train.learning_rule": "backprop",
            "train.gradient_clip": 1.0,
        }
    )
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, vocabulary, (2, batch, length), generator=generator)
    tuned = {method: Tuned(setup, method, rank, vocabulary) for method in METHODS}
    for number in range(1, rounds + 1):
        for one in tuned.values():
            one.step(number, *tokens)
    for method, one in tuned.items():
        middle = statistics.median(one.seconds[3:])
        print(f"{method:5} {one.trained:>11,} trained  {1000 * middle:8.1f} ms", end="  ")
        print(f"{one.memory():>13,} bytes remembered")
    ratios = [b / a for a, b in zip(*(tuned[m].seconds[3:] for m in METHODS), strict=True)]
    print(f"time   {statistics.median(ratios):.2f} of full, on {torch.get_num_threads()} threads")
    print(f"memory {tuned['lora'].memory() / tuned['full'].memory():.3f} of full")


if __name__ == "__main__":
    main()
