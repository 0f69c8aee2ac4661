"""Trainings: starting them, steering them, letting them wait, racing them.

Methods may be called from any thread. They check at once what can be checked, hand the work to the
worker, and return. The lock is held only to look at the lanes and to change them: what reads a file
or takes its time comes before it.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

from transformer_lab.lab.device import choose_device, memory_free
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.continuing import (
    LabError,
    NoRoomError,
    branching,
    extension,
    resumable,
)
from transformer_lab.lab.training.estimate import choose_micro_batch
from transformer_lab.lab.training.finetuned import finetuned_origin, finetuning
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.origins import Offspring, Origin, Resumed
from transformer_lab.lab.training.queue import Queue, QueueFullError, Waiting
from transformer_lab.lab.training.states import BEGUN, BUSY
from transformer_lab.lab.training.worker import Worker
from transformer_lab.recipes import SETTINGS, Setup, setup_from
from transformer_lab.runs.database import State
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.store import RunStore
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.settings import ConfigError, checked
from transformer_lab.training.finetune import FineTuning

KEEP_SECONDS = 5.0  # to wait for a moment to be kept
log = logging.getLogger(__name__)
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
        self._lanes: list[LiveRun] = []  # all that are busy, and the one started last
        self._focus: LiveRun | None = None  # the one started last
        self._leaving: set[str] = set()  # ids of runs that are being deleted
        self._listing: tuple[float, tuple[int, set[str]], list[RunSummary]] = (-1e9, (0, set()), [])
        self._closing = False
        self._worker = Worker(self._dispatch)

    # --- one training -------------------------------------------------------------------------

    def initialize(self, setup: Setup, recipe: str = "custom") -> None:
        """Make a new, untrained model. Raises ConfigError, and LabError while one is training."""
        self._refuse_without_room()
        self.check(setup)
        run = self._new(setup, recipe)
        with self._lock:
            self._refuse_if_full()
            self._admit(run)
            self._worker.submit(run.prepare, run)

    def start(self, setup: Setup, recipe: str = "custom", item: str = "") -> None:
        """Train: the initialized model if it has these settings, else a new one.

        `item` is what it is in the queue, if it waited. Raises ConfigError, and LabError while as
        much is training as may.
        """
        self._refuse_without_room()
        self.check(setup)
        run = self._new(setup, recipe, item=item)
        with self._lock:
            self._refuse_if_full()
            self._start(run)

    def _start(self, run: LiveRun) -> None:
        """Train the initialized model in place of `run`, if they are the same; else `run`."""
        ready = self._focus if self._focus and self._focus.status.state == "ready" else None
        if ready and same_model(ready.setup, run.setup) and ready.move("starting"):
            ready.recipe, ready.item = run.recipe, run.item
            self._begin(ready, run.setup)
        else:
            self._launch(run)

    def resume(self, run_id: str | None = None, item: str = "") -> None:
        """Go on with a run: after a pause, or where it was stopped or cut off.

        Without an id, the paused one. Raises LabError and RunNotFoundError.
        """
        paused = self._chosen(run_id, "paused")
        if paused is not None:
            self._worker.submit(paused.resume, paused)
            return
        if run_id is None:
            raise LabError("Nothing here is paused.")
        self._refuse_if_busy(run_id)
        stored = resumable(self.store, run_id)
        self._refuse_without_room()
        setup = setup_from(stored.manifest["setup"])
        run = self._new(setup, str(stored.manifest["recipe"]), Resumed(stored), item=item)
        with self._lock:
            self._refuse_if_full()
            self._launch(run)

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

    def finetune(
        self,
        run_id: str,
        step: int | None,
        setup: Setup,
        tuning: FineTuning,
        *,
        later: bool = False,
    ) -> None:
        """Let a base learn from another text, as a new run; `later` puts it in the queue.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        item = finetuning(self.store, self.texts, run_id, step, setup, tuning)
        if later:
            self.check(setup)
            self.add_to_queue(item)
        else:
            self.begin(item)

    def race(self, name: str, lanes: Mapping[str, Setup], *, numbered: bool = True) -> str:
        """Train several models in turn, step by step; gives the name of the race.

        It is `name` and a number, or without one `name` itself. With the same seed they see the
        very same batches. Each lane is a run of its own, and stays one. Raises ConfigError, and
        LabError while anything else is training.
        """
        self._refuse_if_racing()
        self._refuse_without_room()
        for setup in lanes.values():
            self.check(setup)
        race = self._free_race(name) if numbered else name
        runs = [self._new(setup, race, race=race, lane=lane) for lane, setup in lanes.items()]
        with self._lock:
            self._refuse_if_racing()
            for run in runs:
                self._launch(run, among=race)
        return race

    def _refuse_if_racing(self) -> None:
        if self._taking_room():
            raise LabError("Something is training: stop it first, a race wants all the time.")

    def racing(self, race: str) -> list[LiveRun]:
        """The lanes of a race that are still in the worker's hands."""
        return [run for run in self._lanes if run.race == race]

    def stop_race(self, race: str) -> None:
        """End every lane of a race; what each has done is saved."""
        for run in self.racing(race):
            self._stop(run, "The race was stopped.")

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
        run = self._controllable(run_id, "running", "pausing")
        if run.move("pausing"):
            self._worker.submit(run.pause, run)

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

    def pause_or_resume(self, run_id: str | None = None) -> None:
        """One button for both; a run on disk that can go on goes on.

        Raises LabError when there is nothing to pause or resume, and RunNotFoundError.
        """
        run = self.live(run_id) if run_id else self.current
        if run is not None and run.status.state in ("running", "pausing"):
            self.pause(run.status.run_id)
        else:
            self.resume(run_id or (run.status.run_id if run else None))

    def set_learning_rate(self, value: object, run_id: str | None = None) -> float:
        """Change the peak learning rate of the run under way; gives it as a number.

        Raises ConfigError and LabError.
        """
        rate = float(checked(SETTINGS["train.learning_rate"], value))
        run = self._controllable(run_id, *BEGUN)
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

    def _new(
        self, setup: Setup, recipe: str, origin: Origin | None = None, *, race: str = "",
        lane: str = "", item: str = "",
    ) -> LiveRun:  # fmt: skip
        """A training that nobody knows of yet."""
        return LiveRun(
            setup, recipe, self.store, self.texts, self._on_snapshot, origin, race=race, lane=lane,
            item=item,
        )  # fmt: skip

    def _launch(self, run: LiveRun, among: str = "") -> None:
        """Prepare a training and take its first step; under the lock. Raises LabError."""
        self._admit(run, among)
        self._worker.submit(partial(run.prepare, "starting"), run)
        self._begin(run, run.setup)

    def _begin(self, run: LiveRun, setup: Setup) -> None:
        """Have the first step taken of a training that is among the lanes; under the lock."""
        run.on_open = partial(self._opened, run)
        self._worker.submit(partial(run.begin, setup), run)
        self._worker.submit(partial(self._started, run), run)

    def _admit(self, run: LiveRun, among: str = "") -> None:
        """Take a training among the lanes; under the lock. Raises LabError.

        From here to its end it is listed and can be stopped. `among` names the race it takes part
        in, of which all lanes stay.
        """
        if self._closing:
            raise LabError("The lab is being closed.")
        if run.status.run_id:
            self._refuse_if_busy(run.status.run_id)
        kept = [one for one in self._lanes if one.busy or (among and one.race == among)]
        self._lanes = [*kept, run]
        self._focus = run

    def _opened(self, run: LiveRun) -> None:
        """The folder of a training is there: it no longer waits. On the worker's thread."""
        if run.item:
            self.queue.take_out(run.item)
            run.item = ""
            self._end_turn()

    def _started(self, run: LiveRun) -> None:
        """A training has begun, or has ended before that. On the worker's thread."""
        self._worker.add(run)
        if run.item and not self._closing:
            why = run.status.reason or "It was stopped before its first step."
            self.queue.set_problem(run.item, why)
            run.item = ""
            self._end_turn()

    def busy(self) -> list[LiveRun]:
        """Those that are neither ended nor merely initialized."""
        return [run for run in self._lanes if run.busy]

    def _taking_room(self) -> list[LiveRun]:
        """Those that train; one that is about to end does so before the next one begins."""
        return [run for run in self.busy() if run.status.state != "stopping"]

    def _refuse_if_full(self, but: LiveRun | None = None) -> None:
        """Raises NoRoomError while as much is training here as may, leaving one out."""
        busy = [run for run in self._taking_room() if run is not but]
        if len(busy) >= self.queue.at_once:
            run = busy[-1]
            name = run.status.run_id or "A training"
            raise NoRoomError(
                f"{name} is {run.status.state} (step {run.status.step:,} of "
                f"{run.setup.train.steps:,}): stop it first, or add this one to the queue."
            )

    def _refuse_without_room(self) -> None:
        """Raises NoRoomError when nothing more can start here, ConfigError when nothing ever can.

        It reads the runs: not for the lock.
        """
        self._refuse_if_read_only()
        self._refuse_if_full()
        elsewhere = self.elsewhere()
        if elsewhere:
            raise NoRoomError(
                f"{elsewhere.id} is being trained by another program in this home folder: "
                "end it there first (Ctrl-C), or use another --home."
            )

    def _refuse_if_read_only(self) -> None:
        if problem := writing_problem(self.store.folder.parent):
            raise ConfigError("home", problem)

    def _refuse_if_busy(self, run_id: str) -> None:
        """Raises LabError when a run is in the worker's hands already, or on its way out."""
        live = next((run for run in self.busy() if run.status.run_id == run_id), None)
        if live:
            raise LabError(f"{run_id} is {live.status.state} already.")
        if run_id in self._leaving:
            raise LabError(f"{run_id} is being deleted.")

    def _chosen(self, run_id: str | None, *states: State) -> LiveRun | None:
        """The training of that id, or the one that buttons mean, if it is in one of the states."""
        asked = [self.live(run_id)] if run_id else [self.current, *self.busy()[::-1]]
        return next((run for run in asked if run and run.status.state in states), None)

    def _controllable(self, run_id: str | None, *states: State) -> LiveRun:
        run = self._chosen(run_id, *states)
        if run is None:
            words = "running or paused" if "paused" in states else "running"
            raise LabError(f"Nothing here is {words}.")
        return run

    def has_room(self) -> bool:
        """Whether another training may start now."""
        return len(self._taking_room()) < self.queue.at_once and not self.elsewhere()

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
        """Start what waits, as far as there is room. On the worker's thread.

        Each stays in the queue until its run's folder is there; what cannot start says why.
        """
        for run in self._lanes:
            run.try_again()
        while item := self._next_in_turn():
            try:
                self._begin_item(item, queued=True)
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

    def _in_hand(self) -> set[str]:
        """What waits and is being prepared."""
        return {run.item for run in self.busy()} - {""}

    def _end_turn(self) -> None:
        """Let other labs of this home have the queue, unless something of it is in hand."""
        if not self._in_hand():
            self.queue.end_turn()

    def begin(self, item: Waiting) -> None:
        """Start what could also wait, now. Raises LabError, RunNotFoundError and ConfigError."""
        self._begin_item(item, queued=False)

    def _begin_item(self, item: Waiting, *, queued: bool) -> None:
        waited = item.id if queued else ""
        if item.kind == "resume":
            self.resume(item.run, waited)
            return
        setup = setup_from(item.setup)
        if item.kind == "new":
            self.start(setup, item.recipe, waited)
            return
        self._refuse_without_room()
        self.check(setup)
        origin: Origin
        if item.kind == "finetuned":
            origin = finetuned_origin(self.store, item)
        else:
            parent = self.store.open(item.run)
            origin = Offspring(parent, parent.checkpoint(item.checkpoint), item.kind)
        run = self._new(setup, item.recipe, origin, item=waited)
        with self._lock:
            self._refuse_if_full()
            self._launch(run)

    # --- for the other parts of the lab -------------------------------------------------------

    def submit(self, work: Callable[[], None]) -> None:
        """Have something done on the worker's thread, between two steps."""
        self._worker.submit(work)

    def resting(self) -> bool:
        """Whether nothing is training."""
        return not self.busy()

    def with_models(self) -> list[LiveRun]:
        """The one that buttons mean, then all others in the worker's hands."""
        return [run for run in [self.current, *self._lanes] if run]

    # --- what there is ------------------------------------------------------------------------

    @property
    def current(self) -> LiveRun | None:
        """The training that buttons mean when no run is named: the last one started that runs."""
        busy = self.busy()
        return busy[-1] if busy and self._focus not in busy else self._focus

    def live(self, run_id: str) -> LiveRun | None:
        """A training in the worker's hands, by its id."""
        return next((run for run in self._lanes[::-1] if run.status.run_id == run_id), None)

    def runs(self) -> list[RunSummary]:
        """All runs, newest first; what is said of one may be a second old."""
        own = self._own()
        known = (self.store.changed(), own)  # other runs are there, or others are written
        taken, before, listing = self._listing
        if time.monotonic() - taken > LISTING_SECONDS or known != before:
            found = self.store.list()
            both = own | self._own()  # runs begin and end while the list is made
            listing = [replace(run, elsewhere=False) if run.id in both else run for run in found]
            self._listing = (time.monotonic(), known, listing)
        return listing

    def _own(self) -> set[str]:
        """The ids of runs that this lab writes."""
        return {run.status.run_id for run in self.busy()} | self.store.being_written()

    def refresh(self) -> None:
        """Have the next list of runs made anew."""
        self._listing = (-1e9, (0, set()), [])

    def interrupted(self) -> list[RunSummary]:
        """Runs that were cut off and can be resumed, newest first."""
        live = {run.status.run_id for run in self.busy()}
        return [run for run in self.runs() if run.state == "interrupted" and run.id not in live]

    def elsewhere(self) -> RunSummary | None:
        """A run that another process is training in this home, if any."""
        return next((run for run in self.runs() if run.elsewhere), None)

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

    @contextlib.contextmanager
    def leaving(self, run_id: str) -> Iterator[None]:
        """Keep a run from being taken up while it is deleted. Raises LabError when it is in use."""
        with self._lock:
            self._refuse_deletion(run_id)
            self._leaving.add(run_id)
        try:
            yield
            with self._lock:
                self._lanes = [run for run in self._lanes if run.status.run_id != run_id]
                if self._focus not in self._lanes:
                    self._focus = None
        finally:
            with self._lock:
                self._leaving.discard(run_id)

    def _refuse_deletion(self, run_id: str) -> None:
        for run in self.busy():
            if run.status.run_id == run_id:
                raise LabError(f"{run_id} is {run.status.state}: stop it first.")
            if run.origin.reads == run_id and run.status.state in ("preparing", "starting"):
                raise LabError(f"A training is beginning from {run_id}: delete it a little later.")
        if run_id in self._leaving:
            raise LabError(f"{run_id} is being deleted.")


def _unexpected(item: Waiting, error: Exception) -> str:
    """Why a training could not begin, when nothing better is known."""
    if item.kind == "new":
        return f"It could not be started ({type(error).__name__}: {error})."
    return f"{item.run} cannot be read ({error}): it is damaged, or not whole."


def same_model(one: Setup, other: Setup) -> bool:
    """Whether both begin with the very same weights and text."""
    return (one.model, one.data, one.train.seed, one.train.device) == (
        other.model,
        other.data,
        other.train.seed,
        other.train.device,
    )
