"""PyTorch's optimizers without its compiler, which takes a second to load.

PyTorch wraps some of their methods to have the compiler leave them alone; nothing is compiled here.
"""

import inspect
from typing import Any

import torch


class Uncompiled(torch.optim.Optimizer):
    """An optimizer that works without loading the compiler."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, as in PyTorch."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update, that of the optimizer of PyTorch which this one is."""
        theirs = next(kind for kind in type(self).__mro__ if kind.__module__.startswith("torch."))
        inspect.unwrap(theirs.step)(self)  # type: ignore[attr-defined]
