"""Requests with one value spoiled: each is refused or answered, and none ends in a traceback.

`pytest tests/callbacks/test_mutations.py -m slow -s` tries all of them and prints the counts.
"""

import copy
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

SEED = 20_240_611
SAMPLED = 300
ODD: list[Any] = [
    None, True, -1, 0, 2.5, 1e308, 10**400, "x", "", "\ud800", "../" * 40, "0,5", [], [[]], [None],
    {}, {"id": {}}, {"job": "x"}, {"run": 5}, {"index": "x"}, "delete", "double",
]  # fmt: skip


def spoiled(page: Any) -> list[tuple[str, str, Any]]:
    """Every callback of the server with every value of its request replaced: name, place, body."""
    found = []
    for key, known in page.app.callback_map.items():
        if "callback" not in known:
            continue
        first = known["inputs"][0]
        body = page.body(key, f"{first['id']}.{first['property']}")
        for kind in ("inputs", "state"):
            for place, sent in enumerate(body[kind]):
                for path in places(sent):
                    for odd in ODD:
                        found.append(
                            (key, f"{kind}[{place}]{path} = {odd!r:.30}", (kind, place, path, odd))
                        )
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in one part of a request values stand: of a list the first and the last element."""
    if path and path[-1] not in ("id", "property"):
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            if path or key == "value":
                yield from places(inner, (*path, key))
    if isinstance(value, list):
        for index in sorted({0, len(value) - 1} & set(range(len(value)))):
            yield from places(value[index], (*path, index))


def made(page: Any, key: str, change: tuple[Any, ...]) -> Any:
    """The body with that one change; its first input, and the one that is changed, triggered it."""
    kind, place, path, odd = change
    known = page.app.callback_map[key]
    trigger = known["inputs"][place if kind == "inputs" else 0]
    body = copy.deepcopy(page.body(key, f"{trigger['id']}.{trigger['property']}"))
    target = body[kind][place]
    for step in path[:-1]:
        target = target[step]
    if odd == "delete":
        del target[path[-1]]
    elif odd == "double":
        target[path[-1]] = [target[path[-1]]] * 2
    else:
        target[path[-1]] = odd
    return body


def outcomes(
    page: Any, chosen: Any, caplog: pytest.LogCaptureFixture
) -> tuple[Counter[str], list[str]]:
    """How many were answered and refused, and which ended in a traceback."""
    counts: Counter[str] = Counter()
    failed = []
    for key, words, change in chosen:
        caplog.clear()
        code = page.post(made(page, key, change)).status_code
        logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
        if code >= 500 or logged:
            why = logged[0].exc_info[1] if logged and logged[0].exc_info else code
            failed.append(f"{key[:60]} {words}: {why!r:.100}")
        counts["failed" if code >= 500 or logged else f"{code // 100}xx"] += 1
    return counts, failed


def say(words: str) -> None:
    """Print the counts, shown by `pytest -s`."""
    sys.stdout.write(f"{words}\n")


def test_no_spoiled_value_ends_in_a_traceback(trained, caplog):
    every = spoiled(trained)
    chosen = random.Random(SEED).sample(every, SAMPLED)
    counts, failed = outcomes(trained, chosen, caplog)
    say(f"{SAMPLED} of {len(every):,} spoiled requests (seed {SEED}): {dict(counts)}")
    assert failed == []
    assert counts["4xx"] > 30  # some are refused, and some are harmless
    assert counts["2xx"] > 30


@pytest.mark.slow
def test_none_of_all_spoiled_values_ends_in_a_traceback(trained, caplog):
    every = spoiled(trained)
    random.Random(SEED).shuffle(every)
    counts, failed = outcomes(trained, every, caplog)
    say(f"{len(every):,} spoiled requests (seed {SEED}): {dict(counts)}")
    assert failed == []
