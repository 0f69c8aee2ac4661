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

from transformer_lab.generation import write
from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.prompts import problems, readable
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.step_time import LONGEST_SAMPLE, SAMPLE_SHARE
from transformer_lab.runs.database import Sample
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from transformer_lab.training.evaluate import accuracy

SAMPLE_SECONDS = 10.0  # between two samples while training, besides those at evaluations
MOST_UNKEPT = 200  # samples that wait for room on the disk
log = logging.getLogger(__name__)


class Sampling:
    """Writes with the snapshots that trainings publish, one at a time, on a job's thread."""

    def __init__(self, jobs: Jobs, store: RunStore) -> None:
        self.samples: dict[str, Sample] = {}
        self.accuracies: dict[str, float] = {}
        self._jobs = jobs
        self._store = store
        self._writing: Job | None = None
        self._begun = -math.inf
        self._took = 0.0
        self._unkept: deque[tuple[Run, Callable[[], None]]] = deque(maxlen=MOST_UNKEPT)
        self._lock = threading.Lock()

    def observe(self, run: LiveRun, evaluated: bool) -> None:
        """A snapshot was published: let it write a sample if it is time for one."""
        passed = time.monotonic() - self._begun
        due = run.ended or (
            passed >= SAMPLE_SHARE * self._took and (evaluated or passed >= SAMPLE_SECONDS)
        )
        resting = self._writing is None or self._writing.done
        if run.snapshot is not None and due and (resting or run.ended):
            self._begun = time.monotonic()
            self._writing = self._jobs.start(
                "A sample", self._sample(run, run.snapshot), found=False
            )

    def _sample(self, run: LiveRun, snapshot: Snapshot) -> Iterator[Sample]:
        config = run.setup.sample
        tasks = problems(run.made.corpus, run.setup) if run.made else []
        asked = [f"\n{problem.question}" for problem in tasks[:1]]
        config = replace(
            config,
            prompt=readable(snapshot.tokenizer, *asked, config.prompt),
            length=min(config.length, LONGEST_SAMPLE),
        )
        text = "".join(write(snapshot.model(), snapshot.tokenizer, config))
        stored = Run(self._store.folder / snapshot.run_id)
        solved = accuracy(snapshot.model(), snapshot.tokenizer, tasks)
        if solved is not None:
            self.accuracies[snapshot.run_id] = solved
            self._keep(stored, partial(stored.add_event, "accuracy", snapshot.step, repr(solved)))
        self._took = time.monotonic() - self._begun
        sample = Sample(snapshot.step, config.prompt, text)
        self.samples[snapshot.run_id] = sample
        self._keep(stored, partial(stored.add_sample, sample))
        yield sample

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
