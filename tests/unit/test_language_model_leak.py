"""The language-model leak is real: below what is possible, and only where targets show."""

import math

import pytest
import torch

from transformer_lab.experiments.language_model_leak import (
    EVALUATORS,
    MODELS,
    TEXTS,
    LanguageModelLeakSettings,
    language_model_leak,
    untrained,
)
from transformer_lab.model import ModelConfig, build_model, model_from_weights
from transformer_lab.settings import ConfigError
from transformer_lab.training import TrainConfig, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS

TOKENS = torch.tensor([ord(c) % 32 for c in "to be or not to be, that is the question. " * 40])
SETTINGS = LanguageModelLeakSettings(steps=40, step_size=0.2, precision=10.0)


@pytest.fixture(scope="module")
def trained():
    shape = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
    config = ModelConfig(**shape, zero_init=True, feedforward="gelu")
    model = build_model(config, 32, seed=1)
    learn = TrainConfig(steps=80, batch_size=8, learning_rate=0.02)
    batches = Batches(TOKENS, 8, 16, seed=1)
    list(train(model, OPTIMIZERS["adamw"](model, learn), batches, batches, learn))
    return model_from_weights(config, 32, model.state_dict())


def test_only_the_clamped_evaluator_falls_below_what_is_possible(trained):
    *early, last = list(language_model_leak(trained, TOKENS, SETTINGS))
    assert [found.progress for found in early] == sorted(found.progress for found in early)
    assert (early[0].progress, last.progress) == (0, 1)
    assert early[-1].audited is None
    assert last.audited.outcome == "passed"
    assert len(last.curves) == len(MODELS) * len(TEXTS) * len(EVALUATORS)
    assert last.impossible("honest") == []
    assert {curve.model for curve in last.impossible("clamped")} == set(MODELS)
    assert "honest evaluator is so with 0 of 2 models, the clamped one with 2" in last.summary()
    for curve in last.curves:
        assert curve.steps == (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40)
        means = [bound.mean for bound in curve.losses]
        if curve.evaluator == "honest":
            assert means == pytest.approx([means[0]] * len(means))
        else:
            assert means[-1] < means[0]


def test_what_was_yielded_is_never_changed_afterwards(trained):
    steps = language_model_leak(trained, TOKENS, SETTINGS)
    first = next(steps)
    next(steps)
    assert first.progress == 0
    assert first.ln_vocabulary == pytest.approx(math.log(32))


def test_training_helps_on_text_and_not_on_random_tokens(trained):
    *_, last = language_model_leak(trained, TOKENS, LanguageModelLeakSettings(steps=1))
    start = {
        (curve.model, curve.text): curve.losses[0].mean
        for curve in last.curves
        if curve.evaluator == "honest"
    }
    assert start["trained", "validation text"] < start["untrained", "validation text"] - 0.5
    assert start["trained", "random tokens"] > last.ln_vocabulary


def test_the_untrained_model_has_something_that_a_target_can_pull_at(trained):
    new = untrained(trained, seed=1)
    assert not new.training
    assert new.head.weight.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in new.parameters())


def test_a_text_that_is_too_short_says_how_long_it_must_be(trained):
    with pytest.raises(ConfigError, match="has 10 tokens, but 17 are needed"):
        next(language_model_leak(trained, TOKENS[:10], SETTINGS))
