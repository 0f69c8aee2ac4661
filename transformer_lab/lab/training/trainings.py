"""Trainings, as the page and the command line use them: started, controlled and queued.

Methods may be called from any thread. They check at once what can be checked, hand the work to the
worker, and return.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.continuing import LabError, NoRoomError
from transformer_lab.lab.training.finetuned import finetuning
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.queue import Queue, QueueFullError, Waiting
from transformer_lab.lab.training.starting import Starting
from transformer_lab.lab.training.states import BEGUN, BUSY
from transformer_lab.lab.training.worker import Lane
from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError, checked
from transformer_lab.training.finetune import FineTuning

KEEP_SECONDS = 5.0  # to wait for a moment to be kept
log = logging.getLogger(__name__)


class Trainings(Starting):
    """All trainings of a lab; for `on_snapshot` see `Starting`."""

    def __init__(
        self,
        store: RunStore,
        queue: Queue,
        texts: Texts,
        on_snapshot: Callable[[LiveRun, bool], None],
    ) -> None:
        super().__init__(store, queue, texts, on_snapshot, on_rest=self._dispatch)

    def finetune(
        self,
        run_id: str,
        step: int | None,
        setup: Setup,
        tuning: FineTuning,
        *,
        later: bool = False,
    ) -> None:
        """Train a base model on another text, as a new run; `later` puts it in the queue.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        item = finetuning(self.store, self.texts, run_id, step, setup, tuning)
        if later:
            self.check(setup)
            self.add_to_queue(item)
        else:
            self.start_item(item)

    def start_over(self, setup: Setup, recipe: str = "custom") -> None:
        """Stop what runs, keep it, and start a new run from new weights.

        Raises ConfigError and LabError.
        """
        self._refuse_if_read_only()
        self.check(setup)
        run = self._new(setup, recipe)
        with self._lock:
            old = self._chosen(None, *BUSY)
            self._refuse_if_full(but=old)
            if old:
                self._stop(old, "Started over.")
            self._start(run)

    def pause(self, run_id: str | None = None) -> None:
        """Pause after the current step. Raises LabError when nothing runs."""
        run = self._controllable(run_id, "running", "pausing")
        if run.move("pausing"):
            self._worker.submit(run.pause, run)

    def pause_or_resume(self, run_id: str | None = None) -> None:
        """One button for both; a run on disk that can go on goes on.

        Raises LabError when there is nothing to pause or resume, and RunNotFoundError.
        """
        run = self.live(run_id) if run_id else self.current
        if run is not None and run.status.state in ("running", "pausing"):
            self.pause(run.status.run_id)
        else:
            self.resume(run_id or (run.status.run_id if run else None))

    def stop(self, reason: str = "", run_id: str | None = None) -> None:
        """End the run after the current step and save it. Raises LabError when there is none.

        One that is still being prepared ends before its first step.
        """
        run = self._controllable(run_id, *BUSY)
        self._stop(run, reason)

    def _stop(self, run: LiveRun, reason: str) -> None:
        """Have a training end, unless it is about to end anyway."""
        with self._lock:
            if run.move("stopping"):
                run.live.stop = True
                self._worker.submit(partial(run.stop, reason), run)

    def stop_race(self, race: str) -> None:
        """End every lane of a race; what each has done is saved."""
        for run in self.racing(race):
            self._stop(run, "The race was stopped.")

    def set_learning_rate(self, value: object, run_id: str | None = None) -> float:
        """Change the peak learning rate of the run under way; gives it as a number.

        Raises ConfigError and LabError.
        """
        rate = float(checked(SETTINGS["train.learning_rate"], value))
        run = self._controllable(run_id, *BEGUN)
        self._worker.submit(lambda: run.set_learning_rate(rate))
        return rate

    def keep(self, run_id: str | None = None) -> bool:
        """Save this moment of a training for good; whether that is done, or else under way.

        Raises LabError when nothing runs, or the disk does not take it.
        """
        run = self._controllable(run_id, *BEGUN)
        answer: Future[str] = Future()
        self._worker.submit(lambda: answer.set_result(run.keep()), run)
        try:
            problem = answer.result(KEEP_SECONDS)
        except TimeoutError:  # a long step
            return False
        if problem:
            raise LabError(problem)
        return True

    def abandon(self, run_id: str, kept_in: Path | None = None) -> None:
        """Give up a run that has ended but whose end could not be written."""
        live = self.live(run_id)
        if live and live.unsaved:
            self._worker.submit(partial(live.abandon, kept_in), live)
            self.wait()

    def rescue(self, run_id: str, folders: Sequence[Path]) -> Path | None:
        """Write a run whose end the disk does not take to a .zip, in the first folder that does.

        None when none of them has room.
        """
        live, answer = self.live(run_id), Future[Path | None]()
        if live is None or not live.unsaved:
            return None
        self._worker.submit(lambda: answer.set_result(live.rescue(folders)), live)
        return answer.result()

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` on the worker's thread, between two steps."""
        self._worker.submit(work)

    def take_turns(self, lane: Lane) -> None:
        """Have the worker advance something besides the trainings, until it has ended."""
        self._worker.submit(lambda: self._worker.add(lane), lane)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the worker has done what was asked before; False when the time ran out."""
        done = threading.Event()
        self._worker.submit(done.set)
        return done.wait(timeout)

    def close(self) -> None:
        """Save what runs, to be resumed later, and end the worker."""
        with self._lock:
            self._closing = True
            for run in self._lanes:
                run.move("stopping")
                run.live.stop = True
                self._worker.submit(partial(run.stop, "The lab was closed.", "interrupted"), run)
        self._worker.close()
        self.queue.end_turn()

    # --- the queue ----------------------------------------------------------------------------

    def enqueue(self, setup: Setup, recipe: str = "custom") -> None:
        """Train this when its turn comes. Raises ConfigError and LabError."""
        self.check(setup)
        self.add_to_queue(Waiting(kind="new", recipe=recipe, setup=setup.to_mapping()))

    def add_to_queue(self, item: Waiting) -> None:
        """Train this when its turn comes, which may be now. Raises LabError."""
        try:
            self.queue.add(item)
        except QueueFullError as error:
            raise LabError(str(error)) from None
        except OSError as error:
            raise LabError(f"The queue could not be written: {error.strerror}.") from error
        self._worker.submit(self._dispatch)

    def run_queue(self) -> None:
        """Let the waiting trainings start, those found on disk too."""
        self.queue.release()
        self._worker.submit(self._dispatch)

    def set_at_once(self, count: int) -> None:
        """How many trainings may run at the same time."""
        self.queue.set_at_once(count)
        self._worker.submit(self._dispatch)

    def _dispatch(self) -> None:
        """Start what waits, as far as there is room. On the worker's thread.

        Each stays in the queue until its run's folder is there; what cannot start says why.
        """
        for run in self._lanes:
            run.try_again()
        while item := self._next_in_turn():
            try:
                self._start_item(item, queued=True)
            except NoRoomError:
                break
            except (ConfigError, LabError, RunNotFoundError) as error:
                self.queue.set_problem(item.id, str(error))
            except Exception as error:
                log.exception("%s could not be started", item.run or item.recipe)
                self.queue.set_problem(item.id, _unexpected(item, error))
        self._end_turn()

    def _next_in_turn(self) -> Waiting | None:
        """What is to start now: asked again when no other lab of this home can start it too."""
        if self._closing or not self.queue.next(self._in_hand()):
            return None
        if not self.has_room() or not self.queue.take_turn():
            return None
        self.refresh()
        return self.queue.next(self._in_hand()) if self.has_room() else None


def _unexpected(item: Waiting, error: Exception) -> str:
    """Why a training could not begin, when nothing better is known."""
    if item.kind == "new":
        return f"It could not be started ({type(error).__name__}: {error})."
    return f"{item.run} cannot be read ({error}): it is damaged, or not whole."
