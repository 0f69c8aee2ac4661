"""Experiment 5: standard transformers against ones that compute or learn by predictive coding.

They race: all of them are advanced in turn, a step at a time, on the very same batches. Controls of
each: itself with T = 0, and a standard model with as many parameters. PC-FFN with T = 0 must equal
the standard model bit for bit.

`run` races them by itself, for reports; the lab races them as runs of its own, to be opened later.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Question,
    Tick,
    recorded,
    seeds_in,
)
from transformer_lab.experiments.language_model_leak import text_of
from transformer_lab.experiments.transformer_variants import STANDARD, TransformerSettings
from transformer_lab.experiments.transformers_result import (
    Lane,
    TransformerRace,
    answer,
    rows,
    tables,
    verdict,
)
from transformer_lab.generation import write
from transformer_lab.model import GPT, build_model
from transformer_lab.model.weights import count_parameters
from transformer_lab.recipes import Setup
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import EncodedCorpus, encode_corpus
from transformer_lab.text.tokenizers import Tokenizer
from transformer_lab.training import NonFiniteLossError, StepMetrics, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS

AUDITING = "under way"  # instead of the outcome of an audit


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One training: its metrics so far; once it has ended, a sample, or the error.

    `parameters` counts its weights, 0 while it is not made yet; `bytes_per_token` is how much text
    a token of its validation text stands for, 0 where that is not known yet, and `flops` how many
    multiplications and additions it takes to learn from a token; `stopped` says that a
    person ended it. `audited` is the outcome of its leak audit, `audit` the verdict in words.
    """

    metrics: Sequence[StepMetrics]
    parameters: int
    text: str = ""
    failed: str = ""
    bytes_per_token: float = 0.0
    flops: float = 0.0
    stopped: bool = False
    audited: str = ""
    audit: str = ""


# Trains models with these setups in turn, and yields often how each of them stands; nothing while
# it has to wait.
Racing = Callable[[Mapping[str, Setup]], Iterator[Mapping[str, Seen]]]


def run(
    settings: TransformerSettings,
    folders: Sequence[Path] = (),
    kept: Partial[TransformerRace] | None = None,
) -> Iterator[Partial[TransformerRace]]:
    """Race on Tiny Shakespeare, or on the documentation of Python where that is not there."""
    corpus = text_of(folders)
    encoded = encode_corpus(corpus, settings.setups(corpus.name, 0)[STANDARD].data)
    return race(settings, corpus, lambda setups: in_turn(setups, encoded), kept)


def race(
    settings: TransformerSettings,
    corpus: Corpus,
    racing: Racing,
    kept: Partial[TransformerRace] | None = None,
) -> Iterator[Partial[TransformerRace]]:
    """One race for each seed that is not in `kept`, and what has been measured so far."""
    return recorded(
        kept,
        "lanes",
        lambda lanes: work(settings, corpus.name, racing, lanes),
        lambda lanes: TransformerRace(settings=settings, corpus=corpus.title, lanes=lanes),
    )


def work(
    settings: TransformerSettings, corpus: str, racing: Racing, lanes: list[Lane]
) -> Iterator[Tick]:
    """Everything there is to measure; adds to `lanes`."""
    for seed in range(seeds_in(lanes), settings.seeds):
        setups = settings.setups(corpus, seed)
        fresh = {name: Lane(variant=name, seed=seed) for name in setups}
        lanes += fresh.values()
        for standing in racing(setups):
            for name, seen in standing.items():
                note(fresh[name], seen)
            done = sum(len(seen.metrics) for seen in standing.values())
            share = done / (len(setups) * settings.training_steps)
            yield (seed + share) / settings.seeds, doing(settings, seed, standing)


def doing(settings: TransformerSettings, seed: int, standing: Mapping[str, Seen]) -> str:
    """What is being done, in words."""
    if not standing:
        return "waiting until nothing else is training"
    step = max(len(seen.metrics) for seen in standing.values())
    which = f"seed {seed + 1} of {settings.seeds}, {len(standing)} models"
    return f"{which}: step {step:,} of {settings.training_steps:,}" if step else f"{which}: made"


def note(lane: Lane, seen: Seen) -> None:
    """Let a lane grow to what has been seen of it."""
    for point in seen.metrics[lane.last :]:
        if point.validation_loss is not None:
            lane.steps.append(point.step)
            lane.losses.append(point.validation_loss)
            lane.seconds.append(point.seconds)
    lane.parameters, lane.text, lane.failed = seen.parameters, seen.text, seen.failed


def in_turn(setups: Mapping[str, Setup], encoded: EncodedCorpus) -> Iterator[Mapping[str, Seen]]:
    """Train them a step at a time, on this thread; torch's default generator is left as it was."""
    models = {
        name: build_model(setup.model, encoded.tokenizer.vocabulary_size, setup.train.seed)
        for name, setup in setups.items()
    }
    trainings = {name: training(models[name], setups[name], encoded) for name in setups}
    metrics: dict[str, list[StepMetrics]] = {name: [] for name in setups}
    ended: dict[str, Seen] = {}

    def standing() -> dict[str, Seen]:
        return {
            name: ended.get(name)
            or Seen(metrics=metrics[name], parameters=count_parameters(models[name]))
            for name in setups
        }

    while len(ended) < len(setups):
        for name in [name for name in setups if name not in ended]:
            try:
                with torch.random.fork_rng(devices=[]):
                    point = next(trainings[name], None)
                if point is not None:
                    metrics[name].append(point)
                    continue
                text, failed = written(models[name], encoded.tokenizer, setups[name]), ""
            except NonFiniteLossError as error:
                text, failed = "", str(error)
            ended[name] = Seen(
                metrics=metrics[name],
                parameters=count_parameters(models[name]),
                text=text,
                failed=failed,
            )
        yield standing()


def training(model: GPT, setup: Setup, encoded: EncodedCorpus) -> Iterator[StepMetrics]:
    """The steps of one training."""
    config, length = setup.train, setup.model.sequence_length
    texts = [torch.from_numpy(text) for text in (encoded.training, encoded.validation)]
    batches, validation = (
        Batches(text, config.batch_size, length, seed, config.piece)
        for text, seed in zip(texts, (config.seed, 0), strict=True)
    )
    return train(model, OPTIMIZERS[config.optimizer](model, config), batches, validation, config)


def written(model: GPT, tokenizer: Tokenizer, setup: Setup) -> str:
    """What a model writes after the prompt."""
    return "".join(write(model.eval(), tokenizer, setup.sample))


EXPERIMENT = Experiment(
    key="transformers",
    title="Standard against PC-enhanced transformers",
    question="Does predictive coding help a transformer, and at what price?",
    prediction=Question(
        prompt="Same batches, same number of steps: how does the last validation loss of PC-FFN, "
        "whose hidden units settle, compare with that of a standard transformer as large?",
        options=(
            "PC-FFN's is clearly lower",
            "There is no clear difference",
            "PC-FFN's is clearly higher",
        ),
    ),
    equations=(
        Equation(
            name="PC-FFN: hidden units h settle on each token u by itself",
            latex=r"E(h) = \tfrac12 \|u - D h\|^2 + \tfrac{\pi}{2} \|h - \mathrm{gelu}(A u)\|^2,"
            r"\quad h \leftarrow h - \eta\, \partial E / \partial h",
            function="transformer_lab.model.settling.Settling.states",
            source="after Rao & Ballard 1999, doi:10.1038/4580",
        ),
        Equation(
            name="Levels of latents, in the other variants",
            latex=r"E(z) = \sum_l \tfrac12 \|z_{l-1} - D_l z_l\|^2"
            r" + \tfrac{\pi}{2} \|z_l - a_l\|^2",
            function="transformer_lab.model.settling.Settling.energy",
            source="after Rao & Ballard 1999",
        ),
        Equation(
            name="PC learning: targets y are in sight in training only",
            latex=r"E = \tfrac12 \sum_l \|z_l - \mathrm{Block}_l(z_{l-1})\|^2"
            r" + \mathrm{CE}(\mathrm{score}(z_L), y)",
            function="transformer_lab.training.learning_rules.energy",
            source="arXiv:2412.03676, with blocks for layers and cross-entropy at the output",
        ),
        Equation(
            name="How all are judged: the forward pass, on text none has learned from",
            latex=r"L = \mathrm{mean}\, \mathrm{CE}(\mathrm{model}(x), y)",
            function="transformer_lab.training.evaluate.evaluate",
            source="the loss the lab shows of every training",
        ),
    ),
    settings=TransformerSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
)
