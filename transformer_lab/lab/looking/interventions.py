"""Interventions: parts of a model are switched off or patched, and the effect is measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from transformer_lab.inspection.ablation import Batch, Importance, Site, importance
from transformer_lab.inspection.capture import Capture
from transformer_lab.inspection.induction import (
    InductionCheck,
    copying_repetitions,
    induction_steps,
    random_repetitions,
)
from transformer_lab.lab.jobs import Job
from transformer_lab.lab.looking import causes
from transformer_lab.lab.looking.look_cache import LookCache
from transformer_lab.lab.looking.looks import Numbers
from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.looking.subjects import Open, Subject, Subjects, digest
from transformer_lab.lab.shelves import Shelf
from transformer_lab.settings import ConfigError
from transformer_lab.text.split import parts
from transformer_lab.text.tasks import held_out

BATCHES = 2  # of validation text
COPYING = "copying"  # the task that makes induction heads
Kept = TypeVar("Kept")


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """What to do to a model: `kind` is zero, mean or patch, `parts` are places in `parts()`.

    A patch takes what the parts did on the text `source`, at `position` or `everywhere`. What the
    model expects next is shown after `position`, from 0.
    """

    kind: str
    parts: tuple[int, ...]
    position: int
    source: str = ""
    everywhere: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class ImportanceLook:
    """Validation losses in nats per token: without each writing part, and `baseline` with all.

    In the order of `Interventions.parts`; `errors` are the standard errors of the changes.
    """

    losses: Numbers
    errors: Numbers
    baseline: float


class Interventions:
    """Changes to models, and what they do. Methods may be called from any thread."""

    def __init__(self, models: Models, subjects: Subjects, cache: LookCache) -> None:
        self._models = models
        self._subjects = subjects
        self._cache = cache
        self._kept: Shelf[Any] = models.shelves.shelf()

    def parts(self, opened: Open) -> list[Site]:
        """Every part that can be switched off or patched, streams (only patched) last."""
        return self._subjects.ask(opened, lambda subject: causes.changeable(subject.model))

    def effect(self, opened: Open, intervention: Intervention) -> causes.Effect:
        """The model before and after. Raises ConfigError where the intervention makes no sense."""
        return self._subjects.ask(
            opened, lambda subject: self._effect(subject, opened, intervention)
        )

    def _effect(self, subject: Subject, opened: Open, intervention: Intervention) -> causes.Effect:
        tokens = self._subjects.tokens(subject, opened.tokens)
        position = (
            intervention.position if 0 <= intervention.position < len(tokens) else len(tokens) - 1
        )
        batches = self._batches(subject)

        def behaviour(model: Any) -> causes.Behaviour:
            return causes.behaviour(model, subject.tokenizer, tokens, position, batches)

        key = f"{subject.key} {digest(tokens)} {position}"
        before = self._kept.get(key, lambda: behaviour(subject.model))
        change = causes.AppliedIntervention(
            kind=intervention.kind,
            sites=self._sites(subject, intervention),
            source=self._second(subject, intervention.source)
            if intervention.kind == "patch"
            else None,
            position=None if intervention.everywhere else position,
        )
        if not change.sites:
            return causes.effect(before, before)
        means = self._means(subject, batches) if intervention.kind == "mean" else None
        return causes.effect(before, behaviour(causes.changed(subject.model, change, means)))

    def _sites(self, subject: Subject, intervention: Intervention) -> tuple[Site, ...]:
        known = causes.changeable(subject.model)
        sites = tuple(known[place] for place in intervention.parts if 0 <= place < len(known))
        if intervention.kind != "patch":
            sites = tuple(site for site in sites if not causes.is_stream(site))
        return sites

    def _second(self, subject: Subject, text: str) -> Capture:
        if not text:
            raise ConfigError("inspection.source", "Write a second text to take activations from.")
        tokens = torch.from_numpy(subject.tokenizer.encode(text)).long()
        return self._subjects.capture(subject, tokens[: self._subjects.limit(subject)[0]])

    def _means(self, subject: Subject, batches: Sequence[Batch]) -> dict[Site, Tensor]:
        if not batches:
            raise ConfigError(
                "data.corpus",
                "Means are taken over the validation text, which is not here: switch parts off to "
                "zero instead.",
            )
        return self._kept.get(
            f"means {subject.key}", lambda: causes.means_of(subject.model, batches)
        )

    def _batches(self, subject: Subject) -> list[Batch]:
        """Pieces of the validation text; none where it is not at hand."""
        try:
            return self._subjects.batches(subject, BATCHES)
        except ConfigError:
            return []

    # --- what takes longer ----------------------------------------------------------------------

    def importance(self, opened: Open, *, mean: bool) -> Job:
        """Switch every part off in turn: a job that yields one `Importance` after another.

        Raises ConfigError when there is no validation text.
        """
        subject = self._subjects.run(
            lambda: self._subjects.find(opened.run, opened.step, opened.weights)
        )
        batches = self._subjects.batches(subject, BATCHES)
        return self._models.jobs.start(
            "Importance of every part", self._importance(subject, batches, mean)
        )

    def _importance(
        self, subject: Subject, batches: list[Batch], mean: bool
    ) -> Iterator[Importance]:
        sites = [site for site in causes.changeable(subject.model) if not causes.is_stream(site)]
        key, saved = f"{subject.key} {subject.run} {mean}", subject.snapshot.saved
        known = self._cache.find(ImportanceLook, key, on_disk=saved)
        if known is not None:
            rows = zip(sites, known.losses.tolist(), known.errors.tolist(), strict=True)
            for done, (site, loss, error) in enumerate(rows, start=1):
                yield Importance(site=site, loss=loss, baseline=known.baseline, error=error,
                                 done=done, total=len(sites))  # fmt: skip
            return
        found: list[Importance] = []
        for one in importance(subject.model, batches, sites, mean=mean):
            found.append(one)
            yield one
        look = ImportanceLook(
            losses=np.array([one.loss for one in found]),
            errors=np.array([one.error for one in found]),
            baseline=found[0].baseline,
        )
        self._cache.put(key, look, on_disk=saved)

    def induction(self, opened: Open) -> Job:
        """Look for induction heads: a job that yields importances, then an `InductionCheck`.

        On lines of the copying task where the run has learned that, else on random tokens that are
        written twice.
        """
        subject = self._subjects.run(
            lambda: self._subjects.find(opened.run, opened.step, opened.weights)
        )
        return self._models.jobs.start("Induction check", self._induction(subject))

    def _induction(self, subject: Subject) -> Iterator[Importance | InductionCheck]:
        if self.copies(subject.run):
            corpus, setup = self._models.learned_from(subject.run)
            problems = held_out(*parts(corpus, setup.data.validation_share))
            texts = copying_repetitions(subject.model, subject.tokenizer, problems)
        else:
            texts = random_repetitions(subject.model, torch.Generator().manual_seed(1))
        yield from induction_steps(subject.model, texts)

    def copies(self, run: str) -> bool:
        """Whether a run learns the copying task, which makes induction heads."""
        try:
            return self._models.learned_from(run)[0].name == COPYING
        except ConfigError:
            return False
