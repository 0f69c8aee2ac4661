"""The models of a lab, to generate with and to inspect, at any saved step."""

import contextlib
import sqlite3
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from transformer_lab.generation import SampleConfig, encode_prompt, write
from transformer_lab.inspection.planted import LEAKS
from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.looking.audits import audit_model
from transformer_lab.lab.looking.plants import plant_and_audit
from transformer_lab.lab.looking.stored_models import NoWeightsError, StoredModels
from transformer_lab.lab.shelves import Shelves
from transformer_lab.lab.text.texts import (
    check_known,
    learned_from,
    unknown_of,
)
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.prompts import readable, with_prompt
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.stored_runs import Runs
from transformer_lab.lab.training.trainings import Trainings
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.moments import MomentError, Moments
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.store import UNTRAINED
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import parts
from transformer_lab.text.tokenizers import Tokenizer, UnknownTextError, tokenizer_from_json

AUDITED = 50_000  # characters of real text that an audit draws from


class Models:
    """Models by the name of their run: `latest`, an id, or UNTRAINED for one without a run yet."""

    def __init__(self, trainings: Trainings, runs: Runs, jobs: Jobs, shelves: Shelves) -> None:
        self._trainings = trainings
        self._runs = runs
        self.jobs = jobs
        self.shelves = shelves
        self.stored = StoredModels(shelves)

    def _live(self, name: str) -> LiveRun | None:
        return self._trainings.current if name == UNTRAINED else self._trainings.live(name)

    def writers(self) -> dict[str, str]:
        """Models that can write, and what to call them: the live one first, then saved runs."""
        found: dict[str, str] = {}
        for run in self._trainings.with_models():
            if run.snapshot:
                key = run.status.run_id or UNTRAINED
                name = run.status.run_id or "Untrained model"
                found.setdefault(key, _called(name, run.lane, run.status.state))
        for summary in self._runs.all():
            # `steps` are known where run.json can be read, without which there is no model.
            if summary.id not in found and summary.steps and self._has_weights(summary.id):
                found[summary.id] = _called(summary.name, summary.lane, summary.state)
        return found

    def _has_weights(self, run_id: str) -> bool:
        try:
            return bool(self._runs.open(run_id).usable_checkpoints())
        except RunNotFoundError:
            return False

    def snapshot(self, name: str = "latest", step: int | None = None) -> Snapshot:
        """The weights of a run, live or saved: the newest, or those of one of its moments.

        Raises LabError.
        """
        name = self.writer_named(name)
        live = self._live(name)
        if live and live.snapshot and step in (None, live.snapshot.step):
            return live.snapshot
        try:
            run = self._runs.open(name)
            newest = self.stored.newest(run)
            return newest if step in (None, newest.step) else self.stored.moment(run, step)
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
        return sorted({*Moments(self._runs.store.folder / name).steps(), newest})

    def writer_named(self, name: str) -> str:
        """The id of the run that `latest` stands for, or the name itself. Raises LabError."""
        if name == "latest":
            name = next(iter(self.writers()), "")
        if not name:
            raise LabError("There is no model yet: train one first.")
        return name

    def learned_from(self, name: str) -> tuple[Corpus, Setup]:
        """The text a model learns from, if it is at hand, and its settings.

        Raises ConfigError when it is not, or has changed since.
        """
        name = self.writer_named(name)
        live = self._live(name)
        if live and live.made:
            return live.made.corpus, live.setup
        try:
            manifest = self._runs.open(name).manifest
        except RunNotFoundError as error:
            raise ConfigError("data.corpus", str(error)) from error
        check_known(manifest)
        setup, about = setup_from(manifest["setup"]), manifest["corpus"]
        corpus = self._trainings.texts.corpus(learned_from(setup, manifest))
        if corpus.sha256 != about["sha256"]:
            raise ConfigError(
                "data.corpus",
                f"{corpus.title} is no longer the text that {name} learned from: put that text "
                "back to measure losses on it.",
            )
        stored = tokenizer_from_json(manifest["tokenizer"])
        return unknown_of(manifest).applied(corpus, stored)[0], setup

    def prompt(self, name: str) -> str:
        """The default prompt of a model. Raises LabError."""
        tokenizer = self.snapshot(name).tokenizer
        name = self.writer_named(name)
        live = self._live(name)
        setup = live.setup if live else setup_from(self._runs.open(name).manifest["setup"])
        if tokenizer.unknown(setup.sample.prompt):
            with contextlib.suppress(ConfigError):
                setup = with_prompt(setup, self.learned_from(name)[0], tokenizer)
        return readable(tokenizer, setup.sample.prompt)

    def written(self, name: str) -> str:
        """The newest sample of a run, its prompt included; empty when there is none."""
        if name == UNTRAINED:
            return ""
        try:
            sample = self._runs.view(self.writer_named(name)).sample
        except RunNotFoundError:
            return ""
        return sample.prompt + sample.text if sample else ""

    def generate(self, name: str, config: SampleConfig) -> tuple[Job, Snapshot]:
        """Let a model write; the job yields pieces of text.

        Raises ConfigError, UnknownTextError and LabError before anything is written.
        """
        snapshot = self.snapshot(name)
        pieces = write(snapshot.model(), snapshot.tokenizer, config)
        return self.jobs.start("Generation", pieces), snapshot

    def audit(
        self, name: str, step: int | None = None, seed: int | None = None
    ) -> tuple[Snapshot, Job]:
        """Prove on a model that nothing leaks; the job yields proofs, then the verdict.

        Without a seed each audit draws other tokens. Raises LabError.
        """
        snapshot = self.snapshot(name, step)
        text = partial(self._validation_text, name, snapshot.tokenizer)
        steps = audit_model(self._runs.store, snapshot, text, seed)
        return snapshot, self.jobs.start("The leak audit", steps)

    def plant(self, name: str, kind: str, seed: int | None = None) -> tuple[Snapshot, Job]:
        """Plant a leak into a copy of a model; the job yields losses, proofs and the verdict.

        Raises LabError when there is no such model or kind of leak.
        """
        if kind not in LEAKS:
            raise LabError(f"There is no leak {kind!r}: choose one of {', '.join(LEAKS)}.")
        snapshot = self.snapshot(name)
        text = partial(self._validation_text, name, snapshot.tokenizer)
        steps = plant_and_audit(snapshot, kind, text, seed)
        return snapshot, self.jobs.start("The audit of a planted leak", steps)

    def _validation_text(self, name: str, tokenizer: Tokenizer) -> Tensor | None:
        """(N,) token ids of the beginning of a model's validation text, if that is at hand."""
        try:
            corpus, setup = self.learned_from(name)
        except (ConfigError, LabError):
            return None
        text = parts(corpus, setup.data.validation_share)[1][:AUDITED]
        if not text or tokenizer.unknown(text):
            return None
        return torch.from_numpy(tokenizer.encode(text))

    def without_unknown(self, name: str, config: SampleConfig) -> SampleConfig:
        """The same settings, without the characters of the prompt that the model cannot read."""
        tokenizer = self.snapshot(name).tokenizer
        try:
            encode_prompt(tokenizer, config)
        except UnknownTextError:
            return replace(config, prompt=tokenizer.known(config.prompt))
        return config


def _called(name: str, lane: str, state: str) -> str:
    """A model in a list: what it is called, in a race also there, and how its training stands."""
    return f"{name} ({lane}) · {state}" if lane else f"{name} · {state}"
