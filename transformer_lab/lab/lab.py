"""The lab: what the page and the command line ask for, in parts.

Methods of the parts may be called from any thread. They check at once what can be checked, hand the
work to the worker or to a job, and return.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer_lab.lab.common import BEGUN, TEXTS_ON_DISK, Common
from transformer_lab.lab.experiments.comparisons import Comparisons
from transformer_lab.lab.experiments.scaling import Scaling
from transformer_lab.lab.experiments.settlings import Settlings
from transformer_lab.lab.experiments.trials import Trials
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.jobs import BEGUN as ALONE
from transformer_lab.lab.jobs import Jobs
from transformer_lab.lab.litter import Presence
from transformer_lab.lab.looking.inspector import Inspector
from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.queue import Queue
from transformer_lab.lab.shelves import Shelves, keep_freed
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.pace import Pace
from transformer_lab.lab.training.range_tests import RangeTests
from transformer_lab.lab.training.sampling import Sampling
from transformer_lab.lab.training.stored_runs import Runs
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.lab.training.worker import Worker
from transformer_lab.lab.writing import Writings
from transformer_lab.runs.store import UNTRAINED, RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.text.cache import LIMIT

__all__ = ["UNTRAINED", "Lab", "LabError"]


class Lab:
    """Everything of one home folder.

    `trainings` starts and steers, `runs` are those there are, `models` what they made, `texts` what
    they learn from, `inspector` looks inside, `writings` writes, `trials` are experiments under
    way, `comparisons` races on one question, `range_tests` try learning rates, `scaling` has the
    sizes and losses of all runs, `costs` says beforehand what a training takes.

    In a folder that cannot be written to, what is there can be read, and nothing can be started.
    `processes` lets trainings have a process of their own, where they ask for one
    (`train.where`). `common` is what it shares with the other labs of a class. Raises
    ConfigError("home") when there is no such folder and none can be made.
    """

    def __init__(self, home: Path, *, processes: bool = True, common: Common | None = None) -> None:
        self.home = home
        problem = writing_problem(home)
        if problem and not home.is_dir():
            raise ConfigError("home", problem)
        keep_freed()
        self._presence = Presence(home)
        store = RunStore(home)
        store.sweep()
        self.shelves = common.shelves if common else Shelves()
        turns, begun = (common.turns, BEGUN) if common else (None, ALONE)
        self.jobs = Jobs(shelves=self.shelves, turns=turns, begun=begun)
        self.texts = Texts(home, self.shelves, TEXTS_ON_DISK if common else LIMIT)
        self.texts.library.sweep()
        self.trainings = Trainings(
            store,
            Queue(home),
            self.texts,
            self._observe,
            processes=processes,
            worker=common.thread.worker if common else Worker,
        )
        self.costs = Pace(self.trainings.submit, self.trainings.resting)
        self.sampling = Sampling(self.jobs, store)
        self.runs = Runs(self.trainings, self.sampling)
        self.scaling = Scaling(self.runs)
        self.models = Models(self.trainings, self.runs, self.jobs, self.shelves)
        self.inspector = Inspector(self.models, home / "cache" / "inspection")
        self.writings = Writings(self.jobs, self.models.stored, self.shelves)
        self.settlings = Settlings(self.jobs, self.runs, self.models)
        self.range_tests = RangeTests(self.trainings)
        self.comparisons = Comparisons(self.jobs, self.trainings, self.costs, self.models, home)
        self.trials = Trials(self.jobs, self.trainings, self.comparisons, home)

    def close(self) -> None:
        """Save what runs, to be resumed later, and end all threads."""
        self.trainings.close()
        self.jobs.close()
        self.texts.close()
        self.inspector.close()
        self._presence.close()

    def _observe(self, run: LiveRun, evaluated: bool) -> None:
        if run.origin.finetune() is None:  # it has a pace of its own
            self.costs.observe(run)
        self.sampling.observe(run, evaluated)
        if run.ended:
            run.forget()

    def delete_text(self, name: str) -> None:
        """Remove one of the learner's texts. Raises LabError while a run learns from it."""
        entry = self.texts.library.find(name)
        if entry is None:
            raise LabError("Only texts you added yourself can be deleted.")
        for run in self.trainings.busy():
            sha256 = run.made.corpus.sha256 if run.made else ""
            if entry.sha256 == sha256 or run.setup.data.corpus in (name, entry.id):
                who = run.status.run_id or "The model being prepared"
                raise LabError(f"{who} is learning from {entry.name}: stop it first.")
        for away in self.trainings.away():
            corpus: Mapping[str, Any] = self.runs.open(away.id).manifest["corpus"]
            if corpus["sha256"] == entry.sha256:
                raise LabError(f"{away.id} is learning from {entry.name}: stop it first.")
        self.texts.library.delete(entry)
