"""Subjects: models under inspection, their texts, and the cached captures of them.

Weights are kept by `StoredModels`, within the bound of all shelves; a subject is made anew from
them whenever it is asked for.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from transformer_lab.inspection.ablation import Batch
from transformer_lab.inspection.capture import Capture, capture, capture_bytes
from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.shelves import Shelf
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.model import GPT
from transformer_lab.settings import ConfigError
from transformer_lab.text.pieces import Tokens
from transformer_lab.text.split import parts
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.training.batches import Batches

MOST_TOKENS = 1024  # of a text, for the page's sake
PATIENCE = 60.0  # seconds that a page waits
ROOM = 400_000_000  # bytes of one capture
JUDGED = 60_000  # characters of the validation text that are looked at
BATCH_TOKENS = 1024
MOST_ROWS = 48  # of a batch, since some looks read row by row
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model to look into; `key` names its very weights and the shape they are used in."""

    run: str
    snapshot: Snapshot
    model: GPT
    key: str

    @property
    def tokenizer(self) -> Tokenizer:
        """How it reads text."""
        return self.snapshot.tokenizer


@dataclass(frozen=True, kw_only=True)
class Open:
    """What a page has open: a model at a moment (`step` None is the newest), and what it reads.

    `weights` is the key of the subject, so that a page shows the same weights everywhere, even
    while the newest ones change.
    """

    run: str
    step: int | None
    weights: str
    tokens: tuple[int, ...]


class Subjects:
    """Models to look into, and captures of them. Methods may be called from any thread."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._named: WeakValueDictionary[str, Snapshot] = WeakValueDictionary()
        self._captures: Shelf[Capture] = models.shelves.shelf()
        self._lock = threading.Lock()
        self._capturing = threading.Lock()  # two pages that ask for the same wait for one

    def ask(self, opened: Open, work: Callable[[Subject], Answer]) -> Answer:
        """Do something with the model a page has open, on a thread for that.

        Raises what the work raises, and ConfigError when it takes too long.
        """
        return self.run(lambda: work(self.find(opened.run, opened.step, opened.weights)))

    def run(self, work: Callable[[], Answer]) -> Answer:
        """Do something on a thread that computes for pages. Raises as `ask` does."""
        try:
            return self._models.jobs.ask(work, PATIENCE)
        except TimeoutError:
            raise ConfigError(
                "inspection.text",
                f"This takes longer than {PATIENCE:.0f} s on this computer: choose a shorter text, "
                "or pause what is training.",
            ) from None

    def find(self, run: str, step: int | None, weights: str = "") -> Subject:
        """The model of that key if it is kept, else the one at that moment of the run.

        Raises what `Home.snapshot` raises.
        """
        snapshot = self._named.get(weights) or self._models.snapshot(run, step)
        self._models.stored.keep(snapshot)
        with contextlib.nullcontext() if snapshot.saved else self._lock:
            key = snapshot.key  # all agree on one; that of saved weights takes a while
        self._named[key] = snapshot
        return Subject(run=run, snapshot=snapshot, model=snapshot.shared, key=key)

    def capture(self, subject: Subject, tokens: Tensor) -> Capture:
        """All that happens while the model reads (T,) tokens. Raises ConfigError."""
        key = f"{subject.key} {digest(tokens)}"
        with self._capturing:
            return self._captures.get(key, lambda: capture(subject.model, tokens, room=ROOM))

    def limit(self, subject: Subject) -> tuple[int, str]:
        """How many tokens of a text are read, and the reason why not more."""
        context = subject.snapshot.config.sequence_length
        most, why = context, f"this model reads {context:,} at once"
        if most > MOST_TOKENS:
            most, why = MOST_TOKENS, f"the page shows at most {MOST_TOKENS:,}"
        if capture_bytes(subject.model, most) > ROOM:
            why = "all that happens in a model of this size would take too much memory"
            while most > 1 and capture_bytes(subject.model, most) > ROOM:
                most = most * 3 // 4
        return most, why

    def tokens(self, subject: Subject, given: tuple[int, ...]) -> Tensor:
        """(T,) tokens that a page sent. Raises ConfigError for such the model does not have."""
        known, most = subject.model.vocabulary_size, subject.snapshot.config.sequence_length
        if not 1 <= len(given) <= most or not all(0 <= token < known for token in given):
            raise ConfigError(
                "inspection.tokens", "This text belongs to another model: write it once more."
            )
        return torch.tensor(given)

    def judged(self, subject: Subject) -> Tokens:
        """(N,) tokens of the validation text: its beginning. Raises ConfigError."""
        corpus, setup = self._models.learned_from(subject.run)
        text = parts(corpus, setup.data.validation_share)[1][:JUDGED]
        return subject.tokenizer.encode(subject.tokenizer.known(text))

    def batches(self, subject: Subject, count: int, tokens: int = BATCH_TOKENS) -> list[Batch]:
        """Pieces of the validation text, always the same. Raises ConfigError."""
        judged = self.judged(subject)
        length = min(subject.snapshot.config.sequence_length, MOST_TOKENS)
        if len(judged) <= length:
            raise ConfigError(
                "data.corpus",
                f"The validation text has only {len(judged):,} tokens that this model knows: too "
                f"few for one piece of {length:,}.",
            )
        device = subject.model.embedding.weight.device
        rows = max(1, min(MOST_ROWS, tokens // length))
        draw = Batches(torch.from_numpy(judged).to(device), rows, length, 0)
        return [draw(number) for number in range(count)]


def digest(tokens: Tensor) -> str:
    """A short name for (T,) tokens."""
    return hashlib.sha256(tokens.to(torch.int32).numpy().tobytes()).hexdigest()[:32]
