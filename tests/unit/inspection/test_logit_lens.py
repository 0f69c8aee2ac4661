"""The lens reads each depth as the head would; its last row is the model's own prediction."""

import pytest
import torch
from torch.nn import functional as F

from transformer_lab.inspection.capture import capture
from transformer_lab.inspection.logit_lens import logit_lens, stream_norms


def test_the_last_row_is_the_models_own_prediction(variant, tokens):
    text = tokens(13)
    captured = capture(variant, text)
    lens = logit_lens(variant, captured)
    rows = len(variant.blocks) + 1
    probabilities = variant(text[None])[0].softmax(-1)
    assert lens.tokens.shape == lens.probabilities.shape == lens.divergences.shape == (rows, 13)
    assert torch.equal(lens.tokens[-1], probabilities.argmax(-1))
    torch.testing.assert_close(lens.probabilities[-1], probabilities.max(-1).values)
    assert lens.divergences[-1].max() < 1e-5
    assert (lens.divergences >= 0).all()
    assert lens.note.startswith(
        "Each row" if variant.config.norm_place == "pre" else "This is a post-norm model"
    )


def test_divergence_is_kl_of_the_final_prediction_from_the_row(make, tokens):
    model = make()
    captured = capture(model, tokens(13))
    early = model.head(model.norm(captured["blocks.0.stream_out"])).log_softmax(-1)
    final = captured["logits"].log_softmax(-1)
    expected = F.kl_div(early, final, log_target=True, reduction="none").sum(-1)
    assert expected.min() > 1e-3
    torch.testing.assert_close(logit_lens(model, captured).divergences[1], expected)


@pytest.mark.parametrize("place", ["pre", "post"])
def test_lengths_are_those_of_the_captured_vectors(make, tokens, place):
    captured = capture(make(norm_place=place), tokens(13))
    norms = stream_norms(captured)
    assert norms.stream.shape == (3, 13)
    length = captured["blocks.1.stream_out"].square().sum(-1).sqrt()
    torch.testing.assert_close(norms.stream[2], length)
    assert list(norms.writes) == [
        f"blocks.{layer}.{part}" for layer in (0, 1) for part in ("attention", "feedforward")
    ]
    length = captured["blocks.1.feedforward.write"].square().sum(-1).sqrt()
    torch.testing.assert_close(norms.writes["blocks.1.feedforward"], length)
