"""LoRA on every variant of the model: the base at step 0, the same merged, the base unchanged."""

import hashlib

import pytest
import torch

from sampling import sampled
from test_model import VARIANTS, VOCABULARY, randomized, some_tokens
from transformer_lab.generation import QuickReader, Reader
from transformer_lab.model import model_from_weights
from transformer_lab.model.linear import Linear
from transformer_lab.model.lora import VARIANTS as LORA_VARIANTS
from transformer_lab.model.lora import (
    LoRAConfig,
    LoRALinear,
    adapt,
    adapted_maps,
    factors,
    load_factors,
    plain_weights,
)
from transformer_lab.model.one_token import fits
from transformer_lab.settings import ConfigError

RANK = 3


def sums(weights):
    return {
        name: hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest()
        for name, weight in weights.items()
    }


def tuned(model, steps=2, **changes):
    """The model with random changes beside its matrices, trained for a few steps."""
    adapt(model, LoRAConfig(rank=RANK, **changes), seed=4)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for part in adapted_maps(model).values():
            part.lora_B.normal_(0.0, 0.02, generator=generator)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(some_tokens(2, 16), some_tokens(2, 16).roll(-1, 1)).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("kind", LORA_VARIANTS)
@pytest.mark.parametrize("variant", sampled(VARIANTS, 17), ids=str)
def test_before_the_first_step_it_is_the_base_bit_for_bit(variant, kind):
    model, tokens = randomized(**variant), some_tokens(2, 16)
    with torch.no_grad():
        before = model(tokens)
        adapt(model, LoRAConfig(rank=RANK, variant=kind), seed=4)
        assert torch.equal(model(tokens), before)
    assert adapted_maps(model)


@pytest.mark.parametrize("kind", LORA_VARIANTS)
@pytest.mark.parametrize("variant", sampled(VARIANTS, 17), ids=str)
def test_merged_it_computes_the_same_and_the_base_is_never_changed(variant, kind):
    model = randomized(**variant)
    base = dict(model.named_parameters())
    before = sums(base)
    tuned(model, variant=kind).eval()
    assert sums(base) == before
    merged = model_from_weights(model.config, VOCABULARY, plain_weights(model))
    with torch.no_grad():
        apart, together = model(some_tokens(2, 16)), merged(some_tokens(2, 16))
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=1e-5)
    assert sums(plain_weights(model)) != before


@pytest.mark.parametrize("kind", LORA_VARIANTS)
@pytest.mark.parametrize("variant", [{}, {"bias": False, "feedforward": "swiglu"}], ids=str)
def test_one_token_is_read_with_its_changes(variant, kind):
    model = tuned(randomized(**variant), variant=kind).eval()
    assert fits(model)
    quick, plain = QuickReader(model), Reader(model, cached=False)
    for fresh in [[1, 2, 3], *[[token % VOCABULARY] for token in range(20)]]:
        torch.testing.assert_close(quick.read(fresh), plain.read(fresh), atol=1e-5, rtol=1e-5)


def test_queries_keys_and_values_have_a_change_each_of_the_given_rank():
    model = tuned(randomized(heads=4, key_value_heads=2))
    part = model.blocks[0].attention.query_key_value
    assert isinstance(part, LoRALinear)
    changes = part.change().split(part.stacked)
    assert [int(torch.linalg.matrix_rank(one)) for one in changes] == [RANK] * 3


def test_the_change_is_alpha_over_r_times_b_a():
    model = tuned(randomized(), alpha=12.0)
    part = model.blocks[0].feedforward.contract
    expected = 12.0 / RANK * part.lora_B @ part.lora_A
    torch.testing.assert_close(part.change(), expected)
    rooted = LoRAConfig(rank=4, alpha=12.0, variant="rslora")
    assert rooted.scale == pytest.approx(12.0 / 2)


def test_only_the_chosen_matrices_learn():
    for matrices, word in (("attention", "attention"), ("feedforward", "feedforward")):
        model = randomized()
        adapt(model, LoRAConfig(rank=RANK, matrices=matrices), seed=1)
        learning = [name for name, p in model.named_parameters() if p.requires_grad]
        assert learning
        assert all(word in name and "lora_" in name for name in learning)


def test_single_matrices_are_chosen_by_their_names():
    model = tuned(randomized(heads=4, key_value_heads=2), matrices="single", single="value, down")
    assert {path.rpartition(".")[2] for path in adapted_maps(model)} == {
        "query_key_value",
        "contract",
    }
    part = model.blocks[0].attention.query_key_value
    changes = part.change().split(part.stacked)
    assert [int(torch.linalg.matrix_rank(one)) for one in changes] == [0, 0, RANK]
    assert part.lora_A.shape[0] == RANK


def test_a_single_matrix_that_the_base_does_not_have_is_named_with_those_it_has():
    chosen = LoRAConfig(matrices="single", single="query, gate")
    with pytest.raises(ConfigError, match=r"'gate', which the base has not.*query") as refused:
        adapt(randomized(), chosen, seed=1)
    assert refused.value.field == "lora.single"


@pytest.mark.parametrize("single", ["query, value", "key", "query, key, value"])
@pytest.mark.parametrize("bias", [True, False])
def test_in_one_product_it_computes_and_learns_the_same(single, bias):
    base = Linear(6, 12, bias=bias, stacked=(6, 3, 3)).double()
    base.requires_grad_(False)
    config = LoRAConfig(rank=2, matrices="single", single=single)
    part = LoRALinear(base, config, config.chosen("attention.query_key_value", 3)).double()
    generator = torch.Generator().manual_seed(2)
    for weight in (part.lora_A, part.lora_B):
        torch.nn.init.normal_(weight, generator=generator)
    x = torch.randn(2, 5, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    learning = (x, part.lora_A, part.lora_B)
    found = []
    for way in (part.forward, part.plain):
        y = way(x)
        found.append((y, *torch.autograd.grad((y.sin() * y).sum(), learning)))
    torch.testing.assert_close(*found, atol=1e-10, rtol=1e-10)
    torch.autograd.gradcheck(lambda *_: part(x), learning)


def test_dropout_is_only_for_training():
    model = tuned(randomized(), dropout=0.5)
    x = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(1))
    part = model.blocks[0].feedforward.expand
    part.train()
    torch.manual_seed(0)
    assert not torch.equal(part(x), part(x))
    part.eval()
    assert torch.equal(part(x), part(x))


def test_a_rank_above_the_width_is_refused_with_the_largest_that_fits():
    with pytest.raises(ConfigError, match="choose at most 16") as refused:
        adapt(randomized(), LoRAConfig(rank=17), seed=1)
    assert refused.value.field == "lora.rank"


def test_matrices_the_base_does_not_have_are_refused():
    with pytest.raises(ConfigError, match="choose all"):
        adapt(randomized(feedforward="none"), LoRAConfig(matrices="feedforward"), seed=1)


def test_factors_come_back_and_those_of_another_base_are_refused():
    model, again = tuned(randomized()), randomized()
    adapt(again, LoRAConfig(rank=RANK), seed=9)
    load_factors(again, factors(model))
    assert sums(factors(again)) == sums(factors(model))
    deeper = randomized(layers=3)
    adapt(deeper, LoRAConfig(rank=RANK), seed=9)
    with pytest.raises(ValueError, match="another base or another rank"):
        load_factors(deeper, factors(model))
