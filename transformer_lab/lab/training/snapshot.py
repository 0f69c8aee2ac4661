"""A copy of a model's weights that training does not change."""

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from transformer_lab.model import GPT, ModelConfig, model_from_weights
from transformer_lab.text.tokenizers import Tokenizer


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Weights after `step` steps of a run, which no training changes.

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

    @cached_property
    def shared(self) -> GPT:
        """The model, made once and shared by all readers: no hooks may be put on it."""
        return self.model()

    @cached_property
    def key(self) -> str:
        """A name for the very weights; of those that are not saved, one that is never used again.

        Those that lie on disk are named by their numbers, so that what was found of them can be
        kept there too.
        """
        return fingerprint(self) if self.saved else f"live {uuid.uuid4().hex[:12]}"

    @property
    def nbytes(self) -> int:
        """Bytes that the weights take."""
        return sum(weight.nbytes for weight in self.weights.values())

    def without_weights(self) -> "Snapshot":
        """The same without the weights."""
        return replace(self, weights={})


def fingerprint(snapshot: Snapshot) -> str:
    """A name for weights and the shape they are used in, that no other ones have."""
    sums = hashlib.sha256(json.dumps(asdict(snapshot.config), sort_keys=True).encode())
    for name, weight in sorted(snapshot.weights.items()):
        sums.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        sums.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return sums.hexdigest()
