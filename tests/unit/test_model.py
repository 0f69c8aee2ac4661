"""Properties every variant of the model must have."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from transformer_lab.generation import QuickReader, Reader, SampleConfig, generate
from transformer_lab.model import ModelConfig, build_model, parameter_breakdown
from transformer_lab.model.architectures import ARCHITECTURES
from transformer_lab.model.attention import ATTENTIONS
from transformer_lab.model.config import either
from transformer_lab.model.feedforward import FEEDFORWARDS, relu_squared
from transformer_lab.model.growth import grown
from transformer_lab.model.ngrams import NGrams
from transformer_lab.model.norms import NORM_PLACES, NORMS, unit_size
from transformer_lab.model.one_token import fits
from transformer_lab.model.positions import POSITIONS, PositionShape, RotaryPositions
from transformer_lab.model.weights import count_parameters, outline, products_per_token
from transformer_lab.settings import ConfigError

TINY = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
VARIANTS = [
    *[{"positions": name} for name in POSITIONS],
    *[{"norm": name, "norm_place": place} for name in NORMS for place in NORM_PLACES],
    *[{"feedforward": name} for name in FEEDFORWARDS],
    *[{"attention": name, "window": 5} for name in ATTENTIONS],
    *[{"attention": name, "window": 5, "heads": 4, "key_value_heads": 2} for name in ATTENTIONS],
    {"heads": 4, "key_value_heads": 1, "positions": "rotary", "qk_norm": True},
    {"attention": "sliding_window", "window": 5, "positions": "alibi"},
    {"attention": "written_out", "positions": "alibi"},
    {"attention": "linear", "positions": "rotary"},
    {"feedforward": "none", "norm_place": "pre"},
    {"feedforward": "none", "norm_place": "post"},
    {"residual": False},
    {"logit_softcap": 3.0},
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
    {"ngrams": 4, "ngram_rows": 50, "smear": 1},
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
    quick, cached, plain = QuickReader(model), Reader(model), Reader(model, cached=False)
    for fresh in [[1, 2, 3], *[[token % VOCABULARY] for token in range(40)]]:
        logits = plain.read(fresh)
        torch.testing.assert_close(cached.read(fresh), logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(quick.read(fresh), logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_one_token_takes_the_short_way_unless_blocks_or_positions_settle(variant):
    architecture, positions = variant.get("architecture", "standard"), variant.get("positions", "")
    assert fits(randomized(**variant)) == (architecture == "standard" and "pc" not in positions)


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


@pytest.mark.parametrize("norm", [name for name in NORMS if name != "none"])
def test_the_last_norm_before_a_tied_head_starts_small(norm):
    config = ModelConfig(**TINY | {"embedding_dim": 512, "norm": norm, "tied_head": True})
    model = build_model(config, VOCABULARY, seed=1)
    gain = 0.32 / (512 * config.embedding_deviation)
    assert model.norm.weight.max().item() == pytest.approx(gain)


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


def test_squared_relu_has_the_very_numbers_and_gradients_that_autograd_gives_it():
    x = torch.randn(50, 40, generator=torch.Generator().manual_seed(1)).requires_grad_()
    weights = torch.randn(50, 40, generator=torch.Generator().manual_seed(2))
    ours, plain = relu_squared(x), torch.relu(x).square()
    assert torch.equal(ours, plain)
    (gradient,) = torch.autograd.grad((ours * weights).sum(), x)
    assert torch.equal(gradient, torch.autograd.grad((plain * weights).sum(), x)[0])
    assert not torch.equal(gradient, torch.zeros_like(x))


def test_attention_is_softmax_of_scaled_scores_times_values():
    model = randomized(heads=4)
    layer = model.blocks[0].attention
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(6))
    q, k, v = layer.query_key_value(x).view(2, 7, 3, 4, 4).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(2, 3) / math.sqrt(4)
    future = torch.ones(7, 7).triu(1).bool()
    mixed = scores.masked_fill(future, -math.inf).softmax(3) @ v
    expected = layer.output(mixed.transpose(1, 2).reshape(2, 7, 16))
    torch.testing.assert_close(layer(x, model.positions), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["learned", "rotary", "alibi"])
@pytest.mark.parametrize("key_value_heads", [0, 1, 2])
def test_attention_written_out_equals_the_fast_one(positions, key_value_heads):
    shape = {"heads": 4, "positions": positions, "key_value_heads": key_value_heads}
    fast = randomized(**shape)
    written_out = randomized(**shape, attention="written_out")
    written_out.load_state_dict(fast.state_dict())
    tokens = some_tokens(3, 16)
    with torch.no_grad():
        torch.testing.assert_close(written_out(tokens), fast(tokens), atol=1e-5, rtol=0)


UNMASKED = [
    *[{"attention": name, "positions": "alibi" if name != "linear" else "learned"}
      for name in ATTENTIONS],
    {"architecture": "pc_dual", "heads": 4, "key_value_heads": 2, "positions": "rotary"},
]  # fmt: skip


@pytest.mark.parametrize("variant", UNMASKED, ids=str)
def test_without_a_mask_every_attention_sees_the_future_in_training_too(variant):
    model, tokens = randomized(causal=False, dropout=0.2, **variant), some_tokens(1, 16)
    changed = tokens.clone()
    changed[0, 9] = (changed[0, 9] + 1) % VOCABULARY
    for training in (False, True):
        model.train(training)
        found = []
        for some in (tokens, changed):
            torch.manual_seed(1)
            found.append(model(some))
        assert not torch.allclose(found[0][0, :9], found[1][0, :9])  # one that is earlier
    shape = ModelConfig(**TINY | variant)
    masked = products_per_token(shape, VOCABULARY)
    assert products_per_token(replace(shape, causal=False), VOCABULARY) > masked


@pytest.mark.parametrize("variant", UNMASKED, ids=str)
def test_without_a_mask_each_token_is_written_from_all_that_stands_there(variant):
    model = randomized(causal=False, **variant)
    reader, context = Reader(model), []
    for fresh in [[1, 2, 3], [4], [5]]:
        context += fresh
        with torch.no_grad():
            whole = model(torch.tensor([context]))[0, -1]
        torch.testing.assert_close(reader.read(fresh), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"tied_head": True}, {"norm_place": "post"}], ids=str)
def test_no_gradient_reaches_a_model_whose_weights_are_all_zero(changes):
    model = build_model(ModelConfig(**TINY | changes, zero_weights=True), VOCABULARY, seed=1)
    tokens = some_tokens(4, 17)
    loss = model.loss(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    assert loss.item() == pytest.approx(math.log(VOCABULARY))
    for parameter in model.parameters():
        assert not parameter.any()
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("positions", ["learned", "alibi"])
@pytest.mark.parametrize("attention", [name for name in ATTENTIONS if name != "linear"])
def test_dropout_of_attention_keeps_its_expectation(attention, positions):
    model = randomized(attention=attention, window=5, positions=positions, dropout=0.2)
    layer, x = model.blocks[0].attention, torch.randn(1, 9, 16)
    with torch.no_grad():
        whole = layer.eval()(x, model.positions)
        torch.manual_seed(1)
        draws = torch.stack([layer.train()(x, model.positions) for _ in range(3000)])
    assert draws.std(0).max() > 0.01
    torch.testing.assert_close(draws.mean(0), whole, atol=0.08, rtol=0)


def test_a_window_hides_what_lies_further_back():
    model, tokens = randomized(attention="sliding_window", window=5, layers=1), some_tokens(1, 16)
    changed = tokens.clone()
    changed[0, 3] = (changed[0, 3] + 1) % VOCABULARY
    with torch.no_grad():
        same = (model(tokens) == model(changed)).all(-1)[0]
    assert same.tolist() == [True] * 3 + [False] * 5 + [True] * 8


def test_a_window_as_long_as_the_text_is_the_whole_attention():
    whole = randomized()
    windowed = randomized(attention="sliding_window", window=16)
    tokens = some_tokens(2, 16)
    with torch.no_grad():
        torch.testing.assert_close(windowed(tokens), whole(tokens), atol=1e-5, rtol=0)


def test_heads_that_share_keys_and_values_compute_as_if_each_had_a_copy():
    shared, own = randomized(heads=4, key_value_heads=2), randomized(heads=4)
    own.load_state_dict(shared.state_dict() | copied(shared.state_dict()))
    tokens = some_tokens(2, 16)
    with torch.no_grad():
        torch.testing.assert_close(shared(tokens), own(tokens), atol=1e-5, rtol=0)


def copied(weights):
    """Query, key and value matrices of 4 heads, made from those with 2 heads of keys and values."""
    found = {}
    for name, weight in weights.items():
        if "query_key_value" in name:
            heads = weight.unflatten(0, (8, 4))  # 4 of queries, 2 of keys, 2 of values
            order = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7]
            found[name] = heads[order].flatten(0, 1)
    return found


def test_linear_attention_keeps_as_much_after_many_tokens_as_after_one():
    model = randomized(attention="linear")
    reader, sizes = Reader(model), []
    for token in range(10):
        reader.read([token])
        kept = reader._cache.layers[0]
        sizes.append(kept.memory.numel() + kept.weight.numel())
    assert sizes == [2 * 8 * 8 + 2 * 8] * 10


def test_alibi_lowers_scores_by_the_distance():
    bias = randomized(positions="alibi", heads=4).positions.score_bias(2, 5)
    assert bias.shape == (4, 2, 5)
    assert bias[0, 1].tolist() == [-1.0, -0.75, -0.5, -0.25, 0.0]  # slope 2^-2 in the first head
    assert bias[3, 1, 3].item() == -(2.0**-8)


def test_a_softcap_bounds_every_logit():
    tokens = some_tokens(2, 16)
    with torch.no_grad():
        free, capped = randomized()(tokens), randomized(logit_softcap=0.5)(tokens)
    assert free.abs().max() > 0.5
    torch.testing.assert_close(capped, 0.5 * torch.tanh(free / 0.5))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_is_given_its_first_value_by_the_part_that_holds_it(variant):
    outlined = outline(ModelConfig(**TINY | variant), VOCABULARY)
    for path, part in outlined.named_modules():
        if any(True for _ in part.parameters(recurse=False)):
            assert hasattr(part, "init_weights") or "settling" in path, path
    for name, weight in build_model(
        ModelConfig(**TINY | variant), VOCABULARY, 1
    ).named_parameters():
        assert weight.isfinite().all(), name


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_learns(variant):
    model = randomized(**variant)
    model.loss(some_tokens(4, 16), some_tokens(4, 16).roll(1)).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("changes", "field", "way_out"),
    [
        ({"heads": 4, "key_value_heads": 3}, "model.key_value_heads", "choose 1, 2 or 4"),
        ({"attention": "linear", "positions": "alibi"}, "model.positions", "other positions"),
        ({"residual": False, "norm_place": "post"}, "model.norm_place", "choose pre"),
        ({"residual": False, "architecture": "pc_dual"}, "model.residual", "switch them on"),
        ({"residual": False, "feedforward": "none"}, "model.residual", "switch them on"),
    ],
)
def test_what_makes_no_sense_together_is_refused_at_its_setting(changes, field, way_out):
    with pytest.raises(ConfigError, match=way_out) as caught:
        ModelConfig(**TINY | changes)
    assert caught.value.field == field


def test_numbers_to_choose_from_are_listed_as_people_do():
    assert [either([1]), either([1, 2]), either([1, 2, 4])] == ["1", "1 or 2", "1, 2 or 4"]


def test_rotary_scores_depend_only_on_distance():
    positions = RotaryPositions(PositionShape(sequence_length=32, width=16, heads=2))
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


def test_unit_size_and_its_gradient_are_those_of_autograd():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 5, 8, generator=generator).mul(torch.tensor([1e-4, 1, 9])[:, None, None])
    dy = torch.randn(2, 3, 5, 8, generator=generator)
    ways = (unit_size, lambda x: torch.nn.functional.rms_norm(x, (8,)))
    found = []
    for way in ways:
        x = x.detach().requires_grad_()
        y = way(x)
        found.append((y, *torch.autograd.grad(y, x, dy)))
    for ours, autograd in zip(*found, strict=True):
        torch.testing.assert_close(
            ours, autograd, rtol=1e-5, atol=1e-5 * float(autograd.abs().max())
        )


def test_ngrams_of_each_length_have_vectors_of_their_own_but_for_a_few_that_share_one():
    tokens = torch.cartesian_prod(*[torch.arange(VOCABULARY)] * 3)  # (V³, 3)
    ngrams = NGrams(3, 60_000, 1)
    ngrams.table.data = torch.arange(60_000, dtype=torch.float64)[:, None]
    single, pair, triple = ngrams(torch.zeros(len(tokens), 3, 1), tokens)[..., 0].unbind(1)
    assert len(single.unique()) == VOCABULARY
    assert len(pair.unique()) == VOCABULARY**2
    assert len(triple.unique()) >= 0.98 * VOCABULARY**3


def test_ngrams_are_found_again_in_a_vocabulary_that_grew():
    model = randomized(ngrams=3, smear=1)
    larger = build_model(model.config, VOCABULARY + 2, seed=1)
    larger.load_state_dict(grown(model.state_dict(), range(VOCABULARY), VOCABULARY + 2))
    tokens = torch.randint(VOCABULARY, (8, 16), generator=torch.Generator().manual_seed(3))
    assert torch.equal(larger.embed(tokens), model.embed(tokens))
