"""No planted leak gets through the audit, and no honest model is accused, however it looks."""

from dataclasses import replace

import pytest
import torch

from leaks import ACCUSED, HONEST, LEAKS, audited, judged, made, table
from sampling import sampled
from transformer_lab.inspection import guessing, repetition
from transformer_lab.inspection.audit import LIMITS
from transformer_lab.inspection.proof import Subject


def small(kind):
    """The same with a smaller vocabulary, where it has thousands."""
    return replace(kind, vocabulary=min(kind.vocabulary, 300))


@pytest.mark.parametrize("name", sampled(LEAKS, 13))
def test_a_planted_leak_is_caught(name):
    assert any(proof.passed is False for proof in audited(small(LEAKS[name]), 0))


@pytest.mark.parametrize("name", sampled(HONEST, 7))
def test_an_honest_model_is_not_accused(name, monkeypatch):
    monkeypatch.setattr(repetition, "PASSES", 10)
    monkeypatch.setattr(guessing, "LOSSES", 4)
    verdict, failed = judged(small(HONEST[name]), 0)
    assert verdict.outcome not in ACCUSED
    assert not failed
    if name == "head x 1e-5":
        assert verdict.outcome == "cannot tell"


@pytest.mark.slow
def test_each_leak_is_caught_ten_times_in_ten_and_nobody_is_accused_in_800_audits(capsys):
    with capsys.disabled():
        assert table(10, 40, print) == (0, 0)


def test_rows_hold_every_token_once_where_they_can():
    subject = Subject(model=made(LEAKS["the next token"], 0), generator=torch.Generator())
    inside = subject.every_token(100, 5)[:, 1:-1].flatten()[: subject.model.vocabulary_size]
    assert sorted(inside.tolist()) == list(range(subject.model.vocabulary_size))
    assert subject.every_token(2, 5).shape == (2, 5)


def test_it_says_what_it_does_not_prove():
    assert "does not exclude" in LIMITS
