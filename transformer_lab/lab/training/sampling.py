"""What models write while they learn: samples, and how many problems of a task they solve."""

import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from weakref import WeakKeyDictionary

from transformer_lab.generation import SampleConfig, write
from transformer_lab.lab.cost.step_time import LONGEST_SAMPLE, SAMPLE_SHARE
from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.prompts import problems, readable, with_prompt
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.runs.database import Sample
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from transformer_lab.text.tasks import Problem
from transformer_lab.training.evaluate import accuracy

SAMPLE_SECONDS = 10.0  # between two samples while training, besides those at evaluations
UNTRAINED_SAMPLE = 100  # tokens of a text that shows no more than chance
MOST_UNKEPT = 200  # samples that wait for room on the disk
log = logging.getLogger(__name__)


class Sampling:
    """Writes with the snapshots that trainings publish, one at a time, on a job's thread."""

    def __init__(self, jobs: Jobs, store: RunStore) -> None:
        self.samples: dict[str, Sample] = {}
        self.accuracies: dict[str, float] = {}
        self._jobs = jobs
        self._store = store
        self._untrained: WeakKeyDictionary[LiveRun, tuple[SampleConfig, Sample]] = (
            WeakKeyDictionary()
        )
        self._writing: Job | None = None
        self._begun = -math.inf
        self._took = 0.0
        self._unkept: deque[tuple[Run, Callable[[], None]]] = deque(maxlen=MOST_UNKEPT)
        self._lock = threading.Lock()

    def newest(self, run: LiveRun) -> Sample | None:
        """What a training wrote last; before its first step what its initial weights write."""
        _, untrained = self._untrained.get(run, (None, None))
        return self.samples.get(run.status.run_id) or untrained

    def observe(self, run: LiveRun, evaluated: bool) -> None:
        """A snapshot was published: let it write a sample if it is time for one."""
        passed = time.monotonic() - self._begun
        at_once = run.ended or not run.status.run_id or self._begins(run)
        rested = passed >= SAMPLE_SHARE * self._took and (evaluated or passed >= SAMPLE_SECONDS)
        idle = self._writing is None or self._writing.done
        if run.snapshot is not None and (at_once or (rested and idle)):
            self._begun = time.monotonic()
            self._writing = self._jobs.start(
                "A sample", self._sample(run, run.snapshot), found=False
            )

    def _begins(self, run: LiveRun) -> bool:
        """Whether it takes its first step, and its initial weights have written before."""
        return run.status.step == 0 and run in self._untrained

    def _sample(self, run: LiveRun, snapshot: Snapshot) -> Iterator[Sample]:
        tasks = problems(run.made.corpus, run.setup) if run.made and snapshot.run_id else []
        config = _config(run, snapshot, tasks)
        known, sample = self._untrained.get(run, (None, None))
        if sample is None or snapshot.step or tasks or not _alike(config, known):
            text = "".join(write(snapshot.model(), snapshot.tokenizer, config))
            sample = Sample(snapshot.step, config.prompt, text)
        solved = accuracy(snapshot.model(), snapshot.tokenizer, tasks)
        if solved is not None:
            stored = Run(self._store.folder / snapshot.run_id)
            self.accuracies[snapshot.run_id] = solved
            self._keep(stored, partial(stored.add_event, "accuracy", snapshot.step, repr(solved)))
        self._took = time.monotonic() - self._begun
        self._hold(run, config, sample)
        yield sample

    def _hold(self, run: LiveRun, config: SampleConfig, sample: Sample) -> None:
        """Show a sample, and keep it with its run, which may have begun while it was written."""
        run_id = run.status.run_id
        if not run_id:
            self._untrained[run] = (config, sample)
            return
        stored = Run(self._store.folder / run_id)
        self._keep(stored, partial(stored.add_sample, sample))
        if sample.step or run_id not in self.samples:  # that of the beginning may come late
            self.samples[run_id] = sample

    def _keep(self, stored: Run, write_down: Callable[[], None]) -> None:
        """Put something on disk, after what a full disk did not take before."""
        with self._lock:
            self._unkept.append((stored, write_down))
            while self._unkept:
                run, write_one = self._unkept[0]
                try:
                    if run.folder.is_dir():  # else it was deleted, and its samples with it
                        write_one()
                except (OSError, sqlite3.Error) as error:
                    log.warning("a sample is not on disk yet, for that refuses it: %s", error)
                    return
                self._unkept.popleft()


def _config(run: LiveRun, snapshot: Snapshot, tasks: list[Problem]) -> SampleConfig:
    """How a sample is drawn: with the run's settings, and a prompt that the model can read."""
    setup, longest = run.setup, LONGEST_SAMPLE
    if not snapshot.run_id and run.made:
        setup, longest = with_prompt(setup, run.made.corpus, snapshot.tokenizer), UNTRAINED_SAMPLE
    asked = [f"\n{problem.question}" for problem in tasks[:1]]
    return replace(
        setup.sample,
        prompt=readable(snapshot.tokenizer, *asked, setup.sample.prompt),
        length=min(setup.sample.length, longest),
    )


def _alike(config: SampleConfig, other: SampleConfig | None) -> bool:
    """Whether both draw the same text, one perhaps less of it."""
    return other is not None and replace(other, length=config.length) == config
