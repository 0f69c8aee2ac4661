"""Checks of Troubleshooting: each looks at the lab as it is now."""

import math
from typing import Any

from transformer_lab.lab.device import choose_device, has_gpu, memory_free, why_no_cuda
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.scores import round_trip
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import ConfigError, plain
from transformer_lab.ui import words
from transformer_lab.ui.learn.checks import (
    CHECKS,
    LINE,
    Check,
    NothingYetError,
    loss_of,
    model_of,
    own,
    setup_of,
)
from transformer_lab.ui.learn.reported import REPORTED

HIGH_RATE = 1e-2  # above it AdamW is rarely stable, below LOW_RATE it learns next to nothing
LOW_RATE = 1e-5
RANDOM_TEMPERATURE = 1.5
READABLE = 2.0


def rate(lab: Lab) -> Any:
    """The learning rate of the newest run beside its loss and that of guessing."""
    view = own(lab)
    train = setup_of(view).train
    loss, which = loss_of(lab, view)
    optimizer = words.value(train.optimizer, SETTINGS["train.optimizer"])
    guess = math.log(max(view.vocabulary_size, 2))
    verdict = "it learns" if loss < guess - 0.1 else "it has learned nothing so far"
    advice = ""
    if train.optimizer == "adamw" and train.learning_rate > HIGH_RATE:
        advice = " That rate is high for AdamW: try 3e-4."
    elif train.learning_rate < LOW_RATE:
        advice = " That rate is very low: try 3e-4."
    return (
        f"{view.run_id}: learning rate {plain(train.learning_rate)} with {optimizer}, "
        f"{which} {loss:.2f} after {view.step:,} steps; guessing costs {guess:.2f}, "
        f"so {verdict}.{advice}"
    )


def data(lab: Lab) -> Any:
    """Whether the newest run's text is at hand."""
    try:
        view = own(lab)
    except NothingYetError:
        missing = lab.texts.missing("tiny_shakespeare")
        return missing or "Tiny Shakespeare is at hand. Nothing has been trained yet."
    corpus = setup_of(view).data.corpus
    missing = lab.texts.missing(corpus)
    return f"{view.run_id} learned from {view.corpus}. {missing or 'It is at hand.'}"


def size(lab: Lab) -> Any:
    """How large the newest run's model is for its text."""
    view = own(lab)
    setup = setup_of(view)
    try:
        count = lab.texts.facts(setup).tokens
    except ConfigError as error:
        return str(error)
    return (
        f"{view.run_id}: {view.parameters:,} parameters and about {words.compact(count)} tokens of "
        f"text, {setup.model.layers} layers of width {setup.model.embedding_dim}."
    )


def memory(lab: Lab) -> Any:
    """Memory that is free, and what the newest run's settings would take."""
    free = f"{words.size(round(memory_free(), -8))} of memory are free on this computer now."
    try:
        view = own(lab)
    except NothingYetError:
        return free
    setup = setup_of(view)
    shape = f"batch size {setup.train.batch_size}, sequence length {setup.model.sequence_length}"
    try:
        needed = lab.costs.estimate(setup, view.vocabulary_size).memory
    except ConfigError as error:
        return f"{free} {error}"
    takes = "on the GPU" if needed is None else f"take about {words.size(needed)}"
    return f"{free} The settings of {view.run_id} ({shape}) {takes}."


def gibberish(lab: Lab) -> Any:
    """Whether the newest run has learned for long enough to be readable."""
    view = own(lab)
    loss, which = loss_of(lab, view)
    if setup_of(view).data.tokenizer != "characters":
        return f"{view.run_id}: {which} {loss:.2f}. The milestone 2.0 is for characters only."
    verdict = (
        "that is below 2.0, so words should be readable"
        if loss < READABLE
        else "text becomes readable below 2.0, so gibberish is normal here: train longer"
    )
    return f"{view.run_id}: {which} {loss:.2f} after {view.step:,} steps; {verdict}."


def heat(lab: Lab) -> Any:
    """The temperature of the newest run's samples."""
    view = own(lab)
    temperature = setup_of(view).sample.temperature
    high = temperature > RANDOM_TEMPERATURE
    verdict = "above 1.5, so what it writes is largely random" if high else "not above 1.5"
    return f"{view.run_id} writes its samples at temperature {temperature:g}: {verdict}."


def tokenizer(lab: Lab) -> Any:
    """Whether a line comes back from the newest model's tokens as it was."""
    snapshot = model_of(lab)
    known, back = round_trip(snapshot, LINE)
    same = "the same" if known == back else f"something else: “{back}”"
    return f"{snapshot.run_id}: “{known}” was encoded and decoded just now, and came back {same}."


def gpu(lab: Lab) -> Any:
    """What this computer would compute on, and why."""
    choice = choose_device("auto")
    found = "A GPU is used when Device is auto." if has_gpu() else f"No GPU: {why_no_cuda()}."
    return f"Training computes on {choice.name} here ({choice.reason}). {found}"


def speed(lab: Lab) -> Any:
    """How fast the newest run has trained, and on what."""
    view = own(lab)
    setup = setup_of(view)
    batch, length = setup.train.batch_size, setup.model.sequence_length
    on = ", ".join(filter(None, [view.device, view.threads]))
    if not view.speed:
        return f"{view.run_id} computes on {on}."
    return (
        f"{view.run_id}: {words.compact(view.speed)} tokens a second, so "
        f"{words.duration(batch * length / view.speed)} for a step of {batch} × {length} tokens, "
        f"on {on}."
    )


ALL_CHECKS: dict[str, Check] = (
    CHECKS
    | REPORTED
    | {
        "rate": rate,
        "data": data,
        "size": size,
        "memory": memory,
        "gibberish": gibberish,
        "heat": heat,
        "tokenizer": tokenizer,
        "gpu": gpu,
        "speed": speed,
    }
)
