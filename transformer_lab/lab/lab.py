"""The lab: what the page and the command line ask for, in one place.

Methods may be called from any thread. They check at once what can be checked, hand the work to the
worker, and return.
"""

import math
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from transformer_lab.generation import SampleConfig, encode_prompt, write
from transformer_lab.lab.device import choose_device, memory_free
from transformer_lab.lab.estimate import (
    Estimate,
    choose_micro_batch,
    estimate,
    measured_speed,
    probe,
)
from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.live_run import LiveRun, Snapshot
from transformer_lab.lab.runs import Run, RunStore, RunSummary, Sample, State
from transformer_lab.lab.texts import Texts
from transformer_lab.lab.views import SPEED_STEPS, View, live_view, stored_view
from transformer_lab.lab.worker import Worker
from transformer_lab.model import ModelConfig
from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.settings import ConfigError, checked, from_mapping
from transformer_lab.text.split import parts
from transformer_lab.text.tasks import TASKS, Problem, held_out
from transformer_lab.text.tokenizers import UnknownTextError, tokenizer_from_json
from transformer_lab.training import StepMetrics
from transformer_lab.training.checkpoint import CheckpointError, load_checkpoint
from transformer_lab.training.evaluate import accuracy

SAMPLE_SECONDS = 10.0  # between two samples while training, besides those at evaluations
SAMPLE_SHARE = 10  # writing them may take at most this fraction of the time: it slows the training
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
        self.jobs = Jobs()
        self._worker = Worker()
        self._lock = threading.RLock()
        self._current: LiveRun | None = None
        self.texts = Texts(home)
        self._samples: dict[str, Sample] = {}
        self._accuracies: dict[str, float] = {}
        self._sampling: Job | None = None
        self._sampled = -math.inf  # when the last sample was begun, and how long it took
        self._sample_took = 0.0
        self._listing: tuple[float, list[RunSummary]] = (-1e9, [])
        self._loaded: tuple[Path, Snapshot] | None = None
        self._speed: float | None = None  # of this CPU, in FLOP/s
        self._paces: dict[tuple[object, ...], float | None] = {}  # seconds a step, where measured
        self._worker.submit(self._measure_speed)

    # --- training -----------------------------------------------------------------------------

    def initialize(self, setup: Setup, recipe: str = "custom") -> None:
        """Make a new, untrained model. Raises ConfigError, and LabError while one is training."""
        with self._lock:
            self._refuse_if_busy()
            self.check(setup)
            run = LiveRun(setup, recipe, self.store, self.texts.fetched, self._observe)
            self._current = run
        self._worker.submit(run.prepare, run)

    def start(self, setup: Setup, recipe: str = "custom") -> None:
        """Train: the initialized model if it has these settings, else a new one.

        Raises ConfigError, and LabError while something is training.
        """
        with self._lock:
            self._refuse_if_busy()
            ready = self._current
            if not (ready and ready.status.state == "ready" and same_model(ready.setup, setup)):
                self.initialize(setup, recipe)
            run = self._current
            assert run is not None
            run.recipe = recipe
            run.wish = "starting"
        self._worker.submit(lambda: self._begin(run, setup), run)

    def _begin(self, run: LiveRun, setup: Setup) -> None:
        run.begin(setup)
        self._worker.add(run)

    def pause(self) -> None:
        """Rest after the current step. Raises LabError when nothing runs."""
        run = self._controllable("running")
        run.wish = "pausing"
        self._worker.submit(run.pause, run)

    def resume(self) -> None:
        """Go on after a pause. Raises LabError when nothing is paused."""
        self._worker.submit(self._controllable("paused").resume)

    def stop(self, reason: str = "") -> None:
        """End the run after the current step and save it. Raises LabError when there is none."""
        run = self._controllable("running", "paused")
        run.live.stop = True
        run.wish = "stopping"
        self._worker.submit(lambda: run.stop(reason), run)

    def start_over(self, setup: Setup, recipe: str = "custom") -> None:
        """Stop what runs, keep it, and start a new run from new weights. Raises ConfigError."""
        self.check(setup)
        with self._lock:
            if self._current and self._current.status.state in ("running", "paused"):
                self.stop("Started over.")
            done = threading.Event()
            self._worker.submit(done.set)
        done.wait(30)
        self.start(setup, recipe)

    def pause_or_resume(self) -> None:
        """One button for both. Raises LabError when there is nothing to pause or resume."""
        paused = self._current is not None and self._current.status.state == "paused"
        self.resume() if paused else self.pause()

    def set_learning_rate(self, value: object) -> float:
        """Change the peak learning rate of the run under way; gives it as a number.

        Raises ConfigError and LabError.
        """
        rate = float(checked(SETTINGS["train.learning_rate"], value))
        run = self._controllable("running", "paused")
        self._worker.submit(lambda: run.set_learning_rate(rate))
        return rate

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the worker has done what was asked before; False when the time ran out."""
        done = threading.Event()
        self._worker.submit(done.set)
        return done.wait(timeout)

    def close(self) -> None:
        """Stop what runs, save it, and end all threads."""
        if run := self._current:
            run.live.stop = True
            self._worker.submit(lambda: run.stop("The lab was closed."), run)
        self._worker.close()
        self.jobs.close()
        self.texts.close()

    def delete_text(self, name: str) -> None:
        """Remove one of the learner's texts. Raises LabError while a run learns from it."""
        entry = self.texts.library.find(name)
        if entry is None:
            raise LabError("Only texts you added yourself can be deleted.")
        run = self._current
        users = [s.id for s in self.runs() if s.elsewhere]
        if run and run.busy and run.made and run.made.corpus.sha256 == entry.sha256:
            users = [run.status.run_id or "The model being prepared"]
        elif users and self.store.open(users[0]).manifest["corpus"]["sha256"] != entry.sha256:
            users = []
        if users:
            raise LabError(f"{users[0]} is learning from {entry.name}: stop it first.")
        self.texts.library.delete(entry)

    def check(self, setup: Setup) -> None:
        """Everything that can be wrong with a setup and be known at once. Raises ConfigError."""
        device = choose_device(setup.train.device).device.type
        facts = self.texts.facts(setup)
        choose_micro_batch(setup, facts.vocabulary_size, device, memory_free())

    # --- what a training will cost ------------------------------------------------------------

    def estimate(self, setup: Setup, vocabulary_size: int) -> Estimate:
        """Arithmetic, memory and time of a training, at once; asked again it may know better.

        Raises ConfigError when it cannot fit.
        """
        device, key = choose_device(setup.train.device).device.type, _pace_key(setup)
        found = estimate(
            setup,
            vocabulary_size,
            device,
            speed=self._speed if device == "cpu" else None,
            measured=self._paces.get(key),
        )
        resting = self._current is None or not self._current.busy
        if device == "cpu" and self._speed and key not in self._paces and resting:
            self._paces[key] = None  # asked for
            self._worker.submit(lambda: self._probe(setup, vocabulary_size, found))
        return found

    def _measure_speed(self) -> None:
        self._speed = measured_speed(0)

    def _probe(self, setup: Setup, vocabulary_size: int, expected: Estimate) -> None:
        if self._current is None or not self._current.busy:
            self._paces[_pace_key(setup)] = probe(setup, vocabulary_size, expected)

    def _refuse_if_busy(self) -> None:
        run = self._current
        if run and run.busy:
            name = run.status.run_id or "A training"
            raise LabError(
                f"{name} is {run.status.state} (step {run.status.step:,} of "
                f"{run.setup.train.steps:,}): stop it first."
            )
        elsewhere = self.elsewhere()
        if elsewhere:
            raise LabError(
                f"{elsewhere.id} is being trained by another program in this home folder: "
                "end it there first (Ctrl-C), or use another --home."
            )

    def _controllable(self, *states: State) -> LiveRun:
        run = self._current
        if run is None or run.status.state not in states:
            raise LabError(f"Nothing here is {' or '.join(states)}.")
        return run

    # --- what it writes while it learns -------------------------------------------------------

    def _observe(self, run: LiveRun, evaluated: bool) -> None:
        """A snapshot was published: let it write a sample if it is time for one."""
        speeds = [point.tokens_per_second for point in run.stream.latest(SPEED_STEPS)[1:]]
        if speeds:
            tokens = run.setup.train.batch_size * run.setup.model.sequence_length
            self._paces[_pace_key(run.setup)] = tokens / statistics.median(speeds)
        passed = time.monotonic() - self._sampled
        due = not run.active or (
            passed >= SAMPLE_SHARE * self._sample_took and (evaluated or passed >= SAMPLE_SECONDS)
        )
        resting = self._sampling is None or self._sampling.done
        if run.snapshot is not None and due and (resting or not run.active):
            self._sampled = time.monotonic()
            self._sampling = self.jobs.start("A sample", self._sample(run, run.snapshot))

    def _sample(self, run: LiveRun, snapshot: Snapshot) -> Iterator[Sample]:
        config = run.setup.sample
        try:
            encode_prompt(snapshot.tokenizer, config)
        except (UnknownTextError, ConfigError):
            config = replace(config, prompt=snapshot.tokenizer.decode([0]))
        problems = self._problems(run)
        if problems:
            config = replace(config, prompt=f"\n{problems[0].question}")
        config = replace(config, length=min(config.length, 300))
        text = "".join(write(snapshot.model(), snapshot.tokenizer, config))
        solved = accuracy(snapshot.model(), snapshot.tokenizer, problems)
        if solved is not None:
            self._accuracies[snapshot.run_id] = solved
            Run(self.store.folder / snapshot.run_id).add_accuracy(snapshot.step, solved)
        self._sample_took = time.monotonic() - self._sampled
        sample = Sample(snapshot.step, config.prompt, text)
        self._samples[snapshot.run_id] = sample
        Run(self.store.folder / snapshot.run_id).add_sample(sample)
        yield sample

    def _problems(self, run: LiveRun) -> list[Problem]:
        """Held-out problems of a task; none for any other text."""
        if run.made is None or run.made.corpus.name not in TASKS:
            return []
        return held_out(*parts(run.made.corpus, run.setup.data.validation_share))

    # --- looking at runs ----------------------------------------------------------------------

    @property
    def current(self) -> LiveRun | None:
        """The training in the worker's hands, if any."""
        return self._current

    def runs(self) -> list[RunSummary]:
        """All runs, newest first; at most a second old."""
        taken, listing = self._listing
        if time.monotonic() - taken > LISTING_SECONDS:
            own = self._current.status.run_id if self._current else ""
            listing = [
                replace(run, elsewhere=False) if run.id == own else run for run in self.store.list()
            ]
            self._listing = (time.monotonic(), listing)
        return listing

    def elsewhere(self) -> RunSummary | None:
        """A run that another process is training in this home, if any."""
        return next((run for run in self.runs() if run.elsewhere), None)

    def shown(self) -> str:
        """The id of the run to show when none is asked for: the one under way, or the newest."""
        run, elsewhere = self._current, self.elsewhere()
        if elsewhere and (run is None or run.ended):
            return elsewhere.id
        if run and (run.status.run_id or not run.ended):
            return run.status.run_id
        runs = self.runs()
        return runs[0].id if runs and not run else ""

    def since(self, run_id: str, cursor: int = 0) -> tuple[list[StepMetrics], int]:
        """Steps of a run after `cursor`, and the cursor to pass next time."""
        run = self._current
        if run and run.status.run_id == run_id:
            return run.stream.since(cursor)
        return self.store.open(run_id).since(cursor)

    def view(self, run_id: str | None = None) -> View:
        """How a run stands; without an id, the one a page should show."""
        run_id = self.shown() if run_id is None else run_id
        run = self._current
        if run and run.status.run_id == run_id:
            return live_view(run, self._samples.get(run_id), self._accuracies.get(run_id))
        return stored_view(self.store.open(run_id)) if run_id else View()

    # --- generating ---------------------------------------------------------------------------

    def writers(self) -> dict[str, str]:
        """Models that can write, and what to call them: the live one first, then saved runs."""
        found: dict[str, str] = {}
        run = self._current
        if run and run.snapshot:
            key = run.status.run_id or UNTRAINED
            found[key] = f"{run.status.run_id or 'Untrained model'} · {run.status.state}"
        for summary in self.runs():
            if summary.id not in found and self.store.open(summary.id).checkpoints():
                found[summary.id] = f"{summary.id} · {summary.state}"
        return found

    def snapshot(self, name: str = "latest") -> Snapshot:
        """The newest weights of a run, live or saved. Raises LabError."""
        run = self._current
        if run and run.snapshot and name in ("latest", run.status.run_id or UNTRAINED):
            return run.snapshot
        if name == "latest":
            name = next(iter(self.writers()), "")
        if not name:
            raise LabError("There is no model yet: train one first.")
        try:
            saved = self.store.open(name)
        except LookupError as error:
            raise LabError(str(error)) from error
        damaged = []
        for folder in saved.usable_checkpoints():
            try:
                return self._read_checkpoint(saved, folder)
            except CheckpointError as error:
                damaged.append(str(error))
        why = " ".join(damaged) or "it was never paused, stopped or finished."
        raise LabError(f"{name} has no weights that can be used: {why}")

    def _read_checkpoint(self, run: Run, folder: Path) -> Snapshot:
        if self._loaded and self._loaded[0] == folder:
            return self._loaded[1]
        weights, tokenizer, meta = load_checkpoint(folder)
        config = from_mapping(ModelConfig, run.manifest["setup"]["model"])
        snapshot = Snapshot(
            run.id, int(meta["step"]), config, tokenizer_from_json(tokenizer), weights
        )
        self._loaded = (folder, snapshot)
        return snapshot

    def generate(self, name: str, config: SampleConfig) -> tuple[Job, Snapshot]:
        """Let a model write; the job yields pieces of text.

        Raises ConfigError, UnknownTextError and LabError before anything is written.
        """
        snapshot = self.snapshot(name)
        pieces = write(snapshot.model(), snapshot.tokenizer, config)
        return self.jobs.start("Generation", pieces), snapshot

    def without_unknown(self, name: str, config: SampleConfig) -> SampleConfig:
        """The same wish without the characters of its prompt that the model cannot read."""
        try:
            encode_prompt(self.snapshot(name).tokenizer, config)
        except UnknownTextError:
            return replace(config, prompt=self.snapshot(name).tokenizer.known(config.prompt))
        return config


def _pace_key(setup: Setup) -> tuple[object, ...]:
    """What the time of a step depends on."""
    train = setup.train
    rule = (train.optimizer, train.learning_rule, train.pc_learning_steps)
    return setup.model, setup.data, train.batch_size, rule, train.threads, train.device


def same_model(one: Setup, other: Setup) -> bool:
    """Whether both begin with the very same weights and text."""
    return (one.model, one.data, one.train.seed, one.train.device) == (
        other.model,
        other.data,
        other.train.seed,
        other.train.device,
    )
