"""A leak that is planted lowers the loss where it is read, is caught, and changes no weight."""

import math

import pytest
import torch

from transformer_lab.inspection.audit import audit, verdict
from transformer_lab.inspection.planted import LEAKS, planted
from transformer_lab.inspection.planting import (
    RANDOM,
    TELLING,
    VALIDATION,
    Losses,
    caught_first,
    losses,
    told_by,
)
from transformer_lab.inspection.proof import Subject
from transformer_lab.inspection.repetition import fingerprint
from transformer_lab.model import GPT, ModelConfig, build_model

VOCABULARY = 11
FOUND_BY = {
    "mask": {"future_edit", "future_gradient"},
    "loss": {"loss"},
    "attribute": {"memory"},
    "cache": {"token_by_token"},
    "training": {"in_training"},
    "place": {"future_edit", "token_by_token"},
}


@pytest.fixture
def subject():
    config = ModelConfig(layers=2, heads=2, embedding_dim=16, sequence_length=16, zero_init=False)
    model = build_model(config, VOCABULARY, seed=1).requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(0, VOCABULARY, (500,), generator=generator)
    return Subject(model=model, generator=generator, text=text)


@pytest.mark.parametrize("kind", LEAKS)
def test_each_kind_lowers_the_loss_is_caught_and_leaves_the_model_alone(subject, kind):
    model, leak, weights = subject.model, LEAKS[kind], fingerprint(subject.model)
    tokens = subject.random(2, 16)
    before = model(tokens)
    found = {one.text: one for one in losses(subject, leak)}
    assert [*found] == [VALIDATION, RANDOM]
    for one in found.values():
        assert one.honest == pytest.approx(math.log(VOCABULARY), abs=0.1)
        assert one.leaking < (one.honest - 0.05 if kind == "place" else 0.5)
    assert found[RANDOM].impossible
    proofs = caught_first(list(audit(planted(model, leak), subject.generator, subject.text)))
    failed = {proof.key for proof in proofs if proof.passed is False}
    assert failed >= FOUND_BY[kind]
    assert proofs[0].passed is False
    assert verdict(proofs).outcome == "failed"
    assert ": 0 (" not in told_by(proofs[0])
    assert type(model) is GPT
    assert fingerprint(model) == weights
    assert torch.equal(model(tokens), before)
    assert verdict(audit(model, subject.generator)).outcome == "passed"


def test_without_a_text_the_loss_is_that_of_random_tokens(subject):
    bare = Subject(model=subject.model, generator=subject.generator)
    assert [one.text for one in losses(bare, LEAKS["mask"])] == [RANDOM]


def test_a_loss_a_little_below_ln_v_is_luck():
    below = {"tokens": 1000, "honest": 5.0, "ln_vocabulary": 4.0}
    assert not Losses(text=RANDOM, leaking=3.99, **below).impossible
    assert Losses(text=RANDOM, leaking=3.97, **below).impossible
    assert not Losses(text=VALIDATION, leaking=1.0, **below).impossible


def test_each_proof_that_can_fail_by_a_leak_has_a_number_that_tells(subject):
    for proof in audit(subject.model, subject.generator):
        if proof.key in TELLING:
            assert set(TELLING[proof.key].names) & set(proof.numbers), proof.key
        else:
            assert proof.key in ("finite", "positive_control")
            assert told_by(proof) == proof.sentence
