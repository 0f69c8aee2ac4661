"""Experiment 9: does one step of learning move the answer towards the target?

Of linear chains, one example at a time: all weights take one small step, and the change of y_hat is
compared, by its cosine, with y - y_hat. Controls: Z-IL, which must equal backpropagation; and
predictive coding with T = 0, whose last layer learns alone. That is aligned perfectly, by
construction, and learns next to nothing: alignment is not learning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.experiments.by_seed import cell, differences, having, lines, listed, part_of
from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Plot,
    Question,
    Reference,
    Table,
    Tick,
    recorded,
    seeds_in,
)
from transformer_lab.experiments.paired import Judged, judged, worded
from transformer_lab.experiments.pictures import digits, one_hot
from transformer_lab.experiments.statistics import over_seeds, spread, verdict_table
from transformer_lab.pcn.chain import Chain, carried_back, forward, new_chain, readout
from transformer_lab.pcn.depth import (
    ChainState,
    arriving_errors,
    by_states,
    settle_errors,
    settle_states,
)
from transformer_lab.pcn.energy import ACTIVATIONS
from transformer_lab.settings import Config, knob

LOOKED_AT = 64  # pictures, each by itself
DEPTHS = (2, 4, 8)
RATE = 1e-3  # of the one step
RULES = {
    "backpropagation": "backpropagation",
    "states": "PC",
    "errors": "ePC",
    "zil": "Z-IL",
    "still": "PC, T = 0",
}
WORDS = ("less aligned", "more aligned")


@dataclass(frozen=True, kw_only=True)
class AlignmentSettings(Config):
    """The knobs of the experiment on target alignment."""

    GROUP = "pcn_alignment"

    steps: int = knob(500, 1, 5000, "Inference Steps", "T: settling steps of predictive coding.")
    step_size: float = knob(0.1, 0.001, 1.0, "Step Size", "How far each of them goes.")
    narrow: int = knob(10, 2, 256, "Narrow Width", "Units of each hidden layer.")
    wide: int = knob(64, 2, 256, "Wide Width", "The same of the network it is compared with.")
    seeds: int = knob(5, 1, 20, "Seeds", "Independent repetitions, from weights to pictures.")

    @property
    def widths(self) -> list[int]:
        """The widths tried."""
        return sorted({self.narrow, self.wide})


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """One network and rule: the mean cosine over pictures, and how far y_hat came on the way.

    `gain` is the share of y - y_hat that the step covers along it, over backpropagation's.
    """

    seed: int
    rule: str
    layers: int
    width: int
    cosine: float
    gain: float


@dataclass(frozen=True, kw_only=True)
class AlignmentResult:
    """What was found so far."""

    settings: AlignmentSettings
    found: list[Aligned]

    def of(self, rule: str, layers: int, width: int) -> dict[int, Aligned]:
        """One rule in one kind of network, by seed."""
        return having(self.found, rule=rule, layers=layers, width=width)

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences of the mean cosine, paired by seed."""
        pairs = {
            f"{width} units, {layers} layers: PC, against backpropagation": self.differences(
                layers, width
            )
            for width in self.settings.widths
            for layers in DEPTHS
        }
        return judged(pairs)

    def differences(self, layers: int, width: int) -> list[float]:
        """PC minus backpropagation, of every seed."""
        rules = ("states", "backpropagation")
        return differences(*(part_of(self.of(rule, layers, width), "cosine") for rule in rules))

    def largest_gap(self) -> float | None:
        """The control: the largest difference of Z-IL from backpropagation, in cosine."""
        gaps = [
            abs(one.cosine - self.of("backpropagation", one.layers, one.width)[one.seed].cosine)
            for one in self.found
            if one.rule == "zil" and one.seed in self.of("backpropagation", one.layers, one.width)
        ]
        return max(gaps) if gaps else None

    def plots(self) -> list[Plot]:
        """Alignment against depth, for each width."""
        drawn = [self._lines(width) for width in self.settings.widths]
        return [plot for plot in drawn if plot.series]

    def _lines(self, width: int) -> Plot:
        return Plot(
            title=f"Does the answer move to the target? {width} units",
            kind="line",
            x_label="layers",
            y_label="cosine of the change with what is missing",
            series=[
                series
                for rule, words in RULES.items()
                for series in over_seeds(
                    words,
                    lines(
                        [self.of(rule, layers, width) for layers in DEPTHS],
                        "cosine",
                        self.settings.seeds,
                    ),
                    [float(layers) for layers in DEPTHS],
                )
            ],
            references=[Reference(name="straight to the target", y=1.0)],
        )


def run(
    settings: AlignmentSettings,
    folders: Sequence[Path] = (),
    kept: Partial[AlignmentResult] | None = None,
) -> Iterator[Partial[AlignmentResult]]:
    """One step of every rule in every network, seed after seed."""
    return recorded(
        kept,
        "found",
        lambda found: work(settings, found),
        lambda found: AlignmentResult(settings=settings, found=found),
    )


def work(settings: AlignmentSettings, found: list[Aligned]) -> Iterator[Tick]:
    """Everything there is to measure; adds to `found`. Each seed has other pictures."""
    networks = [(width, layers) for width in settings.widths for layers in DEPTHS]
    for seed in range(seeds_in(found), settings.seeds):
        pictures = digits(split=seed)
        images = pictures.training[:LOOKED_AT].double()
        label = one_hot(pictures.training_classes[:LOOKED_AT], pictures.classes).double()
        for place, (width, layers) in enumerate(networks):
            chain = new_chain(
                images.shape[1],
                width,
                pictures.classes,
                layers,
                torch.Generator().manual_seed(seed),
                activation=ACTIVATIONS["linear"],
            ).copy(torch.float64)
            gains: dict[str, float] = {}
            for rule in RULES:
                said = f"seed {seed + 1}: {layers} layers of {width} units, {RULES[rule]}"
                yield (seed + place / len(networks)) / settings.seeds, said
                state = errors_of(chain, images, label, rule, settings)
                near, gain = alignment(chain, images, label, state)
                gains[rule] = gain
                found.append(
                    Aligned(
                        seed=seed,
                        rule=rule,
                        layers=layers,
                        width=width,
                        cosine=near,
                        gain=gain / gains["backpropagation"],
                    )
                )


def errors_of(
    chain: Chain, images: Tensor, label: Tensor, rule: str, settings: AlignmentSettings
) -> ChainState:
    """The hidden values and errors from which a rule learns"""
    begin = by_states(chain, images, label, forward(chain, images))
    if rule == "backpropagation":
        carried = carried_back(chain, begin.hidden, begin.missed)
        return ChainState(**{**vars(begin), "errors": carried})
    if rule == "zil":
        return arriving_errors(chain, images, label)
    if rule == "still":
        return begin
    settle = settle_states if rule == "states" else settle_errors
    *_, state = settle(chain, images, label, steps=settings.steps, step_size=settings.step_size)
    return state


def alignment(
    chain: Chain, images: Tensor, label: Tensor, state: ChainState
) -> tuple[float, float]:
    """Mean over pictures of cos(change of y_hat, y - y_hat), and of how far it came along it"""
    before = readout(chain, forward(chain, images))
    change = after_one_step(chain, images, state) - before
    missing = label - before
    along = (change * missing).sum(1) / missing.square().sum(1)
    return F.cosine_similarity(
        change, missing, dim=1, eps=1e-300
    ).mean().item(), along.mean().item()


def after_one_step(chain: Chain, images: Tensor, state: ChainState) -> Tensor:
    """y_hat of each picture once all weights took a step on that picture alone: -> (B, C)

    The gradient of one picture is an error times an activity, dW_l = -c eps_l a_{l-1}^T, so the
    step adds RATE c^2 eps_l (a_{l-1} . a) to what layer l makes of an activity a.
    """
    active = chain.activation.function
    first, between, last = chain.scales
    step = RATE * first**2 * (images * images).sum(1, keepdim=True) * state.errors[0]
    value = first * images @ chain.weights[0].T + step
    for place, weight in enumerate(chain.weights[1], start=1):
        now, learned_from = active(value), active(state.hidden[place - 1])
        step = RATE * between**2 * (learned_from * now).sum(1, keepdim=True) * state.errors[place]
        value = between * now @ weight.T + chain.skip * value + step
    now, learned_from = active(value), active(state.hidden[-1])
    step = RATE * last**2 * (learned_from * now).sum(1, keepdim=True) * state.missed
    return last * now @ chain.weights[2].T + step


def answer(result: AlignmentResult) -> int | None:
    """Which option of the question is right, in the deepest narrow network."""
    found = result.compared().get(
        f"{result.settings.widths[0]} units, {DEPTHS[-1]} layers: PC, against backpropagation"
    )
    if found is None:
        return None
    if not found.clear:
        return 1
    return 0 if found.found.mean > 0 else 2


def verdict(result: AlignmentResult) -> str:
    """What the numbers say."""
    found, gap = result.compared(), result.largest_gap()
    if len(found) < len(result.settings.widths) * len(DEPTHS) or gap is None:
        return "Not yet enough: no seed has taken its step in all networks."
    if gap > 1e-6:
        return (
            f"Do not believe this: Z-IL differs from backpropagation by up to {gap:.1g} in cosine, "
            "so something besides the rule differs."
        )
    said = "; ".join(f"{name} {worded(one, 'cosine', 3, WORDS)}" for name, one in found.items())
    narrow = result.settings.widths[0]
    still = result.of("still", DEPTHS[-1], narrow).values()
    return (
        f"Seed by seed, of the cosine of the answer's change with what is missing: {said}. With "
        f"T = 0 that cosine is {spread(one.cosine for one in still).mean:.3f} in {DEPTHS[-1]} "
        f"layers of {narrow}, by {spread(one.gain for one in still).mean:.2g} times "
        "backpropagation's way to the target: alignment alone is not learning. Z-IL equals "
        f"backpropagation to {gap:.0e}."
    )


def tables(result: AlignmentResult) -> list[Table]:
    """Alignment by width and depth; and what is compared."""
    kinds = [(width, layers) for width in result.settings.widths for layers in DEPTHS]
    return [
        Table(
            title="Cosine of the change of the answer with y - y_hat (way covered, over "
            "backpropagation's), mean over pictures and seeds",
            columns=["rule", *(f"{width} units, L = {layers}" for width, layers in kinds)],
            rows=[
                [
                    words,
                    *(
                        cell(result.of(rule, layers, width), "{:.3f} ({:.2g})", "cosine", "gain")
                        for width, layers in kinds
                    ),
                ]
                for rule, words in RULES.items()
            ],
        ),
        verdict_table(result.compared(), "cosine", 3, WORDS),
    ]


def rows(result: AlignmentResult) -> list[dict[str, Any]]:
    """Every number."""
    return listed(
        result.found,
        {
            "seed": "seed",
            "rule": "rule",
            "layers": "layers",
            "width": "width",
            "cosine": "alignment",
            "gain": "way_over_backpropagations",
        },
    )


EXPERIMENT = Experiment(
    key="alignment",
    title="Target alignment",
    question="Does predictive coding's step lead straighter to the target than backpropagation's?",
    prediction=Question(
        prompt="A narrow linear network of 8 layers learns from one picture, by one small step. "
        "Whose answer moves more nearly towards the target?",
        options=(
            "Predictive coding's, clearly",
            "There is no clear difference",
            "Backpropagation's, clearly",
        ),
    ),
    equations=(
        Equation(
            name="Target alignment",
            latex=r"\cos\big(\hat y(W + \Delta W) - \hat y(W),\ y - \hat y(W)\big)",
            function="transformer_lab.experiments.target_alignment.alignment",
            source="arXiv:2605.11911 (abstract read); one finite step here",
        ),
        Equation(
            name="One step, learned from one picture alone",
            latex=r"\Delta W_l = \eta_w\, c\, \varepsilon_l f(z_{l-1})^\top",
            function="transformer_lab.experiments.target_alignment.after_one_step",
            source="derived here; tested against automatic differentiation",
        ),
        Equation(
            name="Z-IL, the control that must equal backpropagation",
            latex=r"\varepsilon_{L-k}(t = k) = -\partial\mathcal{L}/\partial z_{L-k},\ \eta = 1",
            function="transformer_lab.pcn.depth.arriving_errors",
            source="as in Song et al. 2020; proved by a test",
        ),
    ),
    settings=AlignmentSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
)
