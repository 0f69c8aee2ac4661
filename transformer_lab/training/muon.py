"""Muon: an optimizer for matrices.

Shapes: N matrices, R rows, C columns.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lab.training.uncompiled import Uncompiled

ROUNDS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)


class Muon(Uncompiled):
    """Momentum whose every update is made orthogonal, so that no direction dominates a matrix.

    Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
    """

    def __init__(
        self,
        matrices: Mapping[nn.Parameter, Sequence[int]],
        momentum: float,
        weight_decay: float,
        share: float,
        gathered: Mapping[nn.Parameter, Callable[[Tensor], tuple[Tensor, slice]]] | None = None,
        format: torch.dtype = torch.float32,
    ) -> None:
        """`matrices` gives the heights of the matrices that stand in each parameter, stacked.

        Without heights it is one. Where a process has but some rows of each parameter, `gathered`
        makes whole what stands beside them, and says which rows of it they are. Updates in float32
        are made orthogonal in that `format`.
        """
        self.found_inf = torch.zeros(())
        defaults = {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay, "share": share}
        super().__init__(list(matrices), defaults)
        self._matrices = dict(matrices)
        self._gathered = gathered or {}
        self._format = format

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix; those of one shape are orthogonalized together.

        Where rows are gathered, one parameter after another, so that few are whole at a time.
        """
        sound = 1 - self.found_inf  # 0 makes all that follows change nothing
        for group in self.param_groups:
            learning = [p for p in group["params"] if p.grad is not None]
            for some in [[p] for p in learning] if self._gathered else [learning]:
                self._update(some, group, sound)

    def _update(
        self, parameters: Sequence[nn.Parameter], group: dict[str, Any], sound: Tensor
    ) -> None:
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor, slice]]] = defaultdict(list)
        for parameter in parameters:
            for weight, update, rows in self._squares(parameter, group["momentum"], sound):
                by_shape[update.shape].append((weight, update, rows))
        for found in by_shape.values():
            weights, updates, kept = zip(*found, strict=True)
            height, width = updates[0].shape
            step = group["lr"] * max(1.0, height / width) ** 0.5 * sound
            together = torch.stack(updates)
            format = self._format if together.dtype == torch.float32 else together.dtype
            directions = step * orthogonalized(together.to(format)).to(together.dtype)
            own = [direction[rows] for direction, rows in zip(directions, kept, strict=True)]
            if group["weight_decay"]:
                torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"] * sound)
            torch._foreach_sub_(weights, own)

    def _squares(
        self, parameter: nn.Parameter, momentum: float, sound: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, slice]]:
        """The matrix, its Nesterov update and which rows of that belong to it.

        Several where several stand in the parameter. Rows of a matrix may be all there is of it
        here, or none; its update is whole.
        """
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        gradient = torch.where(sound.bool(), parameter.grad, 0.0)
        weight = (1 - momentum) * sound.to(gradient.dtype)  # PyTorch 2.6 insists on one dtype
        average = state["momentum"].lerp_(gradient, weight)
        update, here = gradient.lerp(average, momentum), slice(0, len(parameter))
        if parameter in self._gathered:
            update, here = self._gathered[parameter](update)
        top = 0
        for piece in update.split(list(self._matrices[parameter]) or len(update)):
            bottom = top + len(piece)
            first, last = (min(max(row, top), bottom) for row in (here.start, here.stop))
            yield (
                parameter[max(first - here.start, 0) : max(last - here.start, 0)],
                piece,
                slice(first - top, last - top),
            )
            top = bottom


def orthogonalized(matrices: Tensor) -> Tensor:
    """(N, R, C) -> (N, R, C): singular values of any size are brought near 1, to 0.4 to 1.6.

    Each round is x <- (a + b xxᵀ + c (xxᵀ)²) x. All factors are polynomials of the first xxᵀ, so
    for a long matrix they are multiplied with one another, which is small, and with x only once;
    that takes float32, since what 16 bits round off grows with every factor.
    Source of the factors: arXiv:2505.16932, algorithm 1.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (1.01 * x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    if x.shape[2] > 2 * x.shape[1] and x.dtype != torch.bfloat16:
        x = product_of_factors(x @ x.transpose(1, 2)) @ x
    else:
        for a, b, c in ROUNDS:
            gram = x @ x.transpose(1, 2)
            x = torch.baddbmm(a * x, torch.baddbmm(b * gram, gram, gram, alpha=c), x)
    return x.transpose(1, 2) if tall else x


def product_of_factors(gram: Tensor) -> Tensor:
    """(N, R, R) xxᵀ -> (N, R, R), what all rounds multiply x with"""
    factor = product = None
    for a, b, c in ROUNDS:
        if factor is not None:
            gram = factor @ gram @ factor
        factor = torch.baddbmm(b * gram, gram, gram, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
    assert product is not None
    return product
