"""How a step is computed: in parts, ahead of the reader, in other precisions, in little memory."""

import contextlib
import math
from dataclasses import replace

import pytest
import torch

from transformer_lab.model import GPT, ModelConfig, build_model
from transformer_lab.training import (
    LiveSettings,
    NonFiniteLossError,
    TrainConfig,
    compiling,
    precision,
    train,
)
from transformer_lab.training.batches import Batches
from transformer_lab.training.micro_batches import OutOfMemoryError
from transformer_lab.training.optimizers import OPTIMIZERS

TINY = ModelConfig(layers=1, heads=2, embedding_dim=16, sequence_length=16, dropout=0.0)
TOKENS = torch.tensor([ord(c) % 32 for c in "to be or not to be, that is the question. " * 40])
CONFIG = TrainConfig(steps=8, batch_size=6, evaluate_every=4, evaluation_batches=2)
NUMBERS = ("step", "train_loss", "learning_rate", "gradient_norm", "validation_loss")


def training(config, model=None, live=None):
    model = model or build_model(TINY, 32, seed=1)
    batches = Batches(TOKENS, config.batch_size, 16, config.seed)
    model.optimizer = OPTIMIZERS[config.optimizer](model, config)
    return train(model, model.optimizer, batches, batches, config, live)


def numbers(steps):
    return [[getattr(metrics, name) for name in NUMBERS] for metrics in steps]


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_a_batch_in_parts_teaches_the_same_as_the_batch_whole(size):
    whole, parts = (build_model(TINY, 32, seed=1) for _ in range(2))
    list(training(CONFIG, whole))
    list(training(replace(CONFIG, micro_batch=size), parts))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_memory_that_runs_out_halves_the_micro_batch_and_takes_the_same_step(monkeypatch):
    expected = numbers(training(replace(CONFIG, micro_batch=2)))
    computed = GPT.loss

    def cramped(self, tokens, targets):
        if len(tokens) > 2 and self.training:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return computed(self, tokens, targets)

    monkeypatch.setattr(GPT, "loss", cramped)
    live = LiveSettings()
    assert numbers(training(CONFIG, live=live)) == expected
    assert live.micro_batch == 2
    assert "3 sequences at a time" in live.notes[0]
    assert "2 sequences at a time" in live.notes[1]


def test_memory_for_not_even_one_sequence_is_an_error(monkeypatch):
    def cramped(self, tokens, targets):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GPT, "loss", cramped)
    with pytest.raises(OutOfMemoryError, match="even one sequence"):
        next(training(CONFIG))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_running_ahead_of_the_reader_changes_no_number(optimizer, monkeypatch):
    config = replace(CONFIG, optimizer=optimizer)
    expected = numbers(training(config))
    monkeypatch.setattr("transformer_lab.training.ahead.runs_ahead", lambda device: True)
    monkeypatch.setattr("transformer_lab.training.ahead.READ_SECONDS", 60.0)
    live, ahead, found = LiveSettings(), [], []
    for metrics in training(config, live=live):
        found.append(metrics)
        ahead.append(live.ahead)
    assert numbers(found) == expected
    assert ahead == [3, 2, 1, 0] * 2  # read at each evaluation


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_spoiled_step_changes_no_weight_and_neither_do_those_after_it(
    optimizer, ahead, monkeypatch
):
    monkeypatch.setattr("transformer_lab.training.ahead.runs_ahead", lambda device: ahead)
    monkeypatch.setattr("transformer_lab.training.ahead.READ_SECONDS", 60.0)
    config = replace(CONFIG, optimizer=optimizer, evaluate_every=100)
    good = build_model(TINY, 32, seed=1)
    steps = training(replace(config, evaluate_every=2), good)
    next(steps), next(steps)  # the weights after two steps

    computed, calls = GPT.loss, []

    def spoiled(self, tokens, targets):
        calls.append(1)
        return computed(self, tokens, targets) * (math.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr(GPT, "loss", spoiled)
    model = build_model(TINY, 32, seed=1)
    seen = []
    with pytest.raises(NonFiniteLossError, match="step 3 the loss"):
        seen.extend(training(config, model))
    assert len(calls) == (8 if ahead else 3)
    for one, other in zip(good.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_stop_is_heeded_between_two_parts_of_a_batch(monkeypatch):
    live, computed = LiveSettings(), GPT.loss

    def stopping(self, tokens, targets):
        live.stop = True
        return computed(self, tokens, targets)

    monkeypatch.setattr(GPT, "loss", stopping)
    model = build_model(TINY, 32, seed=1)
    before = [parameter.clone() for parameter in model.parameters()]
    assert list(training(replace(CONFIG, micro_batch=2), model, live)) == []
    assert all(map(torch.equal, before, model.parameters()))


def running_ahead(monkeypatch):
    monkeypatch.setattr("transformer_lab.training.ahead.runs_ahead", lambda device: True)
    monkeypatch.setattr("transformer_lab.training.ahead.READ_SECONDS", 60.0)


def told_and_held(steps, model):
    """The last step of which the reader heard, and how many steps have changed the weights."""
    told = 0
    with contextlib.suppress(torch.OutOfMemoryError, OutOfMemoryError, RuntimeError):
        for metrics in steps:
            told = metrics.step
    counts = {int(state["step"]) for state in model.optimizer.state.values()}
    assert len(counts) == 1
    return told, counts.pop()


@pytest.mark.parametrize("micro_batch", [0, 2])
@pytest.mark.parametrize("at", [2, 4, 7])
def test_stopped_while_ahead_it_tells_every_step_that_changed_the_weights(
    at, micro_batch, monkeypatch
):
    running_ahead(monkeypatch)
    live, computed = LiveSettings(), Batches.__call__

    def stopping(self, step):
        live.stop = live.stop or step == at
        return computed(self, step)

    monkeypatch.setattr(Batches, "__call__", stopping)
    model = build_model(TINY, 32, seed=1)
    config = replace(CONFIG, evaluate_every=100, micro_batch=micro_batch)
    assert told_and_held(training(config, model, live), model) == (at - 1, at - 1)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("where", ["step", "compiling", "evaluation"])
def test_a_step_that_fails_loses_none_of_those_before_it(where, ahead, monkeypatch):
    if ahead:
        running_ahead(monkeypatch)
    computed, calls = GPT.loss, []

    def failing(self, tokens, targets):
        calls.append(self.training)
        if (where == "step" and len(calls) == 4) or (where == "evaluation" and not self.training):
            raise RuntimeError("CUDA error: the device is gone")
        return computed(self, tokens, targets)

    def compiler(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GPT, "loss", failing)
    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(compiling, "COMPILE_AFTER", 4)
    model = build_model(TINY, 32, seed=1)
    config = replace(CONFIG, compile="on" if where == "compiling" else "off")
    config = replace(config, evaluate_every=3 if where == "evaluation" else 100)
    assert told_and_held(training(config, model), model) == (3, 3)


def test_bfloat16_learns_and_keeps_its_weights_in_float32():
    model = build_model(TINY, 32, seed=1)
    config = replace(CONFIG, precision="bfloat16", learning_rate=0.01, steps=40)
    losses = [metrics.train_loss for metrics in training(config, model)]
    assert losses[-1] < losses[0] - 0.3
    exact = next(training(replace(config, precision="float32"))).train_loss
    assert losses[0] != exact
    assert losses[0] == pytest.approx(exact, rel=0.01)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_precision_and_compiling_follow_the_device():
    config, cpu, cuda = TrainConfig(steps=5000), torch.device("cpu"), torch.device("cuda")
    assert precision.precision(config, cpu) == torch.float32
    assert not compiling.compiles(config, cpu)
    assert compiling.compiles(config, cuda)
    assert not compiling.compiles(replace(config, steps=100), cuda)
    assert not compiling.compiles(replace(config, compile="off"), cuda)
    assert compiling.compiles(replace(config, compile="on"), cpu)


def test_a_compiler_that_fails_leaves_the_training_as_it_was_and_says_so(monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(compiling, "COMPILE_AFTER", 3)
    live = LiveSettings()
    compiled = numbers(training(replace(CONFIG, compile="on"), live=live))
    assert compiled == numbers(training(CONFIG))
    assert "uncompiled" in live.notes[0]
    assert live.doing == ""


@pytest.mark.slow
def test_a_compiled_model_learns_the_same(monkeypatch):
    monkeypatch.setattr(compiling, "COMPILE_AFTER", 3)
    live = LiveSettings()
    compiled = [m.train_loss for m in training(replace(CONFIG, compile="on"), live=live)]
    assert compiled == pytest.approx([m.train_loss for m in training(CONFIG)], rel=1e-4)
