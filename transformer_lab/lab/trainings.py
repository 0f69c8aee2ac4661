"""Trainings: starting them, steering them, letting them wait, racing them.

Methods may be called from any thread. They check at once what can be checked, hand the work to the
worker, and return.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

from transformer_lab.lab.continuing import LabError, branching, extension, resumable
from transformer_lab.lab.database import State
from transformer_lab.lab.device import choose_device, memory_free
from transformer_lab.lab.estimate import choose_micro_batch
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.live_run import LiveRun
from transformer_lab.lab.origins import Offspring, Origin, Resumed
from transformer_lab.lab.queue import Queue, QueueFullError, Waiting
from transformer_lab.lab.run import RunNotFoundError
from transformer_lab.lab.runs import RunStore
from transformer_lab.lab.summaries import RunSummary
from transformer_lab.lab.texts import Texts
from transformer_lab.lab.worker import Worker
from transformer_lab.recipes import SETTINGS, Setup, setup_from
from transformer_lab.settings import ConfigError, checked

KEEP_SECONDS = 5.0  # to wait for a moment to be kept
LISTING_SECONDS = 1.0  # how old the list of runs may be


class Trainings:
    """The worker and its lanes: at most `queue.at_once` of them at a time, but for races.

    `on_snapshot` is called on the worker's thread whenever a training has published its weights.
    """

    def __init__(
        self,
        store: RunStore,
        queue: Queue,
        texts: Texts,
        on_snapshot: Callable[[LiveRun, bool], None],
    ) -> None:
        self.store = store
        self.queue = queue
        self.texts = texts
        self._on_snapshot = on_snapshot
        self._lock = threading.RLock()
        self._lanes: list[LiveRun] = []  # those not ended, and the one started last
        self._focus: LiveRun | None = None  # the one started last
        self._listing: tuple[float, list[RunSummary]] = (-1e9, [])
        self._closing = False
        self._worker = Worker(self._dispatch)

    # --- one training -------------------------------------------------------------------------

    def initialize(self, setup: Setup, recipe: str = "custom") -> None:
        """Make a new, untrained model. Raises ConfigError, and LabError while one is training."""
        with self._lock:
            self._refuse_if_full()
            self.check(setup)
            self._prepare(setup, recipe)

    def start(self, setup: Setup, recipe: str = "custom") -> None:
        """Train: the initialized model if it has these settings, else a new one.

        Raises ConfigError, and LabError while as much is training as may.
        """
        with self._lock:
            self._refuse_if_full()
            ready = self._focus
            if not (ready and ready.status.state == "ready" and same_model(ready.setup, setup)):
                self.check(setup)
                ready = self._prepare(setup, recipe)
            ready.recipe = recipe
            self._begin(ready, setup)

    def resume(self, run_id: str | None = None) -> None:
        """Go on with a run: after a pause, or where it was stopped or cut off.

        Without an id, the paused one. Raises LabError and RunNotFoundError.
        """
        paused = self.live(run_id) if run_id else self.current
        if paused is not None and paused.status.state == "paused":
            self._worker.submit(paused.resume, paused)
            return
        if run_id is None:
            raise LabError("Nothing here is paused.")
        with self._lock:
            run = resumable(self.store, run_id)
            self._refuse_if_full()
            setup = setup_from(run.manifest["setup"])
            self._begin(self._prepare(setup, str(run.manifest["recipe"]), Resumed(run)), setup)

    def extend(self, run_id: str, steps: object) -> None:
        """Train a finished or stopped run for more steps, as a new run that begins as it ended.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        self.begin(extension(self.store, run_id, steps))

    def branch(self, run_id: str, checkpoint: str, setup: Setup, recipe: str = "custom") -> None:
        """Train on from a checkpoint with other settings, as a new run.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        self.begin(branching(self.store, run_id, checkpoint, setup, recipe))

    def race(self, name: str, lanes: Mapping[str, Setup]) -> str:
        """Train several models in turn, step by step; gives the name of the race.

        With the same seed they see the very same batches. Each lane is a run of its own, and stays
        one. Raises ConfigError, and LabError while anything else is training.
        """
        with self._lock:
            if self._busy():
                raise LabError("Something is training: stop it first, a race wants all the time.")
            self._refuse_if_full()
            for setup in lanes.values():
                self.check(setup)
            race = self._free_race(name)
            for lane, setup in lanes.items():
                self._begin(self._prepare(setup, race, race=race, lane=lane), setup)
        return race

    def racing(self, race: str) -> list[LiveRun]:
        """The lanes of a race that are still in the worker's hands."""
        return [run for run in self._lanes if run.race == race]

    def stop_race(self, race: str) -> None:
        """End every lane of a race; what each has done is saved."""
        for run in self.racing(race):
            if run.busy:
                run.live.stop = True
                run.wish = "stopping"
                self._worker.submit(partial(run.stop, "The race was stopped."), run)

    def _free_race(self, name: str) -> str:
        taken = {run.race for run in self.store.list()} | {run.race for run in self._lanes}
        number = 1
        while f"{name}-{number}" in taken:
            number += 1
        return f"{name}-{number}"

    def keep(self, run_id: str | None = None) -> bool:
        """Save this moment of a training for good; whether that is done, or else under way.

        Raises LabError when nothing runs, or the disk does not take it.
        """
        run = self._controllable(run_id, "running", "paused")
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
        """Let go of a run that has ended, but whose end the disk does not take."""
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

    def pause(self, run_id: str | None = None) -> None:
        """Rest after the current step. Raises LabError when nothing runs."""
        run = self._controllable(run_id, "running")
        run.wish = "pausing"
        self._worker.submit(run.pause, run)

    def stop(self, reason: str = "", run_id: str | None = None) -> None:
        """End the run after the current step and save it. Raises LabError when there is none."""
        run = self._controllable(run_id, "running", "paused")
        run.live.stop = True
        run.wish = "stopping"
        self._worker.submit(lambda: run.stop(reason), run)

    def start_over(self, setup: Setup, recipe: str = "custom") -> None:
        """Stop what runs, keep it, and start a new run from new weights. Raises ConfigError."""
        self.check(setup)
        with self._lock:
            run = self.current
            if run and run.status.state in ("running", "paused"):
                self.stop("Started over.", run.status.run_id)
            done = threading.Event()
            self._worker.submit(done.set)
        done.wait(30)
        self.start(setup, recipe)

    def pause_or_resume(self, run_id: str | None = None) -> None:
        """One button for both; a run on disk that can go on goes on.

        Raises LabError when there is nothing to pause or resume, and RunNotFoundError.
        """
        run = self.live(run_id) if run_id else self.current
        if run is not None and run.status.state == "running":
            self.pause(run.status.run_id)
        else:
            self.resume(run_id or (run.status.run_id if run else None))

    def set_learning_rate(self, value: object, run_id: str | None = None) -> float:
        """Change the peak learning rate of the run under way; gives it as a number.

        Raises ConfigError and LabError.
        """
        rate = float(checked(SETTINGS["train.learning_rate"], value))
        run = self._controllable(run_id, "running", "paused")
        self._worker.submit(lambda: run.set_learning_rate(rate))
        return rate

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the worker has done what was asked before; False when the time ran out."""
        done = threading.Event()
        self._worker.submit(done.set)
        return done.wait(timeout)

    def check(self, setup: Setup) -> None:
        """Everything that can be wrong with a setup and be known at once. Raises ConfigError."""
        device = choose_device(setup.train.device).device.type
        facts = self.texts.facts(setup)
        choose_micro_batch(setup, facts.vocabulary_size, device, memory_free())

    def _prepare(
        self, setup: Setup, recipe: str, origin: Origin | None = None, *, race: str = "",
        lane: str = "",
    ) -> LiveRun:  # fmt: skip
        run = LiveRun(
            setup, recipe, self.store, self.texts, self._on_snapshot, origin, race=race, lane=lane
        )
        with self._lock:
            kept = [one for one in self._lanes if one.busy or (race and one.race == race)]
            self._lanes = [*kept, run]
            self._focus = run
        self._worker.submit(run.prepare, run)
        return run

    def _begin(self, run: LiveRun, setup: Setup) -> None:
        run.wish = "starting"
        self._worker.submit(lambda: run.begin(setup), run)
        self._worker.submit(lambda: self._worker.add(run), run)

    def _busy(self) -> list[LiveRun]:
        return [run for run in self._lanes if run.busy]

    def _refuse_if_full(self) -> None:
        if problem := writing_problem(self.store.folder.parent):
            raise ConfigError("home", problem)
        busy = self._busy()
        if len(busy) >= self.queue.at_once:
            run = busy[-1]
            name = run.status.run_id or "A training"
            raise LabError(
                f"{name} is {run.status.state} (step {run.status.step:,} of "
                f"{run.setup.train.steps:,}): stop it first, or add this one to the queue."
            )
        elsewhere = self.elsewhere()
        if elsewhere:
            raise LabError(
                f"{elsewhere.id} is being trained by another program in this home folder: "
                "end it there first (Ctrl-C), or use another --home."
            )

    def _controllable(self, run_id: str | None, *states: State) -> LiveRun:
        run = self.live(run_id) if run_id else self.current
        if run is None or run.status.state not in states:
            raise LabError(f"Nothing here is {' or '.join(states)}.")
        return run

    def has_room(self) -> bool:
        """Whether another training may start now."""
        return len(self._busy()) < self.queue.at_once and not self.elsewhere()

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
        """Let what waits have its turn."""
        self.queue.release()
        self._worker.submit(self._dispatch)

    def set_at_once(self, count: int) -> None:
        """How many trainings may run at the same time."""
        self.queue.set_at_once(count)
        self._worker.submit(self._dispatch)

    def _dispatch(self) -> None:
        """Start what waits, as far as there is room. On the worker's thread."""
        for run in self._lanes:
            run.try_again()
        while not self._closing and (item := self.queue.next()):
            with self._lock:
                if len(self._busy()) >= self.queue.at_once or self.elsewhere():
                    return
                self.queue.remove(item.id)
                try:
                    self.begin(item)
                except (ConfigError, LabError, RunNotFoundError) as error:
                    self.queue.add(replace(item, problem=str(error)), first=True)

    def begin(self, item: Waiting) -> None:
        """Start what could also wait, now. Raises LabError, RunNotFoundError and ConfigError."""
        with self._lock:
            self._refuse_if_full()
            if item.kind == "resume":
                self.resume(item.run)
                return
            setup = setup_from(item.setup)
            if item.kind == "new":
                self.start(setup, item.recipe)
                return
            self.check(setup)
            parent = self.store.open(item.run)
            origin = Offspring(parent, parent.checkpoint(item.checkpoint), item.kind)
            self._begin(self._prepare(setup, item.recipe, origin), setup)

    # --- what there is ------------------------------------------------------------------------

    @property
    def current(self) -> LiveRun | None:
        """The training that buttons mean when no run is named: the last one started that runs."""
        busy = self._busy()
        return busy[-1] if busy and self._focus not in busy else self._focus

    def live(self, run_id: str) -> LiveRun | None:
        """A training in the worker's hands, by its id."""
        return next((run for run in self._lanes if run.status.run_id == run_id), None)

    def runs(self) -> list[RunSummary]:
        """All runs, newest first; at most a second old."""
        taken, listing = self._listing
        if time.monotonic() - taken > LISTING_SECONDS:
            own = {run.status.run_id for run in self._lanes}
            listing = [
                replace(run, elsewhere=False) if run.id in own else run for run in self.store.list()
            ]
            self._listing = (time.monotonic(), listing)
        return listing

    def refresh(self) -> None:
        """Have the next list of runs made anew."""
        self._listing = (-1e9, [])

    def interrupted(self) -> list[RunSummary]:
        """Runs that were cut off and can be resumed, newest first."""
        live = {run.status.run_id for run in self._busy()}
        return [run for run in self.runs() if run.state == "interrupted" and run.id not in live]

    def elsewhere(self) -> RunSummary | None:
        """A run that another process is training in this home, if any."""
        return next((run for run in self.runs() if run.elsewhere), None)

    def close_trainings(self) -> None:
        """Save what runs, to be resumed later, and end the worker."""
        self._closing = True
        for run in self._lanes:
            run.live.stop = True
            self._worker.submit(partial(run.stop, "The lab was closed.", "interrupted"), run)
        self._worker.close()


def same_model(one: Setup, other: Setup) -> bool:
    """Whether both begin with the very same weights and text."""
    return (one.model, one.data, one.train.seed, one.train.device) == (
        other.model,
        other.data,
        other.train.seed,
        other.train.device,
    )
