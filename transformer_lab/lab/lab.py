"""The lab: what the page and the command line ask for, in one place.

Methods may be called from any thread. They check at once what can be checked, hand the work to the
worker, and return.
"""

import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from transformer_lab.exchange import read_archive, sweep_arrivals
from transformer_lab.generation import SampleConfig, encode_prompt, write
from transformer_lab.lab.database import State
from transformer_lab.lab.device import choose_device, memory_free
from transformer_lab.lab.estimate import Estimate, choose_micro_batch
from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.live_run import LiveRun, Snapshot
from transformer_lab.lab.origins import Offspring, Origin, Resumed
from transformer_lab.lab.pace import Pace
from transformer_lab.lab.queue import Queue, QueueFullError, Waiting
from transformer_lab.lab.runs import RESUMABLE, Run, RunNotFoundError, RunStore
from transformer_lab.lab.sampling import Sampling
from transformer_lab.lab.stored_models import NoWeightsError, StoredModels
from transformer_lab.lab.summaries import RunSummary
from transformer_lab.lab.texts import Texts
from transformer_lab.lab.views import View, live_view, stored_view
from transformer_lab.lab.worker import Worker
from transformer_lab.lab.writing import Writings
from transformer_lab.recipes import SETTINGS, Setup, setup_from
from transformer_lab.settings import ConfigError, checked
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.training import StepMetrics
from transformer_lab.training.moments import MomentError, Moments

LISTING_SECONDS = 1.0  # how old the list of runs may be
UNTRAINED = "untrained"  # the name of the model that is initialized but has no run yet


class LabError(RuntimeError):
    """Something that cannot be done now; the message says why and what to do."""


class Lab:
    """The worker, the jobs and the runs of one home folder.

    Raises ConfigError("home") when the folder cannot be written to.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        try:
            home.mkdir(parents=True, exist_ok=True)
            (home / ".writable").touch()
            (home / ".writable").unlink()
        except OSError as error:
            raise ConfigError(
                "home",
                f"The folder {home} cannot be written to ({error.strerror}): "
                "name another one with --home.",
            ) from error
        self.store = RunStore(home)
        self.store.sweep()
        sweep_arrivals(self.store.folder)
        self.queue = Queue(home)
        self.jobs = Jobs()
        self.texts = Texts(home)
        self._lock = threading.RLock()
        self._lanes: list[LiveRun] = []  # those not ended, and the one started last
        self._focus: LiveRun | None = None  # the one started last
        self._listing: tuple[float, list[RunSummary]] = (-1e9, [])
        self._models = StoredModels()
        self._closing = False
        self._worker = Worker(self._dispatch)
        self._pace = Pace(self._worker.submit, lambda: not self._busy())
        self._sampling = Sampling(self.jobs, self.store)
        self.writings = Writings(self.jobs)

    # --- training -----------------------------------------------------------------------------

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
            run = self._resumable(run_id)
            self._refuse_if_full()
            setup = setup_from(run.manifest["setup"])
            self._begin(self._prepare(setup, str(run.manifest["recipe"]), Resumed(run)), setup)

    def extend(self, run_id: str, steps: object) -> None:
        """Train a finished or stopped run for more steps, as a new run that begins as it ended.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        self.begin(self.extension(run_id, steps))

    def branch(self, run_id: str, checkpoint: str, setup: Setup, recipe: str = "custom") -> None:
        """Train on from a checkpoint with other settings, as a new run.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        self.begin(self.branching(run_id, checkpoint, setup, recipe))

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

    def keep(self, run_id: str | None = None) -> None:
        """Save this moment of a training for good. Raises LabError when nothing runs."""
        run = self._controllable(run_id, "running", "paused")
        self._worker.submit(run.keep, run)

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

    def close(self) -> None:
        """Save what runs, to be resumed later, and end all threads."""
        self._closing = True
        for run in self._lanes:
            run.live.stop = True
            self._worker.submit(partial(run.stop, "The lab was closed.", "interrupted"), run)
        self._worker.close()
        self.jobs.close()
        self.texts.close()

    def check(self, setup: Setup) -> None:
        """Everything that can be wrong with a setup and be known at once. Raises ConfigError."""
        device = choose_device(setup.train.device).device.type
        facts = self.texts.facts(setup)
        choose_micro_batch(setup, facts.vocabulary_size, device, memory_free())

    def estimate(self, setup: Setup, vocabulary_size: int) -> Estimate:
        """Arithmetic, memory and time of a training, at once; asked again it may know better.

        Raises ConfigError when it cannot fit.
        """
        return self._pace.estimate(setup, vocabulary_size)

    def _prepare(
        self, setup: Setup, recipe: str, origin: Origin | None = None, *, race: str = "",
        lane: str = "",
    ) -> LiveRun:  # fmt: skip
        run = LiveRun(
            setup, recipe, self.store, self.texts, self._observe, origin, race=race, lane=lane
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

    def _observe(self, run: LiveRun, evaluated: bool) -> None:
        self._pace.observe(run)
        self._sampling.observe(run, evaluated)

    def _busy(self) -> list[LiveRun]:
        return [run for run in self._lanes if run.busy]

    def _refuse_if_full(self) -> None:
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

    def _resumable(self, run_id: str) -> Run:
        """A stored run that can go on. Raises LabError and RunNotFoundError."""
        run = self.store.open(run_id)
        state, _ = run.state()
        if state == "finished":
            raise LabError(f"{run_id} is finished: train it for more steps instead.")
        if state not in RESUMABLE or ((live := self.live(run_id)) and live.busy):
            raise LabError(f"{run_id} is {state} already.")
        return run

    def has_room(self) -> bool:
        """Whether another training may start now."""
        return len(self._busy()) < self.queue.at_once and not self.elsewhere()

    # --- the queue ----------------------------------------------------------------------------

    def resumption(self, run_id: str) -> Waiting:
        """A run that goes on, ready to start or to queue. Raises LabError, RunNotFoundError."""
        manifest = self._resumable(run_id).manifest
        return Waiting(
            kind="resume", recipe=str(manifest["recipe"]), setup=manifest["setup"], run=run_id
        )

    def extension(self, run_id: str, steps: object) -> Waiting:
        """A run trained for more steps, ready to start or to queue.

        Raises LabError, RunNotFoundError and ConfigError.
        """
        run = self.store.open(run_id)
        more = int(checked(SETTINGS["train.steps"], steps))
        points = run.resume_points()
        if not points:
            raise LabError(f"{run_id} has no save to go on from: it was never saved.")
        if run.is_held():
            raise LabError(f"{run_id} is still being trained: stop it first.")
        total = int(points[0].name.rpartition("-")[2]) + more
        setup = setup_from(run.manifest["setup"]).with_values({"train.steps": total})
        return Waiting(
            kind="extended",
            recipe=str(run.manifest["recipe"]),
            setup=setup.to_mapping(),
            run=run_id,
            checkpoint=points[0].name,
        )

    def branching(
        self, run_id: str, checkpoint: str, setup: Setup, recipe: str = "custom"
    ) -> Waiting:
        """A checkpoint trained on with other settings, ready to start or to queue.

        `setup.train.steps` counts the steps to come. Raises ConfigError and RunNotFoundError.
        """
        run = self.store.open(run_id)
        folder = run.checkpoint(checkpoint)
        step = int(folder.name.rpartition("-")[2])
        parent = setup_from(run.manifest["setup"])
        fixed = replace(setup.model, dropout=parent.model.dropout)
        for name, value in vars(fixed).items():
            if (expected := getattr(parent.model, name)) != value:
                setting = SETTINGS[f"model.{name}"]
                raise ConfigError(
                    setting.key,
                    f"{setting.label} is {value}, but the weights of {run_id} were made with "
                    f"{expected}: set it back, or start a new run. Of the model only Dropout can "
                    "change in a branch.",
                )
        total = setup.with_values({"train.steps": step + setup.train.steps})
        return Waiting(
            kind="branched",
            recipe=recipe,
            setup=total.to_mapping(),
            run=run_id,
            checkpoint=checkpoint,
        )

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

    # --- looking at runs ----------------------------------------------------------------------

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

    def shown(self) -> str:
        """The id of the run to show when none is asked for: the one under way, or the newest."""
        run, elsewhere = self.current, self.elsewhere()
        if elsewhere and (run is None or run.ended):
            return elsewhere.id
        if run and (run.status.run_id or not run.ended):
            return run.status.run_id
        runs = self.runs()
        return runs[0].id if runs and not run else ""

    def since(self, run_id: str, cursor: int = 0) -> tuple[list[StepMetrics], int]:
        """Steps of a run after `cursor`, and the cursor to pass next time."""
        run = self.live(run_id)
        return run.stream.since(cursor) if run else self.store.open(run_id).since(cursor)

    def view(self, run_id: str | None = None) -> View:
        """How a run stands; without an id, the one a page should show."""
        run_id = self.shown() if run_id is None else run_id
        run = self.live(run_id) if run_id else self.current
        if run is not None:
            samples = self._sampling
            return live_view(run, samples.samples.get(run_id), samples.accuracies.get(run_id))
        return stored_view(self.store.open(run_id)) if run_id else View()

    def describe(self, run_id: str, **changes: Any) -> None:
        """Change a run's title, notes or pin. Raises LabError and RunNotFoundError."""
        try:
            self.store.open(run_id).describe(**changes)
        except OSError as error:
            raise LabError(f"That could not be written: {error.strerror}.") from error
        self.refresh()

    def delete(self, run_id: str) -> None:
        """Move a run to the trash. Raises LabError and RunNotFoundError."""
        with self._lock:
            live = self.live(run_id)
            if live and live.busy:
                raise LabError(f"{run_id} is {live.status.state}: stop it first.")
            try:
                self.store.delete(run_id)
            except OSError as error:
                raise LabError(f"{run_id} could not be deleted: {error}") from error
            if live:
                self._lanes.remove(live)
                self._focus = None if self._focus is live else self._focus
        self.refresh()

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back. Raises LabError."""
        try:
            self.store.restore(run_id)
        except (LookupError, OSError) as error:
            raise LabError(str(error)) from error
        self.refresh()

    def bring_in(self, file: BinaryIO, name: str) -> str:
        """Take a run in that another lab exported; gives its id. Raises ImportRefusedError."""
        self.store.folder.mkdir(exist_ok=True)
        with self._lock:
            folder = read_archive(file, self.store.folder, self.store.free_id(name))
        self.refresh()
        return folder.name

    def delete_text(self, name: str) -> None:
        """Remove one of the learner's texts. Raises LabError while a run learns from it."""
        entry = self.texts.library.find(name)
        if entry is None:
            raise LabError("Only texts you added yourself can be deleted.")
        for run in self._busy():
            if run.made and run.made.corpus.sha256 == entry.sha256:
                who = run.status.run_id or "The model being prepared"
                raise LabError(f"{who} is learning from {entry.name}: stop it first.")
        elsewhere = self.elsewhere()
        if elsewhere:
            corpus: Mapping[str, Any] = self.store.open(elsewhere.id).manifest["corpus"]
            if corpus["sha256"] == entry.sha256:
                raise LabError(f"{elsewhere.id} is learning from {entry.name}: stop it first.")
        self.texts.library.delete(entry)

    # --- generating ---------------------------------------------------------------------------

    def writers(self) -> dict[str, str]:
        """Models that can write, and what to call them: the live one first, then saved runs."""
        found: dict[str, str] = {}
        for run in [self.current, *self._lanes]:
            if run and run.snapshot:
                key = run.status.run_id or UNTRAINED
                words = f"{run.status.run_id or 'Untrained model'} · {run.status.state}"
                found.setdefault(key, words)
        for summary in self.runs():
            if summary.id not in found and self._has_weights(summary.id):
                found[summary.id] = f"{summary.name} · {summary.state}"
        return found

    def _has_weights(self, run_id: str) -> bool:
        return any((self.store.folder / run_id / "checkpoints").glob("*-*"))

    def snapshot(self, name: str = "latest", step: int | None = None) -> Snapshot:
        """The weights of a run, live or saved: the newest, or those of one of its moments.

        Raises LabError.
        """
        name = self.writer_named(name)
        live = self.current if name == UNTRAINED else self.live(name)
        if live and live.snapshot and step in (None, live.snapshot.step):
            return live.snapshot
        try:
            run = self.store.open(name)
            newest = self._models.newest(run)
            return newest if step in (None, newest.step) else self._models.moment(run, step)
        except (
            RunNotFoundError, NoWeightsError, MomentError, OSError, ValueError, sqlite3.Error
        ) as error:  # fmt: skip
            raise LabError(str(error)) from error

    def moments(self, name: str = "latest") -> list[int]:
        """The steps of a run to which one can go back, in order; the newest weights are the last.

        Raises LabError.
        """
        name = self.writer_named(name)
        if name == UNTRAINED:
            return [0]
        newest = self.snapshot(name).step
        return sorted({*Moments(self.store.folder / name).steps(), newest})

    def writer_named(self, name: str) -> str:
        """The id of the run that `latest` stands for, or the name itself. Raises LabError."""
        if name == "latest":
            name = next(iter(self.writers()), "")
        if not name:
            raise LabError("There is no model yet: train one first.")
        return name

    def generate(self, name: str, config: SampleConfig) -> tuple[Job, Snapshot]:
        """Let a model write; the job yields pieces of text.

        Raises ConfigError, UnknownTextError and LabError before anything is written.
        """
        snapshot = self.snapshot(name)
        pieces = write(snapshot.model(), snapshot.tokenizer, config)
        return self.jobs.start("Generation", pieces), snapshot

    def without_unknown(self, name: str, config: SampleConfig) -> SampleConfig:
        """The same wish without the characters of its prompt that the model cannot read."""
        tokenizer = self.snapshot(name).tokenizer
        try:
            encode_prompt(tokenizer, config)
        except UnknownTextError:
            return replace(config, prompt=tokenizer.known(config.prompt))
        return config


def same_model(one: Setup, other: Setup) -> bool:
    """Whether both begin with the very same weights and text."""
    return (one.model, one.data, one.train.seed, one.train.device) == (
        other.model,
        other.data,
        other.train.seed,
        other.train.device,
    )
