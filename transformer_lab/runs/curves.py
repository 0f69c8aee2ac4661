"""The curves of a run, thinned out by the database: a million steps take no longer than a thousand.

`table` is `steps` with a condition, as in `steps WHERE train_loss < 9`.
"""

import json
import math
import sqlite3
from dataclasses import replace

from transformer_lab.runs.tables import STEPS, sound_rows
from transformer_lab.training import StepMetrics

COLUMNS = ", ".join(STEPS)
SOUND = sound_rows("steps")


def _ends(database: sqlite3.Connection, table: str) -> tuple[int, int] | None:
    """The first and the last step, if there is one."""
    first, last = database.execute(
        f"SELECT (SELECT step FROM {table} ORDER BY step LIMIT 1), "
        f"(SELECT step FROM {table} ORDER BY step DESC LIMIT 1)"
    ).fetchone()
    return None if first is None else (first, last)


def extremes(database: sqlite3.Connection, table: str, loss: str, most: int) -> list[StepMetrics]:
    """The rows with the lowest and the highest loss of each of `most` / 2 stretches; both ends."""
    ends = _ends(database, table)
    if ends is None:
        return []
    first, last = ends
    length = max(1, math.ceil(2 * (last - first + 1) / most)) if last - first >= most else 1
    begins = list(range(first, last + 1, length))

    def best(order: str) -> str:
        stretch = f"AND step >= value AND step < value + {length}"
        return (
            f"SELECT (SELECT step FROM {table} {stretch} ORDER BY {loss} {order}, step LIMIT 1) "
            "FROM json_each(:begins)"
        )

    rows = database.execute(
        f"SELECT {COLUMNS} FROM steps WHERE step IN ({best('ASC')} UNION {best('DESC')} "
        "UNION VALUES (:first), (:last)) ORDER BY step",
        {"begins": json.dumps(begins), "first": first, "last": last},
    )
    return [StepMetrics(*row) for row in rows]


def spread(database: sqlite3.Connection, table: str, most: int) -> list[StepMetrics]:
    """Rows of steps, evenly spread from the first to the last."""
    ends = _ends(database, table)
    if ends is None:
        return []
    first, last = ends
    count = min(most, last - first + 1)
    wanted = [first + (last - first) * k // max(count - 1, 1) for k in range(count)]
    rows = database.execute(
        f"SELECT {COLUMNS} FROM steps WHERE step IN (SELECT (SELECT step FROM {table} "
        "AND step >= value ORDER BY step LIMIT 1) FROM json_each(?)) ORDER BY step",
        (json.dumps(wanted),),
    )
    return [StepMetrics(*row) for row in rows]


def smoothed(database: sqlite3.Connection, point: StepMetrics, window: int) -> StepMetrics:
    """The step with the mean loss of it and those before it; fewer at the beginning."""
    (mean,) = database.execute(
        f"SELECT avg(train_loss) FROM steps WHERE step > ? AND step <= ? AND {SOUND}",
        (point.step - window, point.step),
    ).fetchone()
    return replace(point, train_loss=mean)
