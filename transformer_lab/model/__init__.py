"""The model: a decoder-only GPT and every variant of its parts. Begin reading at `gpt.py`."""

from transformer_lab.model.config import ModelConfig
from transformer_lab.model.gpt import GPT
from transformer_lab.model.weights import build_model, model_from_weights, parameter_breakdown

__all__ = ["GPT", "ModelConfig", "build_model", "model_from_weights", "parameter_breakdown"]
