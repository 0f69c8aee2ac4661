"""Trainings that others carry out for the lab: processes of their own, and a cluster."""

from collections.abc import Callable
from functools import partial

from transformer_lab.lab.elsewhere.children import Child
from transformer_lab.lab.elsewhere.cluster import Cluster, Sent
from transformer_lab.lab.elsewhere.processes import Process, Processes
from transformer_lab.lab.queue import Queue, Waiting
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.continuing import LabError, NoRoomError, resumable
from transformer_lab.lab.training.lanes import Lanes
from transformer_lab.lab.training.worker import Worker
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError

NO_CLUSTER = (
    "This lab has no cluster to send a training to: start it with transformer-lab serve --ray "
    "(docs/cluster.md), or choose The lab for Where It Trains."
)
NO_WORKERS = (
    "Workers is {0}, and only a cluster has several: start the lab with transformer-lab serve "
    "--ray and choose Cluster for Where It Trains (docs/cluster.md); or set Workers to 1 and start "
    "the training by torchrun --nproc-per-node={0} (docs/running.md)."
)
MakeWorker = Callable[[Callable[[], None]], Worker]


class Outside(Lanes):
    """The lanes, the worker, and how a training is given to somebody else; for `on_rest` see
    `Starting`."""

    def __init__(
        self,
        store: RunStore,
        queue: Queue,
        texts: Texts,
        on_rest: Callable[[], None],
        *,
        processes: bool,
        worker: MakeWorker,
    ) -> None:
        started = Processes(store.folder.parent, self._child_changed) if processes else None
        super().__init__(store, queue, started)
        self.texts = texts
        self._on_rest = on_rest
        self._worker = worker(on_rest)

    @property
    def worker(self) -> Worker:
        """What advances the trainings."""
        return self._worker

    def resting(self) -> bool:
        """Whether nothing is training, and there is time for what only measures."""
        return super().resting() and self._worker.resting

    def connect(self, address: str) -> None:
        """Send what is queued to the Ray cluster at `address` from now on. Raises ConfigError."""
        self.cluster = Cluster(self.store.folder.parent, address, self._child_changed)

    def check_place(self, setup: Setup) -> None:
        """That there is a cluster, where a training is to be sent to one. Raises ConfigError."""
        if setup.train.where == "cluster" and self.processes and not self.cluster:
            raise ConfigError("train.where", NO_CLUSTER)
        if setup.train.workers > 1 and self.ranks.count == 1 and not self.for_cluster(setup):
            raise ConfigError("train.workers", NO_WORKERS.format(setup.train.workers))

    def end_child(self, child: Child) -> None:
        """Have a training end that is outside of the lab's own thread; what it has is saved."""
        if isinstance(child, Sent) and self.cluster:
            self.cluster.ask(child, "stop")
        elif isinstance(child, Process) and self.processes:
            self.processes.ask(child, "stop")

    def _send_to_cluster(self, item: Waiting, waited: str) -> None:
        """Have this trained there; `waited` is what it is in the queue.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        assert self.cluster is not None
        if self.cluster.problem:
            raise LabError(self.cluster.problem)
        self._refuse_if_read_only()
        if item.kind == "resume":
            self._refuse_if_busy(item.run)
            resumable(self.store, item.run)
        setup = setup_from(item.setup)
        names = {setup.data.corpus}
        if item.run:
            names.add(setup_from(self.store.open(item.run).manifest["setup"]).data.corpus)
        texts = {name: str(path) for name, path in self.texts.files_of(names).items()}
        with self._lock:
            if self._closing:
                raise NoRoomError("The lab is being closed.")
            self.cluster.start(item, setup, waited, texts)

    def _apart(self, setup: Setup) -> bool:
        """Whether a training gets a process of its own."""
        return self.processes is not None and setup.train.where == "process"

    def _start_process(self, begins: Waiting, setup: Setup, item: str) -> None:
        """Train in a new process; `item` is what it is in the queue. Raises LabError."""
        assert self.processes is not None
        with self._lock:
            if self._closing:
                raise NoRoomError("The lab is being closed.")
            self._refuse_if_full(setup)
            gpu = self._free_gpu() if self._gets_gpu(setup) else ""
            try:
                self._child = self.processes.start(begins, item=item, gpu=gpu)
            except OSError as error:
                raise LabError(
                    f"No process could be started ({error.strerror or error}): choose The lab for "
                    "Where It Trains, under Advanced, Hardware."
                ) from error
            self._lanes = self.busy()  # a model that was only initialized makes room
            self._focus = self._focus if self._focus in self._lanes else None

    def _child_changed(self, child: Child) -> None:
        """A process has its run, or has ended; on a thread of its own."""
        self._worker.submit(partial(self._look_at, child))

    def _look_at(self, child: Child) -> None:
        """Take what has begun from the queue, or say there why not. On the worker's thread."""
        self.refresh()
        if child.item and child.run_id:
            self.queue.take_out(child.item)
        elif child.item and child.ended and not self._closing:
            self.queue.set_problem(child.item, child.reason)
        if child.item and (child.run_id or child.ended):
            child.item = ""
            self._end_turn()
        self._on_rest()  # there may be room for the next one
