"""Training: batches, schedule, optimizer, and the loop that ties them. Begin at `trainer.py`."""

from transformer_lab.training.config import TrainConfig
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.trainer import NonFiniteLossError, StepMetrics, train

__all__ = ["LiveSettings", "NonFiniteLossError", "StepMetrics", "TrainConfig", "train"]
