"""A logit is the sum of what the parts gave to it."""

import pytest
import torch

from transformer_lab.inspection.ablation import ablated, head_site
from transformer_lab.inspection.attribution import frozen_norm, logit_attribution
from transformer_lab.inspection.capture import capture
from transformer_lab.model.norms import NORMS
from transformer_lab.settings import ConfigError


def test_the_parts_add_up_to_the_logit_or_a_sentence_says_why_not(variant, tokens):
    captured = capture(variant, tokens(13))
    if variant.config.norm_place == "post":
        with pytest.raises(ConfigError, match="Norm Position is post"):
            logit_attribution(variant, captured, 3, 5)
        return
    if variant.config.logit_softcap:
        with pytest.raises(ConfigError, match="Logit Softcap bends"):
            logit_attribution(variant, captured, 3, 5)
        return
    for position in (0, 6, 12):
        for token in (0, 7):
            found = logit_attribution(variant, captured, position, token)
            values = torch.tensor([part.value for part in found.parts], dtype=torch.float64)
            assert found.logit == captured["logits"][position, token].item()
            assert abs(values.sum() - found.logit) <= 1e-4 * max(values.abs().max(), 1e-3)
            assert values.abs().max() > 0.01


def test_every_part_of_an_ordinary_model_is_named_once(make, tokens):
    model = make(smear=2, ngrams=2)
    found = logit_attribution(model, capture(model, tokens(13)), 6, 5)
    assert [part.label for part in found.parts] == [
        "Token embedding",
        "N-grams",
        "Smear",
        "Positions",
        "Layer 1, head 1",
        "Layer 1, head 2",
        "Layer 1, attention output bias",
        "Layer 1, feed-forward",
        "Layer 2, head 1",
        "Layer 2, head 2",
        "Layer 2, attention output bias",
        "Layer 2, feed-forward",
        "Final norm's bias",
    ]
    assert [(part.layer, part.head) for part in found.parts if part.head is not None] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]


def test_a_part_that_adds_nothing_is_left_out(make, tokens):
    model = make(positions="rotary", bias=False)
    found = logit_attribution(model, capture(model, tokens(13)), 6, 5)
    labels = [part.label for part in found.parts]
    assert "Positions" not in labels
    assert not [label for label in labels if "bias" in label]


def test_what_a_head_gave_is_what_the_logit_lacks_without_its_vector(make, tokens):
    """Taken from the last stream itself, the scale of the norm kept."""
    model = make()
    captured = capture(model, tokens(13))
    found = logit_attribution(model, captured, 6, 5)
    part = next(part for part in found.parts if part.label == "Layer 2, head 2")
    stream, vector = captured["stream"][6], captured["blocks.1.attention.heads"][1, 6]
    deviation = (stream.var(correction=0) + model.norm.eps).sqrt()
    without = stream - vector
    normed = (without - without.mean()) / deviation * model.norm.weight + model.norm.bias
    assert part.value == pytest.approx(found.logit - float(model.head.weight[5] @ normed), abs=1e-5)


def test_a_head_that_is_switched_off_gives_nothing(make, tokens):
    model = ablated(make(), [head_site(make(), 0, 1)])
    found = logit_attribution(model, capture(model, tokens(13)), 6, 5)
    values = {part.label: part.value for part in found.parts}
    assert values["Layer 1, head 2"] == 0
    assert values["Layer 1, head 1"] != 0
    assert sum(values.values()) == pytest.approx(found.logit, rel=1e-4)


@pytest.mark.parametrize("name", NORMS)
def test_a_frozen_norm_is_linear_and_gives_what_the_norm_gives(name):
    norm = NORMS[name](16, True)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_(generator=generator)
    x, one, other = torch.randn(3, 16, generator=generator)
    frozen = frozen_norm(norm, x)
    bias = 0 if frozen.bias is None else frozen.bias
    torch.testing.assert_close(frozen(x) + bias, norm(x))
    torch.testing.assert_close(frozen(one + 2 * other), frozen(one) + 2 * frozen(other))


def test_a_token_or_place_that_is_not_there_is_refused(make, tokens):
    model = make()
    captured = capture(model, tokens(5))
    for position, token in ((5, 0), (0, 11), (-1, 0)):
        with pytest.raises(ConfigError, match="an id below 11 and one of 5 places"):
            logit_attribution(model, captured, position, token)
