"""The evaluator that leaks: it clamps the targets while the latents settle.

It is the evaluation of arXiv:2506.06332, section 5.3, done to a language model: latents settle at
*test* time on an energy that holds the target, and the answer is read from them afterwards. Any
model looks good in it, trained or not, on any text, even on random tokens. The honest evaluator is
the same function without the target: then nothing pulls, and the answer is the model's own.

Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.model import GPT
from transformer_lab.training.learning_rules import forward_pass, settle


def settled_losses(
    model: GPT,
    tokens: Tensor,
    scored: Tensor,
    *,
    targets: Tensor | None,
    looks: Sequence[int],
    step_size: float,
    precision: float = 1.0,
) -> Iterator[tuple[int, Tensor]]:
    """Settle on (B, T) tokens; after so many steps as `looks` says, yield them and the losses.

    The losses, (B, T) on the CPU, are the cross-entropies of the `scored` tokens in nats. With
    `targets=None` they are honest. Given the same tokens as targets, the latents settle on what
    they are then scored by: that is the leak. `precision` is the weight of the targets' term in the
    energy, for models that do not move easily.
    """
    with torch.no_grad():
        embedded = model.embed(tokens)
        latents = forward_pass(model, embedded)
    states = settle(
        model,
        embedded,
        latents,
        targets,
        steps=max(looks),
        step_size=step_size,
        weight=precision,
    )
    for step, state in enumerate(states):
        if step in looks:
            with torch.no_grad():
                scores = model.score(state.latents[-1])
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
            losses = F.cross_entropy(scores.transpose(1, 2), scored, reduction="none")
            yield step, losses.cpu()


def honest_loss(model: GPT, tokens: Tensor, scored: Tensor, *, step_size: float) -> Tensor:
    """Cross-entropy of each token after a step without the targets, in nats: (B, T)"""
    looks = settled_losses(model, tokens, scored, targets=None, looks=[1], step_size=step_size)
    return next(losses for _, losses in looks)


def clamped_target_loss(
    model: GPT,
    tokens: Tensor,
    scored: Tensor,
    *,
    steps: int,
    step_size: float,
    precision: float = 1.0,
) -> Tensor:
    """Cross-entropy of each token after settling on the very tokens it is scored by: (B, T)"""
    looks = settled_losses(
        model,
        tokens,
        scored,
        targets=scored,
        looks=[steps],
        step_size=step_size,
        precision=precision,
    )
    return next(losses for _, losses in looks)
