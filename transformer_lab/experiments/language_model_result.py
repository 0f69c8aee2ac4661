"""What the language-model leak measured, and how it is shown."""

import math
from dataclasses import dataclass, field
from typing import Any

from transformer_lab.experiments.experiment import Plot, Reference, Series, Table
from transformer_lab.inspection.audit import PROOFS, Proof
from transformer_lab.inspection.audit import verdict as verdict_of
from transformer_lab.inspection.bound import DEVIATIONS, Bound
from transformer_lab.settings import Config, knob

LOOKS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200)  # steps of settling
MODELS = ("trained", "untrained")
TEXTS = ("random tokens", "validation text")
EVALUATORS = ("honest", "clamped")


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
        30.0,
        0.01,
        1000.0,
        "Target Precision",
        "How much clamped targets weigh in the energy, against the errors of the latents.",
    )
    sequences: int = knob(4, 2, 64, "Sequences", "How many of them each model is asked about.")
    longest: int = knob(
        64, 8, 1024, "Longest", "Tokens of each sequence, where the model can read as many."
    )
    training_steps: int = knob(
        200, 1, 5000, "Training Steps", "Of the experiment's own model; not used with another one."
    )
    seed: int = knob(1, 0, 2**31 - 1, "Seed", "Of the weights, the batches and the random tokens.")

    @property
    def looks(self) -> list[int]:
        """After how many steps the loss is read."""
        return [steps for steps in LOOKS if steps < self.steps] + [self.steps]


@dataclass(kw_only=True)
class Curve:
    """Loss against steps of settling, growing: a mean and its standard error for each look.

    `model`, `text` and `evaluator` are one of MODELS, TEXTS and EVALUATORS.
    """

    model: str
    text: str
    evaluator: str
    steps: list[int] = field(default_factory=list)
    losses: list[Bound] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As a legend has it."""
        return f"{self.model}, {self.evaluator}"


@dataclass(frozen=True, kw_only=True)
class LanguageModelLeak:
    """The curves and the proofs so far; `corpus` is the text, `ln_vocabulary` in nats."""

    settings: LanguageModelLeakSettings
    corpus: str
    ln_vocabulary: float
    curves: list[Curve]
    proofs: list[Proof]

    def plots(self) -> list[Plot]:
        """Loss against T, on either text."""
        drawn = [self._plot(text) for text in TEXTS]
        return [plot for plot in drawn if plot.series]

    def _plot(self, text: str) -> Plot:
        curves = [curve for curve in self.curves if curve.text == text and curve.steps]
        return Plot(
            title=f"Asked for {text}",
            kind="line",
            x_label="steps of settling, T",
            y_label="nats per token",
            series=[
                Series(
                    name=curve.name,
                    x=[float(steps) for steps in curve.steps],
                    y=[loss.mean for loss in curve.losses],
                    low=[loss.mean - DEVIATIONS * loss.error for loss in curve.losses],
                    high=[loss.mean + DEVIATIONS * loss.error for loss in curve.losses],
                )
                for curve in curves
            ],
            references=[Reference(name="guessing, ln V", y=self.ln_vocabulary)],
            note=f"Ranges are {DEVIATIONS:g} standard errors." if text == TEXTS[0] else "",
        )

    def end(self, model: str, text: str, evaluator: str) -> Bound | None:
        """The loss after all steps; None while it has not been measured."""
        for curve in self.curves:
            if (curve.model, curve.text, curve.evaluator) == (model, text, evaluator):
                done = len(curve.steps) == len(self.settings.looks)
                return curve.losses[-1] if done else None
        return None

    def impossible(self, evaluator: str) -> list[str]:
        """Models whose loss on random tokens is below ln V: impossible without the targets."""
        ends = {model: self.end(model, "random tokens", evaluator) for model in MODELS}
        return [model for model, end in ends.items() if end is not None and not end.kept]


def answer(result: LanguageModelLeak) -> int | None:
    """Which option of the question is right: not below ln V, hardly, or far below."""
    end = result.end("untrained", "random tokens", "clamped")
    if end is None:
        return None
    if end.kept:
        return 0
    return 1 if end.mean > 0.9 * result.ln_vocabulary else 2


def audited(result: LanguageModelLeak) -> bool:
    """Whether the audit has come to its end, which is early where numbers are not finite."""
    return len(result.proofs) == len(PROOFS) or any(
        proof.key == "finite" and not proof.passed for proof in result.proofs
    )


def verdict(result: LanguageModelLeak) -> str:
    """One sentence, from the numbers."""
    clamped = result.end("untrained", "random tokens", "clamped")
    honest = result.end("trained", "random tokens", "honest")
    if clamped is None or honest is None or not audited(result):
        return "Not yet enough: curves or proofs are missing."
    counts = [len(result.impossible(evaluator)) for evaluator in EVALUATORS]
    return (
        f"On random tokens no model can be below ln V = {result.ln_vocabulary:.3f} nats. The "
        f"honest evaluator is so with {counts[0]} of {len(MODELS)} models, the clamped one with "
        f"{counts[1]}: it gives the model that never learned {clamped.mean:.3f}, where the trained "
        f"one honestly has {honest.mean:.3f}. Leak audit of the trained model: "
        f"{verdict_of(result.proofs).outcome}."
    )


def tables(result: LanguageModelLeak) -> list[Table]:
    """Losses before and after settling; and what each proof of the audit found."""
    losses = [
        [
            curve.text,
            curve.model,
            curve.evaluator,
            f"{curve.losses[0].mean:.3f}",
            f"{curve.losses[-1].mean:.3f} ± {curve.losses[-1].error:.3f}",
            f"{math.exp(curve.losses[-1].mean):.1f}",
        ]
        for curve in result.curves
        if curve.losses
    ]
    proofs = [[proof.title, WORDS[proof.passed], proof.sentence] for proof in result.proofs]
    columns = ["asked for", "model", "evaluator", "nats at T = 0", "nats at the end", "perplexity"]
    title = f"Loss on {result.corpus}; ln V = {result.ln_vocabulary:.3f}"
    return [
        Table(title=title, columns=columns, rows=losses),
        Table(
            title="Leak audit of the trained model",
            columns=["proof", "passed", "found"],
            rows=proofs,
        ),
    ]


WORDS = {True: "yes", False: "no", None: "cannot tell"}


def rows(result: LanguageModelLeak) -> list[dict[str, Any]]:
    """Every look of every curve."""
    return [
        {
            "text": curve.text,
            "model": curve.model,
            "evaluator": curve.evaluator,
            "steps": steps,
            "nats_per_token": loss.mean,
            "standard_error": loss.error,
            "ln_vocabulary": loss.least,
        }
        for curve in result.curves
        for steps, loss in zip(curve.steps, curve.losses, strict=True)
    ]
