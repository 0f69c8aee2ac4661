"""What guessing can reach: on uniform random tokens no honest mean loss is below ln V."""

import math
from dataclasses import dataclass

from torch import Tensor

DEVIATIONS = 3.0  # standard errors a mean may lie below what is possible
TOLERANCE = 1e-5  # nats, beside them: rounding


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A mean loss in nats with its standard error, beside ln V, the least that is possible."""

    mean: float
    error: float
    least: float

    @classmethod
    def of(cls, losses: Tensor, vocabulary_size: int) -> "Bound":
        """From the losses of single tokens, of any shape."""
        exact = losses.double()
        error = float(exact.std()) / math.sqrt(exact.numel())
        return cls(mean=float(exact.mean()), error=error, least=math.log(vocabulary_size))

    @property
    def kept(self) -> bool:
        """Whether it is no lower than an honest mean could be by chance."""
        return self.mean >= self.least - DEVIATIONS * self.error - TOLERANCE

    def numbers(self) -> dict[str, float]:
        """As a proof lists them."""
        return {"mean_loss": self.mean, "standard_error": self.error, "ln_vocabulary": self.least}

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.error:.4f} nats, ln V is {self.least:.4f}"
