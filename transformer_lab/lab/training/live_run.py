"""One training, advanced step by step by the worker.

The methods that change it run on the worker's thread; `status`, `snapshot` and `stream` may be read
from any other. Which state may follow which is in `states.py`: a thread that wants
something of a training moves it to `starting`, `pausing` or `stopping` and has the worker do it.

How it begins, ends and is saved stands in the classes below it: `preparing.py`, `ending.py` and
`recorded.py`.
"""

import itertools
import statistics
import time

from transformer_lab.lab.cost.threads import MEASURED
from transformer_lab.lab.training.preparing import PreparedRun
from transformer_lab.lab.training.states import BEGUN
from transformer_lab.runs.moments import is_landmark
from transformer_lab.training import Change, StepMetrics
from transformer_lab.training.schedule import rate_factor


class LiveRun(PreparedRun):
    """A training and everything it needs; a lane of the worker."""

    def advance(self) -> None:
        """One step, kept in memory and on disk; a fresh snapshot and a save when it is time."""
        if change := self._threads.before(self.status.step + 1):
            self.writer.change(change)
        metrics = self._take_step()
        if metrics is None:
            if not self.live.stop:  # else the step was given up, and `stop` comes next
                self._end("finished")
            return
        self._record_changes(metrics)
        self._record_both(metrics.validation_loss)
        self._ends.append((metrics.step, time.monotonic()))
        if metrics.step == self.setup.train.steps:
            self._end("finished", validation_loss=metrics.validation_loss)
            return
        if metrics.validation_loss is not None or self._snapshot_due():
            self.publish(evaluated=metrics.validation_loss is not None)
            self._saves.remember_best(self.snapshot, metrics.validation_loss)
        if metrics.validation_loss is not None or is_landmark(metrics.step):
            self._saves.remember_moment(self._now())
        if self._saves.due(metrics.step):
            self.save()

    def _take_step(self) -> StepMetrics | None:
        """One step, or as many as a GPU is ahead; the last one's metrics, None when none came."""
        assert self._steps is not None
        for metrics in self._steps:
            self.stream.append(metrics)
            if metrics.validation_loss is not None:  # 0.0 is a loss
                self.validation_loss = metrics.validation_loss
            self.update(step=metrics.step)
            if trouble := self.writer.append(metrics):
                self.update(note=trouble)
            if self.live.ahead == 0:
                return metrics
        return None

    def _record_changes(self, metrics: StepMetrics) -> None:
        """Record what the training changed by itself, and its notes."""
        found, notes = self._threads.took(metrics)
        if change := self._threads.changed(metrics.step):
            self.writer.change(change)
        if found:
            self.writer.event(MEASURED, metrics.step, found)
        self.live.notes += notes
        while self.live.made:
            self.writer.change(self.live.made.pop(0))
        while self.live.notes:
            self._note(self.live.notes.pop(0))

    @property
    def between(self) -> float:
        """Seconds from the end of one step to that of the next, other lanes' steps included."""
        pairs = list(itertools.pairwise(self._ends))
        found = [(end - begun) / (step - before) for (before, begun), (step, end) in pairs]
        return statistics.median(found) if found else 0.0

    def pause(self) -> None:
        """Pause after the current step; the weights are saved."""
        self.move("pausing")
        if self.status.state == "pausing":
            self.publish()
            self.save()
            self._change("paused")

    def resume(self) -> None:
        """Go on where it paused."""
        if self._ending:
            self._finish()
        elif self.status.state == "paused":
            self._ends.clear()
            self._change("running")

    def set_learning_rate(self, rate: float) -> None:
        """Use another peak learning rate from the next step on."""
        if self.status.state in BEGUN:
            self.live.learning_rate = rate
            self.live.replay = [x for x in self.live.replay if x.name != "learning_rate"]
            change = Change(self.status.step, "learning_rate", rate)
            self.peaks = (*(x for x in self.peaks if x.after < change.after), change)
            self.writer.change(change)

    def next_rate(self, peak: float) -> float:
        """The learning rate that the schedule makes of a peak at the next step."""
        train, seams = self.setup.train, self.origin.seams()
        step = min(self.status.step + 1, train.steps)
        return peak * rate_factor(train.phases(seams[-1].step if seams else 0), step)
