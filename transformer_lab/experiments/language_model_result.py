"""What the language-model leak measured, and how it is shown."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from transformer_lab.experiments.by_seed import differences, part_of
from transformer_lab.experiments.experiment import Plot, Reference, Series, Table, to_draw
from transformer_lab.experiments.paired import Judged, all_worded, judged
from transformer_lab.experiments.statistics import over_seeds, spread, verdict_table
from transformer_lab.inspection.audit import PROOFS, Proof
from transformer_lab.inspection.audit import verdict as verdict_of
from transformer_lab.inspection.bound import DEVIATIONS, Bound
from transformer_lab.inspection.target_driven import Driven
from transformer_lab.settings import Config, knob

LOOKS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200)  # steps of settling
MODELS = ("trained", "untrained")
TEXTS = ("random tokens", "validation text")
EVALUATORS = ("honest", "clamped", "misled")
EVALUATOR_WORDS = {
    "honest": "honest",
    "clamped": "clamped",
    "misled": "clamped to other targets",
}
# What is compared, seed by seed, on random tokens.
HELPED = "clamped, against honest, a model that never learned"
BY_TARGETS = "clamped, against clamped to other targets, a model that never learned"
TRAINED = "clamped, against honest, the trained model"
WORDS = ("lower", "higher")


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
    seeds: int = knob(
        3, 1, 20, "Seeds", "Independent repetitions, from weights and batches to random tokens."
    )

    @property
    def looks(self) -> list[int]:
        """After how many steps the loss is read."""
        return [steps for steps in LOOKS if steps < self.steps] + [self.steps]


@dataclass(kw_only=True)
class Curve:
    """Loss against steps of settling, growing: a mean and its standard error for each look.

    `model`, `text` and `evaluator` are one of MODELS, TEXTS and EVALUATORS.
    """

    seed: int
    model: str
    text: str
    evaluator: str
    steps: list[int] = field(default_factory=list)
    losses: list[Bound] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LanguageModelLeak:
    """The curves and the proofs so far; `corpus` is the text, `ln_vocabulary` in nats.

    `proofs` are those of the first seed's trained model; `driven` is the second leak that was
    published, in a small network of its own.
    """

    settings: LanguageModelLeakSettings
    corpus: str
    ln_vocabulary: float
    curves: list[Curve]
    proofs: list[Proof]
    driven: list[Driven]

    def plots(self) -> list[Plot]:
        """Loss against T, on either text."""
        drawn = [self._plot(text) for text in TEXTS]
        return to_draw(drawn)

    def _plot(self, text: str) -> Plot:
        return Plot(
            title=f"Asked for {text}",
            kind="line",
            x_label="steps of settling, T",
            y_label="nats per token",
            series=[
                series
                for model in MODELS
                for evaluator in EVALUATORS
                for series in self._series(model, text, evaluator)
            ],
            references=[Reference(name="guessing, ln V", y=self.ln_vocabulary)],
            note=self._ranges() if text == TEXTS[0] else "",
        )

    def _ranges(self) -> str:
        if self.settings.seeds == 1:
            return f"Ranges are {DEVIATIONS:g} standard errors."
        return "Ranges go from the lowest to the highest seed."

    def _series(self, model: str, text: str, evaluator: str) -> list[Series]:
        curves = [
            curve
            for curve in self.curves
            if (curve.model, curve.text, curve.evaluator) == (model, text, evaluator)
        ]
        name = f"{model}, {EVALUATOR_WORDS[evaluator]}"
        places = [float(steps) for steps in self.settings.looks]
        found = over_seeds(name, [[loss.mean for loss in one.losses] for one in curves], places)
        if self.settings.seeds > 1 or not found:
            return found
        errors = [DEVIATIONS * loss.error for loss in curves[0].losses]
        means = found[0].y
        return [
            replace(
                found[0],
                low=[mean - error for mean, error in zip(means, errors, strict=True)],
                high=[mean + error for mean, error in zip(means, errors, strict=True)],
            )
        ]

    def ends(self, model: str, text: str, evaluator: str) -> dict[int, Bound]:
        """The loss after all steps, by seed."""
        return {
            curve.seed: curve.losses[-1]
            for curve in self.curves
            if (curve.model, curve.text, curve.evaluator) == (model, text, evaluator)
            and len(curve.steps) == len(self.settings.looks)
        }

    def impossible(self, evaluator: str) -> list[tuple[str, int]]:
        """Models and seeds whose loss on random tokens is below ln V, as only targets allow."""
        return [
            (model, seed)
            for model in MODELS
            for seed, end in self.ends(model, TEXTS[0], evaluator).items()
            if not end.kept
        ]

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences of the loss on random tokens, paired by seed."""
        pairs = {
            HELPED: (("untrained", "clamped"), ("untrained", "honest")),
            BY_TARGETS: (("untrained", "clamped"), ("untrained", "misled")),
            TRAINED: (("trained", "clamped"), ("trained", "honest")),
        }
        return judged({name: self._differences(*pair) for name, pair in pairs.items()})

    def _differences(self, one: tuple[str, str], other: tuple[str, str]) -> list[float]:
        ends = (self.ends(model, TEXTS[0], evaluator) for model, evaluator in (one, other))
        return differences(*(part_of(found, "mean") for found in ends))


def answer(result: LanguageModelLeak) -> int | None:
    """Which option of the question is right: not below ln V, hardly, or far below."""
    ends = result.ends("untrained", TEXTS[0], "clamped")
    if not ends:
        return None
    if all(end.kept for end in ends.values()):
        return 0
    mean = spread(end.mean for end in ends.values()).mean
    return 1 if mean > 0.9 * result.ln_vocabulary else 2


def audited(result: LanguageModelLeak) -> bool:
    """Whether the audit has come to its end, which is early where numbers are not finite."""
    return len(result.proofs) == len(PROOFS) or any(
        proof.key == "finite" and not proof.passed for proof in result.proofs
    )


def verdict(result: LanguageModelLeak) -> str:
    """What the numbers say."""
    found = result.compared()
    if len(found) < 3 or not audited(result):
        return "Not yet enough: curves or proofs are missing."
    below = {evaluator: len(result.impossible(evaluator)) for evaluator in EVALUATORS}
    asked = len(MODELS) * found[HELPED].found.count
    said = all_worded(found, "nats", 3, WORDS)
    return (
        f"On random tokens no model can be below ln V = {result.ln_vocabulary:.3f} nats. The "
        f"honest evaluator is so with {below['honest']} of {asked} models, the clamped one with "
        f"{below['clamped']}, and clamped to other targets with {below['misled']}. Seed by seed: "
        f"{said}. Leak audit of the trained model: {verdict_of(result.proofs).outcome}."
    )


def tables(result: LanguageModelLeak) -> list[Table]:
    """Losses before and after settling; comparisons; the audit; and the second leak."""
    kinds = [(text, model, evaluator) for text in TEXTS for model in MODELS for evaluator in
             EVALUATORS]  # fmt: skip
    losses = [
        row for text, model, evaluator in kinds if (row := _losses(result, model, text, evaluator))
    ]
    proofs = [[proof.title, PASSED[proof.passed], proof.sentence] for proof in result.proofs]
    columns = ["asked for", "model", "evaluator", "nats at T = 0", "nats at the end", "perplexity"]
    title = f"Loss on {result.corpus}; ln V = {result.ln_vocabulary:.3f}"
    return [
        Table(title=title, columns=columns, rows=losses),
        verdict_table(result.compared(), "nats", 3, WORDS),
        Table(
            title="Leak audit of the first seed's trained model",
            columns=["proof", "passed", "found"],
            rows=proofs,
        ),
        Table(
            title="A second leak that was published: the model is called with its targets, and "
            "they drive it (untrained, random tokens)",
            columns=[
                "network",
                "other inputs change a logit by",
                "other targets change one by",
                "nats",
                "below ln V",
            ],
            rows=_driven(result),
        ),
    ]


def _losses(result: LanguageModelLeak, model: str, text: str, evaluator: str) -> list[str]:
    curves = [
        curve
        for curve in result.curves
        if (curve.model, curve.text, curve.evaluator) == (model, text, evaluator) and curve.losses
    ]
    if not curves:
        return []
    first, last = ([curve.losses[place] for curve in curves] for place in (0, -1))
    end = spread(loss.mean for loss in last).mean
    shown = f"{end:.3f} ± {last[0].error:.3f}" if len(last) == 1 else _nats(last)
    return [text, model, EVALUATOR_WORDS[evaluator], _nats(first), shown, f"{math.exp(end):.1f}"]


def _nats(losses: list[Bound]) -> str:
    """Mean and range over seeds."""
    found = spread(loss.mean for loss in losses)
    if found.count == 1:
        return f"{found.mean:.3f}"
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def _driven(result: LanguageModelLeak) -> list[list[str]]:
    """A row for the network that is driven by its targets, and one for its twin."""
    found = []
    for name in dict.fromkeys(one.asked for one in result.driven):
        ones = [one for one in result.driven if one.asked == name]
        found.append(
            [
                name,
                f"{max(one.by_inputs for one in ones):.3g}",
                f"{max(one.by_targets for one in ones):.3g}",
                _nats([one.loss for one in ones]),
                f"{sum(not one.loss.kept for one in ones)} of {len(ones)} seeds",
            ]
        )
    return found


PASSED = {True: "yes", False: "no", None: "cannot tell"}


def rows(result: LanguageModelLeak) -> list[dict[str, Any]]:
    """Every look of every curve."""
    return [
        {
            "seed": curve.seed,
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
