"""Rules of the coach about the computer that trains: its memory, its GPU, and other programs."""

import statistics

from transformer_lab.lab.coach.evidence import NEAR, SOON, Advice, Record, within

ALMOST_FULL = 0.03  # share of all memory that is left, below which a system begins to swap


def memory(record: Record) -> Advice | None:
    """Memory ran out, or is nearly used up while it trains."""
    model, train = record.setup.model, record.setup.train
    shape = f"{train.batch_size} sequences of {model.sequence_length} tokens a batch"
    if record.ran_out and not record.under_way:
        half = int(within("model.sequence_length", model.sequence_length // 2))
        return Advice(
            kind="memory",
            title="The memory was not enough.",
            evidence=f"{record.ran_out} It was to learn from {shape}, with "
            f"{record.parameters:,} parameters.",
            label=f"Set Sequence Length to {half}",
            settings={"model.sequence_length": half},
        )
    scarce = record.free is not None and record.free < ALMOST_FULL * record.whole
    if not record.under_way or not (scarce or record.ran_out) or train.batch_size == 1:
        return None
    left = f"{(record.free or 0) / 1e9:.1f} GB of {record.whole / 1e9:.1f} GB are left."
    half = int(within("train.batch_size", train.batch_size // 2))
    return Advice(
        kind="memory",
        title="The memory is nearly used up.",
        evidence=f"{record.ran_out or left} It learns from {shape}.",
        label=f"Set Batch Size to {half}",
        settings={"train.batch_size": half},
    )


def gpu_unused(record: Record) -> Advice | None:
    """It computes on the CPU although there is a GPU, and has a minute or more to go."""
    if not (record.under_way and record.gpu and record.on_cpu and (record.remaining or 0) >= 60):
        return None
    return Advice(
        kind="gpu_unused",
        title="It computes on the CPU although there is a GPU.",
        evidence=f"Device is {record.setup.train.device}; about {record.remaining:.0f} s are left.",
        label="Set Device to auto",
        settings={"train.device": "auto"},
    )


def slowed(record: Record) -> Advice | None:
    """The pace has collapsed, and other programs use the CPU."""
    if not record.under_way or record.step < SOON or record.others < 0.5:
        return None
    before = [p.tokens_per_second for p in record.course if 3 < p.step <= record.step - NEAR]
    now = [point.tokens_per_second for point in record.recent[-NEAR:]]
    if len(before) < NEAR or len(now) < NEAR:
        return None
    usual, pace = statistics.median(before), statistics.median(now)
    if pace > 0.5 * usual or statistics.quantiles(now, n=10)[-1] > 0.8 * usual:
        return None
    return Advice(
        kind="slowed",
        title="Other programs slow it down.",
        evidence=f"{pace:,.0f} tokens/s over the last {NEAR} steps, {usual:,.0f} before; other "
        f"programs use {record.others:.1f} CPU cores now.",
        label="Pause until they are done",
        press="pause",
    )
