"""Is one better than the other? Differences between pairs that differ in one thing, one a seed.

Both of a pair saw the same batches, so what they share cancels. The rule, for all experiments:

- the mean difference is shown with its 95 % confidence interval, by Student's t over the seeds;
- it is clear when the probability of one as large by luck alone is below 5 %, corrected by Holm's
  method for the number of comparisons in the same table, and there are three seeds or more;
- otherwise it says from which difference on so many seeds would have been clear, and about how many
  seeds would tell the one that was found.

`judged` gives the verdicts of a whole table of comparisons, `worded` each of them in words.

Source: Student 1908; Holm 1979 (Scandinavian Journal of Statistics 6, 65-70).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import scipy  # its `stats` are loaded at their first use

LEVEL = 0.95
POWER = 0.8  # the chance of finding a difference that is there, when it is said what would show
LEAST = 3  # seeds for a verdict
MOST = 200  # seeds that are still worth naming


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The mean of paired differences, where it lies with 95 % confidence, and how surprising it is.

    `low` and `high` are infinite and `p` is 1 with a single seed; `deviation` is that of one pair.
    """

    count: int
    mean: float
    deviation: float
    low: float
    high: float
    p: float

    def clear(self, p: float | None = None) -> bool:
        """Whether it is more than luck; `p` is its probability after Holm's correction."""
        return self.count >= LEAST and (self.p if p is None else p) < 1 - LEVEL

    @property
    def visible(self) -> float:
        """From which difference on so many seeds show one four times out of five."""
        return self.deviation * visible_effect(self.count) if self.count >= 2 else math.inf

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would show the difference that was found; None where that is too many."""
        if self.deviation == 0 or self.mean == 0:
            return None
        effect = abs(self.mean) / self.deviation
        return next((n for n in range(LEAST, MOST + 1) if power(effect, n) >= POWER), None)


def paired(differences: Sequence[float]) -> Paired:
    """What paired differences, one a seed, say. Raises ValueError when there are none."""
    count = len(differences)
    if not count:
        raise ValueError("There is no mean of no differences.")
    mean = math.fsum(differences) / count
    if count == 1:
        return Paired(count=1, mean=mean, deviation=0.0, low=-math.inf, high=math.inf, p=1.0)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in differences) / (count - 1))
    if deviation == 0:
        p = 1.0 if mean == 0 else 0.0
        return Paired(count=count, mean=mean, deviation=0.0, low=mean, high=mean, p=p)
    error = deviation / math.sqrt(count)
    reach = float(scipy.stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error
    p = float(2 * scipy.stats.t.sf(abs(mean) / error, count - 1))
    return Paired(
        count=count, mean=mean, deviation=deviation, low=mean - reach, high=mean + reach, p=p
    )


def holm(probabilities: Sequence[float]) -> list[float]:
    """Each probability, corrected for there being several: none is called clear too easily.

    The k-th smallest of m is multiplied by m - k + 1, and is never below one before it.
    """
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    corrected, largest = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, probabilities[place] * (len(order) - rank)))
        corrected[place] = largest
    return corrected


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One comparison of a table: what was found, and whether it is clear among all of them."""

    found: Paired
    clear: bool


def judged(table: Mapping[str, Sequence[float]]) -> dict[str, Judged]:
    """The verdict on each row of paired differences, corrected for there being several rows.

    Rows in which nothing was measured yet are left out.
    """
    found = {name: paired(differences) for name, differences in table.items() if differences}
    corrected = holm([one.p for one in found.values()])
    return {
        name: Judged(found=one, clear=one.clear(p))
        for (name, one), p in zip(found.items(), corrected, strict=True)
    }


def power(effect: float, count: int) -> float:
    """The chance that so many seeds show a mean of `effect` standard deviations, uncorrected."""
    critical = scipy.stats.t.ppf((1 + LEVEL) / 2, count - 1)
    shift = effect * math.sqrt(count)
    beyond = scipy.stats.nct.sf(critical, count - 1, shift) + scipy.stats.nct.cdf(
        -critical, count - 1, shift
    )
    return 1.0 if math.isnan(beyond) else float(beyond)  # scipy gives up where it is surely 1


def visible_effect(count: int) -> float:
    """The mean, in standard deviations, that so many seeds show four times out of five."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, count) >= POWER else (middle, high)
    return high


def interval(found: Paired, digits: int) -> str:
    """The mean and its interval, for people: +0.018 (-0.003 to +0.039)."""
    if found.count == 1:
        return f"{found.mean:+.{digits}f} (one seed)"
    return f"{found.mean:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f})"


def cannot_tell(found: Paired, unit: str, digits: int) -> str:
    """Why a difference is not clear, and how many seeds would tell."""
    if found.count < LEAST:
        return f"cannot tell with {found.count} of at least {LEAST} seeds"
    if found.deviation == 0:
        return "no difference at all"
    needed = found.seeds_needed
    more = (
        f"about {needed} seeds would tell"
        if needed and needed > found.count
        else f"more than {MOST} seeds would be needed"
        if needed is None
        else "but for the other comparisons of the table it would count as clear"
    )
    return (
        f"cannot tell: {found.count} seeds show differences above {found.visible:.{digits}f} "
        f"{unit}, {more}"
    )


def by_amount(found: Paired, unit: str, digits: int) -> str:
    """How large a clear difference is, without its sign: by 1.2 to 2.4 points."""
    least, most = sorted((abs(found.low), abs(found.high)))
    low, high = f"{least:.{digits}f}", f"{most:.{digits}f}"
    return f"by {low} {unit}" if low == high else f"by {low} to {high} {unit}"


def worded(
    one: Judged, unit: str, digits: int, words: tuple[str, str] = ("lower", "higher")
) -> str:
    """The verdict on one comparison, its interval before it; `words` say which sign is what.

    As in “-1.8 (-2.4 to -1.2): worse by 1.2 to 2.4 points”.
    """
    shown = interval(one.found, digits)
    if not one.clear:
        return f"{shown}: {cannot_tell(one.found, unit, digits)}"
    return f"{shown}: {words[one.found.mean > 0]} {by_amount(one.found, unit, digits)}"


def all_worded(
    found: Mapping[str, Judged], unit: str, digits: int, words: tuple[str, str], between: str = " "
) -> str:
    """The verdicts on all comparisons of a table, each after its name."""
    said = [f"{name}{between}{worded(one, unit, digits, words)}" for name, one in found.items()]
    return "; ".join(said)


def option_of(found: Judged | None, wanted: int = 1) -> int | None:
    """Which of three options is right: 0 clearly so, 1 no clear difference, 2 clearly not so.

    `wanted` is the sign of the difference in the first. None while nothing was found.
    """
    if found is None:
        return None
    if not found.clear:
        return 1
    return 0 if found.found.mean * wanted > 0 else 2
