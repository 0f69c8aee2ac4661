"""What the numbers of a run say of it: one sentence with its evidence, and one press that helps.

Each rule is a pure function of a `Record`, and answers None unless its claim holds. `advise` asks
them in the order of RULES, the most serious first, and gives the first answer. The limits were
chosen on real runs; `tests/bench/coach.py` counts hits and false alarms of each rule.
"""

import math
import statistics
from collections.abc import Callable
from typing import Any

from transformer_lab.lab.coach.coach_computer import gpu_unused, memory, slowed
from transformer_lab.lab.coach.evidence import (
    NEAR,
    RECENT,
    SOON,
    Advice,
    Record,
    mean,
    validation,
    within,
)

FEW = 64  # tokens of a batch that is small; the noise of larger ones has other causes
UNKNOWN = 0.05  # share of a text without tokens of its own from which it is said
LARGE_VOCABULARIES = ("bpe", "gpt2", "words")  # may be larger than what a text needs
ONCE = 1.0  # tokens of text for each of the vocabulary, below which that is too large
READABLE = 2.0  # validation loss per character from which words can be read


def too_high(record: Record) -> Advice | None:
    """The loss is no number any more, or has risen and stays up."""
    rate = within("train.learning_rate", record.peak / 3)
    if record.broken:
        return Advice(
            kind="too_high",
            title="The learning rate is too high: the loss became infinite.",
            evidence=f"It ended after step {record.step:,}, learning rate {record.peak:.2g}.",
            label=f"Set the learning rate to {rate:.2g}",
            settings={"train.learning_rate": rate},
        )
    if record.step < SOON:
        return None
    lowest, at = record.lowest(record.step - NEAR)
    limit = max(0.3, 1.5 * record.unsure)
    if lowest + limit > record.loss:
        return None
    return Advice(
        kind="too_high",
        title="The loss rises: the learning rate is too high.",
        evidence=f"Train loss {record.loss:.2f} over the last {NEAR} steps, {lowest:.2f} around "
        f"step {at:,}; guessing costs {record.guess:.2f}. Learning rate {record.rate}, gradient "
        f"norm {record.norm:.2g}.",
        label=f"Set the learning rate to {rate:.2g}",
        settings={"train.learning_rate": rate},
    )


def too_low(record: Record) -> Advice | None:
    """The loss stays near that of guessing, falls hardly at all, and there is a gradient."""
    hot = record.hot()
    if not hot or record.step - hot[0].step < SOON or record.loss < 0.9 * record.guess:
        return None
    half = [p for p in hot if p.step <= (hot[0].step + record.step) / 2][-NEAR:]
    apart = record.step - NEAR / 2 - statistics.fmean(p.step for p in half)
    fall = (mean(half) - record.loss) / max(apart, 1.0)  # nats a step
    end = record.loss - fall * record.left
    lowest, _ = record.lowest(record.step)
    wobbles = record.loss > lowest + 0.1
    stuck = fall <= 0 and record.loss < 0.97 * record.guess  # it has learned, and then no more
    if end < 0.8 * record.guess or wobbles or stuck or record.norm < 0.02:
        return None
    rate = within("train.learning_rate", record.peak * 10)
    return Advice(
        kind="too_low",
        title="It hardly learns: the learning rate is too low.",
        evidence=f"Train loss {record.loss:.2f} after {record.step:,} steps, and guessing costs "
        f"{record.guess:.2f}. The gradient norm is {record.norm:.2g}, so there is something to "
        f"follow; at a learning rate of {record.rate} the loss falls {1000 * fall:.2g} in 1,000 "
        "steps.",
        label=f"Set the learning rate to {rate:.2g}",
        settings={"train.learning_rate": rate},
    )


def overfitting(record: Record) -> Advice | None:
    """The validation loss has risen since its lowest, while the train loss fell."""
    if len(record.evaluated) < 4 or record.step < SOON:
        return None
    losses = [validation(point) for point in record.evaluated]
    place = min(range(len(losses)), key=losses.__getitem__)
    best, rise = record.evaluated[place], losses[-1] - losses[place]
    after = losses[place + 1 :]
    then = mean([p for p in record.course if p.step <= best.step][-NEAR:] or record.course[:1])
    fell = record.loss < min(then - max(0.1, record.unsure), losses[place])
    if len(after) < 2 or min(after[-2:]) < losses[place] + 0.05 or not fell:
        return None
    return Advice(
        kind="overfitting",
        title="It overfits: it learns its text by heart.",
        evidence=f"Validation loss {losses[place]:.3f} at step {best.step:,}, {rise:.3f} higher "
        f"now; meanwhile the train loss fell from {then:.2f} to {record.loss:.2f}.",
        label=f"Generate with step {best.step:,}",
        checkpoint=best.step,
    )


def plateau(record: Record) -> Advice | None:
    """Neither loss falls any more, although the learning rate is still near its peak."""
    hot, steps = record.hot(), record.setup.train.steps
    if not (hot and record.under_way and record.left >= 0.1 * steps):
        return None
    if record.step - hot[0].step < 150 or record.recent[-1].learning_rate < 0.5 * record.peak:
        return None
    third = len(hot) // 3
    middle, last = hot[third : 2 * third], hot[-third:]
    error = record.noise * math.sqrt(2 / third)
    gain = mean(middle) - mean(last)
    if error > 0.02 or gain + error > 0.02 or not _evaluations_stand(record, last[0].step):
        return None
    rate = within("train.learning_rate", record.peak / 3)
    return Advice(
        kind="plateau",
        title="The loss no longer falls at this learning rate.",
        evidence=f"Train loss {mean(last):.3f} since step {last[0].step:,} and "
        f"{mean(middle):.3f} in as many steps before, ± {error:.3f}; the learning rate is "
        f"{record.rate}.",
        label=f"Set the learning rate to {rate:.2g}",
        settings={"train.learning_rate": rate},
    )


def too_little_text(record: Record) -> Advice | None:
    """More parameters than text, read several times, and the validation loss lags behind."""
    train, tokens = record.setup.train, record.training_tokens
    read = record.step * train.batch_size * record.setup.model.sequence_length
    if not record.evaluated or not tokens or record.step < SOON:
        return None
    first, gap = record.gap(record.evaluated[0]), record.gap(record.evaluated[-1])
    enough = max(0.2, record.unsure)
    # A validation text can just be harder: the gap must have come with the learning of this one.
    by_heart = gap >= enough and gap - first >= enough and record.loss < 0.7 * record.guess
    if read < 4 * tokens or record.parameters < tokens or not by_heart:
        return None
    label, settings = _smaller(record)
    return Advice(
        kind="too_little_text",
        title="There is little text for a model of this size.",
        evidence=f"{record.parameters:,} parameters for {tokens:,} tokens of text, each read "
        f"{read / tokens:.0f} times; validation loss {validation(record.evaluated[-1]):.2f}, "
        f"train loss {record.loss:.2f}.",
        label=label,
        settings=settings,
    )


def tokenizer_mismatch(record: Record) -> Advice | None:
    """Words of the text have no token, or there are more different tokens than the text has."""
    kind, size, tokens = record.setup.data.tokenizer, record.vocabulary_size, record.training_tokens
    if record.step < SOON:
        return None
    if record.unknown_share >= UNKNOWN:
        return Advice(
            kind="tokenizer_mismatch",
            title="The tokenizer does not fit: many words of this text have no token.",
            evidence=f"{record.unknown_share:.1%} of the validation text stand for unknown words; "
            f"the vocabulary has {size:,}.",
            label="Set Tokenizer to bpe",
            settings={"data.tokenizer": "bpe"},
        )
    if kind not in LARGE_VOCABULARIES or not tokens or tokens >= ONCE * size:
        return None
    return Advice(
        kind="tokenizer_mismatch",
        title="The tokenizer does not fit: its vocabulary is larger than the text.",
        evidence=f"{size:,} different tokens, and the whole text to learn from has {tokens:,}.",
        label="Set Tokenizer to characters",
        settings={"data.tokenizer": "characters"},
    )


def noisy(record: Record) -> Advice | None:
    """Batches are so small that the loss of one says little of the next."""
    train = record.setup.train
    tokens = train.batch_size * record.setup.model.sequence_length
    learns = len(record.recent) == RECENT and record.loss < 0.9 * record.guess
    if record.step < SOON or not learns or record.noise < 0.4 or tokens > FEW:
        return None
    batch = int(within("train.batch_size", train.batch_size * 8))
    return Advice(
        kind="noisy",
        title="The batches are small, and so the loss is noisy.",
        evidence=f"It changes by ± {record.noise:.2f} from batch to batch; one has "
        f"{train.batch_size} × {record.setup.model.sequence_length} = {tokens:,} tokens.",
        label=f"Set Batch Size to {batch}",
        settings={"train.batch_size": batch},
    )


def gibberish(record: Record) -> Advice | None:
    """It learns, and its loss is still above that of readable text."""
    if record.setup.data.tokenizer != "characters" or record.step < SOON or not record.evaluated:
        return None
    loss = validation(record.evaluated[-1])
    if not READABLE < loss < 0.95 * record.guess:
        return None
    return Advice(
        kind="gibberish",
        title="What it writes is still gibberish, and that is normal at this loss.",
        evidence=f"Validation loss {loss:.2f} at step {record.evaluated[-1].step:,}; guessing "
        f"costs {record.guess:.2f}, and words can be read from about {READABLE:.1f} on.",
        label="What to expect at which loss" if record.under_way else "Train further",
        press="lesson" if record.under_way else "further",
    )


RULES: tuple[Callable[[Record], Advice | None], ...] = (
    memory,
    too_high,
    too_low,
    overfitting,
    gpu_unused,
    slowed,
    tokenizer_mismatch,
    plateau,
    too_little_text,
    noisy,
    gibberish,
)


def advise(record: Record) -> Advice | None:
    """The most serious thing that is true of a run; None when all is well, or it is too early."""
    rules = RULES if record.recent else (memory,)  # which may run out before the first step
    return next((advice for rule in rules if (advice := rule(record))), None)


def _evaluations_stand(record: Record, since: int) -> bool:
    """Whether there are evaluations before and since this step, and the later are not lower."""
    before = [validation(p) for p in record.evaluated if p.step < since]
    later = [validation(p) for p in record.evaluated if p.step >= since]
    return bool(before and later) and min(later) > min(before) - 0.02


def _smaller(record: Record) -> tuple[str, dict[str, Any]]:
    """Half the layers, or half the width where there is one."""
    model = record.setup.model
    if model.layers > 1:
        half = model.layers // 2
        return f"Set Layers to {half}", {"model.layers": half}
    half = max(model.embedding_dim // 2 // model.heads, 1) * model.heads
    return f"Set Embedding Dimension to {half}", {"model.embedding_dim": half}
