"""Evaluation: how well the model predicts text it has never learned from."""

from collections.abc import Callable, Sequence

import torch

from transformer_lab.model import GPT
from transformer_lab.text.tasks import Problem
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.training.batches import Batches
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.micro_batches import mean_loss


def evaluate(
    model: GPT,
    batches: Batches,
    count: int,
    live: LiveSettings,
    *,
    after: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> float | None:
    """Mean loss over batches 0 .. count - 1, in nats per token, without dropout.

    The batches are the same at every call, so two values differ only by what the model has learned.
    Like in training, `live.micro_batch` sequences are computed at a time; `after` is the step it is
    done after. None when `stopped()` becomes true in between.
    """
    model.eval()
    total = 0.0
    for number in range(count):
        loss = mean_loss(model, batches(number), live, after=after, stopped=stopped)
        if loss is None:
            return None
        total += loss
    return total / count


def accuracy(model: GPT, tokenizer: Tokenizer, problems: Sequence[Problem]) -> float | None:
    """The share of problems whose whole answer, line end included, the model finds most likely.

    Each answer is written greedily. That all its tokens would be chosen is seen in one pass, since
    the first wrong one ends the attempt anyway. None where a question and its answer do not fit
    the context, or share a token.
    """
    if not problems:
        return None
    right = 0
    device = model.embedding.weight.device
    for problem in problems:
        question = tokenizer.encode("\n" + problem.question)
        line = tokenizer.encode(f"\n{problem.question}{problem.answer}\n")
        shared = not (line[: len(question)] == question).all()
        if shared or len(line) > model.config.sequence_length + 1:
            return None
        tokens = torch.from_numpy(line).long().to(device)
        with torch.inference_mode():
            likeliest = model(tokens[None, :-1])[0].argmax(-1)  # (T,)
        asked = len(question) - 1
        right += bool((likeliest[asked:] == tokens[asked + 1 :]).all())
    return right / len(problems)
