"""Predictive coding in the model: the energy, its gradient, and that settling lowers it."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from transformer_lab.model import ModelConfig, build_model, parameter_breakdown
from transformer_lab.model.feedforward import matched_hidden
from transformer_lab.model.settling import Settling, SettlingRule, norm_bound, settling_trace
from transformer_lab.model.weights import count_parameters
from transformer_lab.settings import ConfigError

TINY = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
VARIANTS = {
    "feed-forward": {"feedforward": "pc"},
    "positions": {"positions": "pc"},
    "alternating": {"architecture": "pc_alternating"},
    "hierarchical": {"architecture": "pc_hierarchical"},
    "dual": {"architecture": "pc_dual"},
    "three levels": {"architecture": "pc_alternating", "pc_levels": 3},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
VOCABULARY = 11


def randomized(deviation=0.3, **changes):
    model = build_model(ModelConfig(**TINY | changes), VOCABULARY, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, deviation, generator=generator)
    return model


def some_tokens(*shape):
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(3))


def settling(levels, **rule):
    """A part with random weights above a random input, and random guesses: all in double."""
    widths = [6, 9, 7, 5][: levels + 1]
    part = Settling(widths, SettlingRule(**{"steps": 8, "step_size": 0.1, "precision": 0.7} | rule))
    generator = torch.Generator().manual_seed(levels)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    part.double().requires_grad_(False)
    for matrix in part.predict:
        matrix.copy_(normal(*matrix.shape))
    return part, normal(2, 3, widths[0]), [normal(2, 3, width) for width in widths[1:]]


def test_without_steps_the_predictive_feedforward_is_the_gelu_one_bit_for_bit():
    plain = randomized(feedforward="gelu")
    predictive = randomized(feedforward="pc", pc_steps=0)
    missing, unexpected = predictive.load_state_dict(plain.state_dict(), strict=False)
    assert all("settling" in name for name in missing)
    assert unexpected == []
    tokens = some_tokens(2, 16)
    assert torch.equal(plain(tokens), predictive(tokens))
    settled = randomized(feedforward="pc")
    settled.load_state_dict(plain.state_dict(), strict=False)
    assert not torch.allclose(plain(tokens), settled(tokens))


def test_the_feedforward_is_the_equation_it_names():
    layer = randomized(feedforward="pc", pc_steps=2, pc_step_size=0.01).blocks[0].feedforward
    u = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(5))
    D, guess = layer.settling.predict[0], F.gelu(layer.expand(u))
    h = guess
    for _ in range(2):
        h = h - 0.01 * ((h - guess) - (u - h @ D.T) @ D)
    torch.testing.assert_close(layer(u), layer.contract(h))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("width", "multiple"), [(32, 4), (64, 1), (128, 4), (384, 3)])
def test_the_control_has_as_many_parameters(width, multiple, bias):
    shape = {"embedding_dim": width, "feedforward_multiple": multiple, "bias": bias}
    counts = [
        sum(parameter_breakdown(ModelConfig(**shape, feedforward=name), 65).values())
        for name in ("pc", "gelu_matched", "gelu")
    ]
    assert counts[1] == pytest.approx(counts[0], rel=0.01)
    assert counts[2] < 0.95 * counts[0]
    assert matched_hidden(width, multiple * width, False) == round(1.5 * multiple * width)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_gradient_is_that_of_the_energy_and_a_wrong_sign_is_found(levels):
    part, given, guesses = settling(levels)
    latents = [(guess + torch.ones_like(guess)).requires_grad_() for guess in guesses]
    energy = part.energy(given, guesses, latents)
    true = torch.cat([g.flatten() for g in torch.autograd.grad(energy.sum(), latents)])
    slopes = part.gradient(given, guesses, latents)
    found = torch.cat([slope.flatten() for slope in slopes])
    torch.testing.assert_close(found, true)
    flipped = torch.cat([(-slope).flatten() for slope in slopes])
    assert F.cosine_similarity(flipped, true, dim=0).item() == pytest.approx(-1)
    uphill = [z + 1e-3 * slope for z, slope in zip(latents, slopes, strict=True)]
    assert (part.energy(given, guesses, uphill) > energy).all()


@pytest.mark.parametrize("size", [0.1, 1.0])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_no_step_raises_the_energy_of_any_token_however_large_weights_are(scale, levels, size):
    part, given, guesses = settling(levels, step_size=size)
    for matrix in part.predict:
        matrix.mul_(scale)
    states = list(part.states(given, guesses))
    energies = torch.stack([part.energy(given, guesses, latents) for latents in states])
    assert len(states) == 9
    assert (energies.diff(dim=0) <= 0).all()
    assert (energies[-1] < energies[0]).all()
    assert part.step_size() <= size


def test_settled_to_the_end_the_gradient_is_zero():
    part, given, guesses = settling(2, steps=3000, step_size=1.0)
    slopes = part.gradient(given, guesses, part(given, guesses))
    assert max(slope.abs().max() for slope in slopes) < 1e-9


@pytest.mark.parametrize("shape", [(8, 8), (16, 64), (128, 512), (64, 16), (1, 5)])
def test_the_bound_is_never_below_the_largest_singular_value(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    largest = torch.linalg.matrix_norm(matrix, ord=2)
    assert largest <= norm_bound(matrix) * (1 + 1e-12) <= 1.6 * largest
    assert norm_bound(torch.zeros(shape)) == 0


@every_variant
@pytest.mark.parametrize("deviation", [0.02, 0.3, 3.0])
def test_the_energy_falls_in_every_part_at_the_default_settings(variant, deviation):
    trace = settling_trace(randomized(deviation, **variant), some_tokens(4, 16))
    assert trace
    for _, energies in trace:
        assert len(energies) == 5
        assert all(after < before for before, after in pairwise(energies))


@every_variant
def test_a_trace_names_its_parts_and_leaves_the_model_as_it_was(variant):
    model, tokens = randomized(**variant), some_tokens(2, 16)
    before = model(tokens)
    names = [name for name, _ in settling_trace(model, tokens)]
    assert names == [
        name.removesuffix(".settling")
        for name, part in model.named_modules()
        if isinstance(part, Settling)
    ]
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model(tokens), before)
    assert settling_trace(randomized(), tokens) == []


@every_variant
def test_settling_changes_what_is_predicted_and_its_weights_learn(variant):
    tokens = some_tokens(2, 16)
    settled, first_guess = randomized(**variant), randomized(**variant, pc_steps=0)
    assert not torch.allclose(settled(tokens), first_guess(tokens))
    settled.loss(tokens, tokens).backward()
    for name, parameter in settled.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_each_variant_counts_its_predictive_parts():
    parts = {
        name: parameter_breakdown(ModelConfig(**TINY | variant), VOCABULARY)
        for name, variant in VARIANTS.items()
    }
    assert parts["feed-forward"]["Predictive coding"] == 2 * 16 * 64
    assert parts["positions"]["Positions"] == 16 * 16 + 2 * 16 * 16
    block = 2 * (16 * 16 + 16) + 2 * 16 * 16  # two levels up, two down
    assert parts["alternating"]["Predictive coding"] == block + 16 * 16 + 16
    assert parts["hierarchical"]["Predictive coding"] == block + 2 * 16
    assert parts["dual"]["Predictive coding"] == 2 * (block + 16 * 16 + 16 + 2 * 16 + 16)
    model = build_model(ModelConfig(**TINY | VARIANTS["alternating"]), VOCABULARY, seed=1)
    assert sum(parts["alternating"].values()) == count_parameters(model)
    assert "Feed-forward" not in parts["alternating"]


def test_the_two_streams_are_mixed_by_the_gate():
    model = randomized(architecture="pc_dual")
    block = model.blocks[0]
    x = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(1))
    streams = [part(x, model.positions, None) for part in (block.ordinary, block.predictive)]
    with torch.no_grad():
        for gate, expected in ((-100.0, streams[1]), (0.0, sum(streams) / 2), (100.0, streams[0])):
            block.gate.fill_(gate)
            torch.testing.assert_close(block(x, model.positions, None), expected)


@pytest.mark.parametrize(
    ("changes", "field", "why"),
    [
        ({"layers": 1}, "model.layers", "at least 2"),
        ({"feedforward": "pc"}, "model.feedforward", "choose ReLU"),
        ({"feedforward": "gelu_matched"}, "model.feedforward", "choose ReLU"),
        ({"pc_steps": 65}, "model.pc_steps", "0 to 64"),
    ],
)
def test_an_architecture_that_makes_no_sense_is_refused_at_its_setting(changes, field, why):
    with pytest.raises(ConfigError, match=why) as caught:
        ModelConfig(architecture="pc_alternating", **changes)
    assert caught.value.field == field
