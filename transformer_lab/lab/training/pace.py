"""What a training will cost on this computer: estimated at once, measured as soon as can be."""

import statistics
import time
from collections.abc import Callable

from transformer_lab.lab.cost.estimate import Estimate, estimate
from transformer_lab.lab.cost.step_time import Speed, measured_speed, probe
from transformer_lab.lab.device import choose_device
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.recipes import Setup

MEASURED_STEPS = 50
PROBES = 4  # of one model, at different moments: the computer may be busy in one of them
BUSY = 2.0  # times as slow as a probe: no pace to expect of the next training
APART = 4.0  # seconds between two
MOST_PARAMETERS = 2e7  # of a model that is made only to time it


class Pace:
    """Speeds measured so far; `submit` runs something on the worker's thread, when it `rests`."""

    def __init__(
        self, submit: Callable[[Callable[[], None]], None], rests: Callable[[], bool]
    ) -> None:
        self._submit = submit
        self._rests = rests
        self._speed: Speed | None = None
        self._probed: dict[tuple[object, ...], float] = {}  # seconds a step, the least measured
        self._observed: dict[tuple[object, ...], float] = {}  # the same of trainings
        self._asked: dict[tuple[object, ...], int] = {}  # how often that was measured
        self._next = 0.0  # when to measure again

    def estimate(self, setup: Setup, vocabulary_size: int) -> Estimate:
        """Arithmetic, memory and time of a training, at once; asked again it may know better.

        Nothing is measured before somebody asks. Raises ConfigError when it cannot fit.
        """
        device, key = choose_device(setup.train.device).device.type, _key(setup)
        found = estimate(
            setup,
            vocabulary_size,
            device,
            speed=self._speed if device == "cpu" else None,
            measured=self._known(key),
        )
        asked = self._asked.get(key, 0)
        due = not asked or (asked < PROBES and time.monotonic() >= self._next)
        if device == "cpu" and due and self._rests():
            self._asked[key] = asked + 1
            self._next = time.monotonic() + APART
            self._submit(lambda: self._measure(setup, vocabulary_size))
        return found

    def observe(self, run: LiveRun) -> None:
        """Take the pace of a training under way."""
        speeds = [point.tokens_per_second for point in run.stream.latest(MEASURED_STEPS)[1:]]
        if speeds:
            tokens = run.setup.train.batch_size * run.setup.model.sequence_length
            _keep_least(self._observed, _key(run.setup), tokens / statistics.median(speeds))

    def _known(self, key: tuple[object, ...]) -> float | None:
        """What trainings took, unless they had a computer that was busy with other work."""
        probed, observed = self._probed.get(key), self._observed.get(key)
        if observed is None or (probed is not None and observed > BUSY * probed):
            return probed
        return observed

    def _measure(self, setup: Setup, vocabulary_size: int) -> None:
        """Time this computer, then the model unless a training begins. On the worker's thread."""
        if not self._rests():
            return
        now = measured_speed()
        before = self._speed or now
        self._speed = Speed(
            flops=max(now.flops, before.flops),
            step=min(now.step, before.step),
            layer=min(now.layer, before.layer),
        )
        self._submit(lambda: self._probe(setup, vocabulary_size))

    def _probe(self, setup: Setup, vocabulary_size: int) -> None:
        """Time a few steps of the model. On the worker's thread."""
        guessed = estimate(setup, vocabulary_size, "cpu", speed=self._speed)
        if not self._rests() or guessed.parameters > MOST_PARAMETERS:
            return
        seconds = probe(setup, vocabulary_size, guessed.micro_batch, guessed.flops)
        if seconds is not None:
            _keep_least(self._probed, _key(setup), seconds)


def _keep_least(
    found: dict[tuple[object, ...], float], key: tuple[object, ...], seconds: float
) -> None:
    """A moment in which the computer is busy with other work must not count for all others."""
    found[key] = min(seconds, found.get(key, seconds))


def _key(setup: Setup) -> tuple[object, ...]:
    """What the time of a step depends on."""
    train = setup.train
    rule = (train.optimizer, train.learning_rule, train.pc_learning_steps)
    parts = (train.batch_size, train.micro_batch)
    return setup.model, setup.data, parts, rule, train.threads, train.device
