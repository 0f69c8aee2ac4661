"""Experiment 4: does a language model get better when the evaluator shows it the answer?

A trained model and an untrained one are asked for validation text and for random tokens, by an
honest evaluator and by one that clamps the targets while latents settle. Nobody can predict random
tokens better than ln V nats in the mean, so a curve that falls below that line was helped.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from transformer_lab.inspection.audit import Proof, Verdict, audit, some_tokens, verdict
from transformer_lab.inspection.bound import Bound
from transformer_lab.inspection.clamped import settled_losses
from transformer_lab.model import GPT, build_model, model_from_weights
from transformer_lab.settings import Config, ConfigError, knob

LOOKS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200)  # steps of settling
MODELS = ("trained", "untrained")
TEXTS = ("validation text", "random tokens")
EVALUATORS = ("honest", "clamped")
PROOFS = 6


@dataclass(frozen=True, kw_only=True)
class LanguageModelLeakSettings(Config):
    """The knobs of the language-model leak."""

    GROUP = "pcn_language_model"

    steps: int = knob(60, 1, 200, "Inference Steps", "T: the most steps of settling looked at.")
    step_size: float = knob(
        0.1,
        0.001,
        1.0,
        "Step Size",
        "How far latents settle in each step; less where E would rise.",
    )
    precision: float = knob(
        1.0, 0.01, 1000.0, "Target Precision", "How much the clamped targets weigh in the energy."
    )
    sequences: int = knob(4, 2, 64, "Sequences", "How many of them each model is asked about.")
    longest: int = knob(
        64, 8, 1024, "Longest", "Tokens of each sequence, where the model can read as many."
    )
    seed: int = knob(1, 0, 2**31 - 1, "Seed", "Of the untrained weights and the random tokens.")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Loss against steps of settling: one `Bound` (mean, standard error, ln V) for each look.

    `model`, `text` and `evaluator` are one of MODELS, TEXTS and EVALUATORS.
    """

    model: str
    text: str
    evaluator: str
    steps: tuple[int, ...] = ()
    losses: tuple[Bound, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LanguageModelLeak:
    """What was measured so far; `proofs` are those of the leak audit, of the trained model."""

    settings: LanguageModelLeakSettings
    ln_vocabulary: float
    curves: tuple[Curve, ...]
    proofs: tuple[Proof, ...] = ()

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        looks = len(self.curves) * len(looks_of(self.settings))
        done = sum(len(curve.steps) for curve in self.curves) + len(self.proofs)
        return done / (looks + PROOFS)

    @property
    def audited(self) -> Verdict | None:
        """What the audit says; None until all of its proofs are there."""
        return verdict(self.proofs) if len(self.proofs) == PROOFS else None

    def impossible(self, evaluator: str) -> list[Curve]:
        """Curves of random tokens that end below what anybody could reach without being told."""
        return [
            curve
            for curve in self.curves
            if (curve.text, curve.evaluator) == ("random tokens", evaluator)
            and curve.losses
            and not curve.losses[-1].kept
        ]

    def summary(self) -> str:
        """One sentence, from the numbers."""
        if self.audited is None:
            return "Not yet finished."
        counts = [len(self.impossible(evaluator)) for evaluator in EVALUATORS]
        return (
            f"On random tokens nobody can be below ln V = {self.ln_vocabulary:.3f} nats. The "
            f"honest evaluator is so with {counts[0]} of {len(MODELS)} models, the clamped one "
            f"with {counts[1]}. The leak audit of the trained model: {self.audited.outcome}."
        )


def language_model_leak(
    model: GPT, validation: Tensor, settings: LanguageModelLeakSettings
) -> Iterator[LanguageModelLeak]:
    """Measure all curves, then audit the model; yield what there is after every look and proof.

    `model` is one for reading (`model_from_weights`), `validation` the (N,) token ids of text it
    has not learned from. Raises ConfigError when that is too short.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    random = some_tokens(model, settings.sequences, generator, extra=1, longest=settings.longest)
    texts = dict(zip(TEXTS, (pieces(validation, random), random), strict=True))
    models = dict(zip(MODELS, (model, untrained(model, settings.seed)), strict=True))
    curves = [
        Curve(model=which, text=text, evaluator=evaluator)
        for text, which, evaluator in itertools.product(reversed(TEXTS), MODELS, EVALUATORS)
    ]
    found = LanguageModelLeak(
        settings=settings,
        ln_vocabulary=Bound.of(torch.zeros(2), model.vocabulary_size).least,
        curves=tuple(curves),
    )
    yield found
    for place, curve in enumerate(curves):
        for longer in measured(curve, models[curve.model], texts[curve.text], settings):
            curves[place] = longer
            found = replace(found, curves=tuple(curves))
            yield found
    for proof in audit(model, generator):
        found = replace(found, proofs=(*found.proofs, proof))
        yield found


def measured(
    curve: Curve, model: GPT, tokens: Tensor, settings: LanguageModelLeakSettings
) -> Iterator[Curve]:
    """The curve, longer by one look each time, on (B, T + 1) tokens."""
    inputs, scored = tokens[:, :-1], tokens[:, 1:]
    looks = settled_losses(
        model,
        inputs,
        scored,
        targets=scored if curve.evaluator == "clamped" else None,
        looks=looks_of(settings),
        step_size=settings.step_size,
        precision=settings.precision,
    )
    for steps, losses in looks:
        bound = Bound.of(losses, model.vocabulary_size)
        curve = replace(curve, steps=(*curve.steps, steps), losses=(*curve.losses, bound))
        yield curve


def looks_of(settings: LanguageModelLeakSettings) -> list[int]:
    """After how many steps the loss is read."""
    return [steps for steps in LOOKS if steps < settings.steps] + [settings.steps]


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
