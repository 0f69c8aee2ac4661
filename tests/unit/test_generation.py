"""How a token is drawn, and what a step tells."""

import math

import pytest
import torch

from transformer_lab.generation import (
    QuickReader,
    Reader,
    SampleConfig,
    choose,
    draw,
    generate,
    nucleus,
    shaped,
    steps,
)
from transformer_lab.model import ModelConfig, build_model
from transformer_lab.model.one_token import fits
from transformer_lab.settings import ConfigError


def some_model():
    config = ModelConfig(layers=2, heads=2, embedding_dim=16, sequence_length=16, dropout=0.0)
    model = build_model(config, 11, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model


PROMPT = torch.tensor([1, 2, 3]).numpy()


@pytest.mark.parametrize("size", [5, 300, 3000])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_nucleus_is_the_smallest_set_of_likely_tokens_with_that_share(size, share):
    generator = torch.Generator().manual_seed(size)
    for spread in (0.01, 2.0, 8.0):  # from nearly even, where a few are not enough, to sharp
        probabilities = (spread * torch.randn(size, generator=generator)).softmax(0)
        kept = nucleus(probabilities, share)
        inside = probabilities[kept > 0]
        assert inside.sum() >= share - 1e-6
        assert inside.sum() - inside.min() < share + 1e-6  # none could be spared
        assert len(inside) == size or inside.min() > probabilities[kept == 0].max()
        torch.testing.assert_close(kept[kept > 0], inside / inside.sum())


def test_tokens_that_tie_with_the_last_one_stay():
    kept = nucleus(torch.tensor([0.4, 0.2, 0.2, 0.2]), 0.5)
    assert torch.equal(kept, torch.tensor([0.4, 0.2, 0.2, 0.2]))


def test_top_p_is_of_what_temperature_and_top_k_left():
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    left = shaped(logits, SampleConfig(temperature=1.0, top_k=2, top_p=0.55))
    assert left.tolist() == pytest.approx([1, 0, 0, 0])  # 0.4 of 0.7 is more than 0.55
    left = shaped(logits, SampleConfig(temperature=0.5, top_p=0.5))
    assert left.tolist() == pytest.approx([1, 0, 0, 0])  # 0.16 of 0.30
    left = shaped(logits, SampleConfig(temperature=1.0, top_p=0.5))
    assert left.tolist() == pytest.approx([4 / 7, 3 / 7, 0, 0])


def test_without_top_p_a_seed_writes_what_it_wrote_before_there_was_one():
    logits = 3 * torch.randn(200, 50, generator=torch.Generator().manual_seed(1))
    config = SampleConfig(top_k=20)
    ours, theirs = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    for row in logits:
        scaled = row / 0.8
        cut = scaled.masked_fill(scaled < scaled.topk(20).values[-1], -math.inf)
        expected = int(torch.multinomial(cut.softmax(0), 1, generator=theirs))
        assert choose(row, config, ours) == expected


def test_a_tiny_top_p_always_takes_the_likeliest_and_a_large_one_does_not():
    model = some_model()

    def text(**settings):
        return list(generate(model, PROMPT, SampleConfig(length=40, **settings)))

    assert text(temperature=2.0, top_p=0.01) == text(temperature=0.0)
    assert text(temperature=2.0, top_p=0.99) != text(temperature=0.0)


@pytest.mark.parametrize("value", [0.0, 1.01, "none"])
def test_top_p_outside_its_bounds_is_refused(value):
    with pytest.raises(ConfigError, match=r"Top-p is .*: choose a number from 0\.01 to 1"):
        SampleConfig(top_p=value)


def test_steps_are_the_tokens_and_what_the_model_thought_of_them():
    model, config = some_model(), SampleConfig(length=30, temperature=1.5, top_p=0.9)
    found = list(steps(model, PROMPT, config))
    assert [step.token for step in found] == list(generate(model, PROMPT, config))
    text = PROMPT.tolist()
    for step in found[:12]:
        logits = model(torch.tensor([text]))[0, -1].detach()
        torch.testing.assert_close(step.logits, logits, atol=1e-5, rtol=1e-5)
        own = logits.softmax(0)
        assert step.probability == pytest.approx(own[step.token].item(), abs=1e-5)
        assert step.entropy == pytest.approx(-(own * own.log()).sum().item(), abs=1e-5)
        text.append(step.token)


def test_a_model_whose_parts_are_listened_to_or_replaced_takes_no_short_way():
    for change in ("hook", "method", "training"):
        model = some_model()
        assert fits(model)
        part = model.blocks[1].feedforward
        if change == "hook":
            part.expand.register_forward_hook(lambda *given: given[2] * 0)
        elif change == "method":
            model.blocks[0].attention.mix = lambda q, k, v, positions: v[:, :, -1:] * 0 + q
        else:
            model.train()
        assert not fits(model)
        quick, plain = QuickReader(model), Reader(model, cached=False)
        for token in range(1, 6):
            torch.testing.assert_close(quick.read([token]), plain.read([token]))


def test_what_is_drawn_are_the_tokens_multinomial_draws():
    probabilities = torch.randn(300, 65, generator=torch.Generator().manual_seed(1)).softmax(1)
    probabilities[:, ::2] = 0
    ours, theirs = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    for row in probabilities:
        assert draw(row, ours) == int(torch.multinomial(row, 1, generator=theirs))
    with pytest.raises(RuntimeError, match="nan"):
        draw(torch.tensor([0.5, math.nan]), ours)


def test_a_step_keeps_its_own_logits_alone():
    first = next(steps(some_model(), PROMPT, SampleConfig()))
    assert first.logits.untyped_storage().nbytes() == 11 * 4


def test_a_branch_goes_on_from_any_step():
    model, config = some_model(), SampleConfig(length=6, temperature=0.0)
    written = list(generate(model, PROMPT, config))
    again = torch.tensor([*PROMPT.tolist(), *written[:3]]).numpy()
    rest = SampleConfig(length=3, temperature=0.0)
    assert list(generate(model, again, rest)) == written[3:]
