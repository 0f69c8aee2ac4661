"""What other processes ask of a training in this one, done between two looks at it."""

import contextlib
from collections.abc import Callable, Mapping

from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.runs.control import Action, Request, Requests
from transformer_lab.settings import ConfigError


class Steering:
    """Takes requests for one run of `trainings`, from the time its folder is there."""

    def __init__(self, trainings: Trainings, run_id: str) -> None:
        self._trainings, self._run_id = trainings, run_id
        self._requests: Requests | None = None
        self.closing = False  # whether the whole program was asked to end
        with contextlib.suppress(OSError):  # where nothing can be written, nothing can be asked
            self._requests = Requests(trainings.store.folder / run_id)

    def obey(self) -> None:
        """Do what was asked since the last time; what can no longer be done is left out."""
        for request in self._requests.new() if self._requests else ():
            with contextlib.suppress(LabError, ConfigError):
                self._actions()[request.do](request)

    def _actions(self) -> Mapping[Action, Callable[[Request], object]]:
        trainings, run_id = self._trainings, self._run_id
        return {
            "pause": lambda request: trainings.pause(run_id),
            "resume": lambda request: trainings.resume(run_id),
            "stop": lambda request: trainings.stop(run_id=run_id),
            "keep": lambda request: trainings.keep(run_id),
            "learning_rate": lambda request: trainings.set_learning_rate(request.value, run_id),
            "close": lambda request: setattr(self, "closing", True),
        }

    def close(self) -> None:
        """Take no more requests."""
        if self._requests:
            self._requests.close()
