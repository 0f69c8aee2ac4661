"""What a training begins from: new weights, a stored run, or a checkpoint of another run.

An origin is asked three things, in this order and on the worker's thread: what was saved, which
text, and the run's folder, open for writing.
"""

import json
import shutil
import sqlite3
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from filelock import Timeout

from transformer_lab.lab.cost.threads import MEASURED, Kept
from transformer_lab.lab.text.texts import Texts, unknown_of
from transformer_lab.lab.training.saves import Saved, best_save, newest_save, read_save
from transformer_lab.lab.training.tuning import to_go_on
from transformer_lab.model import GPT
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import BASE, CheckpointError, staged
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.moments import Moments
from transformer_lab.runs.run import DamagedRunError, Run, Seam, step_of
from transformer_lab.runs.store import RunStore
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import EncodedCorpus, OnProgress
from transformer_lab.training import StepMetrics

LATEST_STEPS = 50  # that tell how fast a run was
Text = tuple[Corpus, EncodedCorpus, str]


class OriginError(RuntimeError):
    """A training cannot begin there; the message says why and what to do."""


def check_fit(model: GPT, saved: Saved) -> None:
    """Refuse weights of another model than the settings describe. Raises OriginError."""
    expected = {name: weight.shape for name, weight in model.state_dict().items()}
    found = {name: weight.shape for name, weight in saved.weights.items()}
    if odd := sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name)):
        raise OriginError(
            f"The weights saved at step {saved.progress.step:,} do not fit the model that run.json "
            f"describes ({odd[0]}): put the file back that belongs there, or train a new model."
        )


class Origin(Protocol):
    """What a training begins with; `reads` is the id of the run it takes that from, if any."""

    reads: str

    def saved(self) -> Saved | None:
        """The checkpoint to go on from; None for new weights. Raises OriginError."""

    def past(self) -> list[StepMetrics]:
        """The steps already taken."""

    def best(self) -> Saved | None:
        """The weights of the lowest validation loss so far, if they still count."""

    def seams(self) -> list[Seam]:
        """Where this run, its parent and so on left theirs; the schedule begins at the last one."""

    def micro_batch(self) -> int:
        """Sequences to compute at once, where that is fixed; else 0."""

    def text(self, texts: Texts, setup: Setup, progress: OnProgress) -> Text:
        """What to learn from, and a note on it. Raises ConfigError."""

    def finetune(self) -> Mapping[str, Any] | None:
        """What run.json says of a fine-tuning; None for any other training."""

    def threads(self) -> Kept:
        """On how many CPU threads it has computed."""

    def open(self, store: RunStore, recipe: str, manifest: dict[str, Any]) -> RunWriter:
        """The run's folder. Raises OSError and sqlite3.Error."""

    def release(self) -> None:
        """Release the run, when the training does not begin."""


class New:
    """A training from new weights."""

    reads = ""

    def saved(self) -> Saved | None:
        return None

    def past(self) -> list[StepMetrics]:
        return []

    def best(self) -> Saved | None:
        return None

    def seams(self) -> list[Seam]:
        return []

    def micro_batch(self) -> int:
        return 0

    def text(self, texts: Texts, setup: Setup, progress: OnProgress) -> Text:
        """The text asked for, downloaded if need be."""
        return texts.fetched(setup, progress)

    def finetune(self) -> None:
        pass

    def threads(self) -> Kept:
        return Kept()

    def open(self, store: RunStore, recipe: str, manifest: dict[str, Any]) -> RunWriter:
        """A new folder named after the recipe."""
        return store.create(recipe, manifest)

    def release(self) -> None:
        pass


class Resumed:
    """A run on disk that goes on exactly where its newest whole save left it.

    One that was never saved begins again, from the same seed and with the same batches.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reads = run.id
        self._writer: RunWriter | None = None
        self._damaged: list[tuple[Path, str]] = []
        self._step = 0
        self._micro_batch = 0

    def saved(self) -> Saved | None:
        """The newest save that is whole; the run is held from now on."""
        try:
            self._writer = RunWriter(self.run.folder)
        except Timeout:
            raise OriginError(f"{self.run.id} is being trained by another program.") from None
        except (OSError, sqlite3.Error) as error:
            raise OriginError(f"{self.run.id} cannot be written to: {error}.") from error
        saved, self._damaged = newest_save(self.run)
        if saved is None and (self.run.seams or self._damaged):
            reasons = " ".join(reason for _, reason in self._damaged)
            way = "Put the files back, or start a new run with its settings."
            if self.run.seams:
                way = f"Branch from its parent {self.run.seams[-1].run} instead."
            raise OriginError(f"{self.run.id} has no save that could be read: {reasons} {way}")
        if saved is None:
            return None
        self._step, self._micro_batch = saved.progress.step, saved.progress.micro_batch
        return _to_go_on(saved, self.run, self.finetune())

    def past(self) -> list[StepMetrics]:
        """The steps up to that save."""
        return _steps_until(self.run, self._step)

    def best(self) -> Saved | None:
        return best_save(self.run)

    def seams(self) -> list[Seam]:
        return self.run.seams

    def micro_batch(self) -> int:
        """The same as before: another size sums in another order, and rounds differently."""
        return self._micro_batch or int(self.run.manifest.get("micro_batch", 0))

    def text(self, texts: Texts, setup: Setup, progress: OnProgress) -> Text:
        """The very text and tokenizer it had."""
        return texts.again(setup, self.run.manifest, progress)

    def finetune(self) -> Mapping[str, Any] | None:
        return self.run.manifest.get("finetune")

    def threads(self) -> Kept:
        """The same as before: another number sums in another order, and rounds differently."""
        latest = self.run.latest(LATEST_STEPS)
        return Kept(
            threads=self.run.threads(self._step),
            measured=bool(self.run.events(MEASURED)),
            until=latest[-1].step if latest else 0,
            speed=statistics.median(point.tokens_per_second for point in latest)
            if latest
            else None,
        )

    def open(self, store: RunStore, recipe: str, manifest: dict[str, Any]) -> RunWriter:
        """Its own folder, without the steps after the save: they are taken again."""
        assert self._writer is not None
        latest = self.run.latest()
        again = max(0, latest[-1].step - self._step) if latest else 0
        for folder, _ in self._damaged:
            _set_aside(folder)
        self._writer.rewind(self._step)
        Moments(self.run.folder).forget_after(self._step)
        facts = {
            "steps_taken_again": again,
            "damaged": [reason for _, reason in self._damaged],
            "environment": manifest["environment"],
            "device": manifest["device"]["name"],
        }
        self._writer.event("resumed", self._step, json.dumps(facts))
        return self._writer

    def release(self) -> None:
        """Release the run's lock."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None  # it may be let go more than once

    def note(self, manifest: Mapping[str, Any]) -> str:
        """What the learner should know: damaged saves, and what is no longer as it was."""
        sentences = [f"{reason} The save before it was used." for _, reason in self._damaged]
        before, now = self.run.manifest, manifest
        for key in ("torch", "transformer_lab", "python"):
            was, is_now = before["environment"].get(key), now["environment"][key]
            if was != is_now:
                sentences.append(f"It began with {key} {was} and goes on with {is_now}.")
        if before["device"]["name"] != now["device"]["name"]:
            was, is_now = before["device"]["name"], now["device"]["name"]
            sentences.append(f"It began on {was} and goes on on {is_now}.")
        return " ".join(sentences)


class Offspring:
    """A new run that begins as another was at one of its checkpoints.

    `kind` is "extended" (the same settings, more steps) or "branched" (other settings).
    """

    def __init__(self, parent: Run, checkpoint: Path, kind: str) -> None:
        self.parent = parent
        self.reads = parent.id
        self.checkpoint = checkpoint
        self.seam = Seam(parent.id, step_of(checkpoint), kind)

    def saved(self) -> Saved | None:
        try:
            saved = read_save(self.checkpoint)
            return _to_go_on(saved, self.parent, self.finetune())
        except CheckpointError as error:
            raise OriginError(f"{error} Choose another checkpoint of {self.parent.id}.") from error

    def past(self) -> list[StepMetrics]:
        """The parent's steps up to there."""
        return _steps_until(self.parent, self.seam.step)

    def best(self) -> Saved | None:
        """The parent's, as long as only steps are added to it."""
        best = best_save(self.parent) if self.seam.kind == "extended" else None
        return best if best and best.progress.step <= self.seam.step else None

    def seams(self) -> list[Seam]:
        """The parent's, and this one."""
        return [*self.parent.seams, self.seam]

    def micro_batch(self) -> int:
        return 0

    def text(self, texts: Texts, setup: Setup, progress: OnProgress) -> Text:
        """The text asked for, in the parent's tokens: the model knows no others."""
        before = self.parent.manifest
        unknown = unknown_of(before) if self.finetune() else None
        corpus, encoded, note = texts.in_tokens_of(setup, before, progress, unknown)
        asked_again = before["corpus"].get("asked_for", setup.data.corpus) == setup.data.corpus
        if not note and asked_again and corpus.sha256 != before["corpus"]["sha256"]:
            note = f"{corpus.title} has changed since {self.parent.id} learned from it."
        return corpus, encoded, note

    def finetune(self) -> Mapping[str, Any] | None:
        """The parent's, as long as only steps are added to it."""
        return self.parent.manifest.get("finetune") if self.seam.kind == "extended" else None

    def threads(self) -> Kept:
        return Kept()

    def open(self, store: RunStore, recipe: str, manifest: dict[str, Any]) -> RunWriter:
        """A new folder with the parent's steps and that checkpoint in it."""
        seams = [asdict(seam) for seam in self.seams()]
        name = f"{self.parent.id}-{'more' if self.seam.kind == 'extended' else 'branch'}"
        writer = store.create(name, {**manifest, "seams": seams})
        try:
            place = writer.folder / "checkpoints" / f"step-{self.seam.step:08d}"
            with staged(place) as staging:
                shutil.copytree(self.checkpoint, staging, dirs_exist_ok=True)
            if self.finetune():
                self._copy_base(writer.folder / "checkpoints" / BASE)
            writer.copy(self.past())
            Moments(writer.folder).inherit(Moments(self.parent.folder), self.seam.step)
        except BaseException:
            writer.close()
            shutil.rmtree(writer.folder, ignore_errors=True)
            raise
        return writer

    def _copy_base(self, place: Path) -> None:
        if not place.exists():
            with staged(place) as staging:
                shutil.copytree(
                    self.parent.folder / "checkpoints" / BASE, staging, dirs_exist_ok=True
                )

    def release(self) -> None:
        pass


def _to_go_on(saved: Saved, run: Run, about: Mapping[str, Any] | None) -> Saved:
    """A save as its training goes on from it. Raises OriginError."""
    try:
        return to_go_on(saved, run.folder, about)
    except CheckpointError as error:
        raise OriginError(str(error)) from error


def _steps_until(run: Run, step: int) -> list[StepMetrics]:
    """The steps up to that one. Raises OriginError."""
    try:
        return [point for point in run.since()[0] if point.step <= step]
    except DamagedRunError as error:
        raise OriginError(f"{run.id} is damaged. {error}") from error


def _set_aside(damaged: Path) -> None:
    """Rename a damaged save, so that a new one can take its place; nothing is deleted."""
    number = 1
    while (place := damaged.with_name(f"damaged-{number}-{damaged.name}")).exists():
        number += 1
    damaged.rename(place)
