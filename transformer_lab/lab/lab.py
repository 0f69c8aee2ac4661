"""The lab: what the page and the command line ask for, in one place.

Methods may be called from any thread. They check at once what can be checked, hand the work to the
worker, and return.
"""

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from transformer_lab.exchange import ImportRefusedError, read_archive
from transformer_lab.generation import SampleConfig, encode_prompt, write
from transformer_lab.lab.audits import audit_model
from transformer_lab.lab.continuing import LabError
from transformer_lab.lab.estimate import Estimate
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.inspector import Inspector
from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.litter import Presence
from transformer_lab.lab.live_run import LiveRun
from transformer_lab.lab.pace import Pace
from transformer_lab.lab.prompts import readable, with_prompt
from transformer_lab.lab.queue import Queue
from transformer_lab.lab.run import RunNotFoundError
from transformer_lab.lab.runs import UNTRAINED, RunBusyError, RunStore
from transformer_lab.lab.sampling import Sampling
from transformer_lab.lab.settlings import Settlings
from transformer_lab.lab.shelves import Shelves
from transformer_lab.lab.snapshot import Snapshot
from transformer_lab.lab.stored_models import NoWeightsError, StoredModels
from transformer_lab.lab.studies import Studies
from transformer_lab.lab.texts import Texts, learned_from
from transformer_lab.lab.trainings import Trainings
from transformer_lab.lab.views import View, live_view, stored_view
from transformer_lab.lab.writing import Writings
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.training import StepMetrics
from transformer_lab.training.moments import MomentError, Moments

__all__ = ["UNTRAINED", "Lab", "LabError"]


class Lab(Trainings):
    """The worker, the jobs and the runs of one home folder.

    In a folder that cannot be written to, what is there can be read, and nothing can be started.
    Raises ConfigError("home") when there is no such folder and none can be made.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        problem = writing_problem(home)
        if problem and not home.is_dir():
            raise ConfigError("home", problem)
        self._presence = Presence(home)
        store = RunStore(home)
        store.sweep()
        self.shelves = Shelves()
        super().__init__(store, Queue(home), Texts(home, self.shelves), self._observe)
        self.jobs = Jobs(shelves=self.shelves)
        self._models = StoredModels(self.shelves)
        self.texts.library.sweep()
        self.inspector = Inspector(self, home / "cache" / "inspection")
        self._pace = Pace(self._worker.submit, lambda: not self._busy())
        self._sampling = Sampling(self.jobs, store)
        self.writings = Writings(self.jobs, self._models, self.shelves)
        self.studies = Studies(self)
        self.settlings = Settlings(self)

    def close(self) -> None:
        """Save what runs, to be resumed later, and end all threads."""
        self.close_trainings()
        self.jobs.close()
        self.texts.close()
        self.inspector.close()
        self._presence.close()

    def estimate(self, setup: Setup, vocabulary_size: int) -> Estimate:
        """Arithmetic, memory and time of a training, at once; asked again it may know better.

        Raises ConfigError when it cannot fit.
        """
        return self._pace.estimate(setup, vocabulary_size)

    def _observe(self, run: LiveRun, evaluated: bool) -> None:
        self._pace.observe(run)
        self._sampling.observe(run, evaluated)
        if run.ended:
            run.forget()

    # --- looking at runs ----------------------------------------------------------------------

    def shown(self) -> str:
        """The id of the run to show when none is asked for: the one under way, or the newest."""
        run, elsewhere = self.current, self.elsewhere()
        if elsewhere and (run is None or run.ended):
            return elsewhere.id
        if run and (run.status.run_id or not run.ended):
            return run.status.run_id
        whole = (summary for summary in self.runs() if summary.state != "damaged")
        newest = None if run else next(whole, None)
        return newest.id if newest else ""

    def since(self, run_id: str, cursor: int = 0) -> tuple[list[StepMetrics], int]:
        """Steps of a run after `cursor`, and the cursor to pass next; none of a damaged one."""
        if run := self.live(run_id):
            return run.stream.since(cursor)
        try:
            return self.store.open(run_id).since(cursor)
        except RunNotFoundError:
            return [], cursor

    def thinned(self, run_id: str, most: int) -> tuple[list[StepMetrics], list[StepMetrics], int]:
        """The course of a run in about so many steps and as many evaluated ones, and a cursor."""
        if run := self.live(run_id):
            points, cursor = run.stream.since()
            return points, [p for p in points if p.validation_loss is not None], cursor
        try:
            points, evaluated = self.store.open(run_id).thinned(most)
        except RunNotFoundError:
            return [], [], 0
        return points, evaluated, points[-1].step if points else 0

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
        self.abandon(run_id)
        with self.leaving(run_id):
            try:
                self.store.delete(run_id)
            except RunBusyError as error:
                raise LabError(str(error)) from error
            except OSError as error:
                raise LabError(f"{run_id} could not be deleted: {error.strerror}.") from error
        self.refresh()

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back. Raises LabError."""
        try:
            self.store.restore(run_id)
        except (RunNotFoundError, RunBusyError) as error:
            raise LabError(str(error)) from error
        except OSError as error:
            raise LabError(f"{run_id} could not be brought back: {error.strerror}.") from error
        self.refresh()

    def bring_in(self, file: BinaryIO, name: str) -> str:
        """Take a run in that another lab exported; gives its id. Raises ImportRefusedError."""
        if problem := writing_problem(self.home):
            raise ImportRefusedError(problem)
        self.store.folder.mkdir(exist_ok=True)
        with self.store.reserved(name) as run_id:
            order = self.store.next_order()
            folder = read_archive(file, self.store.folder, run_id, order=order)
        self.refresh()
        return folder.name

    def delete_text(self, name: str) -> None:
        """Remove one of the learner's texts. Raises LabError while a run learns from it."""
        entry = self.texts.library.find(name)
        if entry is None:
            raise LabError("Only texts you added yourself can be deleted.")
        for run in self._busy():
            sha256 = run.made.corpus.sha256 if run.made else ""
            if entry.sha256 == sha256 or run.setup.data.corpus in (name, entry.id):
                who = run.status.run_id or "The model being prepared"
                raise LabError(f"{who} is learning from {entry.name}: stop it first.")
        elsewhere = self.elsewhere()
        if elsewhere:
            corpus: Mapping[str, Any] = self.store.open(elsewhere.id).manifest["corpus"]
            if corpus["sha256"] == entry.sha256:
                raise LabError(f"{elsewhere.id} is learning from {entry.name}: stop it first.")
        self.texts.library.delete(entry)

    # --- looking inside -----------------------------------------------------------------------

    @property
    def models(self) -> StoredModels:
        """The models that are kept in memory."""
        return self._models

    def learned_from(self, name: str) -> tuple[Corpus, Setup]:
        """The text a model learns from, if it is at hand, and its settings.

        Raises ConfigError when it is not, or has changed since.
        """
        name = self.writer_named(name)
        live = self.current if name == UNTRAINED else self.live(name)
        if live and live.made:
            return live.made.corpus, live.setup
        try:
            manifest = self.store.open(name).manifest
        except RunNotFoundError as error:
            raise ConfigError("data.corpus", str(error)) from error
        setup, about = setup_from(manifest["setup"]), manifest["corpus"]
        corpus = self.texts.corpus(learned_from(setup, manifest))
        if corpus.sha256 != about["sha256"]:
            raise ConfigError(
                "data.corpus",
                f"{corpus.title} is no longer the text that {name} learned from: put that text "
                "back to measure losses on it.",
            )
        return corpus, setup

    def prompt(self, name: str) -> str:
        """With what a model begins to write when nobody says. Raises LabError."""
        tokenizer = self.snapshot(name).tokenizer
        name = self.writer_named(name)
        live = self.current if name == UNTRAINED else self.live(name)
        setup = live.setup if live else setup_from(self.store.open(name).manifest["setup"])
        if tokenizer.unknown(setup.sample.prompt):
            with contextlib.suppress(ConfigError):
                setup = with_prompt(setup, self.learned_from(name)[0], tokenizer)
        return readable(tokenizer, setup.sample.prompt)

    def written(self, name: str) -> str:
        """The newest sample of a run, its prompt included; empty when there is none."""
        try:
            sample = self.view("" if name == UNTRAINED else self.writer_named(name)).sample
        except RunNotFoundError:
            return ""
        return sample.prompt + sample.text if sample else ""

    # --- generating ---------------------------------------------------------------------------

    def writers(self) -> dict[str, str]:
        """Models that can write, and what to call them: the live one first, then saved runs."""
        found: dict[str, str] = {}
        for run in [self.current, *self._lanes]:
            if run and run.snapshot:
                key = run.status.run_id or UNTRAINED
                name = run.status.run_id or "Untrained model"
                found.setdefault(key, _called(name, run.lane, run.status.state))
        for summary in self.runs():
            # `steps` are known where run.json can be read, without which there is no model.
            if summary.id not in found and summary.steps and self._has_weights(summary.id):
                found[summary.id] = _called(summary.name, summary.lane, summary.state)
        return found

    def _has_weights(self, run_id: str) -> bool:
        try:
            return bool(self.store.open(run_id).usable_checkpoints())
        except RunNotFoundError:
            return False

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

    def audit(self, name: str, step: int | None = None) -> tuple[Snapshot, Job]:
        """Prove on a model that nothing leaks; the job yields proofs, then the verdict.

        Raises LabError.
        """
        snapshot = self.snapshot(name, step)
        return snapshot, self.jobs.start("The leak audit", audit_model(self.store, snapshot))

    def without_unknown(self, name: str, config: SampleConfig) -> SampleConfig:
        """The same wish without the characters of its prompt that the model cannot read."""
        tokenizer = self.snapshot(name).tokenizer
        try:
            encode_prompt(tokenizer, config)
        except UnknownTextError:
            return replace(config, prompt=tokenizer.known(config.prompt))
        return config


def _called(name: str, lane: str, state: str) -> str:
    """A model in a list: what it is called, in a race also there, and how its training stands."""
    return f"{name} ({lane}) · {state}" if lane else f"{name} · {state}"
