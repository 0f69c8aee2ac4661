"""Scaling: a power law is found where there is one, and refused where residuals speak against."""

import numpy as np
import pytest

from transformer_lab.experiments.scaling import fit, said

X = [1e4, 2e4, 4e4, 8e4, 2e5, 5e5, 1e6, 3e6]


def law(x, noise=0.0):
    generator = np.random.default_rng(3)
    return [20 * size**-0.2 * float(np.exp(noise * generator.normal())) for size in x]


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_power_law_is_found_with_its_exponent(noise):
    found = fit(X, law(X, noise))
    assert found.problem == ""
    assert found.slope == pytest.approx(-0.2, abs=0.02)
    assert found.at(1e5) == pytest.approx(20 * 1e5**-0.2, rel=0.05)
    assert sum(found.residuals) == pytest.approx(0, abs=1e-9)
    assert "Twice as many parameters give 0.8" in said(found, "parameters")


BAD = {
    "few": (X[:5], law(X[:5]), "5 different values, and 6 are needed"),
    "near": ([1e4 + 100 * n for n in range(8)], law([1e4 + 100 * n for n in range(8)]), "span"),
    "rising": (X, law(X)[::-1], "does not clearly fall"),
    "flat": (X, [2.0, 2.1, 1.9, 2.05, 1.95, 2.1, 1.9, 2.0], "does not clearly fall"),
    "scattered": (X, law(X, 0.35), "of the variance, and 90% is needed"),
    "bent": (X, [1.5 + 4e4 / size for size in X], "variance|a bend"),
    "slightly bent": (X, [1.0 + 8 * size**-0.2 for size in X], "a bend"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_power_law_is_refused_with_the_reason(name):
    x, loss, why = BAD[name]
    found = fit(x, loss)
    assert len(found.residuals) == len(x)  # they are shown all the same
    assert any(words in found.problem for words in why.split("|"))
    assert said(found, "FLOPs").startswith("Against FLOPs: no power law, since ")


def test_no_line_goes_through_two_sizes():
    assert fit([], []) is None
    assert fit([1e4, 1e4, 2e4], [2.0, 1.9, 1.8]) is None
    assert "fewer than three" in said(None, "parameters")
