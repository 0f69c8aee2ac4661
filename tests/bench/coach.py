"""How often the coach speaks on real short runs, and how often what it says is false.

python tests/bench/coach.py [COUNT] [FIRST]

Settings are drawn at random: text, model, batch, optimizer, schedule, learning rate over five
orders of magnitude. Each claim is tried: a learning rate, a batch size or a longer text by training
again with it, overfitting on more of the validation text, a plateau by what follows. Hits and false
alarms are counted once for each run and kind of advice, at the first step where it is given.
"""

import copy
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from transformer_lab.lab.coach.coach import advise
from transformer_lab.lab.coach.evidence import MOST, RECENT, Advice, Record, thinned
from transformer_lab.model import GPT, ModelConfig, build_model
from transformer_lab.model.weights import parameter_breakdown
from transformer_lab.recipes import Setup
from transformer_lab.text import DataConfig
from transformer_lab.text.corpora import corpus_folders, load_corpus
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.training import NonFiniteLossError, StepMetrics, TrainConfig, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.evaluate import evaluate
from transformer_lab.training.live import LiveSettings
from transformer_lab.training.optimizers import OPTIMIZERS

EVERY = 10  # steps between two looks of the coach
RATES = {"adamw": (1e-6, 0.3), "sgd": (1e-5, 1.0), "muon": (1e-5, 0.3)}
VALIDATION = 20_000  # tokens, always the same


@dataclass(frozen=True)
class Text:
    """A text in tokens: the part to learn from as long as one likes, and one to be judged on."""

    training: torch.Tensor
    validation: torch.Tensor
    vocabulary: int


def text() -> Text:
    """Tiny Shakespeare in characters, from a folder that TRANSFORMER_LAB_DATA names."""
    corpus = load_corpus("tiny_shakespeare", corpus_folders(Path()))
    tokenizer = TOKENIZERS["characters"].learn(corpus.text, 0)
    tokens = torch.tensor(tokenizer.encode(corpus.text[:400_000]).tolist())
    return Text(tokens[:-VALIDATION], tokens[-VALIDATION:], tokenizer.vocabulary_size)


def drawn(number: int) -> tuple[Setup, int]:
    """The settings of one run, and the length of its text in tokens."""
    draw = random.Random(number)
    model = ModelConfig(
        layers=draw.choice([1, 1, 2]),
        heads=2,
        embedding_dim=draw.choice([16, 32, 48]),
        sequence_length=draw.choice([16, 32]),
        dropout=draw.choice([0.0, 0.0, 0.1]),
        norm_place=draw.choice(["pre", "pre", "post"]),
    )
    optimizer = draw.choice(["adamw", "adamw", "sgd", "muon"])
    low, high = (math.log(rate) for rate in RATES[optimizer])
    config = TrainConfig(
        steps=draw.choice([120, 120, 200, 360]),
        batch_size=draw.choice([1, 4, 8, 16, 16]),
        optimizer=optimizer,
        learning_rate=float(f"{math.exp(draw.uniform(low, high)):.2g}"),
        schedule=draw.choice(["three_phase", "constant", "linear", "cosine", "one_cycle"]),
        evaluate_every=draw.choice([20, 40]),
        evaluation_batches=8,
        gradient_clip=draw.choice([0.0, 1.0]),
        seed=number,
        threads=1,
    )
    return Setup(model=model, train=config, data=DataConfig()), draw.choice(
        [1_000, 3_000, 10_000, 100_000, 380_000, 380_000]
    )


class Trained:
    """One run as the coach sees it, step by step."""

    def __init__(self, setup: Setup, given: Text, length: int) -> None:
        self.setup, self.length, self.given = setup, length, given
        self.model: GPT = build_model(setup.model, given.vocabulary, seed=setup.train.seed)
        self.points: list[StepMetrics] = []
        self.broken = False
        self.best: tuple[float, dict[str, torch.Tensor]] = (math.inf, {})

    def steps(self) -> Iterator[StepMetrics]:
        """Train, ending early when the loss is no number."""
        config, model = self.setup.train, self.setup.model
        batches = Batches(
            self.given.training[: self.length],
            config.batch_size,
            model.sequence_length,
            config.seed,
        )
        judged = Batches(self.given.validation, 16, model.sequence_length, 0)
        optimizer = OPTIMIZERS[config.optimizer](self.model, config)
        try:
            for point in train(self.model, optimizer, batches, judged, config):
                self.points.append(point)
                if point.validation_loss is not None and point.validation_loss < self.best[0]:
                    self.best = point.validation_loss, copy.deepcopy(self.model.state_dict())
                yield point
        except NonFiniteLossError:
            self.broken = True

    def record(self) -> Record:
        """What the coach is given now."""
        peak = self.setup.train.learning_rate
        return Record(
            course=thinned(self.points),
            recent=self.points[-RECENT:],
            evaluated=[p for p in self.points if p.validation_loss is not None][-MOST:],
            setup=self.setup,
            vocabulary_size=self.given.vocabulary,
            parameters=sum(
                dict(parameter_breakdown(self.setup.model, self.given.vocabulary)).values()
            ),
            training_tokens=self.length,
            peak=peak,
            under_way=not self.broken and len(self.points) < self.setup.train.steps,
            broken=self.broken,
        )

    def judged(self, weights: dict[str, torch.Tensor] | None = None) -> float:
        """The loss on the whole validation text."""
        model = copy.deepcopy(self.model)
        if weights:
            model.load_state_dict(weights)
        batches = Batches(self.given.validation, 32, self.setup.model.sequence_length, 1)
        loss = evaluate(model, batches, 16, LiveSettings(micro_batch=32))
        return math.inf if loss is None or not math.isfinite(loss) else loss


def again(run: Trained, length: int = 0, **changes: object) -> float:
    """The validation loss at the end of the same run with other settings."""
    setup = replace(run.setup, train=replace(run.setup.train, **changes))
    other = Trained(setup, run.given, length or run.length)
    for _ in other.steps():
        pass
    return math.inf if other.broken else other.judged()


def holds(advice: Advice, run: Trained, after: Trained, at: int) -> bool:
    """Whether a claim made at step `at` was true: `run` stood there, `after` is its end."""
    if advice.kind in ("too_high", "too_low"):
        rate = advice.settings["train.learning_rate"]
        end = math.inf if after.broken else after.judged()
        return again(after, learning_rate=rate) < end
    if advice.kind == "overfitting":
        return run.judged() > run.judged(run.best[1])
    if advice.kind == "plateau":
        peak = 0.5 * after.setup.train.learning_rate
        losses = [p.train_loss for p in after.points]
        follows = [p.train_loss for p in after.points[at:] if p.learning_rate >= peak][:60]
        now = losses[max(0, at - 60) : at]
        return sum(now) / len(now) - sum(follows) / max(len(follows), 1) < 0.05
    if advice.kind == "too_little_text":
        return again(after, length=380_000) < after.judged()
    if advice.kind == "noisy":
        return again(after, batch_size=advice.settings["train.batch_size"]) < after.judged()
    return advice.kind == "gibberish" and after.points[at - 1].train_loss > 0


def watched(number: int, given: Text) -> Iterator[tuple[str, bool, str]]:
    """Every kind of advice given on one run: whether it was true, and what was said."""
    setup, length = drawn(number)
    run = Trained(setup, given, length)
    said: dict[str, tuple[Advice, Trained, int]] = {}
    for point in run.steps():
        if point.step % EVERY == 0 or point.step == setup.train.steps:
            _take(run, said)
    if run.broken:
        _take(run, said)
    for advice, then, at in said.values():
        yield (
            advice.kind,
            holds(advice, then, run, at),
            f"run {number}, step {at}: {advice.evidence}",
        )


def _take(run: Trained, said: dict[str, tuple[Advice, Trained, int]]) -> None:
    advice = advise(run.record())
    if advice and advice.kind not in said:
        then = copy.copy(run)
        then.model = copy.deepcopy(run.model)
        said[advice.kind] = (advice, then, len(run.points))


def main() -> None:
    """Print each false alarm, and a table of hits and false alarms."""
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 240
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    begun, given = time.monotonic(), text()
    hits, false, runs, quiet = Counter[str](), Counter[str](), set[int](), 0
    for number in range(first, first + count):
        spoken = list(watched(number, given))
        quiet += not spoken
        for kind, true, words in spoken:
            (hits if true else false)[kind] += 1
            if not true:
                runs.add(number)
                print(f"false: {kind}, {words}", flush=True)
    print(f"\n{'advice':18}{'true':>6}{'false':>7}")
    for kind in sorted({*hits, *false}):
        print(f"{kind:18}{hits[kind]:6}{false[kind]:7}")
    print(
        f"{count} runs in {time.monotonic() - begun:.0f} s: {quiet} with nothing said, "
        f"{len(runs)} with a false alarm ({len(runs) / count:.1%})"
    )


if __name__ == "__main__":
    main()
