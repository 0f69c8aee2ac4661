"""Starting trainings: new ones, stored ones that go on, and races."""

from collections.abc import Callable, Mapping
from functools import partial

from transformer_lab.lab.cost.estimate import choose_micro_batch
from transformer_lab.lab.device import choose_device, memory_free
from transformer_lab.lab.queue import Queue, Waiting
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.continuing import (
    LabError,
    branching,
    extension,
    resumable,
    resumption,
)
from transformer_lab.lab.training.finetuned import finetuned_origin
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.origins import Offspring, Origin, Resumed
from transformer_lab.lab.training.outside import MakeWorker, Outside
from transformer_lab.lab.training.together import dividing
from transformer_lab.lab.training.worker import Worker
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.store import RunStore


class Starting(Outside):
    """The lanes, and how a training becomes one of them.

    Both functions are called on the worker's thread: `on_snapshot` when a training has published
    its weights, `on_rest` when a lane has ended and while nothing happens.
    """

    def __init__(
        self,
        store: RunStore,
        queue: Queue,
        texts: Texts,
        on_snapshot: Callable[[LiveRun, bool], None],
        on_rest: Callable[[], None],
        *,
        processes: bool = True,
        worker: MakeWorker = Worker,
    ) -> None:
        """`processes` lets trainings have a process of their own, where they ask for one."""
        super().__init__(store, queue, texts, on_rest, processes=processes, worker=worker)
        self._on_snapshot = on_snapshot

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
        self._refuse_without_room(setup)
        self.check(setup)
        if self._apart(setup):
            begins = Waiting(kind="new", recipe=recipe, setup=setup.to_mapping())
            self._start_process(begins, setup, item)
            return
        run = self._new(setup, recipe, item=item)
        with self._lock:
            self._refuse_if_full()
            self._start(run)

    def _start(self, run: LiveRun) -> None:
        """Train the initialized model in place of `run`, if they are the same; else `run`."""
        ready = self._focus if self._focus and self._focus.status.state == "ready" else None
        if ready and same_model(ready.setup, run.setup) and ready.move("starting"):
            ready.recipe, ready.item = run.recipe, run.item
            self._submit_begin(ready, run.setup)
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
        setup = setup_from(stored.manifest["setup"])
        self._refuse_without_room(setup)
        if self._apart(setup):
            self._start_process(resumption(self.store, run_id), setup, item)
            return
        run = self._new(setup, str(stored.manifest["recipe"]), Resumed(stored), item=item)
        with self._lock:
            self._refuse_if_full()
            self._launch(run)

    def extend(self, run_id: str, steps: object) -> None:
        """Train a finished or stopped run for more steps, as a new run that begins as it ended.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        self.start_item(extension(self.store, run_id, steps))

    def branch(self, run_id: str, checkpoint: str, setup: Setup, recipe: str = "custom") -> None:
        """Train on from a checkpoint with other settings, as a new run.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        self.start_item(branching(self.store, run_id, checkpoint, setup, recipe))

    def race(
        self,
        name: str,
        lanes: Mapping[str, Setup],
        origins: Mapping[str, Origin] | None = None,
        *,
        numbered: bool = True,
    ) -> str:
        """Train several models in turn, step by step; gives the name of the race.

        It is `name` and a number, or without one `name` itself. With the same seed they see the
        very same batches. Each lane is a run of its own, and stays one; it begins as `origins`
        say, or with new weights. Raises ConfigError, and LabError while anything else is training.
        """
        self._refuse_if_racing()
        self._refuse_without_room()
        for setup in lanes.values():
            self.check(setup)
        race = self._free_race(name) if numbered else name
        begin = origins or {}
        runs = [
            self._new(setup, race, begin.get(lane), race=race, lane=lane)
            for lane, setup in lanes.items()
        ]
        with self._lock:
            self._refuse_if_racing()
            for run in runs:
                self._launch(run, among=race)
        return race

    def _free_race(self, name: str) -> str:
        taken = {run.race for run in self.store.list()} | {run.race for run in self._lanes}
        number = 1
        while f"{name}-{number}" in taken:
            number += 1
        return f"{name}-{number}"

    def start_item(self, item: Waiting) -> None:
        """Start what could also wait, now. Raises LabError, RunNotFoundError and ConfigError."""
        self._start_item(item, queued=False)

    def _start_item(self, item: Waiting, *, queued: bool) -> None:
        waited = item.id if queued else ""
        if self.cluster and (queued or self.for_cluster(setup_from(item.setup))):
            self._send_to_cluster(item, waited)
            return
        if item.kind == "resume":
            self.resume(item.run, waited)
            return
        setup = setup_from(item.setup)
        if item.kind != "extended":  # which goes on here where there is no cluster any more
            self.check_place(setup)
        if item.kind == "new" and not item.race:
            self.start(setup, item.recipe, waited)
            return
        self._refuse_without_room(setup)
        self.check(setup)
        if self._apart(setup):
            self._start_process(item, setup, waited)
            return
        run = self._new(
            setup, item.recipe, self._origin(item), race=item.race, lane=item.lane, item=waited
        )
        with self._lock:
            self._refuse_if_full()
            self._launch(run)

    def _origin(self, item: Waiting) -> Origin | None:
        """How it begins; None with new weights."""
        if item.kind == "new":
            return None
        if item.kind == "finetuned":
            return finetuned_origin(self.store, item)
        parent = self.store.open(item.run)
        assert item.kind != "resume"
        return Offspring(parent, parent.checkpoint(item.checkpoint), item.kind)

    def check(self, setup: Setup) -> None:
        """Everything that can be wrong with a setup and be known at once. Raises ConfigError."""
        facts = self.texts.facts(setup)
        if self.for_cluster(setup):  # its computers are others: the rest is checked there
            return
        device = choose_device(setup.train.device).device.type
        choose_micro_batch(setup, facts.vocabulary_size, device, memory_free())

    # --- from the lanes to the first step -----------------------------------------------------

    def _new(
        self, setup: Setup, recipe: str, origin: Origin | None = None, *, race: str = "",
        lane: str = "", item: str = "",
    ) -> LiveRun:  # fmt: skip
        """A training that is not among the lanes yet."""
        return LiveRun(
            setup, recipe, self.store, self.texts, self._on_snapshot, origin, race=race, lane=lane,
            item=item, ranks=dividing(self.ranks, setup),
        )  # fmt: skip

    def _launch(self, run: LiveRun, among: str = "") -> None:
        """Prepare a training and take its first step; under the lock. Raises LabError."""
        self._admit(run, among)
        self._worker.submit(partial(run.prepare, "starting"), run)
        self._submit_begin(run, run.setup)

    def _submit_begin(self, run: LiveRun, setup: Setup) -> None:
        """Ask the worker for the first step of a training among the lanes; under the lock."""
        run.on_open = partial(self._opened, run)
        self._worker.submit(partial(run.begin, setup), run)
        self._worker.submit(partial(self._started, run), run)

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


def same_model(one: Setup, other: Setup) -> bool:
    """Whether both begin with the very same weights and text."""
    return (one.model, one.data, one.train.seed, one.train.device) == (
        other.model,
        other.data,
        other.train.seed,
        other.train.device,
    )
