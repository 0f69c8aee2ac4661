"""The inspector: analyses models for the page, on threads that do not slow the training.

What it found is kept by what it depends on: the weights, the tokens, and what was asked for. What
was found of weights that lie on disk is kept there too; live snapshots leave nothing behind.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from transformer_lab.inspection.ablation import Batch
from transformer_lab.inspection.architecture import Part, describe
from transformer_lab.inspection.attribution import Attribution, logit_attribution
from transformer_lab.inspection.capture import Capture
from transformer_lab.inspection.embeddings import Neighbour
from transformer_lab.lab.looking import checkups, looks
from transformer_lab.lab.looking.interventions import Interventions
from transformer_lab.lab.looking.look_cache import LookCache
from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.looking.subjects import Open, Subject, Subjects, digest
from transformer_lab.model import ModelConfig
from transformer_lab.settings import ConfigError
from transformer_lab.text.split import parts

OPENING = 48  # tokens of the text that is shown first
CHECKED = 4096  # tokens among which a hidden unit has to wake
FIRST = "This is the first moment: there is none before it to compare with."
Answer = TypeVar("Answer")
Look = TypeVar("Look")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A text as a model reads it after `step` steps; `note` says what was left out."""

    open: Open
    step: int
    pieces: tuple[bytes, ...]
    note: str


class Inspector:
    """Looks into the models of a lab. Methods may be called from any thread.

    They raise ConfigError with a sentence, and what `Models.snapshot` raises for a missing model.
    """

    def __init__(self, models: Models, folder: Path) -> None:
        self._models = models
        self._subjects = Subjects(models)
        self._cache = LookCache(folder, models.shelves)
        self.interventions = Interventions(models, self._subjects, self._cache)

    def close(self) -> None:
        """Close the files of the cache."""
        self._cache.close()

    # --- texts ----------------------------------------------------------------------------------

    def opening(self, run: str) -> str:
        """A text to begin with: the first of what the run is judged on, else what it wrote."""
        snapshot = self._models.snapshot(run, None)
        tokenizer, length = snapshot.tokenizer, snapshot.config.sequence_length
        try:
            corpus, setup = self._models.learned_from(run)
            text = parts(corpus, setup.data.validation_share)[1].lstrip()[: 20 * OPENING]
        except ConfigError:
            text = self._models.written(run) or tokenizer.decode([0])
        known = tokenizer.encode(tokenizer.known(text))
        return tokenizer.decode(known[: min(OPENING, length)])

    def read(self, run: str, step: int | None, text: str) -> Reading:
        """Turn a text into tokens for a model, as many as it can read.

        Raises ConfigError for an empty text and UnknownTextError for unknown characters.
        """
        if not text:
            raise ConfigError("inspection.text", "Write a text for the model to read.")
        return self._subjects.run(lambda: self._read(run, step, text))

    def _read(self, run: str, step: int | None, text: str) -> Reading:
        subject = self._subjects.find(run, step)
        tokens = subject.tokenizer.encode(text).tolist()
        most, why = self._subjects.limit(subject)
        note = ""
        if len(tokens) > most:
            note = f"The text has {len(tokens):,} tokens; {why}: the first {most:,} are read."
        kept = tuple(tokens[:most])
        return Reading(
            open=Open(run=run, step=step, weights=subject.key, tokens=kept),
            step=subject.snapshot.step,
            pieces=tuple(subject.tokenizer.token_bytes(token) for token in kept),
            note=note,
        )

    def without_unknown(self, run: str, text: str) -> str:
        """The text without the characters that the model cannot read."""
        return self._models.snapshot(run, None).tokenizer.known(text)

    def pieces(self, opened: Open, tokens: Iterable[int]) -> list[bytes]:
        """The bytes that tokens of this model stand for. Raises ConfigError for one it has not."""
        subject = self._subjects.find(opened.run, opened.step, opened.weights)
        known = subject.model.vocabulary_size
        ids = [int(token) for token in tokens]
        if not all(0 <= token < known for token in ids):
            raise ConfigError("inspection.token", f"This model knows tokens 0 to {known - 1:,}.")
        return [subject.tokenizer.token_bytes(token) for token in ids]

    def vocabulary_size(self, opened: Open) -> int:
        """How many different tokens the model knows."""
        return self._subjects.find(opened.run, opened.step, opened.weights).model.vocabulary_size

    def config(self, opened: Open) -> ModelConfig:
        """The shape of the model."""
        return self._subjects.find(opened.run, opened.step, opened.weights).snapshot.config

    # --- what a model does with a text ----------------------------------------------------------

    def attention(self, opened: Open) -> looks.AttentionLook:
        """The patterns of all heads, pooled to small tiles."""
        return self._look(looks.AttentionLook, opened, "", lambda s, c: looks.attention_look(c))

    def measures(self, opened: Open) -> looks.MeasuresLook:
        """Every measure of every head."""
        return self._look(
            looks.MeasuresLook, opened, "", lambda s, c: looks.measures_look(s.model, c)
        )

    def head(self, opened: Open, layer: int, head: int) -> looks.HeadLook:
        """One head, large; both numbers from 0."""
        return self._look(
            looks.HeadLook, opened, f"{layer} {head}", lambda s, c: looks.head_look(c, layer, head)
        )

    def query(self, opened: Open, layer: int, head: int, position: int) -> looks.QueryLook:
        """The numbers of one query, all counted from 0."""
        return self._now(opened, lambda s, c: looks.query_look(c, layer, head, position))

    def lens(self, opened: Open) -> looks.LensLook:
        """What every layer would predict."""
        return self._look(looks.LensLook, opened, "", lambda s, c: looks.lens_look(s.model, c))

    def likeliest(self, opened: Open, position: int) -> looks.NextLook:
        """What the model expects after a place, from 0."""
        return self._now(opened, lambda s, c: looks.next_look(c, position))

    def attribution(self, opened: Open, position: int, token: int) -> Attribution:
        """How much each part contributes to a token's logit after a position (from 0)."""
        return self._now(opened, lambda s, c: logit_attribution(s.model, c, position, token))

    def tensors(self, opened: Open, paths: tuple[str, ...]) -> list[looks.TensorLook]:
        """Activations of the text, by their paths."""
        return self._now(opened, lambda s, c: [looks.tensor_look(c, path) for path in paths])

    def _look(
        self,
        kind: type[Look],
        opened: Open,
        more: str,
        make: Callable[[Subject, Capture], Look],
    ) -> Look:
        """A look that is kept."""

        def work(subject: Subject) -> Look:
            tokens = self._subjects.tokens(subject, opened.tokens)
            return self._cache.get(
                kind,
                f"{subject.key} {digest(tokens)} {more}",
                lambda: make(subject, self._subjects.capture(subject, tokens)),
                on_disk=subject.snapshot.saved,
            )

        return self._subjects.ask(opened, work)

    def _now(self, opened: Open, make: Callable[[Subject, Capture], Answer]) -> Answer:
        """Something that a capture gives at once, so that only the capture is kept."""

        def work(subject: Subject) -> Answer:
            tokens = self._subjects.tokens(subject, opened.tokens)
            return make(subject, self._subjects.capture(subject, tokens))

        return self._subjects.ask(opened, work)

    # --- the model itself -----------------------------------------------------------------------

    def architecture(self, opened: Open) -> list[Part]:
        """The parts of the model, in the order in which a token meets them."""
        return self._subjects.ask(opened, lambda subject: describe(subject.model))

    def embeddings(self, opened: Open) -> checkups.EmbeddingLook:
        """Where token embeddings lie, along the directions of the newest moment."""

        def work(subject: Subject) -> checkups.EmbeddingLook:
            newest = self._subjects.find(opened.run, None)
            return self._cache.get(
                checkups.EmbeddingLook,
                f"{subject.key} {newest.key}",
                lambda: checkups.embedding_look(
                    subject.model.embedding.weight,
                    newest.model.embedding.weight,
                    self._shown_tokens(subject),
                ),
                on_disk=subject.snapshot.saved and newest.snapshot.saved,
            )

        return self._subjects.ask(opened, work)

    def _shown_tokens(self, subject: Subject) -> list[int]:
        """Which tokens are drawn where there are too many for all."""
        try:
            judged = self._subjects.judged(subject)
        except ConfigError:
            judged = subject.tokenizer.encode("")
        return checkups.most_frequent(judged, subject.model.vocabulary_size)

    def neighbours(self, opened: Open, token: int) -> list[Neighbour]:
        """The tokens whose embeddings point most nearly the same way."""
        return self._subjects.ask(
            opened, lambda subject: checkups.neighbours(subject.model.embedding.weight, token)
        )

    def positions(self, opened: Open) -> checkups.PositionLook:
        """How alike positions are to the model."""

        def work(subject: Subject) -> checkups.PositionLook:
            return self._cache.get(
                checkups.PositionLook,
                subject.key,
                lambda: checkups.position_look(subject.model),
                on_disk=subject.snapshot.saved,
            )

        return self._subjects.ask(opened, work)

    def health(self, opened: Open, before: int | None) -> checkups.HealthLook:
        """How well it is; `before` is the step of the moment before, to see how far it moved."""

        def work(subject: Subject) -> checkups.HealthLook:
            return self._cache.get(
                checkups.HealthLook,
                f"{subject.key} {subject.run} {before}",
                lambda: self._examine(subject, before),
                on_disk=subject.snapshot.saved,
            )

        return self._subjects.ask(opened, work)

    def _examine(self, subject: Subject, before: int | None) -> checkups.HealthLook:
        batch: Batch
        (batch,) = self._subjects.batches(subject, 1, CHECKED)
        if before is None:
            return checkups.health_look(subject.model, batch, None, FIRST)
        earlier = self._subjects.find(subject.run, before).snapshot
        weights = {  # in the order of the model
            name: earlier.weights[name].to(weight.device)
            for name, weight in subject.model.state_dict().items()
        }
        steps = max(1, subject.snapshot.step - earlier.step)
        note = (
            f"From step {earlier.step:,} to step {subject.snapshot.step:,}, divided by {steps:,}."
        )
        return checkups.health_look(subject.model, batch, (weights, steps), note)
