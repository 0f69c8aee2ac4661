"""Range tests of the learning rate, on the worker's thread, a step in turn with trainings."""

import threading
from collections.abc import Iterator
from typing import Literal

import torch

from transformer_lab.lab.cost.estimate import choose_micro_batch
from transformer_lab.lab.cost.threads import thread_count
from transformer_lab.lab.device import choose_device, memory_free
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.model import build_model
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError
from transformer_lab.training import LiveSettings
from transformer_lab.training.batches import Batches
from transformer_lab.training.range_test import (
    STEPS,
    RangePoint,
    Suggestion,
    range_test,
    suggestion,
)

RangeState = Literal["running", "stopping", "done", "stopped", "failed"]


class RangeTest:
    """One range test, as a lane of the worker. `reason` says why it failed."""

    def __init__(self, setup: Setup, texts: Texts) -> None:
        self.setup = setup
        self.reason = ""
        self._texts = texts
        self._state: RangeState = "running"
        self._points: list[RangePoint] = []
        self._steps: Iterator[RangePoint] | None = None
        self._live = LiveSettings()
        self._done = threading.Event()

    # --- read from any thread -----------------------------------------------------------------

    @property
    def state(self) -> RangeState:
        """Whether more steps may come, or how it ended."""
        return "stopping" if self._live.stop and self.active else self._state

    @property
    def active(self) -> bool:
        """Whether the worker is to advance it."""
        return self._state == "running"

    @property
    def ended(self) -> bool:
        """Whether no step will come any more."""
        return not self.active

    @property
    def points(self) -> list[RangePoint]:
        """The steps so far."""
        return list(self._points)

    @property
    def progress(self) -> float:
        """How much of the rates has been tried, 0 to 1."""
        return len(self._points) / STEPS

    @property
    def suggestion(self) -> Suggestion | None:
        """What it says, once it has come to its end."""
        return suggestion(self._points) if self._state == "done" else None

    def stop(self) -> None:
        """End it before its next step."""
        self._live.stop = True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end; False when the time ran out."""
        return self._done.wait(timeout)

    # --- on the worker's thread ---------------------------------------------------------------

    def advance(self) -> None:
        """Make text and model ready, then one step at a time."""
        if self._live.stop:
            self._end("stopped")
            return
        if self._steps is None:
            try:
                self._steps = self._prepared()
            except ConfigError as error:
                self._end("failed", str(error))
            return
        torch.set_num_threads(thread_count(self.setup.train))
        point = next(self._steps, None)
        if point is not None:
            self._points.append(point)
        elif not self._live.stop:  # else it is ended as stopped
            self._end("done")

    def fail(self, error: Exception) -> None:
        """A step raised: memory, mostly."""
        self._end("failed", f"It could not go on: {error}")

    def _prepared(self) -> Iterator[RangePoint]:
        """A new model and its steps. Raises ConfigError."""
        setup = self.setup
        device = choose_device(setup.train.device).device
        _, encoded, _ = self._texts.fetched(setup)
        size = encoded.tokenizer.vocabulary_size
        model = build_model(setup.model, size, setup.train.seed).to(device)
        self._live.micro_batch = choose_micro_batch(setup, size, device.type, memory_free())
        batches = Batches(
            torch.from_numpy(encoded.training).to(device),
            setup.train.batch_size,
            setup.model.sequence_length,
            setup.train.seed,
            setup.train.piece,
        )
        return range_test(model, batches, setup.train, self._live)

    def _end(self, state: RangeState, reason: str = "") -> None:
        self.reason, self._state = reason, state
        self._steps = None  # lets the model go
        self._done.set()


class RangeTests:
    """Starts and stops range tests, one at a time; `newest` is the last one that was started."""

    def __init__(self, trainings: Trainings) -> None:
        self._trainings = trainings
        self._lock = threading.Lock()
        self.newest: RangeTest | None = None

    def start(self, setup: Setup) -> RangeTest:
        """Test the rates with these settings. Raises ConfigError, and LabError while one runs."""
        self._trainings.check(setup)
        with self._lock:
            if self.newest is not None and self.newest.active:
                raise LabError("Learning rates are being tried already: cancel that first.")
            test = self.newest = RangeTest(setup, self._trainings.texts)
        self._trainings.take_turns(test)
        return test

    def stop(self) -> None:
        """Cancel the one under way."""
        if self.newest is not None:
            self.newest.stop()
