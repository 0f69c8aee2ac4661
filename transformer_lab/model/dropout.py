"""Dropout: while a model trains, a random share of numbers is set to zero and the rest enlarged.

The enlarging keeps every number's expectation. Source: Srivastava et al. 2014 (JMLR 15), section 4.

Below the plain formula stands a faster way for CPUs. There drawing the mask is what costs, so four
decisions are cut from each 64 random bits. A share is therefore a multiple of 1/65,536; what is
kept is enlarged by exactly that share.

Shapes: B batch, T time, H heads, K head width, S keys.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEVELS = 2**16  # different values of 16 random bits
QUERIES = 64  # looked after at once where attention is written out


class Dropout(nn.Module):
    """Sets a share of the numbers it is given to zero, in training only."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...): x · mask / (1 - share), where the mask is 0 with probability `share`"""
        if not self.training or self.share == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.share)
        mask = kept(x.shape, self.share).to(x.dtype)
        return x * mask.mul_(enlargement(self.share))


def kept(shape: Sequence[int], share: float) -> Tensor:
    """A mask of ones, each 0 with probability `share`, from torch's default generator.

    Nothing is drawn where the share is no level above 0. It is float32 because a product with
    booleans takes five times as long on a CPU.
    """
    if round(share * LEVELS) == 0:
        return torch.ones(tuple(shape))
    mask = torch.empty(tuple(shape))
    bits = torch.empty(math.ceil(mask.numel() / 4), dtype=torch.int64).random_(-(2**63), None)
    drawn = bits.view(torch.int16)[: mask.numel()].view(mask.shape)
    return torch.ge(drawn, round(share * LEVELS) - LEVELS // 2, out=mask)


def enlargement(share: float) -> float:
    """What the numbers that are kept are multiplied by: 1 / (1 - share), to the nearest level."""
    return LEVELS / (LEVELS - round(share * LEVELS))


def attention_with_dropout(
    q: Tensor, k: Tensor, v: Tensor, dropout: float, bias: Tensor | None = None
) -> Tensor:
    """Causal attention on a CPU, where a share of the pattern is dropped.

    (B, H, T, K), (B, H, T, K), (B, H, T, K), what is added to the scores (H or 1, T, T) or None
    -> (B, H, T, K)

    PyTorch's own is slow on a CPU once there is dropout. This one takes a few queries at a time, so
    that most of what they may not see is never computed. Nothing is learned through `bias`.
    """
    return _AttentionWithDropout.apply(q, k, v, dropout, bias)


class _AttentionWithDropout(torch.autograd.Function):
    """Its gradient is written out, because autograd would fill and add whole gradients of k and v
    for every few queries.

        W = P · mask / (1 - dropout)      P = softmax(S)      S = q Kᵀ / √K
        dV = Wᵀ dO      dW = dO Vᵀ      dS = W · dW - P Σ W · dW

    All is computed with the B H heads of a batch one after another: (B H, T, K).
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, dropout: float, bias: Tensor | None
    ) -> Tensor:
        B, H, T, K = q.shape
        mixed = q.new_empty(B, H, T, K)
        out = mixed.flatten(0, 1)
        q, k, v = ((q * K**-0.5).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))
        hidden = torch.full((QUERIES, QUERIES), -torch.inf).triu(1)  # from the queries' own block
        used: list[Tensor] = []
        for begin, end in query_blocks(T):
            scores = torch.bmm(q[:, begin:end], k[:, :end].transpose(1, 2))  # (B H, t, end)
            if bias is None:
                scores[:, :, begin:] += hidden[: end - begin, : end - begin]
            else:
                scores.view(B, H, end - begin, end).add_(bias[:, begin:end, :end])
            pattern = scores.softmax(2)
            mask = kept((B, H, end - begin, end), dropout).flatten(0, 1)
            weights = pattern * mask.to(pattern.dtype)
            out[:, begin:end] = torch.bmm(weights, v[:, :end])
            used += [pattern, weights]
        ctx.save_for_backward(q, k, v, *used)
        ctx.enlargement = enlargement(dropout)
        return mixed.mul_(ctx.enlargement)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *used = ctx.saved_tensors
        B, H, T, K = gradients[0].shape
        given = (gradients[0] * ctx.enlargement).flatten(0, 1)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for number, (begin, end) in enumerate(query_blocks(T)):
            pattern, weights = used[2 * number : 2 * number + 2]
            own = given[:, begin:end]
            dv[:, :end].baddbmm_(weights.transpose(1, 2), own)
            ds = torch.bmm(own, v[:, :end].transpose(1, 2)).mul_(weights)  # W · dW
            ds.addcmul_(pattern, ds.sum(2, keepdim=True), value=-1)
            dq[:, begin:end] = torch.bmm(ds, k[:, :end])
            dk[:, :end].baddbmm_(ds.transpose(1, 2), q[:, begin:end])
        shape = (B, H, T, K)
        return dq.mul_(K**-0.5).view(shape), dk.view(shape), dv.view(shape), None, None


def query_blocks(length: int) -> list[tuple[int, int]]:
    """Where the queries that are looked after at once begin and end."""
    return [(begin, min(begin + QUERIES, length)) for begin in range(0, length, QUERIES)]
