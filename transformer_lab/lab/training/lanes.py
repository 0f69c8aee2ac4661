"""The active trainings, the list of all runs, and the checks before another one may start.

The lock is held only to look at the lanes and to change them: what reads a file or takes its time
comes before it.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from transformer_lab.lab.device import choose_device
from transformer_lab.lab.elsewhere.children import Child
from transformer_lab.lab.elsewhere.cluster import Cluster, Sent
from transformer_lab.lab.elsewhere.processes import Process, Processes, gpus
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.queue import Queue, Waiting
from transformer_lab.lab.training.continuing import LabError, NoRoomError
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.recipes import Setup
from transformer_lab.runs.control import reachable
from transformer_lab.runs.database import State
from transformer_lab.runs.store import RunStore
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.settings import ConfigError
from transformer_lab.training.ranks import ALONE

LISTING_SECONDS = 1.0  # how old the list of runs may be


class Lanes:
    """The worker's lanes, and the processes beside them.

    At most `queue.at_once` train at a time, except in a race; and, in a process each, one on every
    GPU. `processes` is None where none is started, `cluster` where there is none to send to;
    `beside_others` lets a training start whatever other programs train in this home; `ranks` are
    the processes that train each model together.
    """

    def __init__(self, store: RunStore, queue: Queue, processes: Processes | None = None) -> None:
        self.store = store
        self.queue = queue
        self.processes = processes
        self.cluster: Cluster | None = None
        self.beside_others = False
        self.ranks = ALONE
        self.permit: Callable[[], None] = lambda: None  # raises LabError where none may start
        self._lock = threading.RLock()
        self._lanes: list[LiveRun] = []  # all that are busy, and the one started last
        self._focus: LiveRun | None = None  # the one started last
        self._child: Process | None = None  # the process started last, if that was after it
        self._leaving: set[str] = set()  # ids of runs that are being deleted
        self._listing: tuple[float, tuple[int, set[str]], list[RunSummary]] = (-1e9, (0, set()), [])
        self._closing = False

    # --- which there are ----------------------------------------------------------------------

    @property
    def current(self) -> LiveRun | None:
        """The training that buttons mean when no run is named: the last one started that runs."""
        busy = self.busy()
        return busy[-1] if busy and self._focus not in busy else self._focus

    def live(self, run_id: str) -> LiveRun | None:
        """A training in the worker's hands, by its id."""
        return next((run for run in self._lanes[::-1] if run.status.run_id == run_id), None)

    def busy(self) -> list[LiveRun]:
        """Trainings that have neither ended nor are only initialized."""
        return [run for run in self._lanes if run.busy]

    def resting(self) -> bool:
        """Whether nothing is training, and there is time for what only measures."""
        return not self._closing and not self.busy() and not self.children()

    def children(self) -> list[Process]:
        """The trainings in processes that this lab has started and that have not ended."""
        return self.processes.busy() if self.processes else []

    def racing_apart(self, race: str) -> list[Child]:
        """The lanes of a race that are trained outside of the lab's own thread and have a run."""
        children = [*self.children(), *self.sent()]
        return [child for child in children if child.run_id and child.begins.race == race]

    def child_of(self, item: Waiting) -> Child | None:
        """What was started for this, just now, outside of the lab's own thread."""
        found = self.cluster.of(item) if self.cluster else None
        return found or (self.processes.of(item) if self.processes else None)

    def sent(self) -> list[Sent]:
        """The trainings that this lab has on a cluster and that have not ended."""
        return self.cluster.busy() if self.cluster else []

    @property
    def awaited(self) -> Process | None:
        """The process started last, as long as it has no run; or one that ended before it had."""
        return self._child if self._child and not self._child.run_id else None

    def remote(self, run_id: str | None = None) -> str:
        """The run of another process that takes requests: the one named, or the newest; or ""."""
        found = (run.id for run in self.away() if run_id in (None, run.id))
        return next((name for name in found if reachable(self.store.folder / name)), "")

    def with_models(self) -> list[LiveRun]:
        """The one that buttons mean, then all others in the worker's hands."""
        return [run for run in [self.current, *self._lanes] if run]

    def stamp(self) -> tuple[object, ...]:
        """What changes when a training here begins, ends or changes its state; not at a step."""
        lanes = ((id(run), run.status.run_id, run.status.state) for run in self._lanes)
        return self._child, self._focus, tuple(lanes)

    def racing(self, race: str) -> list[LiveRun]:
        """The lanes of a race that are still in the worker's hands."""
        return [run for run in self._lanes if run.race == race]

    def _taking_room(self) -> list[LiveRun]:
        """Those that count towards the limit: one that is stopping ends before the next begins."""
        return [run for run in self.busy() if run.status.state != "stopping"]

    def has_room(self, setup: Setup | None = None) -> bool:
        """Whether another training may start now; with a setup, that one."""
        if setup and self.cluster and self.for_cluster(setup):
            return self.cluster.has_room()
        return not self._full(setup) and not self._foreign()

    def for_cluster(self, setup: Setup) -> bool:
        """Whether a training is to be sent to the cluster, and there is one."""
        return setup.train.where == "cluster" and self.cluster is not None

    def _full(self, setup: Setup | None, but: LiveRun | None = None) -> bool:
        """Whether as many train as may: one on each GPU, if this one gets a process and a GPU."""
        if setup and self._gets_gpu(setup):
            return not self._free_gpu()
        lanes = [run for run in self._taking_room() if run is not but]
        beside = [child for child in self.children() if not child.stopping]
        return len(lanes) + len(beside) >= self.queue.at_once

    def _gets_gpu(self, setup: Setup) -> bool:
        """Whether a training is put on a GPU of its own."""
        if not self.processes or setup.train.where != "process" or not gpus():
            return False
        return choose_device(setup.train.device).device.type == "cuda"

    def _free_gpu(self) -> str:
        """A GPU nothing of this lab computes on, or ""; what trains in the lab has the first."""
        assert self.processes is not None
        own = [run for run in self._taking_room() if run.device.device.type == "cuda"]
        return self.processes.free_gpu(gpus()[:1] if own else ())

    def _in_hand(self) -> set[str]:
        """The ids of queue items that are being prepared."""
        waited = self.processes.waited() if self.processes else set()
        waited |= self.cluster.waited() if self.cluster else set()
        return ({run.item for run in self.busy()} | waited) - {""}

    def _end_turn(self) -> None:
        """Release the queue to other labs of this home, unless an item of it is being prepared."""
        if not self._in_hand():
            self.queue.end_turn()

    # --- the list of runs ---------------------------------------------------------------------

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
        """Discard the cached list of runs."""
        self._listing = (-1e9, (0, set()), [])

    def interrupted(self) -> list[RunSummary]:
        """Runs that were cut off and can be resumed, newest first."""
        live = {run.status.run_id for run in self.busy()} | {child.run_id for child in self.sent()}
        return [run for run in self.runs() if run.state == "interrupted" and run.id not in live]

    def away(self) -> list[RunSummary]:
        """The runs that other processes are training in this home, newest first."""
        return [run for run in self.runs() if run.elsewhere]

    def elsewhere(self) -> RunSummary | None:
        """The newest run that another process is training in this home, if any."""
        return next(iter(self.away()), None)

    def _foreign(self) -> RunSummary | None:
        """A run of a process that this lab has not started, where that forbids another one."""
        own = {child.run_id for child in [*self.children(), *self.sent()]}
        others = [] if self.beside_others else [run for run in self.away() if run.id not in own]
        return next(iter(others), None)

    # --- what stands in the way ---------------------------------------------------------------

    def _refuse_if_full(self, setup: Setup | None = None, but: LiveRun | None = None) -> None:
        """Raises NoRoomError while the limit is reached, not counting `but`."""
        if not self._full(setup, but):
            return
        busy = [run for run in self._taking_room() if run is not but]
        if busy:
            run = busy[-1]
            name = run.status.run_id or "A training"
            what = (
                f"{name} is {run.status.state} (step {run.status.step:,} of "
                f"{run.setup.train.steps:,})"
            )
        else:
            child = self.children()[-1]
            what = f"{child.run_id or 'A training'} trains in a process of its own"
        raise NoRoomError(f"{what}: stop it first, or add this one to the queue.")

    def _refuse_without_room(self, setup: Setup | None = None) -> None:
        """Raises NoRoomError when nothing more can start here, ConfigError when nothing ever can.

        It reads the runs: not for the lock.
        """
        self._refuse_if_read_only()
        self._refuse_if_full(setup)
        if foreign := self._foreign():
            raise NoRoomError(
                f"{foreign.id} is being trained by another program in this home folder: "
                "stop it first, or use another --home."
            )

    def _refuse_if_read_only(self) -> None:
        if problem := writing_problem(self.store.folder.parent):
            raise ConfigError("home", problem)
        self.permit()

    def _refuse_if_busy(self, run_id: str) -> None:
        """Raises LabError when a run is in training already, or is being deleted."""
        live = next((run for run in self.busy() if run.status.run_id == run_id), None)
        if live:
            raise LabError(f"{run_id} is {live.status.state} already.")
        if any(run_id == child.begins.run for child in self.children() if not child.run_id):
            raise LabError(f"A process is beginning with {run_id} already.")
        if any(run_id == child.run_id for child in self.sent()):
            raise LabError(
                f"{run_id} goes on on the cluster by itself: take it off first (Queue, on Runs)."
            )
        if run_id in self._leaving:
            raise LabError(f"{run_id} is being deleted.")

    def _refuse_if_racing(self) -> None:
        if self._taking_room() or self.children():
            raise LabError("Something is training: stop it first. A race must train alone.")

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
        self._focus, self._child = run, None

    @contextlib.contextmanager
    def leaving(self, run_id: str) -> Iterator[None]:
        """Prevent a run from being resumed while it is deleted. Raises LabError if in use."""
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
        if any(run_id == child.run_id for child in self.sent()):
            raise LabError(f"{run_id} trains on the cluster: stop it first.")
        for run in self.busy():
            if run.status.run_id == run_id:
                raise LabError(f"{run_id} is {run.status.state}: stop it first.")
            if run.origin.reads == run_id and run.status.state in ("preparing", "starting"):
                raise LabError(f"A training is beginning from {run_id}: delete it a little later.")
        if run_id in self._leaving:
            raise LabError(f"{run_id} is being deleted.")
