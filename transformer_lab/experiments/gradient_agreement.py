"""Experiment 3: does predictive coding approximate backpropagation?

The label is clamped, the hidden values settle from the feed-forward pass, and after each step the
gradient of every layer is compared with backpropagation's on the same pictures. The error needs a
step for each layer it has to pass; where it has just arrived, the direction is exactly
backpropagation's (the theorem behind Z-IL), and as settling goes on it departs again, the more the
heavier the label weighs. Controls: a network trained on shuffled labels, and the labels of other
pictures, which show how much of a cosine comes of the pictures alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from transformer_lab.experiments.discriminative import Learner, batches, build
from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Question,
    Tick,
    recorded,
    seed_after_seed,
    seeds_in,
)
from transformer_lab.experiments.gradient_result import (
    EXACT,
    MOMENTS,
    PRECISIONS,
    Agreement,
    GradientResult,
    GradientSettings,
)
from transformer_lab.experiments.gradient_words import answer, rows, tables, verdict
from transformer_lab.experiments.pictures import Pictures, digits, one_hot
from transformer_lab.pcn import PCN_LEARNING_RULES, DiscriminativeNetwork, backpropagation, settle
from transformer_lab.pcn.learning import gradients_at

LOOKED_AT = 256  # pictures the gradients are compared on
TRAINING_STEPS = 20  # of settling, while the network is trained
LEARNING_RATE = 0.001


def run(
    settings: GradientSettings,
    folders: Sequence[Path] = (),
    kept: Partial[GradientResult] | None = None,
) -> Iterator[Partial[GradientResult]]:
    """Compare at initialization, train by predictive coding, compare again; seed after seed."""
    return recorded(
        kept,
        "agreements",
        lambda agreements: work(settings, agreements),
        lambda agreements: GradientResult(settings=settings, agreements=agreements),
    )


def work(settings: GradientSettings, agreements: list[Agreement]) -> Iterator[Tick]:
    """Everything there is to measure; appends to `agreements`. Each seed has other pictures."""

    def begin(seed: int) -> tuple[int, Iterator[str]]:
        pictures = digits(split=seed)
        looks = (len(MOMENTS) + 1 + len(PRECISIONS)) * (settings.steps + 1)
        total = looks + 2 * settings.epochs * batches(len(pictures.training))
        return total, one_seed(settings, pictures, seed, agreements)

    return seed_after_seed(seeds_in(agreements), settings.seeds, begin)


def one_seed(
    settings: GradientSettings, pictures: Pictures, seed: int, agreements: list[Agreement]
) -> Iterator[str]:
    """Compare, train by predictive coding with true and with shuffled labels, compare again"""
    images = pictures.training[:LOOKED_AT].double()
    label = one_hot(pictures.training_classes[:LOOKED_AT], pictures.classes).double()
    start = build(images.shape[1], settings.width, pictures.classes, settings.precision, seed)
    found = {
        moment: Agreement(seed=seed, moment=moment, cosines=[[] for _ in start.links])
        for moment in MOMENTS
    }
    yield from compare(start, images, label, settings, agreements, found["initial"])
    yield from vary_precision(start, images, label, settings, found["initial"])
    yield from mislead(start, images, label, settings, found["initial"])
    for moment in ("trained", "shuffled"):
        network = start.copy()
        yield from train(network, pictures, settings, seed, shuffled=moment == "shuffled")
        yield from compare(network, images, label, settings, agreements, found[moment])


def compare(
    network: DiscriminativeNetwork,
    images: Tensor,
    label: Tensor,
    settings: GradientSettings,
    agreements: list[Agreement],
    found: Agreement,
) -> Iterator[str]:
    """Settle, and after each step compare every layer's gradient with backpropagation's."""
    agreements.append(found)
    network = in_float64(network)
    right = backpropagation(network, images, label, 0, 0.0).weights
    for rule in EXACT:
        ours = PCN_LEARNING_RULES[rule](network, images, label, 0, 0.0).weights
        found.exact[rule] = largest_difference(ours, right)
    for state in settle(
        network, network.start(images, label), steps=settings.steps, step_size=settings.step_size
    ):
        ours = gradients_at(network, state.predictions, state.values)
        for line, cosine in zip(found.cosines, cosines(ours, right), strict=True):
            line.append(cosine)
        found.energy.append(state.energy.mean().item())
        found.refused = state.refused
        yield "settling, and comparing the gradients"


def in_float64(network: DiscriminativeNetwork) -> DiscriminativeNetwork:
    """The same network; an error that has just arrived can be smaller than float32's rounding."""
    return replace(network, weights=[weight.double() for weight in network.weights])


def cosines(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[float]:
    """The cosine of each pair of matrices; 0 when one of them is zero

    In float64, and of each divided by its largest entry: a gradient that has hardly arrived may
    be so short that its square is lost in float32.
    """
    return [cosine(*pair) for pair in zip(ours, theirs, strict=True)]


def cosine(one: Tensor, other: Tensor) -> float:
    """The cosine of two tensors as vectors; 0 when one of them is zero"""
    first, second = one.flatten().double(), other.flatten().double()
    largest = [float(vector.abs().max()) for vector in (first, second)]
    if 0 in largest:
        return 0.0
    first, second = first / largest[0], second / largest[1]
    return float(first @ second / (first.norm() * second.norm()))


def largest_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference in any layer, relative to the largest entry of that layer."""
    return max(
        ((one - other).abs().max() / other.abs().max()).item()
        for one, other in zip(ours, theirs, strict=True)
    )


def vary_precision(
    network: DiscriminativeNetwork,
    images: Tensor,
    label: Tensor,
    settings: GradientSettings,
    found: Agreement,
) -> Iterator[str]:
    """Settle to the end with ever less weight on the label, and compare."""
    found.by_precision = [[] for _ in network.links]
    network = in_float64(network)
    for precision in PRECISIONS:
        last = replace(network.links[-1], precision=precision)
        weighed = replace(network, links=(*network.links[:-1], last))
        right = backpropagation(weighed, images, label, 0, 0.0).weights
        for state in settle(
            weighed,
            weighed.start(images, label),
            steps=settings.steps,
            step_size=settings.step_size,
        ):
            end = state
            yield f"settling with precision {precision:g}"
        ours = gradients_at(weighed, end.predictions, end.values)
        for line, cosine in zip(found.by_precision, cosines(ours, right), strict=True):
            line.append(cosine)


def mislead(
    network: DiscriminativeNetwork,
    images: Tensor,
    label: Tensor,
    settings: GradientSettings,
    found: Agreement,
) -> Iterator[str]:
    """The control: settle on the labels of other pictures, and compare with the right ones."""
    network = in_float64(network)
    right = backpropagation(network, images, label, 0, 0.0).weights
    others = network.start(images, label.roll(1, dims=0))
    for state in settle(network, others, steps=settings.steps, step_size=settings.step_size):
        end = state
        yield "settling on the labels of other pictures"
    found.other_labels = cosines(gradients_at(network, end.predictions, end.values), right)


def train(
    network: DiscriminativeNetwork,
    pictures: Pictures,
    settings: GradientSettings,
    seed: int,
    *,
    shuffled: bool,
) -> Iterator[str]:
    """Train in place, by predictive coding."""
    generator = torch.Generator().manual_seed(3_000 + seed)
    label = one_hot(pictures.training_classes, pictures.classes)
    if shuffled:
        label = label[torch.randperm(len(label), generator=generator)]
    learner = Learner(
        network,
        PCN_LEARNING_RULES["settling"],
        steps=TRAINING_STEPS,
        step_size=settings.step_size,
        learning_rate=LEARNING_RATE,
    )
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(label), generator=generator)
        for _ in learner.epoch(pictures.training, label, order):
            yield f"training by predictive coding, epoch {epoch}"


EXPERIMENT = Experiment(
    key="gradients",
    title="Does predictive coding approximate backpropagation?",
    question="How near is predictive coding's local gradient to backpropagation's, layer by layer?",
    prediction=Question(
        prompt="Settled to the end, the direction of learning is near backpropagation's, but not "
        "the same (mean cosine over the layers). Does training by predictive coding bring the two "
        "nearer to each other?",
        options=(
            "Yes, they are clearly nearer after training",
            "There is no clear difference",
            "No, they are clearly farther apart",
        ),
    ),
    equations=(
        Equation(
            name="Settling",
            latex=r"z_l \leftarrow z_l - \eta\,(\varepsilon_l - W_{l+1}^\top"
            r" (\pi_{l+1} f' \odot \varepsilon_{l+1}))",
            function="transformer_lab.pcn.inference.descend",
            source="as in Whittington & Bogacz 2017, doi:10.1162/NECO_a_00949",
        ),
        Equation(
            name="Gradient of predictive coding",
            latex=r"\partial E / \partial W_l = -(\pi_l f' \odot \varepsilon_l)\, z_{l-1}^\top",
            function="transformer_lab.pcn.energy.weight_gradient",
            source="as in Whittington & Bogacz 2017; tested against automatic differentiation",
        ),
        Equation(
            name="Exact when each layer learns as the error arrives",
            latex=r"\varepsilon_{L-k}(t = k) = \partial\mathcal{L}/\partial z_{L-k}"
            r"\ \text{up to sign, for}\ \eta = 1",
            function="transformer_lab.pcn.learning.zero_divergence",
            source="as in Song et al. 2020 (Z-IL); proved by a test",
        ),
        Equation(
            name="Exact when predictions are held fixed",
            latex=r"\varepsilon_l \leftarrow \varepsilon_l - \eta\,(\varepsilon_l - W_{l+1}^\top"
            r" (f'_{ff} \odot \varepsilon_{l+1})),\ \eta = 1",
            function="transformer_lab.pcn.learning.fixed_prediction",
            source="as in arXiv:2006.04182 and Rosenbaum 2022; proved by a test",
        ),
    ),
    settings=GradientSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
)
