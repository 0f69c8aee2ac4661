"""The metrics of a training in memory, read with a cursor."""

import threading
from collections.abc import Iterable

from transformer_lab.training import StepMetrics


class MetricStream:
    """Every step of a training, kept; readers come with a cursor and take nothing away."""

    def __init__(self, points: Iterable[StepMetrics] = ()) -> None:
        self._lock = threading.Lock()
        self._points = list(points)
        self._evaluated = [point for point in self._points if point.validation_loss is not None]

    def append(self, point: StepMetrics) -> None:
        """Add the newest step."""
        with self._lock:
            self._points.append(point)
            if point.validation_loss is not None:
                self._evaluated.append(point)

    def since(self, cursor: int = 0) -> tuple[list[StepMetrics], int]:
        """Points after `cursor`, and the cursor to pass next time."""
        with self._lock:
            return self._points[cursor:], len(self._points)

    def latest(self, count: int = 1) -> list[StepMetrics]:
        """The newest points, oldest first."""
        with self._lock:
            return self._points[-count:]

    def evaluated(self) -> list[StepMetrics]:
        """The points with a validation loss, oldest first."""
        with self._lock:
            return list(self._evaluated)
