"""Verdicts over seeds: their errors are those they claim, and more seeds see more."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from transformer_lab.experiments.paired import (
    cannot_tell,
    holm,
    interval,
    judged,
    paired,
    power,
    visible_effect,
    worded,
)


def draws(effect, seeds, repeats, start=0):
    generator = np.random.default_rng(start)
    return generator.normal(effect, 1.0, (repeats, seeds))


@pytest.mark.parametrize("found", [[0.1, 0.11, 0.09], [-0.3, 0.2, 0.4, -0.1], [0.1, 0.01, 0.3]])
def test_the_interval_and_the_probability_are_those_of_the_paired_t_test(found):
    theirs, ours = ttest_1samp(found, 0.0), paired(found)
    bounds = theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((bounds.low, bounds.high))


@pytest.mark.parametrize("seeds", [3, 6, 12])
def test_a_difference_that_is_not_there_is_called_clear_as_seldom_as_stated(seeds):
    false = np.mean([paired(row).clear() for row in draws(0.0, seeds, 3000)])
    assert false == pytest.approx(0.05, abs=0.015)


def test_of_several_comparisons_all_alike_one_is_called_clear_as_seldom_as_stated():
    tables = draws(0.0, 5, 7 * 1000).reshape(1000, 7, 5)
    wrong = 0
    for table in tables:
        found = [paired(row) for row in table]
        wrong += any(
            one.clear(p) for one, p in zip(found, holm([each.p for each in found]), strict=True)
        )
    assert wrong / 1000 == pytest.approx(0.05, abs=0.025)


def test_more_seeds_see_more_and_as_often_as_was_said():
    shares = []
    for seeds in (3, 6, 10, 20):
        share = np.mean([paired(row).clear() for row in draws(1.3, seeds, 1000)])
        assert share == pytest.approx(power(1.3, seeds), abs=0.05)
        shares.append(share)
    assert shares == sorted(shares)
    assert shares[0] < 0.4
    assert shares[-1] > 0.99


def test_the_difference_that_is_reported_to_show_shows_four_times_out_of_five():
    for seeds in (3, 5, 12):
        effect = visible_effect(seeds)
        share = np.mean([paired(row).clear() for row in draws(effect, seeds, 1500)])
        assert share == pytest.approx(0.8, abs=0.04)


def test_the_seeds_that_are_said_to_tell_do():
    found = paired([0.9, -0.4, 1.0])
    needed = found.seeds_needed
    effect = found.mean / found.deviation
    assert needed > 3
    assert power(effect, needed) >= 0.8 > power(effect, needed - 1)


def test_holm_is_stricter_the_more_there_are_and_keeps_the_order():
    assert holm([0.01]) == [0.01]
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_what_few_or_equal_seeds_cannot_say():
    one, same, none = paired([0.4]), paired([0.2, 0.2, 0.2]), paired([0.0, 0.0, 0.0])
    assert not one.clear()
    assert (one.low, one.high) == (-math.inf, math.inf)
    assert not paired([0.1, 0.11]).clear()
    assert same.clear()
    assert not none.clear()
    assert cannot_tell(none, "nats", 3) == "no difference at all"
    assert "at least 3 seeds" in cannot_tell(one, "nats", 3)
    assert interval(one, 2) == "+0.40 (one seed)"
    with pytest.raises(ValueError, match="no differences"):
        paired([])


def test_a_verdict_that_cannot_tell_says_what_would():
    words = cannot_tell(paired([0.02, -0.01, 0.03]), "nats", 3)
    assert words.startswith("cannot tell: 3 seeds show differences above 0.0")
    assert "seeds would tell" in words


def test_a_table_with_an_effect_finds_it_more_often_with_more_seeds_and_errs_no_more():
    generator = np.random.default_rng(1)
    found, false = [], []
    for seeds in (3, 8, 16):
        hits = wrong = 0
        for _ in range(400):
            table = {name: list(generator.normal(0, 1, seeds)) for name in "abcd"}
            table["effect"] = list(generator.normal(1.3, 1, seeds))
            verdicts = judged(table)
            hits += verdicts["effect"].clear
            wrong += any(verdicts[name].clear for name in "abcd")
        found.append(hits / 400)
        false.append(wrong / 400)
    assert found == sorted(found)
    assert found[0] < 0.3 < 0.9 < found[-1]
    assert max(false) < 0.08  # 5 % of tables is what is stated


def test_a_clear_verdict_says_by_how_much_and_an_unclear_one_still_shows_its_interval():
    worse = judged({"one": [-1.8, -1.7, -1.9, -1.8], "none": []})
    assert set(worse) == {"one"}
    assert worded(worse["one"], "points", 1, ("worse", "better")) == (
        "-1.8 (-1.9 to -1.7): worse by 1.7 to 1.9 points"
    )
    unclear = judged({"one": [0.02, -0.01, 0.03]})["one"]
    assert worded(unclear, "nats", 3).startswith("+0.013 (-0.038 to +0.065): cannot tell: 3 seeds")
