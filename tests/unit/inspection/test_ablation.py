"""Parts are switched off and exchanged for real, in models that share every weight."""

import itertools

import pytest
import torch

from transformer_lab.generation import QuickReader, Reader, SampleConfig, generate
from transformer_lab.inspection.ablation import (
    Patch,
    Site,
    ablated,
    feedforward_site,
    feedforwards_of,
    head_site,
    heads_of,
    importance,
    mean_loss,
    mean_writes,
    others_of,
    patched,
    stream_site,
)
from transformer_lab.inspection.capture import capture
from transformer_lab.model import model_from_weights
from transformer_lab.settings import ConfigError


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def edited(model, **changes):
    """The model with some weights exchanged, by hand."""
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for name, edit in changes.items():
        edit(weights[name.replace("__", ".")])
    return model_from_weights(model.config, model.vocabulary_size, weights)


def zero(weights):
    weights.zero_()


def writers(model):
    return [*heads_of(model), *feedforwards_of(model), *others_of(model)]


def test_switching_a_head_off_is_zeroing_its_columns_of_the_output_matrix(make, tokens):
    model, text = make(heads=4), tokens(2, 13)
    K = 4
    for head in range(4):

        def columns(weights, head=head):
            weights[:, head * K : (head + 1) * K] = 0

        by_hand = edited(model, blocks__1__attention__output__weight=columns)
        without = ablated(model, [head_site(model, 1, head)])
        close(without(text), by_hand(text))
        assert not torch.allclose(without(text), model(text), atol=1e-3)


def test_switching_a_feedforward_off_is_zeroing_its_last_map(make, tokens):
    model, text = make(), tokens(2, 13)
    name = "blocks__0__feedforward__contract"
    by_hand = edited(model, **{f"{name}__weight": zero, f"{name}__bias": zero})
    close(ablated(model, [feedforward_site(model, 0)])(text), by_hand(text))


def test_switching_several_parts_off_is_doing_so_one_after_another(make, tokens):
    model, text = make(), tokens(2, 13)
    one, other = head_site(model, 0, 1), feedforward_site(model, 1)
    together = ablated(model, [one, other])
    close(together(text), ablated(ablated(model, [one]), [other])(text))
    assert not torch.allclose(together(text), ablated(model, [one])(text), atol=1e-3)


def test_every_writer_of_every_variant_can_be_switched_off(variant, tokens):
    text = tokens(2, 13)
    before = {name: value.clone() for name, value in variant.state_dict().items()}
    plain = variant(text)
    for site in writers(variant):
        assert not torch.allclose(ablated(variant, [site])(text), plain, atol=1e-4), site
        assert site.label
    assert torch.equal(variant(text), plain)
    for name, value in variant.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_mean_is_over_all_positions_and_texts(make, tokens):
    model, text = make(), tokens(3, 13)
    head, feedforward = head_site(model, 1, 0), feedforward_site(model, 1)
    means = mean_writes(model, [head, feedforward], [(text[:2], text[:2]), (text[2:], text[2:])])
    captures = [capture(model, row) for row in text]
    mixed = torch.cat([c["blocks.1.attention.mixed"][0] for c in captures])
    write = torch.cat([c["blocks.1.feedforward.write"] for c in captures])
    close(means[head], mixed.mean(0))
    close(means[feedforward], write.mean(0))
    captured = capture(ablated(model, [head, feedforward], means), text[0])
    close(captured["blocks.1.attention.mixed"][0], mixed.mean(0).expand(13, -1))
    close(captured["blocks.1.feedforward.write"], write.mean(0).expand(13, -1))


def test_a_patch_from_the_same_text_changes_nothing(variant, tokens):
    text = tokens(13)
    captured = capture(variant, text)
    sites = [*writers(variant), *(stream_site(variant, n) for n in range(len(variant.blocks)))]
    for site in sites:
        same = patched(variant, [Patch(site=site, source=captured)])
        close(same(text[None])[0], captured["logits"])


def test_the_last_stream_of_another_text_brings_its_prediction_along(variant, tokens):
    text, other = tokens(13), capture(variant, tokens(13, seed=9))
    last = stream_site(variant, len(variant.blocks) - 1)
    changed = patched(variant, [Patch(site=last, source=other, positions=(4,))])
    logits = changed(text[None])[0]
    close(logits[4], other["logits"][4])
    rest = [place for place in range(13) if place != 4]
    close(logits[rest], variant(text[None])[0, rest])


def test_a_patch_reaches_only_its_place_and_what_comes_after(make, tokens):
    model, text = make(), tokens(13)
    source = capture(model, tokens(13, seed=9))
    changed = patched(model, [Patch(site=head_site(model, 0, 1), source=source, positions=(6,))])
    found = capture(changed, text)
    plain = capture(model, text)
    mixed = "blocks.0.attention.mixed"
    close(found[mixed][1, 6], source[mixed][1, 6])
    close(found[mixed][0], plain[mixed][0])
    close(found["logits"][:6], plain["logits"][:6])
    for place in range(6, 13):
        assert not torch.allclose(found["logits"][place], plain["logits"][place], atol=1e-5)


def test_changed_models_read_the_same_with_a_cache_and_without(variant, tokens):
    source = capture(variant, tokens(10, seed=9))
    site = writers(variant)[0]
    text = tokens(30).tolist()  # so the context is refilled on the way
    for changed in (
        ablated(variant, [site]),
        patched(variant, [Patch(site=site, source=source)]),
        patched(
            variant,
            [Patch(site=stream_site(variant, 0), source=source, positions=(1, 5, 9))],
        ),
    ):
        readers = QuickReader(changed), Reader(changed, cached=False), QuickReader(variant)
        differs = False
        for fresh in [text[:4], *[[token] for token in text[4:]]]:
            cached, plain, unchanged = (reader.read(fresh) for reader in readers)
            close(cached, plain)
            differs |= not torch.allclose(cached, unchanged, atol=1e-4)
        assert differs


def test_a_changed_model_writes_and_has_a_loss_like_any_other(make, tokens):
    model = make()
    without = ablated(model, [head_site(model, 0, 0)])
    config = SampleConfig(length=30, temperature=1.5, top_p=0.9)
    written = list(generate(without, tokens(4).numpy(), config))
    assert written == list(generate(without, tokens(4).numpy(), config, cached=False))
    assert written != list(generate(model, tokens(4).numpy(), config))
    assert without.loss(tokens(2, 13), tokens(2, 13, seed=4)).isfinite()


def test_importance_is_the_loss_without_each_part(make, tokens):
    model = make()
    batches = [(tokens(2, 13, seed=n), tokens(2, 13, seed=n + 1)) for n in range(2)]
    found = list(importance(model, batches))
    assert [one.site for one in found] == writers(model)
    assert [one.done for one in found] == list(range(1, found[0].total + 1))
    for one in found:
        loss = sum(ablated(model, [one.site]).loss(*batch).item() for batch in batches) / 2
        assert one.loss == pytest.approx(loss)
        assert one.change == pytest.approx(loss - mean_loss(model, batches), abs=1e-6)
        assert abs(one.change) > 1e-4
    means = [one.loss for one in importance(model, batches, mean=True)]
    assert all(abs(one.loss - mean) > 1e-4 for one, mean in zip(found, means, strict=True))


def test_a_change_comes_with_its_standard_error_over_the_sequences(make, tokens):
    model = make()
    inputs, targets = tokens(6, 13), tokens(6, 13, seed=1)
    found = next(importance(model, [(inputs[:2], targets[:2]), (inputs[2:], targets[2:])]))
    without = ablated(model, [found.site])
    changes = torch.tensor(
        [
            without.loss(some, wanted).item() - model.loss(some, wanted).item()
            for some, wanted in zip(inputs.split(1), targets.split(1), strict=True)
        ]
    )
    assert found.change == pytest.approx(changes.mean().item(), rel=1e-3)
    assert found.error == pytest.approx(changes.std().item() / 6**0.5, rel=1e-3)
    assert found.noise == (abs(found.change) <= 2 * found.error)


def test_tokens_that_are_not_counted_add_nothing_to_the_error(make, tokens):
    model = make()
    inputs, targets = tokens(4, 13), tokens(4, 13, seed=1)
    padded = torch.cat([inputs, inputs.flip(0)]), torch.cat([targets, torch.full((4, 13), -100)])
    alone, beside = (next(importance(model, [batch])) for batch in ((inputs, targets), padded))
    assert beside.loss == pytest.approx(alone.loss)
    sequences = 8 / 7 / (4 / 3)  # one mean more is known of more sequences
    assert beside.error == pytest.approx(alone.error * sequences**0.5, rel=1e-4)


def test_importance_comes_one_part_at_a_time(make, tokens):
    batch = (tokens(2, 13), tokens(2, 13))
    first = next(importance(make(), [batch]))
    assert (first.done, first.total, first.site.label) == (1, 6, "head 1 of layer 1")


def test_a_head_that_writes_nothing_is_not_missed(make, tokens):
    def columns(weights):
        weights[:, :8] = 0

    model = edited(make(), blocks__0__attention__output__weight=columns)
    changes = [one.change for one in importance(model, [(tokens(2, 13), tokens(2, 13))])]
    assert changes[0] == 0
    assert changes[1] != 0


def test_what_is_not_missed_is_told_to_be_chance(make, tokens):
    def columns(weights):
        weights[:, :8] = 0

    model = edited(make(), blocks__0__attention__output__weight=columns)
    first = next(importance(model, [(tokens(2, 13), tokens(2, 13))]))
    assert first.noise


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (Site(path="blocks.0.attention", head=2), "no head 3 of layer 1: it has 2 heads"),
        (Site(path="blocks.0.feedforward", head=0), "it has 0 heads"),
        (Site(path="blocks.5.attention", head=0), r"no part blocks\.5\.attention"),
        (Site(path="blocks"), "no part blocks"),
        (Site(path="blocks.0"), "Without all of layer 1 nothing is left"),
        (Site(path="norm"), "Without norm of norm nothing is left"),
    ],
)
def test_what_cannot_be_switched_off_is_refused(make, site, words):
    with pytest.raises(ConfigError, match=words):
        ablated(make(), [site])


def test_parts_and_places_that_are_not_there_are_refused(make, tokens):
    model = make()
    with pytest.raises(ConfigError, match="Layer 4 of this model has no attention"):
        head_site(model, 3, 0)
    with pytest.raises(ConfigError, match="Layer 4 of this model has no feedforward"):
        feedforward_site(model, 3)
    patch = Patch(site=stream_site(model, 0), source=capture(model, tokens(5)), positions=(2, 5))
    with pytest.raises(ConfigError, match="no place 6 in the other text: it has 5 tokens"):
        patched(model, [patch])


def test_sites_have_names_a_learner_knows(make):
    model = make()
    labels = [site.label for site in itertools.chain(heads_of(model), feedforwards_of(model))]
    assert labels[1:5] == [
        "head 2 of layer 1",
        "head 1 of layer 2",
        "head 2 of layer 2",
        "feed-forward of layer 1",
    ]
