"""The runs of a lab: what a page shows of them, and what may be done to those that have ended."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from transformer_lab.exchange import ImportRefusedError, bring_in, bring_in_folder
from transformer_lab.experiments.expected import Band
from transformer_lab.lab.coach.coach import advise
from transformer_lab.lab.coach.evidence import Advice
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.training.coached import live_course, looked_at, record, stored_course
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.expecting import expected
from transformer_lab.lab.training.milestones import Milestone, around, reached
from transformer_lab.lab.training.sampling import Sampling
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.lab.training.views import View, awaited_view, live_view, stored_view
from transformer_lab.runs.run import DamagedRunError, Run, RunNotFoundError
from transformer_lab.runs.store import RunBusyError
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.settings import ConfigError, shown
from transformer_lab.training import StepMetrics


class Runs:
    """All runs of a home, live or stored. Methods may be called from any thread."""

    def __init__(self, trainings: Trainings, sampling: Sampling) -> None:
        self._trainings = trainings
        self._sampling = sampling
        self.store = trainings.store
        self._advice: tuple[object, Advice | None] = (None, None)  # of the run last asked for
        self._expected: tuple[object, Band | None] = (None, None)  # of that, too

    def all(self) -> list[RunSummary]:
        """All runs, newest first; what is said of one may be a second old."""
        return self._trainings.runs()

    def refresh(self) -> None:
        """Have the next list made anew."""
        self._trainings.refresh()

    def open(self, run_id: str) -> Run:
        """A stored run. Raises RunNotFoundError."""
        return self.store.open(run_id)

    def shown(self) -> str:
        """The id of the run to show when none is asked for: the one under way, or the newest.

        One that another program began after the last one here has ended counts as newer.
        """
        run, elsewhere = self._trainings.current, self._trainings.elsewhere()
        if self._trainings.awaited and not (run and run.busy):
            return ""
        if elsewhere and (run is None or run.ended):
            return elsewhere.id
        if run and not run.ended:
            return run.status.run_id
        whole = (summary for summary in self.all() if summary.state != "damaged")
        newest = next(whole, None)
        if run is None:
            return newest.id if newest else ""
        later = newest and newest.created > run.begun and not self._trainings.live(newest.id)
        return newest.id if newest and later else run.status.run_id

    def since(self, run_id: str, cursor: int = 0) -> tuple[list[StepMetrics], int]:
        """Steps of a run after `cursor`, and the cursor to pass next; none of a damaged one."""
        if run := self._trainings.live(run_id):
            return run.stream.since(cursor)
        try:
            return self.store.open(run_id).since(cursor)
        except RunNotFoundError:
            return [], cursor

    def envelope(self, run_id: str, most: int) -> tuple[list[StepMetrics], list[StepMetrics], int]:
        """The course of a run, of a stored one in about `most` steps, those evaluated, a cursor."""
        if run := self._trainings.live(run_id):
            points, cursor = run.stream.since()
            return points, [p for p in points if p.validation_loss is not None], cursor
        try:
            points, evaluated = self.store.open(run_id).envelope(most)
        except RunNotFoundError:
            return [], [], 0
        return points, evaluated, points[-1].step if points else 0

    def view(self, run_id: str | None = None) -> View:
        """How a run stands; without an id, the one a page should show."""
        run_id = self.shown() if run_id is None else run_id
        if not run_id and (child := self._trainings.awaited):
            return awaited_view(child)
        run = self._trainings.live(run_id) if run_id else self._trainings.current
        if run is not None:
            samples = self._sampling
            return live_view(run, samples.newest(run), samples.accuracies.get(run_id))
        return stored_view(self.store.open(run_id)) if run_id else View()

    def milestones(self, run_id: str, limits: Iterable[float]) -> list[Milestone]:
        """Where a run's validation loss fell below limits; the one reached last is the last."""
        try:
            run = self.store.open(run_id)
            live = self._trainings.live(run_id)
            found = reached(live.stream.evaluated() if live else run.evaluated(), limits)
            if not found:
                return []
            sample = self._sampling.newest(live) if live else run.latest_sample()
            newest = sample.step if sample else -1
            return [
                replace(each, before=before, after=after)
                for each in found
                for before, after in [around(run.folder, each.step, newest)]
            ]
        except RunNotFoundError:
            return []

    def advice(self, view: View) -> Advice | None:
        """What the coach says of a run; None when all is well or it is too early to tell."""
        step = looked_at(view)
        asked = view.run_id, view.attempt, view.state, step, view.peaks
        if not (step or view.state == "failed") or view.state == "damaged":
            return None
        if self._advice[0] != asked:
            try:
                found = self._advised(view, step)
            except (RunNotFoundError, DamagedRunError):
                found = None
            self._advice = asked, found
        return self._advice[1]

    def _advised(self, view: View, step: int) -> Advice | None:
        run, first = self.store.open(view.run_id), view.seams[-1].step + 1 if view.seams else 1
        if live := self._trainings.live(view.run_id):
            course = live_course(live, first, step)
        else:
            course = stored_course(run.folder, first, step)
        corpus = run.manifest["corpus"]
        seen = record(view, course, corpus["training_tokens"], corpus["unknown_share"])
        return advise(seen) if seen else None

    def expected(self, view: View) -> Band | None:
        """What earlier runs with its settings lead to expect of a run; None where none is known."""
        others = self.all()
        asked = view.run_id, view.attempt, tuple(other.id for other in others)
        if self._expected[0] != asked:
            try:
                found = expected(self.store, self.store.open(view.run_id), others)
            except (RunNotFoundError, DamagedRunError, ConfigError):
                found = None
            self._expected = asked, found
        return self._expected[1]

    def describe(self, run_id: str, **changes: Any) -> None:
        """Change a run's title, notes or pin. Raises LabError and RunNotFoundError."""
        try:
            self.store.open(run_id).describe(**changes)
        except OSError as error:
            raise LabError(f"That could not be written: {error.strerror}.") from error
        self.refresh()

    def delete(self, run_id: str) -> None:
        """Move a run to the trash. Raises LabError and RunNotFoundError."""
        self._trainings.abandon(run_id)
        with self._trainings.leaving(run_id):
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

    def bring_in(self, file: BinaryIO, name: str, base: str = "") -> str:
        """Take in a .zip: a run that another lab exported, or a Hugging Face folder of a GPT-2.

        A PEFT adapter becomes a fine-tuned run of the run `base`. Gives the id of the run. Raises
        ImportRefusedError.
        """
        on = self._base(base)
        with self._arriving(name) as (run_id, order):
            bring_in(file, self.store.folder, run_id, base=on, order=order)
        self.refresh()
        return run_id

    def bring_in_path(self, place: Path, base: str = "") -> str:
        """Take in what lies on this computer: such a .zip, or such a folder itself.

        Raises ImportRefusedError, also where naming a path would let any visitor read it.
        """
        if not self._trainings.texts.paths_allowed:
            raise ImportRefusedError(
                "While others may visit the lab, nothing of its computer can be named by its path: "
                "import a .zip, or let the lab be started with --allow-paths."
            )
        try:
            if not place.is_dir():
                with place.open("rb") as file:
                    return self.bring_in(file, place.stem, base)
        except (OSError, ValueError) as error:
            if isinstance(error, ImportRefusedError):
                raise
            why = getattr(error, "strerror", None) or error
            raise ImportRefusedError(f"{shown(str(place))} cannot be read: {why}.") from error
        on = self._base(base)
        with self._arriving(place.resolve().name) as (run_id, order):
            bring_in_folder(place, self.store.folder, run_id, base=on, order=order)
        self.refresh()
        return run_id

    def _base(self, run_id: str) -> Path | None:
        """The folder of the run that an adapter is for. Raises ImportRefusedError."""
        try:
            return self.store.open(run_id).folder if run_id else None
        except RunNotFoundError as error:
            raise ImportRefusedError(str(error)) from error

    @contextlib.contextmanager
    def _arriving(self, name: str) -> Iterator[tuple[str, int]]:
        """The id that a run from elsewhere gets, and its place among the others."""
        if problem := writing_problem(self.store.folder.parent):
            raise ImportRefusedError(problem)
        self.store.folder.mkdir(exist_ok=True)
        with self.store.reserved(name) as run_id:
            yield run_id, self.store.next_order()
