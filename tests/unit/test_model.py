"""Properties every variant of the model must have."""

import itertools
import math

import pytest
import torch

from transformer_lab.generation import Reader, SampleConfig, generate
from transformer_lab.model import ModelConfig, build_model, parameter_breakdown
from transformer_lab.model.attention import MultiHeadAttention
from transformer_lab.model.feedforward import FEEDFORWARDS
from transformer_lab.model.norms import NORM_PLACES, NORMS
from transformer_lab.model.positions import POSITIONS, LearnedPositions, RotaryPositions
from transformer_lab.model.predictive import ARCHITECTURES
from transformer_lab.model.weights import count_parameters

TINY = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
VARIANTS = [
    *[{"positions": name} for name in POSITIONS],
    *[{"norm": name, "norm_place": place} for name in NORMS for place in NORM_PLACES],
    *[{"feedforward": name} for name in FEEDFORWARDS],
    *[
        {"architecture": name, "norm_place": place}
        for name in ARCHITECTURES
        for place in NORM_PLACES
    ],
    {"architecture": "pc_alternating", "layers": 3, "pc_levels": 3, "smear": 2},
    {"architecture": "pc_dual", "feedforward": "pc", "positions": "pc", "tied_head": True},
    {"tied_head": True},
    {"bias": False},
    {"qk_norm": True},
    {"smear": 3},
    {"zero_init": True},
]
VOCABULARY = 11


def randomized(**changes):
    """A model whose every parameter is random, so that nothing is hidden by a zero."""
    model = build_model(ModelConfig(**TINY | changes), VOCABULARY, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model


def some_tokens(*shape):
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_no_position_sees_the_future(variant):
    model, tokens = randomized(**variant), some_tokens(1, 16)
    changed = tokens.clone()
    changed[0, 9] = (changed[0, 9] + 1) % VOCABULARY
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert torch.equal(before[0, :9], after[0, :9])
    assert not torch.allclose(before[0, 9:], after[0, 9:])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_cache_changes_no_logit_even_when_the_context_is_refilled(variant):
    model = randomized(**variant)
    cached, plain = Reader(model), Reader(model, cached=False)
    for fresh in [[1, 2, 3], *[[token % VOCABULARY] for token in range(40)]]:
        torch.testing.assert_close(cached.read(fresh), plain.read(fresh), atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_breakdown_adds_up_to_the_built_model(variant):
    config = ModelConfig(**TINY | variant)
    parts = parameter_breakdown(config, VOCABULARY)
    assert sum(parts.values()) == count_parameters(build_model(config, VOCABULARY, seed=1))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("place", NORM_PLACES)
@pytest.mark.parametrize(("width", "vocabulary"), [(16, 11), (128, 65), (512, 65), (64, 1000)])
def test_an_untrained_model_knows_nothing(width, vocabulary, place, tied):
    config = ModelConfig(**TINY | {"embedding_dim": width, "tied_head": tied, "norm_place": place})
    model = build_model(config, vocabulary, seed=1).eval()
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randint(0, vocabulary, (64, 17), generator=generator)
    with torch.no_grad():
        loss = model.loss(tokens[:, :-1], tokens[:, 1:]).item()
    assert abs(loss / math.log(vocabulary) - 1) < 0.02


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_variant_starts_as_a_guess_and_repeats_itself(variant):
    model = build_model(ModelConfig(**TINY | variant), VOCABULARY, seed=1).eval()
    tokens = torch.randint(0, VOCABULARY, (64, 17), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        loss = model.loss(tokens[:, :-1], tokens[:, 1:]).item()
        assert torch.equal(model(tokens[:, 1:]), model(tokens[:, 1:]))
    assert abs(loss / math.log(VOCABULARY) - 1) < 0.05


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("deviation", [0.02, 0.7])
def test_the_size_of_the_first_embeddings_does_not_favour_any_token(deviation, tied):
    config = ModelConfig(embedding_deviation=deviation, tied_head=tied, sequence_length=16)
    model = build_model(config, 65, seed=1).eval()
    tokens = torch.randint(0, 65, (16, 17), generator=torch.Generator().manual_seed(4))
    assert model.embedding.weight.std().item() == pytest.approx(deviation, rel=0.05)
    with torch.no_grad():
        loss = model.loss(tokens[:, :-1], tokens[:, 1:]).item()
    assert abs(loss / math.log(65) - 1) < 0.03


def test_building_a_model_draws_nothing_from_the_default_generator():
    before = torch.get_rng_state()
    first, second = (build_model(ModelConfig(**TINY), VOCABULARY, seed=5) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_attention_is_softmax_of_scaled_scores_times_values():
    torch.manual_seed(6)
    layer = MultiHeadAttention(16, 4, 0.0, bias=True)
    x = torch.randn(2, 7, 16)
    q, k, v = layer.query_key_value(x).view(2, 7, 3, 4, 4).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(2, 3) / math.sqrt(4)
    future = torch.ones(7, 7).triu(1).bool()
    mixed = scores.masked_fill(future, -math.inf).softmax(3) @ v
    expected = layer.output(mixed.transpose(1, 2).reshape(2, 7, 16))
    torch.testing.assert_close(layer(x, LearnedPositions(16, 16, 4)), expected, atol=1e-5, rtol=0)


def test_rotary_scores_depend_only_on_distance():
    positions = RotaryPositions(32, 16, 8)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(7))
    near = (positions.rotate(q, 5) * positions.rotate(k, 2)).sum()
    far = (positions.rotate(q, 25) * positions.rotate(k, 22)).sum()
    other = (positions.rotate(q, 25) * positions.rotate(k, 20)).sum()
    torch.testing.assert_close(near, far)
    assert not torch.isclose(near, other)


def test_temperature_zero_is_greedy_and_a_seed_repeats_its_text():
    model, prompt = randomized(), some_tokens(3).numpy()
    reader, fresh, greedy = Reader(model), prompt.tolist(), []
    for _ in range(10):
        greedy.append(int(reader.read(fresh).argmax()))
        fresh = greedy[-1:]

    def texts(**settings):
        return list(generate(model, prompt, SampleConfig(length=10, **settings)))

    assert texts(temperature=0.0) == greedy
    assert texts(temperature=1.5, top_k=1) == greedy
    assert texts(seed=1) == texts(seed=1)
    assert len({tuple(texts(temperature=2.0, seed=seed)) for seed in range(5)}) > 1


def test_a_prompt_longer_than_the_context_is_read_by_its_end():
    model, long = randomized(), some_tokens(50).numpy()
    assert len(list(itertools.islice(generate(model, long, SampleConfig()), 5))) == 5
