"""The language-model leak is real: below what is possible, and only where targets show."""

import inspect
import math

import pytest
import torch

from transformer_lab.experiments import language_model_leak as experiment
from transformer_lab.experiments.language_model_leak import (
    EXPERIMENT,
    language_model_leak,
    leak_source,
    text_of,
    untrained,
)
from transformer_lab.experiments.language_model_result import (
    EVALUATORS,
    MODELS,
    TEXTS,
    LanguageModelLeakSettings,
    verdict,
)
from transformer_lab.inspection.audit import PROOFS
from transformer_lab.inspection.clamped import settled_losses
from transformer_lab.model import ModelConfig, build_model, model_from_weights
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import CorpusError

TOKENS = torch.tensor([ord(c) % 32 for c in "to be or not to be, that is the question. " * 40])
SETTINGS = LanguageModelLeakSettings(
    seeds=1, steps=40, step_size=0.2, precision=10.0, training_steps=80
)


@pytest.fixture(scope="module")
def trained():
    shape = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
    config = ModelConfig(**shape, zero_init=True, feedforward="pc")
    model = build_model(config, 32, seed=1)
    list(experiment.learned(model, TOKENS, SETTINGS))
    return model_from_weights(config, 32, model.state_dict())


def test_only_the_clamped_evaluator_falls_below_what_is_possible(trained):
    *_, last = language_model_leak(trained, TOKENS, SETTINGS)
    result = last.result
    assert len(result.curves) == len(MODELS) * len(TEXTS) * len(EVALUATORS)
    assert [proof.passed for proof in result.proofs] == [True] * len(PROOFS)
    assert result.ln_vocabulary == pytest.approx(math.log(32))
    assert result.impossible("honest") == []
    assert result.impossible("clamped") == [(model, 0) for model in MODELS]
    assert result.impossible("misled") == []
    assert "is so with 0 of 2 models, the clamped one with 2, and clamped to other" in verdict(
        result
    )
    assert EXPERIMENT.answer(result) in (1, 2)
    for curve in result.curves:
        assert curve.steps == [0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40]
        means = [loss.mean for loss in curve.losses]
        if curve.evaluator == "honest":
            assert means == pytest.approx([means[0]] * len(means))
        elif curve.evaluator == "clamped":
            assert means[-1] < means[0]
        elif curve.text == TEXTS[0]:
            assert means[-1] > result.ln_vocabulary - 0.1
    driven, twin = result.driven
    assert (driven.by_inputs, twin.by_targets) == (0, 0)
    assert driven.by_targets > 0.1 < twin.by_inputs
    assert not driven.loss.kept
    assert twin.loss.kept


def test_training_helps_on_text_and_not_on_random_tokens(trained):
    *_, last = language_model_leak(trained, TOKENS, LanguageModelLeakSettings(steps=1, seeds=1))
    start = {
        (curve.model, curve.text): curve.losses[0].mean
        for curve in last.result.curves
        if curve.evaluator == "honest"
    }
    assert start["trained", "validation text"] < start["untrained", "validation text"] - 0.5
    assert start["trained", "random tokens"] > last.result.ln_vocabulary


def test_the_untrained_model_has_something_that_a_target_can_pull_at(trained):
    new = untrained(trained, seed=1)
    assert not new.training
    assert new.head.weight.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in new.parameters())


def test_a_text_that_is_too_short_says_how_long_it_must_be(trained):
    with pytest.raises(ConfigError, match="has 10 tokens, but 17 are needed"):
        list(language_model_leak(trained, TOKENS[:10], SETTINGS))


def test_a_damaged_text_is_named_and_a_missing_one_replaced(tmp_path):
    assert text_of([tmp_path]).name == "python_docs"
    (tmp_path / "tinyshakespeare.txt").write_text("First Citizen: " * 10)
    with pytest.raises(CorpusError):
        text_of([tmp_path])


def test_the_lines_that_leak_are_shown_from_the_code_that_runs():
    assert inspect.getsource(settled_losses) in leak_source()
    assert '"clamped": scored' in leak_source()
