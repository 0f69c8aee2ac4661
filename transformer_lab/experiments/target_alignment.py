"""Experiment 9: does one step of learning move the answer towards the target?

Of linear chains, one example at a time: all weights take one small step, and the change of y_hat is
compared, by its cosine, with y - y_hat. Controls: Z-IL, which must equal backpropagation; and
predictive coding with T = 0, whose last layer learns alone. That is aligned perfectly, by
construction, and learns next to nothing: alignment is not learning.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.experiments.alignment_result import (
    DEPTHS,
    RULES,
    Aligned,
    AlignmentResult,
    AlignmentSettings,
    answer,
    rows,
    tables,
    verdict,
)
from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Question,
    Tick,
    recorded,
    seeds_in,
)
from transformer_lab.experiments.pictures import digits, one_hot
from transformer_lab.pcn.chain import Chain, carried_back, forward, new_chain, readout
from transformer_lab.pcn.depth import (
    ChainState,
    arriving_errors,
    by_states,
    settle_errors,
    settle_states,
)
from transformer_lab.pcn.energy import ACTIVATIONS

LOOKED_AT = 64  # pictures, each by itself
RATE = 1e-3  # of the one step


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
