"""The settings of a training that is over at once, and of one that never ends."""

from transformer_lab.recipes import Setup

TINY = {
    "data.corpus": "python_docs",
    "model.layers": 1,
    "model.heads": 2,
    "model.embedding_dim": 16,
    "model.sequence_length": 16,
    "train.batch_size": 4,
    "train.steps": 30,
    "train.evaluate_every": 10,
    "train.evaluation_batches": 2,
    "train.threads": 1,
    "sample.length": 10,
    "sample.prompt": "The ",
}
SETUP = Setup().with_values(TINY)
ENDLESS = SETUP.with_values({"train.steps": 1_000_000, "train.evaluate_every": 1_000_000})
