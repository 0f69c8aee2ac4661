"""Training: batches, schedule, optimizer, and the loop that ties them. Begin at `trainer.py`."""

from transformer_lab.training.config import TrainConfig
from transformer_lab.training.live import Change, LiveSettings
from transformer_lab.training.metrics import NonFiniteLossError, StepMetrics
from transformer_lab.training.trainer import Begin, train

__all__ = [
    "Begin",
    "Change",
    "LiveSettings",
    "NonFiniteLossError",
    "StepMetrics",
    "TrainConfig",
    "train",
]
