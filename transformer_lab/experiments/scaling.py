"""Scaling: the loss of many runs against their size and their computing, and whether a law holds.

A power law L = a x^-b is a straight line where both axes are logarithmic. It is fitted to the
logarithms by least squares, and shown only where the residuals deserve it (`RULE`).

Source: Kaplan et al. 2020, arXiv:2001.08361, eq. 1.1; the irreducible loss of Hoffmann et al. 2022
(arXiv:2203.15556, eq. 2) would need many more runs than are at hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its `stats` are loaded at their first use

LEAST = 6  # different values of x
SPAN = 4.0  # the largest of them, in times of the smallest
EXPLAINED = 0.9  # of the variance of log L
SURE = 0.05  # a probability below it is not called luck
RULE = (
    f"A power law is drawn only with {LEAST} different values or more that span a factor of "
    f"{SPAN:g} or more, where the loss falls (p < {SURE:g}), the line explains at least "
    f"{EXPLAINED:.0%} of the variance of log loss, and the residuals show no bend (adding a square "
    f"does not help, p > {SURE:g})."
)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """L = 10^intercept · x^slope; `residuals` of log10 L, in the order of the points.

    `problem` says why it does not deserve to be drawn; empty where it does.
    """

    slope: float
    intercept: float
    explained: float
    residuals: tuple[float, ...]
    problem: str

    def at(self, x: float) -> float:
        """The loss that the line has there."""
        return float(10 ** (self.intercept + self.slope * math.log10(x)))


def fit(x: Sequence[float], loss: Sequence[float]) -> Fit | None:
    """The line through (log x, log loss), and what speaks against it; None where there is none.

    All numbers are above zero.
    """
    if len(set(x)) < 3 or len(set(loss)) < 2:
        return None
    u, v = np.log10(np.asarray(x, dtype=float)), np.log10(np.asarray(loss, dtype=float))
    line = scipy.stats.linregress(u, v)
    residuals = v - (line.intercept + line.slope * u)
    return Fit(
        slope=float(line.slope),
        intercept=float(line.intercept),
        explained=float(line.rvalue**2),
        residuals=tuple(residuals.tolist()),
        problem=_problem(x, float(line.slope), float(line.pvalue), float(line.rvalue**2), u, v),
    )


def _problem(
    x: Sequence[float],
    slope: float,
    p: float,
    explained: float,
    u: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    v: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> str:
    """Why no law may be read from the points, in the order of the rule."""
    if (count := len(set(x))) < LEAST:
        return f"there are {count} different values, and {LEAST} are needed"
    if (span := max(x) / min(x)) < SPAN:
        return f"they span a factor of {span:.2g}, and {SPAN:g} is needed"
    if slope >= 0 or p >= SURE:
        return f"the loss does not clearly fall (slope {slope:+.3f}, p = {p:.2g})"
    if explained < EXPLAINED:
        return (
            f"the line explains {explained:.0%} of the variance, and {EXPLAINED:.0%} is needed: "
            "something else differs between the runs too"
        )
    bent = _bend(u, v)
    if bent < SURE:
        return f"the residuals show a bend (p = {bent:.2g}): no straight line"
    return ""


def _bend(
    u: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    v: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> float:
    """How likely luck alone makes a square of u help as much: an F test of nested fits."""
    left = [float(np.sum((v - np.polyval(np.polyfit(u, v, n), u)) ** 2)) for n in (1, 2)]
    free = len(u) - 3
    if left[0] <= 1e-20:  # exactly a line
        return 1.0
    if left[1] <= 1e-20:
        return 0.0
    return float(scipy.stats.f.sf((left[0] - left[1]) / (left[1] / free), 1, free))


def said(found: Fit | None, what: str) -> str:
    """What may be said of the loss against parameters or FLOPs."""
    if found is None:
        return f"Against {what}: no line can be drawn through fewer than three different values."
    if found.problem:
        return f"Against {what}: no power law, since {found.problem}."
    times = 2**found.slope
    return (
        f"Against {what}: loss = {10**found.intercept:.3g} x^{found.slope:.3f}, which explains "
        f"{found.explained:.1%} of the variance of log loss. Twice as many {what} give "
        f"{times:.3f} times the loss, within what was measured."
    )
