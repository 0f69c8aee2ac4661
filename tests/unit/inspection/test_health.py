"""Signs of health are what they say, on models made sick on purpose."""

import math

import pytest
import torch
from torch.nn import functional as F

from transformer_lab.inspection.attention import patterns
from transformer_lab.inspection.capture import capture
from transformer_lab.inspection.health import (
    attention_collapse,
    dead_units,
    gradient_norms,
    gradients_of,
    silences_negatives,
    stream_statistics,
    update_ratios,
)
from transformer_lab.model import ModelConfig, build_model, model_from_weights
from transformer_lab.model.feedforward import relu_squared


def changed(model, **weights):
    named = {key.replace("__", "."): value for key, value in weights.items()}
    own = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in named.items():
        own[name][:] = value
    return model_from_weights(model.config, model.vocabulary_size, own)


def test_gradient_norms_of_all_parts_make_up_the_whole(tokens):
    model = build_model(ModelConfig(layers=2, heads=2, embedding_dim=16, dropout=0.0), 11, seed=1)
    assert gradient_norms(gradients_of(model)) == []
    model.loss(tokens(2, 13), tokens(2, 13, seed=4)).backward()
    found = gradient_norms(gradients_of(model))
    whole = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
    assert math.hypot(*(one.value for one in found)) == pytest.approx(whole, rel=1e-5)
    values = {(one.layer, one.part): one.value for one in found}
    own = model.blocks[1].feedforward
    expected = torch.nn.utils.get_total_norm([p.grad for p in own.parameters()]).item()
    assert values[1, "feedforward"] == pytest.approx(expected, rel=1e-5)
    assert {part for layer, part in values if layer is None} == {
        "embedding",
        "positions",
        "norm",
        "head",
    }


def test_update_ratios_are_lengths_moved_by_lengths():
    before = {
        "embedding.weight": torch.ones(4, 4),
        "blocks.0.norm_1.weight": torch.zeros(4),
        "blocks.0.norm_2.weight": torch.zeros(4),
        "blocks.0.attention.output.weight": torch.full((2, 2), 3.0),
        "blocks.0.attention.output.bias": torch.full((2,), 4.0),
    }
    after = {name: value.clone() for name, value in before.items()}
    after["embedding.weight"] += 0.01
    after["blocks.0.norm_1.weight"] += 1
    after["blocks.0.attention.output.bias"][0] += 0.5
    values = {(one.layer, one.part): one.value for one in update_ratios(before, after)}
    assert values[None, "embedding"] == pytest.approx(0.01, rel=1e-4)
    assert values[0, "norm_1"] == math.inf
    assert values[0, "norm_2"] == 0
    assert values[0, "attention"] == pytest.approx(0.5 / math.sqrt(4 * 9 + 2 * 16))


def test_every_variant_has_a_health(variant, tokens):
    captured = capture(variant, tokens(13))
    statistics = stream_statistics(captured)
    assert [one.layer for one in statistics] == list(range(len(variant.blocks)))
    last = captured[f"blocks.{captured.layers - 1}.stream_out"]
    assert statistics[-1].mean == pytest.approx(last.mean().item())
    assert statistics[-1].deviation == pytest.approx(last.var(correction=0).sqrt().item())
    assert len(attention_collapse(captured)) == len(captured.attentions) * variant.config.heads
    for one in dead_units(variant, tokens(2, 13)):
        applies = variant.config.feedforward in ("relu", "relu_squared")
        assert (one.dead is not None) == applies
        assert bool(one.note) != applies
    weights = variant.state_dict()
    doubled = {name: 2 * value for name, value in weights.items()}
    assert {one.value for one in update_ratios(weights, doubled)} == {1.0}


def test_units_that_never_wake_are_dead(make, tokens):
    bias = torch.full((64,), 1e6)
    bias[:10] = -1e6
    alive = torch.full((64,), 1e6)
    model = changed(
        make(),
        blocks__0__feedforward__expand__bias=alive,
        blocks__1__feedforward__expand__bias=bias,
    )
    found = dead_units(model, tokens(4, 13))
    assert found[0].dead == 0
    assert (found[1].layer, found[1].dead, found[1].units) == (1, 10, 64)
    assert found[1].share == 10 / 64


def test_a_unit_that_wakes_once_in_any_text_is_alive(make, tokens):
    model, texts = make(), tokens(8, 13)
    hidden = torch.stack([capture(model, row).at(0, "feedforward.hidden") for row in texts])
    expected = int((hidden.amax((0, 1)) == 0).sum())
    sometimes = int((hidden.amin((0, 1)) == 0).sum())
    assert 0 < expected < sometimes
    assert dead_units(model, texts)[0].dead == expected
    alone = [dead_units(model, text[None])[0].dead for text in texts]
    assert expected < min(alone)


@pytest.mark.parametrize(
    ("activation", "silent"),
    [(F.relu, True), (relu_squared, True), (F.gelu, False), (F.silu, False)],
)
def test_only_units_that_are_silent_below_zero_can_die(activation, silent):
    assert silences_negatives(activation) is silent


def test_a_head_with_huge_scores_has_collapsed(make, tokens):
    model = make()
    weight = model.state_dict()["blocks.1.attention.query_key_value.weight"].clone()
    weight[:8] *= 1e4  # the queries of the first head
    sharp = changed(model, blocks__1__attention__query_key_value__weight=weight)
    found = attention_collapse(capture(sharp, tokens(13)))
    assert [(one.layer, one.head) for one in found if one.collapsed] == [(1, 0)]
    assert all(one.collapsed for one in attention_collapse(capture(sharp, tokens(13)), 99.0))
    entropies = torch.special.entr(patterns(capture(sharp, tokens(13)))).sum(-1)[..., 1:].mean(-1)
    assert [one.entropy for one in found] == pytest.approx(entropies.flatten().tolist())
