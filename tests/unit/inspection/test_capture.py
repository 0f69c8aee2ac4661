"""A capture is what the model really computes, whatever it is made of."""

import pytest
import torch

from transformer_lab.inspection.capture import capture, capture_bytes, twin
from transformer_lab.inspection.taps import TAPS, layer_of, tap_of
from transformer_lab.settings import ConfigError


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_captured_pass_is_the_plain_one(variant, tokens):
    text = tokens(13)
    captured = capture(variant, text)
    assert torch.equal(captured["logits"], variant(text[None])[0])
    assert torch.equal(captured["embedding"], variant.embedding(text))
    streamed = variant.score(captured[f"blocks.{captured.layers - 1}.stream_out"][None])[0]
    close(streamed, captured["logits"])


def test_rows_of_every_pattern_sum_to_one_and_the_future_is_exactly_zero(variant, tokens):
    captured = capture(variant, tokens(13))
    assert captured.attentions
    for path in captured.attentions:
        pattern = captured[f"{path}.pattern"]
        assert pattern.shape == (variant.config.heads, 13, 13)
        close(pattern.sum(-1), torch.ones(pattern.shape[:2]))
        assert not pattern.triu(1).any()
        assert (pattern.diagonal(0, 1, 2) > 0).all()


def test_the_pattern_and_the_values_give_what_the_fused_kernel_gave(variant, tokens):
    captured = capture(variant, tokens(13))
    for path in captured.attentions:
        mixed = captured[f"{path}.pattern"] @ captured[f"{path}.values"]  # (H, T, K)
        close(mixed, captured[f"{path}.mixed"])
        output = variant.get_submodule(path).output
        close(output(mixed.transpose(0, 1).flatten(1)), captured[f"{path}.write"])
        heads = captured[f"{path}.heads"].sum(0)
        close(heads + captured[f"{path}.bias"], captured[f"{path}.write"])


def test_every_activation_has_the_axes_its_tap_declares(variant, tokens):
    captured = capture(variant, tokens(13))
    config = variant.config
    sizes = {"T": 13, "Q": 13, "S": 13, "D": 16, "H": config.heads, "V": 11}
    sizes["K"] = 16 // config.heads
    for path, activation in captured.activations.items():
        axes = tap_of(path).axes
        assert activation.dim() == len(axes), path
        for axis, size in zip(axes, activation.shape, strict=True):
            assert axis == "F" or sizes[axis] == size, path


def test_an_ordinary_model_has_every_declared_tap(make, tokens):
    captured = capture(make(smear=2, ngrams=2), tokens(13))
    assert {tap_of(path).path for path in captured.activations} == set(TAPS)
    layers = [layer_of(path) for path in captured.activations]
    assert layers[:4] == [None] * 4
    assert layers[-3:] == [None] * 3
    assert sorted(layers[4:-3]) == layers[4:-3]


@pytest.mark.parametrize("place", ["pre", "post"])
def test_writes_are_what_is_added_to_the_stream(make, tokens, place):
    model = make(norm_place=place, smear=2, ngrams=2)
    captured = capture(model, tokens(13))
    first = [captured[name] for name in ("embedding", "ngrams", "smear", "positions")]
    close(sum(first), captured["blocks.0.stream_in"])
    close(captured["blocks.0.stream_out"], captured["blocks.1.stream_in"])
    attention, feedforward = (captured.at(1, f"{p}.write") for p in ("attention", "feedforward"))
    if place == "pre":
        added = captured["blocks.1.stream_out"] - captured["blocks.1.stream_in"]
        close(attention + feedforward, added)
    else:
        summed = captured["blocks.1.norm_1"] + feedforward
        close(model.blocks[1].norm_2(summed), captured["blocks.1.stream_out"])
    contract = model.blocks[1].feedforward.contract
    close(contract(captured.at(1, "feedforward.hidden")), feedforward)


def test_looking_leaves_the_model_as_it_was(make, tokens):
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    capture(model, tokens(13))
    for part in model.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_twin_shares_every_weight_and_no_module(make):
    model = make(positions="rotary")
    other = twin(model)
    for one, two in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert one[0] == two[0]
        assert one[1].data_ptr() == two[1].data_ptr()
    assert not set(map(id, model.modules())) & set(map(id, other.modules()))


def test_only_what_is_wanted_is_kept(make, tokens):
    captured = capture(make(), tokens(5), only={"blocks.{layer}.attention.pattern", "logits"})
    assert list(captured.activations) == [
        "blocks.0.attention.pattern",
        "blocks.1.attention.pattern",
        "logits",
    ]
    with pytest.raises(ConfigError, match=r"Nothing was captured at norm: choose one of blocks\.0"):
        captured["norm"]
    with pytest.raises(ConfigError, match=r"Layer 3 of this model has no attention\.pattern"):
        captured.at(2, "attention.pattern")


def test_a_text_that_does_not_fit_is_refused_in_a_sentence(make, tokens):
    model = make()
    for text in (tokens(17), tokens(0)):
        with pytest.raises(ConfigError, match="this model reads from 1 to 16 at once"):
            capture(model, text)
    room = capture_bytes(model, 10)
    assert capture(model, tokens(10), room=room).layers == 2
    with pytest.raises(ConfigError, match="choose at most 10 tokens"):
        capture(model, tokens(11), room=room)
    with pytest.raises(ConfigError, match="choose fewer activations"):
        capture(model, tokens(11), room=10)


def test_the_estimate_of_memory_covers_what_is_kept(variant, tokens):
    captured = capture(variant, tokens(16))
    kept = sum(
        a.numel() * 4 for path, a in captured.activations.items() if tap_of(path).path in TAPS
    )
    assert kept <= capture_bytes(variant, 16) < 3 * kept
