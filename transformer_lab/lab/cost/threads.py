"""How many CPU threads a training computes on, chosen by the seconds its own steps take.

More threads are not always faster. Every product ends where its slowest thread does, so one thread
that waits for a core which another program holds delays all, some thousand times a step. First a
short product is timed on each count, since a whole step on too many could take minutes; then real
steps on those left. Later it is measured again: when steps have become slow, and now and then
whether more threads pay by now.
"""

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from transformer_lab.lab.device import available_cores, physical_cores
from transformer_lab.recipes import Setup
from transformer_lab.training import Change, LiveSettings, StepMetrics, TrainConfig

MEASURED = "threads_measured"  # the event that tells what a trial found
Timing = Callable[[int], float]  # seconds of a short product on so many threads

ROUNDS = 3  # of real steps on each count still in question
BLOCK_SECONDS, BLOCK_STEPS = 0.2, 10  # on one count at most, before the next has its turn
HOPELESS = 2.5  # times as slow as the best: not tried any further
NEAR = 1.25  # times as slow as the best: tried once more
SAME = 1.05  # no gain that is worth a thread
SLOWED = 2.0  # times the usual seconds a step from which a training counts as slowed down
SLOW_SECONDS = 2.0  # for so long
AGAIN_SECONDS = 60.0  # of training until it is asked whether more threads pay; twice as long after
WINDOW_SECONDS = 0.02  # of one timing of a short product
LARGEST = 256, 128  # rows and columns of it


def candidates() -> list[int]:
    """Powers of two below the number of cores, and that number: what may be best."""
    most = physical_cores()
    return sorted({2**power for power in range(most.bit_length()) if 2**power < most} | {most})


def automatic(config: TrainConfig, device: str) -> bool:
    """Whether the number is measured: neither it nor determinism was asked for."""
    return not config.threads and not config.deterministic and device == "cpu"


def thread_count(config: TrainConfig) -> int:
    """CPU threads where that is not measured: those asked for, or one for each core."""
    return config.threads or physical_cores()


def described(threads: int, measured: bool, cores: int) -> str:
    """In words: how many of how many, and whether that was measured."""
    return f"{threads} of {cores} threads{', measured' if measured else ''}"


def planned(config: TrainConfig, device: str) -> str:
    """In words, before a training begins, on how many it will compute; `device` is named."""
    counts = candidates()
    if automatic(config, device.lower()) and len(counts) > 1:
        return f"1 to {counts[-1]} threads, measured as it starts"
    return described(thread_count(config), False, available_cores())


def short_product(rows: int, width: int) -> Timing:
    """Times a part of a feed-forward of that size; for the worker's thread."""
    rows, width = min(rows, LARGEST[0]), min(width, LARGEST[1])
    tokens, matrix = torch.ones(rows, width), torch.ones(width, 4 * width)

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        torch.relu(tokens @ matrix)  # the first one starts the threads
        begun, count = time.perf_counter(), 0
        while (passed := time.perf_counter() - begun) < WINDOW_SECONDS or count < 3:
            torch.relu(tokens @ matrix)
            count += 1
        return passed / count

    return seconds


def promising(counts: Sequence[int], timing: Timing) -> list[int]:
    """Those counts on which a short product is not hopelessly slow, the fastest first."""
    if len(counts) == 1:
        return list(counts)
    passes = [[timing(count) for count in counts] for _ in range(2)]
    mean = {count: sum(times) for count, *times in zip(counts, *passes, strict=True)}
    best = min(mean.values())
    return sorted((c for c in counts if mean[c] <= HOPELESS * best), key=mean.__getitem__)


class StepComparison:
    """Real steps on each of a few counts, in turn, until one is found to be the fastest."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.seconds: dict[int, list[float]] = {count: [] for count in counts}  # a step, by block
        self._turns = list(counts)
        self._block: list[float] = []
        self._rounds = 1

    @property
    def count(self) -> int:
        """Threads for the next step, or the fastest of all when done."""
        return self._turns[0] if self._turns else self._fastest()

    @property
    def done(self) -> bool:
        """Whether the fastest is known."""
        return not self._turns

    @property
    def medians(self) -> dict[int, float]:
        """Seconds a step on every count tried so far."""
        return {c: statistics.median(blocks) for c, blocks in self.seconds.items() if blocks}

    def took(self, seconds: float) -> None:
        """A step on `count` threads took so long."""
        self._block.append(seconds)
        full = sum(self._block) >= BLOCK_SECONDS or len(self._block) == BLOCK_STEPS
        best = min(self.medians.values(), default=math.inf)
        if not full and seconds < HOPELESS * best:
            return
        self.seconds[self._turns.pop(0)].append(statistics.median(self._block))
        self._block = []
        if not self._turns and self._rounds < ROUNDS:
            self._rounds += 1
            near = [c for c, s in self.medians.items() if s <= NEAR * min(self.medians.values())]
            self._turns = near if len(near) > 1 else []

    def _fastest(self) -> int:
        medians = self.medians
        return min(c for c, s in medians.items() if s <= SAME * min(medians.values()))


class ThreadChoice:
    """The number of threads for each step of one training, until it ends.

    `current` is what it has computed on before, when it goes on with that; then `usual` are the
    seconds its steps took.
    """

    def __init__(
        self,
        counts: Sequence[int],
        timing: Timing,
        current: int | None = None,
        usual: float | None = None,
    ) -> None:
        self.count = current or counts[-1]
        self.found: dict[int, float] | None = None  # by the last trial, until it was recorded
        self.notes: list[str] = []
        self._counts = list(counts)
        self._timing = timing
        self._usual = usual
        self._recent: list[float] = []
        self._since = 0.0  # the last trial, seconds of steps
        self._pause = AGAIN_SECONDS
        self._comparison: StepComparison | None = None
        self._before = 0  # the trial under way, threads; 0: nothing
        self._cold = True  # the first step of all is slower than those to come
        if current is None:
            self._try(self._counts)
            self._before = 0
            self._end_trial(0)

    def took(self, step: int, seconds: float) -> None:
        """`step` took so long on `count` threads; that may change `count` for the next."""
        if self._cold:
            self._cold = False
        elif self._comparison:
            self._comparison.took(seconds)
            self.count = self._comparison.count
            self._end_trial(step)
        else:
            self._watch(step, seconds)

    def _watch(self, step: int, seconds: float) -> None:
        self._since += seconds
        self._recent.append(seconds)
        while sum(self._recent[1:]) >= SLOW_SECONDS:
            self._recent.pop(0)
        if sum(self._recent) < SLOW_SECONDS:
            return
        median = statistics.median(self._recent)
        self._usual = self._usual or median
        slowed = median > SLOWED * self._usual
        if slowed and self.count > self._counts[0]:
            self._try([c for c in self._counts if c <= self.count])
            self._end_trial(step)
        elif self.count < self._counts[-1] and self._since > self._pause:
            self._pause *= 2
            self._try([c for c in self._counts if c >= self.count])
            self._end_trial(step)

    def _try(self, counts: Sequence[int]) -> None:
        """Begin to measure anew; where only one count is promising, it is taken."""
        self._before, self._since, self._recent = self.count, 0.0, []
        found = promising(counts, self._timing)
        self._comparison = StepComparison(found) if len(found) > 1 else None
        self.count = found[0]

    def _end_trial(self, step: int) -> None:
        """Tell what was found, when it is."""
        if self._comparison and not self._comparison.done:
            return
        if len(self._counts) > 1 and (self._comparison or self.count != self._before):
            self.found = self._comparison.medians if self._comparison else {}
        self._usual = self._comparison.medians[self.count] if self._comparison else None
        self._comparison = None
        if self.count < self._before:
            self.notes.append(
                f"Steps had become slow at step {step:,}, so they are computed on {self.count} "
                f"instead of {self._before} CPU threads: other programs may be busy."
            )
        elif self._before and self.count > self._before:
            self.notes.append(
                f"From step {step + 1:,} on it computes on {self.count} instead of {self._before} "
                "CPU threads, which is faster by now."
            )


@dataclass(frozen=True)
class Kept:
    """What a training that goes on computed on: `threads`, 0 for a new one.

    `measured` says whether they had been found the fastest, `until` up to which step it had come,
    and `speed` how many tokens a second it took there.
    """

    threads: int = 0
    measured: bool = False
    until: int = 0
    speed: float | None = None


class RunThreads:
    """The CPU threads of one training: asked for, as they were, or measured.

    Sums round by their number, so what `kept` holds is kept, every change is one to record, and
    steps that are taken again are computed on as many as the first time.
    """

    def __init__(
        self,
        live: LiveSettings,
        setup: Setup,
        device: str,
        kept: Kept,
        timing: Timing | None = None,
    ) -> None:
        """`live` tells how many sequences are computed at once."""
        config, model = setup.train, setup.model
        self._live = live
        self._tokens = config.batch_size * model.sequence_length
        rows = live.micro_batch * model.sequence_length
        self._timing = timing or short_product(rows, model.embedding_dim)
        self._kept = kept
        self._automatic = automatic(config, device)
        self._choice: ThreadChoice | None = None
        self._live.threads = kept.threads or thread_count(config)
        if self._automatic and not kept.threads:
            self._live.threads = self._choose().count

    def _choose(self) -> ThreadChoice:
        """Measure from now on; where they were found the fastest here before, they stay."""
        counts, now = candidates(), self._live.threads
        known = self._kept.threads and self._kept.measured and now <= counts[-1]
        if known:
            usual = self._tokens / self._kept.speed if self._kept.speed else None
            self._choice = ThreadChoice(counts, self._timing, now, usual)
        else:
            self._choice = ThreadChoice(counts, self._timing)
        return self._choice

    def before(self, step: int) -> Change | None:
        """Have `step` computed on as many as it should be; the change that this is, if it is one.

        For the worker's thread: torch keeps the number for each thread apart.
        """
        self._live.before(step)
        if self._automatic and step > self._kept.until and self._choice is None:
            self._choose()
        change = self.changed(step - 1)
        if torch.get_num_threads() != self._live.threads:
            torch.set_num_threads(self._live.threads)
        return change

    def changed(self, after: int) -> Change | None:
        """The change that was decided on after that step, if one was, to be recorded."""
        if self._choice is None or self._choice.count == self._live.threads:
            return None
        self._live.threads = self._choice.count
        return Change(after, "threads", self._live.threads)

    def took(self, taken: StepMetrics) -> tuple[str, list[str]]:
        """A step was taken: what was found out by it, as JSON, if anything was; what to say."""
        if self._choice is None:
            return "", []
        self._choice.took(taken.step, self._tokens / taken.tokens_per_second)
        found, notes = self._choice.found, self._choice.notes
        self._choice.found, self._choice.notes = None, []
        if found is None:
            return "", notes
        facts = {"threads": self._choice.count, "seconds": {str(n): s for n, s in found.items()}}
        return json.dumps(facts), notes
