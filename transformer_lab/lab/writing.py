"""Writings: what models wrote on the page, token by token, and what else could have come."""

import codecs
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from weakref import ref

import numpy as np

from transformer_lab.generation import SampleConfig, Step, encode_prompt, entropy, steps
from transformer_lab.inspection.distribution import KEPT, Top
from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.looking.stored_models import StoredModels
from transformer_lab.lab.shelves import Shelf, Shelves
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.settings import ConfigError
from transformer_lab.text.pieces import Tokens
from transformer_lab.text.tokenizers import Tokenizer

PER_TOKEN = 1_200  # bytes of a written token, besides the likeliest ones at its place
PER_LIKELY = 8  # bytes of each of them


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """One token that was written.

    `text` is what it adds; empty for one that is only part of a character. `probability` is the
    share the model itself gave it, `entropy` (nats) how undecided it was, both before temperature
    and cuts, and both exact. `top` is what it was drawn from.
    """

    token: int
    text: str
    probability: float
    entropy: float
    top: Top


@dataclass(eq=False)
class Writing:
    """A text a model wrote, or is writing. A branch has its parent's id and the place it left at.

    `snapshot` says who wrote it, without the weights, which a text does not keep in memory; `model`
    has them as long as they are kept elsewhere. `inherited` are the tokens it shares with its
    parent, the one chosen instead as the last.
    """

    snapshot: Snapshot
    model: "ref[Snapshot]"
    config: SampleConfig
    prompt: Tokens
    job: Job
    inherited: list[Written] = field(default_factory=list)
    parent: str = ""
    at: int = 0
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def since(self, cursor: int = 0) -> tuple[list[Written], int]:
        """Tokens after `cursor`, and the cursor to pass next time."""
        fresh, count = self.job.since(max(0, cursor - len(self.inherited)))
        return [*self.inherited[cursor:], *fresh], len(self.inherited) + count

    def at_place(self, place: int) -> Written | None:
        """The token at a place, if it is written."""
        found = self.since(place)[0]
        return found[0] if found and place >= 0 else None


class Writings:
    """The last writings of everyone who looks at this lab."""

    def __init__(self, jobs: Jobs, models: StoredModels, shelves: Shelves) -> None:
        self._jobs = jobs
        self._models = models
        self._kept: Shelf[Writing] = shelves.shelf(lambda writing: writing.job.stop())

    def find(self, writing_id: object) -> Writing | None:
        """A writing by its id, or None when it is not known (any more)."""
        return self._kept.find(writing_id) if isinstance(writing_id, str) else None

    def start(self, snapshot: Snapshot, config: SampleConfig) -> Writing:
        """Let a model write. Raises ConfigError and UnknownTextError before it does."""
        prompt = encode_prompt(snapshot.tokenizer, config)
        return self._start(snapshot, config, prompt, [])

    def branch(
        self, parent: Writing, place: int, token: int, config: SampleConfig
    ) -> Writing | None:
        """Write on with another token at a place; None when that place was not written.

        Raises ConfigError when the weights of that moment are gone.
        """
        replaced = parent.at_place(place)
        if replaced is None or not 0 <= token < parent.snapshot.tokenizer.vocabulary_size:
            return None
        snapshot = parent.model()
        if snapshot is None:
            raise ConfigError(
                "sample.prompt",
                f"The weights of step {parent.snapshot.step:,} are no longer in memory: write the "
                "text once more, then branch.",
            )
        before = parent.since()[0][:place]
        chosen = _instead(replaced, token, before, parent.snapshot.tokenizer)
        length = max(1, config.length - place - 1)
        config = replace(config, prompt=parent.config.prompt, length=length)
        made = self._start(snapshot, config, parent.prompt, [*before, chosen])
        made.parent, made.at = parent.id, place
        return made

    def _start(
        self, snapshot: Snapshot, config: SampleConfig, prompt: Tokens, inherited: list[Written]
    ) -> Writing:
        tokens = np.array([one.token for one in inherited], dtype=prompt.dtype)
        written = steps(snapshot.model(), np.concatenate([prompt, tokens]), config)
        pieces = _with_text(written, inherited, snapshot.tokenizer)
        job = self._jobs.start("Generation", pieces, found=False)
        self._models.keep(snapshot)
        who = snapshot.without_weights()
        made = Writing(who, ref(snapshot), config, prompt, job, inherited)
        likely = min(KEPT, snapshot.tokenizer.vocabulary_size)
        return self._kept.keep(made.id, made, config.length * (PER_TOKEN + PER_LIKELY * likely))


def _with_text(
    written: Iterator[Step], inherited: list[Written], tokenizer: Tokenizer
) -> Iterator[Written]:
    """Steps with their text; what ends within a character adds its text once it is whole."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for one in inherited:
        decoder.decode(tokenizer.token_bytes(one.token))
    for step in written:
        probabilities = step.logits.softmax(0)
        yield Written(
            token=step.token,
            text=decoder.decode(tokenizer.token_bytes(step.token)),
            probability=float(probabilities[step.token]),
            entropy=entropy(probabilities),
            top=Top.of(step.logits, step.token),
        )


def _instead(replaced: Written, token: int, before: list[Written], tokenizer: Tokenizer) -> Written:
    """Another token in the place of one that was written."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for one in before:
        decoder.decode(tokenizer.token_bytes(one.token))
    text = decoder.decode(tokenizer.token_bytes(token))
    return replace(replaced, token=token, text=text, probability=replaced.top.share(token))
