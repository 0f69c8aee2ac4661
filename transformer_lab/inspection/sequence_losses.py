"""The loss of a model sequence by sequence, so that a difference comes with its standard error.

Shapes: B batch, T time, N sequences in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lab.model import GPT
from transformer_lab.training.micro_batches import NOT_COUNTED, in_parts


@dataclass(frozen=True, eq=False)
class SequenceLosses:
    """Of every sequence the loss in nats, summed over its counted tokens, and their number: (N,)"""

    sums: Tensor
    counts: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: GPT, batches: Sequence[tuple[Tensor, Tensor]]) -> Self:
        """Measured on (B, T) inputs and targets; a target of -100 is not counted."""

        def read(inputs: Tensor, targets: Tensor) -> Tensor:
            device = model.embedding.weight.device
            logits, wanted = model(inputs.to(device)), targets.to(device)
            losses = F.cross_entropy(logits.mT, wanted, ignore_index=NOT_COUNTED, reduction="none")
            return losses.sum(1).double().cpu()

        sums = [part for batch in batches for part in in_parts(model, read, *batch)]
        counts = [(targets != NOT_COUNTED).sum(1).cpu() for _, targets in batches]
        return cls(torch.cat(sums), torch.cat(counts))

    @property
    def mean(self) -> float:
        """The loss in nats per token."""
        return float(self.sums.sum() / self.counts.sum())

    def error_of_change(self, before: Self) -> float:
        """The standard error of how far `mean` lies above that of another model, same sequences.

        Of a ratio of sums, over sequences as the independent units; 0 where there is only one.
        """
        N = len(self.sums)
        changes = self.sums - before.sums
        strays = changes - changes.sum() / self.counts.sum() * self.counts
        return float((strays.square().sum() * N / max(N - 1, 1)).sqrt() / self.counts.sum())
