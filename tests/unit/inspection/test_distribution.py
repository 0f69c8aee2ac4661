"""What a step could write: the numbers shown are those that are drawn from."""

import math

import pytest
import torch

from transformer_lab.generation import SampleConfig, choose, shaped
from transformer_lab.inspection.distribution import distribution

LOGITS = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()


def test_the_models_own_shares_and_the_chances_after_the_cut():
    found = distribution(LOGITS, SampleConfig(temperature=1.0, top_k=3, top_p=0.7), token=3)
    assert [(one.token, one.chance) for one in found.kept] == [
        (1, pytest.approx(4 / 7)),  # 0.4 of the top three's 0.9 is not yet 0.7 of it
        (3, pytest.approx(3 / 7)),
    ]
    assert [one.token for one in found.alternatives] == [1, 3, 2, 0]
    assert [one.probability for one in found.alternatives] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert [one.chance for one in found.alternatives][2:] == [0, 0]
    assert found.choices == 2
    assert found.surprise == pytest.approx(-math.log(0.3))
    expected = -sum(p * math.log(p) for p in (0.1, 0.2, 0.3, 0.4))
    assert found.entropy == pytest.approx(expected)
    assert found.entropy_drawn == pytest.approx(-sum(p * math.log(p) for p in (4 / 7, 3 / 7)))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"temperature": 0.5},
        {"temperature": 3.0, "top_p": 0.5},
        {"top_k": 5},
        {"top_k": 40, "top_p": 0.9},
    ],
)
def test_chances_are_those_that_tokens_are_drawn_with(settings):
    config = SampleConfig(**settings)
    logits = 2 * torch.randn(50, generator=torch.Generator().manual_seed(1))
    found = distribution(logits, config)
    assert torch.equal(found.chances, shaped(logits, config))
    assert found.chances.sum().item() == pytest.approx(1)
    generator = torch.Generator().manual_seed(2)
    drawn = torch.tensor([choose(logits, config, generator) for _ in range(2000)])
    counts = drawn.bincount(minlength=50) / 2000
    assert not counts[found.chances == 0].any()
    error = (counts - found.chances).abs()
    assert (error <= 5 * (found.chances * (1 - found.chances) / 2000).sqrt() + 1e-9).all()


def test_logits_stored_in_half_the_room_will_do():
    logits = torch.randn(300, generator=torch.Generator().manual_seed(1))
    config = SampleConfig(top_p=0.9)
    full, half = distribution(logits, config, 7), distribution(logits.half(), config, 7)
    assert half.surprise == pytest.approx(full.surprise, abs=0.01)
    assert half.probabilities.dtype == torch.float32
    assert len(full.alternatives) == 10
    assert len(distribution(logits[:4], config).alternatives) == 4


def test_at_temperature_zero_one_token_is_left():
    found = distribution(LOGITS, SampleConfig(temperature=0.0))
    assert [(one.token, one.chance) for one in found.kept] == [(1, 1.0)]
    assert found.entropy_drawn == 0
    assert found.surprise is None
