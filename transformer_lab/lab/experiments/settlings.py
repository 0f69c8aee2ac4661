"""How the latents of a model in training settle: measured every few seconds, on a job's thread."""

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import ref

import torch

from transformer_lab.lab.jobs import Job, Jobs
from transformer_lab.lab.looking.models import Models
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.stored_runs import Runs
from transformer_lab.model.settling import settling_trace

LOOK_SECONDS = 5.0  # between two looks: they take time from the training
MOST_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class SettlingTrace:
    """One look: for each part that settles its name and its energy after 0, 1, .. T steps.

    The energies are means over the `tokens` tokens it read.
    """

    run_id: str
    step: int
    tokens: int
    traces: list[tuple[str, list[float]]]


class Settlings:
    """Looks at the newest weights of the model that is asked for, one look at a time."""

    def __init__(self, jobs: Jobs, runs: Runs, models: Models) -> None:
        self._jobs = jobs
        self._runs = runs
        self._models = models
        self._found: tuple[ref[Snapshot], Snapshot, SettlingTrace] | None = None
        self._looking: Job | None = None
        self._begun = -math.inf
        self._lock = threading.Lock()

    def look(self, name: str) -> SettlingTrace | None:
        """What is known of a model, and have a look at newer weights if it is time for one.

        None when there is nothing yet, or when nothing in the model settles. Raises LabError.
        """
        snapshot = self._models.snapshot(name)
        if not _settles(snapshot):
            return None
        with self._lock:
            seen, who, settled = self._found or (lambda: None, None, None)
            same = who is not None and (who.run_id, who.config) == (
                snapshot.run_id,
                snapshot.config,
            )
            resting = self._looking is None or self._looking.done
            due = not same or time.monotonic() - self._begun >= LOOK_SECONDS
            if seen() is not snapshot and resting and due:
                self._begun = time.monotonic()
                self._looking = self._jobs.start("Settling", self._traced(snapshot), found=False)
        return settled if same else None

    def _traced(self, snapshot: Snapshot) -> Iterator[SettlingTrace]:
        tokens = _some_text(self._runs, snapshot)
        traces = settling_trace(snapshot.model(), tokens)
        settled = SettlingTrace(
            run_id=snapshot.run_id, step=snapshot.step, tokens=tokens.numel(), traces=traces
        )
        self._found = (ref(snapshot), snapshot.without_weights(), settled)
        yield settled


def _settles(snapshot: Snapshot) -> bool:
    return any("settling" in name.split(".") for name in snapshot.weights)


def _some_text(runs: Runs, snapshot: Snapshot) -> torch.Tensor:
    """(1, T) tokens to read: what the model wrote last, else tokens drawn at random."""
    sample = runs.view(snapshot.run_id).sample if snapshot.run_id else None
    most = min(MOST_TOKENS, snapshot.config.sequence_length)
    tokenizer, device = snapshot.tokenizer, next(iter(snapshot.weights.values())).device
    text = tokenizer.known(sample.prompt + sample.text) if sample else ""
    tokens = torch.tensor([int(token) for token in tokenizer.encode(text)[-most:]])
    if not len(tokens):
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, tokenizer.vocabulary_size, (most,), generator=generator)
    return tokens.to(device)[None]
