"""What a run's loss should be at each step, by earlier runs with the same settings.

`recipes/expected/` holds the validation losses of runs of the built-in recipes with several seeds,
made by `make expected`. Over steps they hold on any computer: a faster one only gets there sooner.
Runs of the learner's own are added to them.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # its `special` are loaded at their first use, in a quarter of the time of `stats`

from transformer_lab.packaged import packaged
from transformer_lab.recipes import Setup

LEAST = 3  # runs without which nothing is expected
SHARE = 0.99  # of runs like the earlier ones that lie within the band
NO_MATTER = {  # settings of training that change nothing in what is learned, but for chance
    "seed",
    "device",
    "where",
    "workers",
    "shard",
    "threads",
    "micro_batch",
    "compile",
    "evaluate_every",
    "keep_best",
    "save_every",
    "save_minutes",
}

Course = Mapping[int, float]  # validation loss in nats per token, by step


@dataclass(frozen=True)
class Band:
    """Between which validation losses a run lies, at each step where `runs` earlier ones have one.

    `runs` counts those at the first of these steps; fewer may have come as far as the last.
    """

    steps: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    runs: int

    def at(self, step: int) -> tuple[float, float] | None:
        """Lowest and highest expected loss at a step; None outside of where runs have been."""
        if not self.steps or not self.steps[0] <= step <= self.steps[-1]:
            return None
        low, high = (float(np.interp(step, self.steps, side)) for side in (self.low, self.high))
        return low, high

    def verdict(self, step: int, loss: float) -> str:
        """Whether a loss at a step is usual, in a sentence."""
        expected = self.at(step)
        who = f"{self.runs} earlier runs with these settings"
        if expected is None:
            side = "begin at" if not self.steps or step < self.steps[0] else "end at"
            edge = self.steps[0] if self.steps and step < self.steps[0] else self.steps[-1]
            return f"Cannot be told at step {step:,}: {who} {side} step {edge:,}."
        low, high = expected
        usual = f"by {who}, {low:.2f} to {high:.2f} is usual at step {step:,}, and this is"
        if loss > high:
            return f"Higher than normal: {usual} {loss:.2f}."
        if loss < low:
            return f"Lower, so better, than normal: {usual} {loss:.2f}."
        return f"Yes: {usual} {loss:.2f}."


def fingerprint(setup: Setup, text: str) -> str:
    """The same for two trainings that differ by chance alone; `text` is the digest of the text."""
    kept = {
        key: value
        for key, value in setup.values().items()
        if not key.startswith("sample.")
        and key != "data.corpus"
        and not (key.startswith("train.") and key.removeprefix("train.") in NO_MATTER)
    }
    known = json.dumps({"text": text, **kept}, sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def band(courses: Iterable[Course]) -> Band | None:
    """The band of earlier runs; None where there are too few.

    At each step it is a prediction interval: the mean of n losses, and to both sides their standard
    deviation times sqrt(1 + 1/n) times the quantile of Student's t.
    """
    by_step: dict[int, list[float]] = {}
    for course in courses:
        for step, loss in course.items():
            by_step.setdefault(step, []).append(loss)
    known = {step: by_step[step] for step in sorted(by_step) if len(by_step[step]) >= LEAST}
    if not known:
        return None
    sides = [_interval(losses) for losses in known.values()]
    low, high = zip(*sides, strict=True)
    return Band(tuple(known), low, high, len(next(iter(known.values()))))


def _interval(losses: Sequence[float]) -> tuple[float, float]:
    count = len(losses)
    mean, deviation = float(np.mean(losses)), float(np.std(losses, ddof=1))
    quantile = float(scipy.special.stdtrit(count - 1, (1 + SHARE) / 2))  # of Student's t
    reach = quantile * deviation * math.sqrt(1 + 1 / count)
    return mean - reach, mean + reach


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """The runs of one recipe that come with the lab: a course by seed, and the planned steps.

    `text` is the digest of what they learned from.
    """

    recipe: str
    text: str
    fingerprint: str
    steps: int
    courses: Mapping[int, Course]

    @property
    def reached(self) -> int:
        """The last step that one of them has come to."""
        return max((max(course) for course in self.courses.values()), default=0)

    def written(self) -> str:
        """The file of it, in JSON."""
        courses = {str(seed): dict(course) for seed, course in sorted(self.courses.items())}
        about = {
            "text": self.text,
            "fingerprint": self.fingerprint,
            "steps": self.steps,
            "courses": courses,
        }
        return json.dumps(about, indent=1) + "\n"


@lru_cache(maxsize=1)
def shipped() -> dict[str, Shipped]:
    """What comes with the lab, by the fingerprint of its settings."""
    files = sorted((packaged("recipes") / "expected").glob("*.json"))
    return {known.fingerprint: known for known in map(read, files)}


def read(path: Path) -> Shipped:
    """One of its files, named after its recipe."""
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    courses = {
        int(seed): {int(step): float(loss) for step, loss in course.items()}
        for seed, course in about["courses"].items()
    }
    return Shipped(
        recipe=path.stem,
        text=about["text"],
        fingerprint=about["fingerprint"],
        steps=about["steps"],
        courses=courses,
    )
