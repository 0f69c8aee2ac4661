"""A race of processes: each lane trains in one of its own, here or on a computer of a cluster, as
many at once as there is room for.

Lanes see the same batches and take as many steps as where they take turns in the lab; that one is
killed ends no other. What they do is read from their runs, as of any run of another process.
"""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

import torch

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.transformers import Seen, written
from transformer_lab.lab.elsewhere.children import Child
from transformer_lab.lab.experiments.raced import facts_of
from transformer_lab.lab.experiments.transformer_race import audits
from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.looking.stored_models import NoWeightsError
from transformer_lab.lab.queue import Waiting
from transformer_lab.lab.training.continuing import LabError, NoRoomError
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.run import Run
from transformer_lab.training import StepMetrics

LOOK_SECONDS = 0.3  # between two looks at what the processes have written


def lane_items(
    comparison: Comparison, setups: Mapping[str, Setup], race: str
) -> dict[str, Waiting]:
    """What each lane of a race is to train."""
    found = {}
    for lane, setup in setups.items():
        item = Waiting(kind="new", recipe=race, setup=setup.to_mapping(), race=race, lane=lane)
        if base := comparison.base:
            item = replace(
                item,
                kind="finetuned",
                run=base.run,
                checkpoint=str(base.step),
                finetune=comparison.tunings[lane].to_mapping(),
            )
        found[lane] = item
    return found


def in_processes(
    trainings: Trainings,
    items: Mapping[str, Waiting],
    models: Models,
    resting: Callable[[], bool],
    *,
    audit: bool = False,
) -> Generator[Mapping[str, Seen], None, None]:
    """One race; it is stopped when its generator is closed. While `resting` no lane begins.

    With `audit` the models then go through the leak audit, on this thread. Raises ConfigError, and
    LabError where no process can be started.
    """
    lanes = {name: Lane(trainings, item) for name, item in items.items()}
    try:
        while not all(lane.ended for lane in lanes.values()):
            for lane in lanes.values():
                if not resting():
                    lane.begin()
            yield {name: lane.seen() for name, lane in lanes.items() if lane.begun}
            time.sleep(LOOK_SECONDS)
        known = {name: lane.snapshot(models) for name, lane in lanes.items()}
        found = {
            name: replace(lane.seen(), text=lane.text(known[name])) for name, lane in lanes.items()
        }
        yield found
        if audit:
            texts = {
                name: (snapshot, lanes[name].validation_text)
                for name, snapshot in known.items()
                if snapshot
            }
            yield from audits(trainings.store, texts, found)
    finally:
        for lane in lanes.values():
            lane.stop()


class Lane:
    """One of the trainings."""

    def __init__(self, trainings: Trainings, item: Waiting) -> None:
        self._trainings, self._item = trainings, item
        self._setup = setup_from(item.setup)
        self._child: Child | None = None
        self._run: Run | None = None
        self._nothing = Seen(metrics=[], parameters=0)
        self._points: list[StepMetrics] = []
        self._cursor = 0

    @property
    def begun(self) -> bool:
        """Whether its process was started, or sent to the cluster."""
        return self._child is not None

    @property
    def ended(self) -> bool:
        """Whether its process has ended."""
        return self._child is not None and self._child.ended

    def begin(self) -> None:
        """Start its process, if it has not been started and there is room. Raises LabError."""
        if self.begun or not self._trainings.has_room(self._setup):
            return
        try:
            self._trainings.start_item(self._item)
        except NoRoomError:  # something else was faster
            return
        self._child = self._trainings.child_of(self._item)

    def stop(self) -> None:
        """Have it end; what it has done is saved."""
        if self._child and not self._child.ended:
            self._trainings.end_child(self._child)

    def seen(self) -> Seen:
        """How it stands."""
        child = self._child
        assert child is not None
        over = child.ended  # before what it has written is read: that is then all
        if not child.run_id:
            return replace(self._nothing, failed=child.reason if over else "", stopped=over)
        if self._run is None:
            self._run = self._trainings.store.open(child.run_id)
            self._nothing = Seen(metrics=[], **facts_of(self._run))
        latest = self._run.latest()
        if over or not latest or latest[-1].step < self._cursor:  # it may have gone back to a save
            self._points, self._cursor = [], 0
        more, self._cursor = self._run.since(self._cursor)
        self._points += more
        state, reason = self._run.state()
        failed = over and state != "finished"
        return replace(
            self._nothing,
            metrics=self._points,
            failed=(reason or f"it was {state}") if failed else "",
            stopped=failed and state != "failed",
        )

    def snapshot(self, models: Models) -> Snapshot | None:
        """Its last weights; None where it did not come to its last step, or they are gone."""
        if self._run is None or self._run.state()[0] != "finished":
            return None
        try:
            return models.snapshot(self._run.id)
        except (LabError, NoWeightsError):
            return None

    def text(self, snapshot: Snapshot | None) -> str:
        """What it writes in the end."""
        if snapshot is None or self._run is None:
            return ""
        setup = setup_from(self._run.manifest["setup"])  # its prompt is one that it can read
        return written(snapshot.model(), snapshot.tokenizer, setup)

    def validation_text(self) -> torch.Tensor | None:
        """(N,) token ids of its validation text."""
        return torch.from_numpy(self._trainings.texts.encoded(self._setup.data).validation)
