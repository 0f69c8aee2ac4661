"""Experiment 4: does a language model get better when the evaluator shows it the answer?

A trained model and an untrained one are asked for random tokens and for validation text, by an
honest evaluator and by one that clamps the targets while latents settle. Nobody can predict random
tokens better than ln V nats in the mean, so a curve that falls below that line was helped. Control:
clamped to other targets than those it is scored by, settling helps nothing. Beside it stands the
second leak that was published, a model that is called with its targets (`target_driven.py`).

`run` trains a small model of its own; `language_model_leak` takes any model of the lab.
"""

import copy
import inspect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Question,
    Tick,
    kept_records,
    paced,
    seeds_in,
)
from transformer_lab.experiments.language_model_result import (
    EVALUATOR_WORDS,
    EVALUATORS,
    MODELS,
    TEXTS,
    Curve,
    LanguageModelLeak,
    LanguageModelLeakSettings,
    answer,
    rows,
    tables,
    verdict,
)
from transformer_lab.inspection.audit import PROOFS, Proof, audit
from transformer_lab.inspection.bound import Bound
from transformer_lab.inspection.clamped import settled_losses
from transformer_lab.inspection.guessing import some_tokens
from transformer_lab.inspection.target_driven import Driven, examined
from transformer_lab.model import GPT, ModelConfig, build_model, model_from_weights
from transformer_lab.settings import ConfigError
from transformer_lab.text import DataConfig
from transformer_lab.text.corpora import Corpus, load_or_stand_in
from transformer_lab.text.split import EncodedCorpus, encode_corpus
from transformer_lab.training.batches import Batches
from transformer_lab.training.learning_rules import energy

OWN_MODEL = ModelConfig(
    layers=2,
    heads=2,
    embedding_dim=64,
    sequence_length=64,
    dropout=0.0,
    feedforward="gelu",
    positions="rotary",
)
BATCH = 16
LEARNING_RATE = 0.005
TRAINING_SHARE = 0.3  # of the progress
DRIVEN_STEPS, DRIVEN_SIZE = 50, 0.05  # of the second leak, as its own evaluation was asked


@dataclass
class Found:
    """What is being measured, growing."""

    settings: LanguageModelLeakSettings
    corpus: str = ""
    vocabulary_size: int = 1
    curves: list[Curve] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    driven: list[Driven] = field(default_factory=list)

    def snapshot(self) -> LanguageModelLeak:
        """A copy that later measurements leave alone."""
        return LanguageModelLeak(
            settings=self.settings,
            corpus=self.corpus,
            ln_vocabulary=math.log(self.vocabulary_size),
            curves=copy.deepcopy(self.curves),
            proofs=list(self.proofs),
            driven=list(self.driven),
        )


def run(
    settings: LanguageModelLeakSettings,
    folders: Sequence[Path] = (),
    kept: Partial[LanguageModelLeak] | None = None,
) -> Iterator[Partial[LanguageModelLeak]]:
    """Train a small model on Tiny Shakespeare, then do what `language_model_leak` does with it.

    Where that text is not on this computer, the documentation of Python takes its place.
    """
    found = Found(settings, curves=kept_records(kept, "curves"))
    if kept is not None and found.curves:
        whole = seeds_in(found.curves)
        found.proofs = list(kept.result.proofs)
        found.driven = [one for one in kept.result.driven if one.seed < whole]
    return paced(with_own_models(settings, folders, found), found.snapshot)


def language_model_leak(
    model: GPT, validation: Tensor, settings: LanguageModelLeakSettings, corpus: str = "the text"
) -> Iterator[Partial[LanguageModelLeak]]:
    """Measure all curves, then audit the model; yield often what there is.

    `model` is one for reading (`model_from_weights`), `validation` the (N,) token ids of text it
    has not learned from; every seed asks it for other random tokens. Raises ConfigError when the
    text is too short.
    """
    found = Found(settings, corpus)

    def ticks() -> Iterator[Tick]:
        for seed in range(settings.seeds):
            for progress, words in asked(model, validation, settings, found, seed):
                yield (seed + progress) / settings.seeds, words

    return paced(ticks(), found.snapshot)


def with_own_models(
    settings: LanguageModelLeakSettings, folders: Sequence[Path], found: Found
) -> Iterator[Tick]:
    """For each seed, train the small model, and ask it."""
    corpus = text_of(folders)
    found.corpus = corpus.title
    yield 0.0, "turning text into tokens"
    encoded = encode_corpus(corpus, DataConfig())
    for seed in range(seeds_in(found.curves), settings.seeds):
        for progress, words in with_own_model(settings, encoded, found, seed):
            yield (seed + progress) / settings.seeds, f"seed {seed + 1}: {words}"


def with_own_model(
    settings: LanguageModelLeakSettings, encoded: EncodedCorpus, found: Found, seed: int
) -> Iterator[Tick]:
    """Train the small model of one seed, and ask it."""
    vocabulary_size = encoded.tokenizer.vocabulary_size
    model = build_model(OWN_MODEL, vocabulary_size, 1 + seed)
    for step in learned(model, torch.from_numpy(encoded.training), settings, 1 + seed):
        yield TRAINING_SHARE * step / settings.training_steps, "a small model is being trained"
    reading = model_from_weights(OWN_MODEL, vocabulary_size, model.state_dict())
    validation = torch.from_numpy(encoded.validation)
    for progress, words in asked(reading, validation, settings, found, seed):
        yield TRAINING_SHARE + (1 - TRAINING_SHARE) * progress, words


def text_of(folders: Sequence[Path]) -> Corpus:
    """Tiny Shakespeare where it is on this computer, else what stands in for it."""
    return load_or_stand_in("tiny_shakespeare", folders)


def learned(
    model: GPT, text: Tensor, settings: LanguageModelLeakSettings, seed: int = 1
) -> Iterator[int]:
    """Train a model without dropout by backpropagation and AdamW; yields the number of each step.

    The trainer of the lab seeds torch's default generator, which is not ours on a job's thread.
    """
    batches = Batches(text, BATCH, model.config.sequence_length, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    for step in range(1, settings.training_steps + 1):
        optimizer.zero_grad()
        model.loss(*batches(step)).backward()
        optimizer.step()
        yield step


def asked(
    model: GPT, validation: Tensor, settings: LanguageModelLeakSettings, found: Found, seed: int
) -> Iterator[Tick]:
    """All curves and proofs there are to measure of one seed; adds to `found`."""
    found.vocabulary_size = model.vocabulary_size
    generator = torch.Generator().manual_seed(1 + seed)
    random = some_tokens(model, settings.sequences, generator, extra=1, longest=settings.longest)
    texts = dict(zip(TEXTS, (random, pieces(validation, random)), strict=True))
    others = some_tokens(model, settings.sequences, generator, extra=0, longest=settings.longest)
    models = dict(zip(MODELS, (model, untrained(model, 1 + seed)), strict=True))
    found.driven += examined(model.vocabulary_size, seed, steps=DRIVEN_STEPS, step_size=DRIVEN_SIZE)
    kinds = list(itertools.product(TEXTS, MODELS, EVALUATORS))
    audits = len(PROOFS) if seed == 0 else 0
    total, done = len(kinds) * len(settings.looks) + audits, 0
    for text, which, evaluator in kinds:
        curve = Curve(seed=seed, model=which, text=text, evaluator=evaluator)
        found.curves.append(curve)
        for _ in measured(curve, models[which], texts[text], others, settings):
            done += 1
            yield done / total, f"{which} model, {text}: {EVALUATOR_WORDS[evaluator]}"
    for proof in audit(model, generator, validation) if audits else ():
        found.proofs.append(proof)
        done += 1
        yield done / total, "the leak audit of the trained model"


def measured(
    curve: Curve,
    model: GPT,
    tokens: Tensor,
    others: Tensor,
    settings: LanguageModelLeakSettings,
) -> Iterator[None]:
    """Let the curve grow by one look after another, on (B, T + 1) tokens; `others` are (B, T)

    All are scored by the right targets; only the evaluators differ in what is clamped.
    """
    inputs, scored = tokens[:, :-1], tokens[:, 1:]
    clamped = {"honest": None, "clamped": scored, "misled": others}
    looks = settled_losses(
        model,
        inputs,
        scored,
        targets=clamped[curve.evaluator],
        looks=settings.looks,
        step_size=settings.step_size,
        precision=settings.precision,
    )
    for steps, losses in looks:
        curve.steps.append(steps)
        curve.losses.append(Bound.of(losses, model.vocabulary_size))
        yield


def untrained(model: GPT, seed: int) -> GPT:
    """A model of the same shape with new weights.

    Its head never starts at zero: then there would be nothing for a target to pull at.
    """
    config = replace(model.config, zero_init=False)
    new = build_model(config, model.vocabulary_size, seed).to(model.embedding.weight.device)
    return model_from_weights(config, model.vocabulary_size, new.state_dict())


def pieces(text: Tensor, like: Tensor) -> Tensor:
    """Sequences of (N,) tokens, evenly spread over the text, in the shape (B, T + 1) of `like`.

    Raises ConfigError when the text is shorter than one of them.
    """
    count, length = like.shape
    if len(text) < length:
        raise ConfigError(
            "data.validation_share",
            f"The validation text has {len(text):,} tokens, but {length:,} are needed: choose a "
            "larger share of the text, or a longer one.",
        )
    starts = torch.linspace(0, len(text) - length, count).long()
    places = starts[:, None] + torch.arange(length)
    return text.cpu()[places].long().to(like.device)


def leak_source() -> str:
    """The lines that leak, as they run: the evaluator, and the energy that holds the targets."""
    return "\n\n".join(inspect.getsource(part) for part in (measured, settled_losses, energy))


EXPERIMENT = Experiment(
    key="language_model",
    title="Language-model leak",
    question="Is the model good at predicting, or was it shown what comes next?",
    prediction=Question(
        prompt="A GPT that never learned is asked for random tokens, and the evaluator clamps the "
        "right ones while its latents settle. How low is the loss that is read off then?",
        options=(
            "Not below ln V, the loss of guessing",
            "Below it, by less than 10 %",
            "Below it by more than 10 %",
        ),
    ),
    equations=(
        Equation(
            name="Energy",
            latex=r"E = \tfrac12 \sum_l \|z_l - \mathrm{Block}_l(z_{l-1})\|^2"
            r" + \pi\,\mathrm{CE}(\mathrm{score}(z_L), y)",
            function="transformer_lab.training.learning_rules.energy",
            source="arXiv:2412.03676, with blocks for layers and cross-entropy at the output",
        ),
        Equation(
            name="Settling",
            latex=r"z_l \leftarrow z_l - \eta\,\partial E / \partial z_l",
            function="transformer_lab.training.learning_rules.settle",
            source="arXiv:2412.03676; that a step which raises E is refused is ours",
        ),
        Equation(
            name="The leak: y is what the loss is then read off against",
            latex=r"L(T) = \mathrm{CE}(\mathrm{score}(z_L(T; y)), y)",
            function="transformer_lab.inspection.clamped.settled_losses",
            source="arXiv:2506.06332, section 5.3, done to a language model",
        ),
        Equation(
            name="A second leak: a model called with its targets, which drive it",
            latex=r"z_L \leftarrow z_L + \eta\,W^\top(\mathrm{onehot}(y) - W z_L),"
            r" \quad \mathrm{logits} = W z_L",
            function="transformer_lab.inspection.target_driven.TargetDriven.driven",
            source="github.com/iCog-Labs-Dev/PC-Transformers, eval.py: model(targets, input_ids)",
        ),
    ),
    settings=LanguageModelLeakSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
    source=leak_source,
)
