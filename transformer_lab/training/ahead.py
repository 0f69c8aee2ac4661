"""Running ahead: a GPU takes several steps before the numbers of the first are read.

To look at every step would make it wait. So steps are queued for a while, then all their numbers
are read together and yielded in order. On a CPU each step is yielded at once, by the same code.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from transformer_lab.training.live import LiveSettings
from transformer_lab.training.metrics import NonFiniteLossError, StepMetrics, Update

READ_SECONDS = 0.05  # how long a GPU runs ahead before its numbers are read
Result = TypeVar("Result")


def runs_ahead(device: torch.device) -> bool:
    """Whether the device works through a queue, which to look at every step would only hold up."""
    return device.type != "cpu"


def metrics_of(
    updates: Iterator[Update], device: torch.device, live: LiveSettings, seconds: float
) -> Generator[StepMetrics, None, None]:
    """Take the steps of `updates` and yield what each showed, in order.

    `seconds` is the time spent before them; `live.ahead` says how many steps the weights are past
    the one just yielded. An error is raised only after all steps before it have been yielded, since
    those have changed the weights. Raises NonFiniteLossError.
    """
    ended = False
    while not ended:
        begun, taken, failed = time.perf_counter(), [], None
        while True:
            update, failed = _attempted(partial(next, updates, None))
            ended = update is None
            if update is None:
                break
            taken.append(update)
            full = not runs_ahead(device) or time.perf_counter() - begun >= READ_SECONDS
            if full or update.evaluate:
                break
        metrics, spoiled = read(taken, seconds, begun)
        failed = spoiled or failed
        if taken and taken[-1].evaluate and not failed:
            loss, failed = _attempted(taken[-1].evaluate)
            spent = seconds + time.perf_counter() - begun
            metrics[-1] = replace(metrics[-1], validation_loss=loss, seconds=spent)
        seconds += time.perf_counter() - begun
        for number, one in enumerate(metrics, start=1):
            live.ahead = len(metrics) - number
            yield one
        if failed:
            raise failed


def read(
    taken: list[Update], seconds: float, begun: float
) -> tuple[list[StepMetrics], NonFiniteLossError | None]:
    """What the steps taken since `begun` showed, and the error at the first that is not finite."""
    if not taken:
        return [], None
    numbers = torch.stack([number for update in taken for number in (update.loss, update.norm)])
    values = numbers.float().tolist()  # this waits for the device
    pace = (time.perf_counter() - begun) / len(taken)
    metrics: list[StepMetrics] = []
    for update, loss, norm in zip(taken, values[::2], values[1::2], strict=True):
        if not math.isfinite(loss + norm):
            return metrics, NonFiniteLossError(update.step, loss, update.rate)
        spent = seconds + pace * (len(metrics) + 1)
        metrics.append(update.metrics(loss, norm, pace, spent))
    return metrics, None


def _attempted(work: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    """What it gives, or what it raised."""
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - the caller raises it, a little later
        return None, error
