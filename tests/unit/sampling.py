"""A part of a long list of cases for the quick run; all of them run in `make test-slow`.

What every variant must do is tested on all of them where that is quick (`test_model.py`,
`test_training.py`). Where each costs a training or a process, a run takes some, each day others.
"""

import datetime
import os
import random
from collections.abc import Iterable
from typing import Any

import pytest

TODAY = datetime.datetime.now(datetime.UTC).date().isoformat()
SEED = os.environ.setdefault("SAMPLE_SEED", TODAY)  # for the processes that share a run, too


def sampled(cases: Iterable[Any], count: int, *, always: Iterable[Any] = ()) -> list[Any]:
    """All cases, of which only so many are not slow: those given and some drawn by the seed."""
    listed, first = list(cases), list(always)
    others = [case for case in listed if case not in first]
    drawn = random.Random(SEED).sample(others, min(len(others), max(0, count - len(first))))
    return [
        case
        if case in first or case in drawn
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in listed
    ]
