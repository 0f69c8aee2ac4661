"""Dropout cut from random bits is exactly dropout."""

import pytest
import torch

from transformer_lab.model import dropout
from transformer_lab.model.dropout import Dropout, attention_with_dropout, enlargement, kept

SHARES = [0.05, 0.1, 0.5, 0.9]
MANY = 400_000


@pytest.mark.parametrize("share", SHARES)
def test_the_kept_share_is_one_minus_the_dropped(share):
    torch.manual_seed(1)
    deviation = (share * (1 - share) / MANY) ** 0.5
    assert kept([MANY], share).float().mean().item() == pytest.approx(1 - share, abs=5 * deviation)


@pytest.mark.parametrize("share", SHARES)
def test_what_is_kept_is_enlarged_so_that_the_expectation_stays(share):
    torch.manual_seed(1)
    out = Dropout(share).train()(torch.ones(MANY))
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - share)], rel=2e-4)
    deviation = (share / (1 - share) / MANY) ** 0.5
    assert out.mean().item() == pytest.approx(1, abs=5 * deviation)


def test_decisions_are_independent_of_their_neighbours():
    torch.manual_seed(1)
    mask = kept([MANY], 0.5).float() - 0.5
    for distance in (1, 2, 3, 4, 8):  # four decisions come from one draw
        together = (mask[distance:] * mask[:-distance]).mean().item()
        assert abs(together) < 5 * 0.25 / MANY**0.5


def test_the_gradient_flows_where_numbers_were_kept():
    torch.manual_seed(1)
    x = torch.ones(1000, requires_grad=True)
    out = Dropout(0.3).train()(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_nothing_is_dropped_outside_of_training():
    x = torch.randn(100)
    assert Dropout(0.5).eval()(x) is x


def test_the_same_seed_drops_the_same():
    torch.manual_seed(3)
    first = kept([5, 7], 0.5)
    torch.manual_seed(3)
    assert torch.equal(kept([5, 7], 0.5), first)
    assert not torch.equal(kept([5, 7], 0.5), first)


@pytest.mark.parametrize("length", [5, 64, 150])
def test_attention_with_dropout_is_attention_with_some_looks_dropped(length, monkeypatch):
    """Against the equation written out whole, with the very same mask."""
    generator = torch.Generator().manual_seed(2)
    q, k, v = (
        torch.randn(2, 3, length, 8, generator=generator, requires_grad=True) for _ in range(3)
    )
    torch.manual_seed(4)
    mask = kept([2, 3, length, length], 0.4)
    blocks = iter([mask[:, :, b : b + 64, : b + 64] for b in range(0, length, 64)])
    monkeypatch.setattr("transformer_lab.model.dropout.kept", lambda shape, share: next(blocks))
    mixed = attention_with_dropout(q, k, v, 0.4)

    scores = (q @ k.transpose(2, 3)) / 8**0.5
    hidden = torch.ones(length, length).triu(1).bool()
    weights = scores.masked_fill(hidden, -torch.inf).softmax(3)
    expected = (weights * mask * enlargement(0.4)) @ v
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(mixed.square().sum(), (q, k, v), retain_graph=True)
    theirs = torch.autograd.grad(expected.square().sum(), (q, k, v))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_share_is_rounded_to_what_the_bits_can_say():
    assert dropout.LEVELS == 65_536
    assert enlargement(0.1) == pytest.approx(1 / 0.9, rel=1e-4)
    assert enlargement(0.0) == 1.0
