"""Moments of a model's life: where they lie, how many, and what is in them."""

import itertools

import pytest
import torch

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.recipes import Setup
from transformer_lab.runs import moments
from transformer_lab.runs.moments import MomentError, Moments, is_landmark
from waiting import until

WEIGHTS = {"head.weight": torch.linspace(-2, 2, 600).view(20, 30)}
SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 20,
        "train.evaluate_every": 5,
        "train.evaluation_batches": 1,
        "train.threads": 1,
        "train.learning_rate": 0.01,
        "sample.length": 5,
        "sample.prompt": "The ",
    }
)


def ended(lab):
    until(lambda: lab.trainings.current.ended)
    return lab.trainings.current.status.run_id


def test_landmarks_double():
    assert [step for step in range(40) if is_landmark(step)] == [0, 1, 2, 4, 8, 16, 32]


def test_a_moment_comes_back_within_16_bits(tmp_path):
    kept = Moments(tmp_path)
    kept.add(8, WEIGHTS)
    back = kept.load(8)["head.weight"]
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, WEIGHTS["head.weight"], rtol=2**-10, atol=1e-6)
    assert kept.size() < 0.6 * 600 * 4


def test_numbers_too_large_for_16_bits_stay_as_they_are(tmp_path):
    Moments(tmp_path).add(1, {"w": torch.tensor([1e6, 0.1])})
    assert Moments(tmp_path).load(1)["w"].tolist() == pytest.approx([1e6, 0.1], rel=1e-7)


def test_they_are_bounded_in_number_and_stay_spread_over_the_whole_training(tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "MOST", 9)
    kept = Moments(tmp_path)
    for step in range(0, 3001, 10):
        kept.add(step, WEIGHTS)
        assert len(kept.steps()) <= 9
    steps = kept.steps()
    assert (steps[0], steps[-1]) == (0, 3000)
    ages = [(1 + later) / (1 + step) for step, later in itertools.pairwise(steps[1:])]
    assert max(ages) < 5


def test_they_are_bounded_in_bytes_but_three_always_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "MOST_BYTES", 5_000)
    kept = Moments(tmp_path)
    for step in range(12):
        kept.add(step, WEIGHTS)
    assert kept.size() <= 5_000
    assert len(kept.steps()) == 3
    assert kept.steps()[-1] == 11


def test_a_damaged_moment_is_named(tmp_path):
    kept = Moments(tmp_path)
    kept.add(3, WEIGHTS)
    (path,) = (tmp_path / "moments").iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(MomentError, match=r"00000003-.* is damaged"):
        kept.load(3)
    with pytest.raises(MomentError, match="Step 4 was not kept"):
        kept.load(4)


def test_a_training_leaves_its_checkpoints_and_models_can_go_back(tmp_path):
    lab = Lab(tmp_path)
    try:
        lab.trainings.start(SETUP)
        run_id = ended(lab)
        steps = lab.models.moments(run_id)
        assert {0, 1, 2, 4, 8, 16, 20} <= set(steps)
        young, old = lab.models.snapshot(run_id, 0), lab.models.snapshot(run_id, 16)
        assert (young.step, old.step) == (0, 16)
        first = lab.runs.open(run_id).since()[0][0].train_loss
        assert first == pytest.approx(4.6, abs=0.1)  # step 0 knows nothing yet
        assert not torch.equal(young.weights["head.weight"], old.weights["head.weight"])
        with pytest.raises(LabError, match="Step 3 was not kept"):
            lab.models.snapshot(run_id, 3)
        lab.trainings.extend(run_id, 5)
        child = ended(lab)
        assert child != run_id
        assert set(steps) <= set(lab.models.moments(child))
    finally:
        lab.close()
