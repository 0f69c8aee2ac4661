"""One training and what is published, written and saved of it."""

import math
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformer_lab.lab.cost.threads import RunThreads
from transformer_lab.lab.device import DeviceChoice, choose_device, environment
from transformer_lab.lab.shelves import give_back
from transformer_lab.lab.text.texts import Texts
from transformer_lab.lab.training.metrics import MetricStream
from transformer_lab.lab.training.origins import New, Origin, Resumed
from transformer_lab.lab.training.saves import Saved, Saves
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.states import NEXT, Lifecycle
from transformer_lab.lab.training.tuning import OldText
from transformer_lab.model import GPT
from transformer_lab.model.weights import outline
from transformer_lab.recipes import Setup
from transformer_lab.runs.database import RunWriter, State
from transformer_lab.runs.files import Progress
from transformer_lab.runs.store import RunStore
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import EncodedCorpus
from transformer_lab.training import Change, LiveSettings, StepMetrics
from transformer_lab.training.optimizers import Optimizer
from transformer_lab.training.ranks import ALONE, Ranks

SNAPSHOT_SECONDS = 1.0
SNAPSHOT_SHARE = 50  # publishing may take at most this fraction of the time
LATEST_STEPS = 50  # that tell how much time passes between two


@dataclass(frozen=True)
class Made:
    """What preparing a training makes: the text and the model."""

    corpus: Corpus
    encoded: EncodedCorpus
    model: GPT
    saved: Saved | None

    def lighter(self) -> "Made":
        """The same, but of what was saved only how far it was: the rest is in use by now."""
        saved = self.saved and replace(self.saved, weights={}, remembered={})
        return replace(self, saved=saved)


class RecordedRun(Lifecycle):
    """A training's settings, its parts, and what others may read of it.

    Which of its parts are there depends on its state: `made` from `ready` on, `writer` from the
    moment its folder is open. The three named here are made when it begins.
    """

    _optimizer: Optimizer
    _saves: Saves
    _threads: RunThreads

    def __init__(
        self,
        setup: Setup,
        recipe: str,
        store: RunStore,
        texts: Texts,
        on_snapshot: Callable[[Any, bool], None],
        origin: Origin | None = None,
        *,
        race: str = "",
        lane: str = "",
        item: str = "",
        ranks: Ranks = ALONE,
    ) -> None:
        """`race` and `lane` name the race it takes part in, and what it is called there.

        `item` is what it is in the queue, where it waited; `ranks` are the processes that train it.
        """
        self.setup = setup
        self.recipe = recipe
        self.race = race
        self.lane = lane
        self.item = item
        self.ranks = ranks
        self.origin = origin or New()
        super().__init__(self.origin.run.id if isinstance(self.origin, Resumed) else "")
        self.snapshot: Snapshot | None = None
        self.stream = MetricStream()
        self.live = LiveSettings()
        self.device: DeviceChoice = choose_device(setup.train.device)
        self.on_open: Callable[[], None] = lambda: None  # called when its folder is there
        self.parameters = 0
        self.trained = 0  # numbers that learn in a fine-tuning
        self.made: Made | None = None
        self.validation_loss: float | None = None
        self.attempt = 0
        self.begun = time.time()
        self.peaks: tuple[Change, ...] = ()
        self._store = store
        self._texts = texts
        self._on_snapshot: Callable[[Any, bool], None] = on_snapshot  # is given this run
        self._writer: RunWriter | None = None
        self._steps: Generator[StepMetrics, None, None] | None = None
        self._published = 0.0
        self._old: OldText | None = None
        self.unsaved = ""  # why its end is not on disk yet, in a sentence
        self._ending: tuple[State, str] | None = None  # the state and reason it is to end with
        self._tried = 0.0
        self._kept_in: Path | None = None
        self._ends: deque[tuple[int, float]] = deque(maxlen=LATEST_STEPS)  # of steps, and when

    @property
    def threads(self) -> int:
        """CPU threads it computes on now; 0 before it begins."""
        return self.live.threads

    @property
    def writer(self) -> RunWriter:
        """Writes the run's metrics and events; there once its folder is open."""
        assert self._writer is not None
        return self._writer

    def publish(self, *, announce: bool = True, evaluated: bool = False) -> None:
        """Copy the weights for others to read, and tell the observers."""
        started = time.monotonic()
        now = self._now()
        weights = {name: value.clone() for name, value in now.weights.items()}
        self.snapshot = replace(now, weights=weights)
        self._published = time.monotonic()
        self._snapshot_pause = max(SNAPSHOT_SECONDS, SNAPSHOT_SHARE * (self._published - started))
        if announce:
            self._on_snapshot(self, evaluated)

    def _now(self) -> Snapshot:
        """The weights themselves, not a copy: for the worker's thread, until the next step."""
        assert self.made is not None
        return Snapshot(
            run_id=self.status.run_id,
            step=self.status.step,
            config=self.setup.model,
            tokenizer=self.made.encoded.tokenizer,
            weights=self.ranks.weights(self.made.model),
        )

    def _snapshot_due(self) -> bool:
        return time.monotonic() - self._published >= self._snapshot_pause

    def save(self) -> bool:
        """Write the best weights, then all that is needed to go on; whether that is on disk.

        The metrics come first: a save must never be ahead of the curve that leads to it.
        """
        assert self.made is not None
        if trouble := self.writer.flush_through():
            self.update(note=trouble)
        tokenizer = self.made.encoded.tokenizer
        return self._saves.save(self.made.model, self._optimizer, tokenizer, self._progress())

    def keep(self) -> str:
        """Save this moment for good; on the worker's thread, between two steps.

        The answer is a sentence when that was not possible, else empty.
        """
        if self.made is None or self.ended:
            return "The training has ended before this moment could be kept."
        tokenizer = self.made.encoded.tokenizer
        if not self._saves.keep(self.made.model, self._optimizer, tokenizer, self._progress()):
            return self._saves.problem
        return self.writer.event("kept", self.status.step, "")

    def _progress(self) -> Progress:
        return Progress(
            step=self.status.step,
            optimizer=self.setup.train.optimizer,
            learning_rate=self.live.learning_rate,
            micro_batch=self.live.micro_batch,
            uncompiled=self.live.uncompiled,
            best_loss=None if math.isinf(self._saves.best_loss) else self._saves.best_loss,
        )

    def _note(self, sentence: str) -> None:
        """Record and show a note on this run."""
        if sentence == self.status.note:  # it was said just now
            return
        self.writer.event("note", self.status.step, sentence)
        self.update(note=sentence)

    def _change(self, state: State) -> bool:
        """Record another state and go to it, unless something else was asked for meanwhile."""
        if state not in NEXT[self.status.state]:
            return False
        self.writer.state(state, self.status.step)
        return self.move(state)

    def forget(self) -> None:
        """Free what only training needs, once it has ended; `snapshot` has the weights."""
        if self.made is not None:
            vocabulary_size = self.made.encoded.tokenizer.vocabulary_size
            shape = outline(self.setup.model, vocabulary_size)
            self.made = replace(self.made.lighter(), model=shape)
        vars(self).pop("_optimizer", None)
        if "_saves" in vars(self):
            self._saves.best = None  # on disk, or in `snapshot`
        give_back()

    def _manifest(self, made: Made) -> dict[str, Any]:
        """What run.json records: everything needed to know what this run really was."""
        self._store.folder.mkdir(parents=True, exist_ok=True)
        return {
            "recipe": self.recipe,
            "setup": self.setup.to_mapping(),
            "corpus": {
                "name": made.corpus.name,
                "title": made.corpus.title,
                "source": made.corpus.source,
                "sha256": made.corpus.sha256,
                "characters": made.corpus.characters,
                "distinct_characters": made.corpus.distinct_characters,
                "asked_for": self.setup.data.corpus,
                "training_tokens": len(made.encoded.training),
                "validation_tokens": len(made.encoded.validation),
                "validation_bytes": made.encoded.validation_bytes,
                "unknown_share": made.encoded.unknown_share,
            },
            "tokenizer": made.encoded.tokenizer.to_json(),
            "parameters": self.parameters,
            "device": {"name": self.device.name, "reason": self.device.reason},
            "threads": self.threads,
            "micro_batch": self.live.micro_batch,
            "environment": environment(self._store.folder),
            **self._finetune(),
            **({"race": self.race, "lane": self.lane} if self.race else {}),
        }

    def _finetune(self) -> dict[str, Any]:
        """What run.json records of a fine-tuning."""
        about = self.origin.finetune()
        return {"finetune": {**about, "trained": self.trained}} if about else {}
