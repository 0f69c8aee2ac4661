"""What experiments say of several seeds: the range of guessing, and lines of means."""

import math
from fractions import Fraction

import numpy as np
import pytest

from transformer_lab.experiments import statistics


@pytest.mark.parametrize(("trials", "classes"), [(1, 2), (7, 2), (50, 10), (450, 10)])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_chance_is_the_exact_binomial_interval(trials, classes, level):
    right = Fraction(1, classes)
    total, found = Fraction(0), []
    bounds = [Fraction((1 - level) / 2), Fraction((1 + level) / 2)]
    for k in range(trials + 1):
        total += math.comb(trials, k) * right**k * (1 - right) ** (trials - k)
        while bounds and total >= bounds[0] - Fraction(1, 10**12):
            found.append(k)
            bounds.pop(0)
    guess = statistics.chance(trials, classes, level)
    assert [guess.low, guess.high] == [100 * k / trials for k in found]


def test_chance_covers_as_many_guesses_as_it_says():
    guess = statistics.chance(450, 10)
    scores = np.random.default_rng(0).binomial(450, 0.1, 20_000) / 4.5
    inside = np.mean((guess.low <= scores) & (scores <= guess.high))
    assert 0.945 < inside < 0.97


def test_lines_that_still_grow_are_averaged_where_they_are():
    (series,) = statistics.over_seeds("a", [[1.0, 2.0, 6.0], [3.0, 4.0], []])
    assert (series.x, series.y) == ([0, 1, 2], [2, 3, 6])
    assert (series.low, series.high) == ([1, 2, 6], [3, 4, 6])
    assert statistics.over_seeds("a", [[], []]) == []
    assert statistics.over_seeds("a", [[1.0]])[0].low == []
