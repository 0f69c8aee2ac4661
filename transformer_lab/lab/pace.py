"""What a training will cost on this computer: estimated at once, measured as soon as can be."""

import statistics
from collections.abc import Callable

from transformer_lab.lab.device import choose_device
from transformer_lab.lab.estimate import Estimate, estimate, measured_speed, probe
from transformer_lab.lab.live_run import LiveRun
from transformer_lab.recipes import Setup

MEASURED_STEPS = 50


class Pace:
    """Speeds measured so far; `submit` runs something on the worker's thread, when it `rests`."""

    def __init__(
        self, submit: Callable[[Callable[[], None]], None], rests: Callable[[], bool]
    ) -> None:
        self._submit = submit
        self._rests = rests
        self._speed: float | None = None  # of this CPU, in FLOP/s
        self._paces: dict[tuple[object, ...], float | None] = {}  # seconds a step, where measured
        submit(self._measure_speed)

    def estimate(self, setup: Setup, vocabulary_size: int) -> Estimate:
        """Arithmetic, memory and time of a training, at once; asked again it may know better.

        Raises ConfigError when it cannot fit.
        """
        device, key = choose_device(setup.train.device).device.type, _key(setup)
        found = estimate(
            setup,
            vocabulary_size,
            device,
            speed=self._speed if device == "cpu" else None,
            measured=self._paces.get(key),
        )
        if device == "cpu" and self._speed and key not in self._paces and self._rests():
            self._paces[key] = None  # asked for
            self._submit(lambda: self._probe(setup, vocabulary_size, found))
        return found

    def observe(self, run: LiveRun) -> None:
        """Take the pace of a training under way."""
        speeds = [point.tokens_per_second for point in run.stream.latest(MEASURED_STEPS)[1:]]
        if speeds:
            tokens = run.setup.train.batch_size * run.setup.model.sequence_length
            self._paces[_key(run.setup)] = tokens / statistics.median(speeds)

    def _measure_speed(self) -> None:
        self._speed = measured_speed(0)

    def _probe(self, setup: Setup, vocabulary_size: int, expected: Estimate) -> None:
        if self._rests():
            self._paces[_key(setup)] = probe(setup, vocabulary_size, expected)


def _key(setup: Setup) -> tuple[object, ...]:
    """What the time of a step depends on."""
    train = setup.train
    rule = (train.optimizer, train.learning_rule, train.pc_learning_steps)
    return setup.model, setup.data, train.batch_size, rule, train.threads, train.device
