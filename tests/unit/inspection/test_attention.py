"""Patterns, the measures of heads, and one query step by step."""

import math

import pytest
import torch

from transformer_lab.inspection.attention import (
    HEAD_MEASURES,
    even_pattern,
    head_measures,
    one_query,
    patterns,
    repeated_tokens,
)
from transformer_lab.inspection.capture import capture
from transformer_lab.settings import ConfigError

T = 8


def looking(source):
    """A head whose query t looks only at source(t)."""
    pattern = torch.zeros(T, T)
    for query in range(T):
        pattern[query, source(query)] = 1.0
    return pattern


PREVIOUS = looking(lambda query: max(query - 1, 0))
FIRST = looking(lambda query: 0)
OWN = looking(lambda query: query)
INDUCTION = looking(lambda query: max(query - T // 2 + 1, 0))


@pytest.mark.parametrize(
    ("measure", "pattern", "expected"),
    [
        ("previous_token", PREVIOUS, 1.0),
        ("previous_token", OWN, 0.0),
        ("first_token", FIRST, 1.0),
        ("first_token", OWN, 0.0),
        ("own_token", OWN, 1.0),
        ("own_token", PREVIOUS, 0.0),
        ("distance", PREVIOUS, 1.0),
        ("distance", OWN, 0.0),
        ("distance", FIRST, sum(range(1, T)) / (T - 1)),
        ("entropy", PREVIOUS, 0.0),
        ("entropy", even_pattern(T), sum(map(math.log, range(2, T + 1))) / (T - 1)),
        ("induction", INDUCTION, 1.0),
        ("induction", PREVIOUS, 0.0),
    ],
)
def test_a_measure_is_what_its_definition_says(measure, pattern, expected):
    function = HEAD_MEASURES[measure].function
    assert float(function(pattern)) == pytest.approx(expected, abs=1e-6)
    stacked = function(torch.stack([torch.stack([pattern, OWN]), torch.stack([FIRST, pattern])]))
    assert stacked.shape == (2, 2)
    assert float(stacked[1, 1]) == pytest.approx(expected, abs=1e-6)


def test_every_head_of_every_variant_is_measured(variant, tokens):
    captured = capture(variant, tokens(13))
    measured = head_measures(variant, captured, torch.Generator().manual_seed(4))
    shape = (len(captured.attentions), variant.config.heads)
    assert list(measured.values) == list(measured.even) == list(HEAD_MEASURES)
    for key, values in measured.values.items():
        assert values.shape == shape
        assert (values >= 0).all()
        assert values.max() <= {"entropy": math.log(13), "distance": 12}.get(key, 1) + 1e-6
    assert torch.equal(patterns(captured)[0], captured[f"{captured.attentions[0]}.pattern"])


def test_the_same_generator_gives_the_same_induction_score(make, tokens):
    model, captured = make(), capture(make(), tokens(13))
    scores = [
        head_measures(model, captured, torch.Generator().manual_seed(seed)).values["induction"]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


@pytest.mark.parametrize("vocabulary", [5, 11, 500])
def test_random_sequences_are_written_twice_and_no_token_comes_twice_in_a_copy(make, vocabulary):
    drawn = repeated_tokens(make(vocabulary), torch.Generator().manual_seed(1))
    n = drawn.shape[1] // 2
    assert n == min(vocabulary, 8)
    assert torch.equal(drawn[:, :n], drawn[:, n:])
    assert all(len(set(row[:n].tolist())) == n for row in drawn)
    assert len({tuple(row.tolist()) for row in drawn}) > 1


def test_one_token_is_too_few_to_measure(make, tokens):
    model = make()
    with pytest.raises(ConfigError, match="at least 2 tokens"):
        head_measures(model, capture(model, tokens(1)), torch.Generator())


def test_one_query_step_by_step_ends_where_the_capture_does(variant, tokens):
    captured = capture(variant, tokens(13))
    if variant.config.attention == "linear":
        with pytest.raises(ConfigError, match="no softmax"):
            one_query(captured, 0, 0, 7)
        return
    for path in captured.attentions:
        layer, head, position = int(path.split(".")[1]), variant.config.heads - 1, 7
        seen = variant.get_submodule(path).visible(13, 13, torch.device("cpu"))[position]
        reading = one_query(captured, layer, head, position)

        def row(name, path=path, head=head):
            return captured[f"{path}.{name}"][head, 7]

        def close(one, other):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

        close(reading.query, row("queries"))
        close(reading.scaled + reading.bias, row("scores"))
        assert (reading.bias.abs().max() > 1e-3) == (variant.config.positions == "alibi")
        close(reading.products / math.sqrt(len(reading.query)), reading.scaled)
        close(reading.masked[seen], row("scores")[seen])
        assert (reading.masked[~seen] == -math.inf).all()
        assert (reading.masked[8:] == -math.inf).all()
        close(reading.weights, row("pattern"))
        close(reading.result, row("mixed"))


def test_a_query_that_is_not_there_is_refused(make, tokens):
    captured = capture(make(), tokens(5))
    for layer, head, position in ((0, 2, 0), (0, 0, 5), (0, -1, 0)):
        with pytest.raises(ConfigError, match="2 heads and 5 tokens"):
            one_query(captured, layer, head, position)
    with pytest.raises(ConfigError, match="Layer 3 of this model has no attention"):
        one_query(captured, 2, 0, 0)


def test_without_a_mask_the_pattern_is_shown_and_the_steps_are_refused(make, tokens):
    captured = capture(make(causal=False, dropout=0.0), tokens(8))
    assert (patterns(captured) > 0).all()
    with pytest.raises(ConfigError, match="no causal mask"):
        one_query(captured, 0, 0, 3)
