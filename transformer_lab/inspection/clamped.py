"""How to cheat: an evaluator that lets a model see the target before it answers.

It is the evaluation of arXiv:2506.06332, section 5.3, done to a language model: latents settle at
*test* time on an energy that holds the target, and the answer is read from them afterwards. Any
model looks good in it, trained or not, on any text, even on random tokens. The honest evaluator is
the same function without the target: then nothing pulls, and the answer is the model's own.

Shapes: B batch, T time, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.model import GPT
from transformer_lab.training.learning_rules import forward_pass, settle


def settled_scores(
    model: GPT,
    tokens: Tensor,
    targets: Tensor | None,
    *,
    steps: int,
    step_size: float,
    precision: float = 1.0,
) -> Tensor:
    """Logits read after settling: (B, T) -> (B, T, V). Honest with `targets=None`, else a leak.

    `precision` is the weight of the targets' term, for models that do not move easily.
    """
    with torch.no_grad():
        embedded = model.embed(tokens)
        latents = forward_pass(model, embedded)
    settled = settle(
        model, embedded, latents, targets, steps=steps, step_size=step_size, precision=precision
    )
    with torch.no_grad():
        return model.score(settled.latents[-1])


def honest_loss(
    model: GPT,
    tokens: Tensor,
    targets: Tensor,
    *,
    steps: int,
    step_size: float,
    precision: float = 1.0,
) -> Tensor:
    """Cross-entropy of each token after settling without the targets, in nats: (B, T)"""
    scores = settled_scores(
        model, tokens, None, steps=steps, step_size=step_size, precision=precision
    )
    return _losses(scores, targets)


def clamped_target_loss(
    model: GPT,
    tokens: Tensor,
    targets: Tensor,
    *,
    steps: int,
    step_size: float,
    precision: float = 1.0,
) -> Tensor:
    """Cross-entropy of each token after settling on the very targets it is scored by: (B, T)"""
    scores = settled_scores(
        model, tokens, targets, steps=steps, step_size=step_size, precision=precision
    )
    return _losses(scores, targets)


def _losses(scores: Tensor, targets: Tensor) -> Tensor:
    """(B, T, V), (B, T) -> (B, T), on the CPU"""
    at_least_single = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return F.cross_entropy(at_least_single.transpose(1, 2), targets, reduction="none").cpu()
