"""Trainings, as the page and the command line use them: started, controlled and queued.

Methods may be called from any thread. They check at once what can be checked, hand the work to the
worker, and return.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from transformer_lab.lab.queue import Queue, Waiting
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.finetuned import finetuning
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.outside import MakeWorker
from transformer_lab.lab.training.queued import Queued
from transformer_lab.lab.training.states import BEGUN, BUSY
from transformer_lab.lab.training.worker import Lane, Worker
from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.runs.control import Action, UnreachableError, ask
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import checked
from transformer_lab.training.finetune import FineTuning

KEEP_SECONDS = 5.0  # to wait for a moment to be kept
log = logging.getLogger(__name__)


class Trainings(Queued):
    """All trainings of a lab; for `on_snapshot` see `Starting`."""

    def __init__(
        self,
        store: RunStore,
        queue: Queue,
        texts: Texts,
        on_snapshot: Callable[[LiveRun, bool], None],
        *,
        processes: bool = True,
        worker: MakeWorker = Worker,
    ) -> None:
        super().__init__(
            store, queue, texts, on_snapshot, self._dispatch, processes=processes, worker=worker
        )

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
        self.check_place(setup)
        self.check(setup)
        with self._lock:
            old = self._chosen(None, *BUSY)
            if old is None:
                self._ask_to_stop(None)
            self._refuse_if_full(setup, but=old)
            if old:
                self._stop(old, "Started over.")
            if self.for_cluster(setup):
                self.enqueue(setup, recipe)
            elif self._apart(setup):
                begins = Waiting(kind="new", recipe=recipe, setup=setup.to_mapping())
                self._start_process(begins, setup, "")
            else:
                self._start(self._new(setup, recipe))

    def pause(self, run_id: str | None = None) -> None:
        """Pause after the current step. Raises LabError when nothing runs."""
        if self._ask("pause", run_id):
            return
        run = self._controllable(run_id, "running", "pausing")
        if run.move("pausing"):
            self._worker.submit(run.pause, run)

    def pause_or_resume(self, run_id: str | None = None) -> None:
        """One button for both; a run on disk that can go on goes on.

        Raises LabError when there is nothing to pause or resume, and RunNotFoundError.
        """
        run = self.live(run_id) if run_id else self.current
        if remote := self._remote_meant(run_id):
            self.resume(remote) if self._paused_there(remote) else self.pause(remote)
        elif run is not None and run.status.state in ("running", "pausing"):
            self.pause(run.status.run_id)
        else:
            self.resume(run_id or (run.status.run_id if run else None))

    def resume(self, run_id: str | None = None, item: str = "") -> None:
        """As in `Queued`; a run that pauses in another process goes on there."""
        if self._paused_there(self._remote_meant(run_id)):
            self._ask("resume", run_id)
        else:
            super().resume(run_id, item)

    def stop(self, reason: str = "", run_id: str | None = None) -> None:
        """End the run after the current step and save it. Raises LabError when there is none.

        One that is still being prepared ends before its first step.
        """
        if self._ask_to_stop(run_id):
            return
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
        if self._ask("learning_rate", run_id, rate):
            return rate
        run = self._controllable(run_id, *BEGUN)
        self._worker.submit(lambda: run.set_learning_rate(rate))
        return rate

    def keep(self, run_id: str | None = None) -> bool:
        """Save this moment of a training for good; whether that is done, or else under way.

        Raises LabError when nothing runs, or the disk does not take it.
        """
        if remote := self._remote_meant(run_id):
            return self._keep_there(remote)
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

    # --- what another process trains ----------------------------------------------------------

    def _remote_meant(self, run_id: str | None) -> str:
        """The run of another process that a button means: nothing here is meant; or ""."""
        return "" if self._chosen(run_id, *BUSY) else self.remote(run_id)

    def _paused_there(self, run_id: str) -> bool:
        return bool(run_id) and self.store.open(run_id).state()[0] == "paused"

    def _ask(self, do: Action, run_id: str | None, value: float | None = None) -> bool:
        """Ask the process that trains the run that is meant, if one does. Raises LabError."""
        if not (remote := self._remote_meant(run_id)):
            return False
        try:
            ask(self.store.folder / remote, do, value)
        except UnreachableError as error:
            raise LabError(str(error)) from error
        return True

    def _ask_to_stop(self, run_id: str | None) -> bool:
        """Have the process end that trains the run that is meant, if one does; one that has only
        been started, too. Raises LabError."""
        if self._chosen(run_id, *BUSY):
            return False
        if not run_id and self.awaited and not self.awaited.ended:  # which is what a page shows
            meant = ""
        else:
            meant = self.remote(run_id)
        wanted = run_id or meant
        sent = next((child for child in self.sent() if wanted and child.run_id == wanted), None)
        if sent:
            self.end_child(sent)
            return True
        child = next((child for child in self.children() if child.run_id == meant), None)
        if child is None:
            return self._ask("stop", run_id)
        self.end_child(child)
        return True

    def _keep_there(self, run_id: str) -> bool:
        """Have another process keep this moment; whether that is done by now."""
        run = self.store.open(run_id)
        before, limit = len(run.events("kept")), time.monotonic() + KEEP_SECONDS
        self._ask("keep", run_id)
        while len(run.events("kept")) == before:
            if time.monotonic() > limit:
                return False
            time.sleep(0.05)
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
        if self.processes:
            self.processes.close()
        if self.cluster:
            self.cluster.close()
        self._worker.close()
        self.queue.end_turn()
