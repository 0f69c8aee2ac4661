"""A private copy of a model's weights, for whoever wants to read them."""

from dataclasses import dataclass

from torch import Tensor

from transformer_lab.model import GPT, ModelConfig, model_from_weights
from transformer_lab.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class Snapshot:
    """Weights after `step` steps of a run; nobody trains them.

    `saved` says that these very weights were read from the disk, and can be again.
    """

    run_id: str
    step: int
    config: ModelConfig
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    saved: bool = False

    def model(self) -> GPT:
        """A model with these weights, for reading."""
        return model_from_weights(self.config, self.tokenizer.vocabulary_size, self.weights)
