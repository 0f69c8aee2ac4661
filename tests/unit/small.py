"""Settings of a training that is over at once and of one that never ends; a step of a training."""

from transformer_lab.recipes import Setup
from transformer_lab.training import StepMetrics

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


def step(number: int, validation_loss: float | None = None) -> StepMetrics:
    """What a training might record of a step."""
    return StepMetrics(
        step=number,
        train_loss=4.0 / number,
        learning_rate=0.001,
        gradient_norm=1.5,
        tokens_per_second=1000.0,
        seconds=0.1 * number,
        validation_loss=validation_loss,
    )
