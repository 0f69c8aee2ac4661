"""A model describes itself: every weight, every tap and the lines that run."""

from pathlib import Path

import torch

import transformer_lab
from transformer_lab.inspection.architecture import describe
from transformer_lab.inspection.capture import capture
from transformer_lab.model.weights import count_parameters

ROOT = Path(transformer_lab.__file__).parents[1]


def test_every_weight_and_every_tap_belongs_to_one_part(variant, tokens):
    parts = describe(variant)
    assert sum(part.parameters for part in parts) == count_parameters(variant)
    taps = [tap for part in parts for tap in part.taps]
    assert len(set(taps)) == len(taps)
    assert set(taps) == set(capture(variant, tokens(8)).activations)
    assert len({part.path for part in parts}) == len(parts)


def test_every_part_says_what_it_does_and_shows_the_lines_that_run(variant):
    for part in describe(variant):
        assert part.name
        assert part.purpose.endswith((".", ":"))
        assert part.sources
        for source in part.sources:
            assert "def " in source.text
            if source.file.startswith("transformer_lab/"):
                lines = (ROOT / source.file).read_text(encoding="utf-8").splitlines(keepends=True)
                count = source.text.count("\n")
                assert "".join(lines[source.line - 1 : source.line - 1 + count]) == source.text


def test_shapes_are_those_of_a_text_of_full_length(variant):
    parts = {part.path: part for part in describe(variant)}
    whole, embedding, head = parts[""], parts["embedding"], parts["head"]
    assert (whole.input_axes, whole.input_shape) == (("B", "T"), (1, 16))
    assert (whole.output_axes, whole.output_shape) == (("B", "T", "V"), (1, 16, 11))
    assert (embedding.output_axes, embedding.output_shape) == (("B", "T", "D"), (1, 16, 16))
    assert (head.input_axes, head.output_axes) == (("B", "T", "D"), ("B", "T", "V"))
    assert head.output_shape == (1, 16, 11)


def test_parts_come_in_the_order_in_which_they_compute(make):
    pre, post = (
        [part.path for part in describe(make(norm_place=place, ngrams=2, smear=1, layers=1))]
        for place in ("pre", "post")
    )
    inside = ["norm_1", "attention", "norm_2", "feedforward"]
    start = ["", "embedding", "ngrams", "smear", "positions", "blocks.0"]
    assert pre == [*start, *(f"blocks.0.{name}" for name in inside), "norm", "head"]
    inside = ["attention", "norm_1", "feedforward", "norm_2"]
    assert post == [*start, *(f"blocks.0.{name}" for name in inside), "norm", "head"]


def test_variants_are_distinguished(make):
    def part(path, **changes):
        return next(part for part in describe(make(**changes)) if part.path == path)

    assert part("positions").detail.startswith("A trained vector for every position")
    assert "relu_squared" in part("blocks.0.feedforward", feedforward="relu_squared").detail
    sources = part("blocks.0.feedforward", feedforward="relu_squared").sources
    assert [source.name for source in sources] == ["FeedForward", "relu_squared"]
    assert part("blocks.1", norm_place="post").sources[0].name == "PostNormBlock"
    assert "unit mean square" in part("norm", norm="rms_norm").detail
    assert part("head", tied_head=True).parameters == 0
    assert part("head", tied_head=True).detail == "The token embedding, used again."
    assert part("head").parameters == 11 * 16
    assert part("blocks.0.attention").layer == 0


def test_describing_draws_nothing_at_random(make):
    before = torch.get_rng_state()
    describe(make())
    assert torch.equal(before, torch.get_rng_state())
