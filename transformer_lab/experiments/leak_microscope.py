"""Experiment 1: the evaluation of arXiv:2506.06332 beside the honest one.

The controls are always there: random test labels, pictures of noise, a network that never learned,
and one that learned from shuffled labels. What is still "right" under them was not seen. And two
that could prove the honest evaluation blind: a discriminative network, asked by the very same
function, and a probe that tries each label and keeps the one of least energy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from transformer_lab.experiments.discriminative import Learner, batches
from transformer_lab.experiments.discriminative import build as build_discriminative
from transformer_lab.experiments.evaluator import infer_label, leak_source, score, try_labels
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
from transformer_lab.experiments.generative import build, train
from transformer_lab.experiments.leak_result import (
    ASKED,
    DISCRIMINATIVE,
    EVALUATIONS,
    HONEST,
    NETWORKS,
    NOISE,
    RANDOM,
    TRIED,
    TRUE,
    Curve,
    LeakResult,
    LeakSettings,
)
from transformer_lab.experiments.leak_words import answer, rows, tables, verdict
from transformer_lab.experiments.pictures import (
    PICTURES,
    Pictures,
    check_available,
    one_hot,
)
from transformer_lab.experiments.statistics import chance
from transformer_lab.pcn import (
    PCN_LEARNING_RULES,
    DiscriminativeNetwork,
    GenerativeNetwork,
    Network,
)

# How the discriminative control learns: as in experiment 2, but faster.
WIDTH, LEARNED_STEPS, LEARNED_STEP_SIZE, LEARNING_RATE = 128, 20, 0.1, 0.005


def run(
    settings: LeakSettings,
    folders: Sequence[Path] = (),
    kept: Partial[LeakResult] | None = None,
) -> Iterator[Partial[LeakResult]]:
    """Train nothing, then train, then train on shuffled labels; evaluate each in every way.

    Raises ConfigError at once when the pictures are not on this computer.
    """
    check_available(settings.pictures, folders)
    return measure(settings, folders, kept)


def measure(
    settings: LeakSettings, folders: Sequence[Path], kept: Partial[LeakResult] | None
) -> Iterator[Partial[LeakResult]]:
    """The run itself; nothing is read before it is advanced."""
    pictures = pictures_of(settings, folders, 0)
    yield from recorded(
        kept,
        "curves",
        lambda curves: work(settings, folders, curves),
        lambda curves: LeakResult(
            settings=settings,
            tests=len(pictures.test),
            chance=chance(len(pictures.test), pictures.classes),
            curves=curves,
        ),
    )


def pictures_of(settings: LeakSettings, folders: Sequence[Path], seed: int) -> Pictures:
    """The pictures of one seed: of the digits, others are put to the test each time."""
    load = PICTURES[settings.pictures]
    return load(folders, settings.training_pictures, settings.test_pictures, seed)


def work(settings: LeakSettings, folders: Sequence[Path], curves: list[Curve]) -> Iterator[Tick]:
    """Everything there is to measure; adds to `curves`."""

    def begin(seed: int) -> tuple[int, Iterator[str]]:
        pictures = pictures_of(settings, folders, seed)
        parts = one_seed(settings, pictures, seed, curves)
        return ticks(settings, len(pictures.training)), parts

    return seed_after_seed(seeds_in(curves), settings.seeds, begin)


def ticks(settings: LeakSettings, pictures: int) -> int:
    """How often `one_seed` yields."""
    generative_tests = 4 * settings.steps + settings.long_steps + 5
    discriminative_tests = 5 * (settings.steps + 1)
    return (
        2 * settings.ticks(pictures)
        + len(NETWORKS) * generative_tests
        + len(DISCRIMINATIVE) * (settings.epochs * batches(pictures) + discriminative_tests)
    )


def one_seed(
    settings: LeakSettings, pictures: Pictures, seed: int, curves: list[Curve]
) -> Iterator[str]:
    """Every network of a seed, trained and then asked in every way; adds to `curves`"""
    generator = torch.Generator().manual_seed(1_000 + seed)
    tests = test_sets(pictures, generator)
    for name, words in ASKED.items():
        network = new_network(name, pictures, settings, seed)
        refused = 0
        for halved in trained(name, network, pictures, settings, generator):
            refused += halved
            yield f"the network is being {words}"
        for evaluation, (images, label) in tests.items():
            curve = Curve(seed=seed, network=name, evaluation=evaluation, training_refused=refused)
            curves.append(curve)
            refused = 0  # it is counted once
            for _ in evaluate(network, images, label, settings, curve, generator):
                yield f"{words}; {EVALUATIONS[evaluation]}"


def new_network(name: str, pictures: Pictures, settings: LeakSettings, seed: int) -> Network:
    """A network of the paper's kind; or the discriminative one, which reads pictures upwards."""
    pixels = pictures.training.shape[1]
    if name not in DISCRIMINATIVE:
        return build(pixels, pictures.classes, settings, seed)
    return build_discriminative(pixels, WIDTH, pictures.classes, settings.precision, seed)


def trained(
    name: str,
    network: Network,
    pictures: Pictures,
    settings: LeakSettings,
    generator: torch.Generator,
) -> Iterator[int]:
    """Train in place, by predictive coding, unless it never learns; yields refused steps"""
    if name == "untrained":
        return
    label = training_label(pictures, name, generator)
    if isinstance(network, GenerativeNetwork):
        yield from train(network, pictures.training, label, settings, generator)
    elif isinstance(network, DiscriminativeNetwork):
        yield from train_discriminative(network, pictures.training, label, settings, generator)


def train_discriminative(
    network: DiscriminativeNetwork,
    images: Tensor,
    label: Tensor,
    settings: LeakSettings,
    generator: torch.Generator,
) -> Iterator[int]:
    """As experiment 2 does it, for as many epochs as the others; yields refused steps

    The label weighs 1 here, also where a learner has unplugged it from the evaluation.
    """
    weighed = replace(network, links=(*network.links[:-1], replace(network.links[-1], precision=1)))
    learner = Learner(
        weighed,
        PCN_LEARNING_RULES["settling"],
        steps=LEARNED_STEPS,
        step_size=LEARNED_STEP_SIZE,
        learning_rate=LEARNING_RATE,
    )
    for _ in range(settings.epochs):
        order = torch.randperm(len(images), generator=generator)
        for _ in learner.epoch(images, label, order):
            yield 0


def training_label(pictures: Pictures, network: str, generator: torch.Generator) -> Tensor:
    """(N, C) labels of the training pictures, dealt out at random for the shuffled network."""
    classes = pictures.training_classes
    if network.endswith("shuffled"):
        classes = classes[torch.randperm(len(classes), generator=generator)]
    return one_hot(classes, pictures.classes)


def test_sets(pictures: Pictures, generator: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Pictures (N, D_0) and labels (N, C) of each evaluation."""
    true = one_hot(pictures.test_classes, pictures.classes)
    drawn = torch.randint(0, pictures.classes, (len(true),), generator=generator)
    random = one_hot(drawn, pictures.classes)
    noise = torch.rand(pictures.test.shape, generator=generator)
    return {
        TRUE: (pictures.test, true),
        RANDOM: (pictures.test, random),
        NOISE: (noise, random),
        HONEST: (pictures.test, true),
        TRIED: (pictures.test, true),
    }


def evaluate(
    network: Network,
    images: Tensor,
    label: Tensor,
    settings: LeakSettings,
    curve: Curve,
    generator: torch.Generator,
) -> Iterator[None]:
    """Extend the curve step by step. Only here is decided whether the label is clamped."""
    honest = curve.evaluation == HONEST
    if curve.evaluation == TRIED:
        states = try_labels(
            network,
            images,
            label.shape[1],
            steps=settings.steps,
            step_size=settings.step_size,
            generator=generator,
        )
    else:
        long = honest and isinstance(network, GenerativeNetwork)
        states = infer_label(
            network,
            images,
            None if honest else label,
            steps=settings.long_steps if long else settings.steps,
            step_size=settings.step_size,
            generator=generator,
        )
    for readout, state in states:
        scored = score(network, readout, state, label)
        curve.accuracy.append(scored.accuracy)
        curve.latent_energy.append(scored.latent_energy)
        curve.supervised_energy.append(scored.supervised_energy)
        curve.refused = state.refused
        yield


EXPERIMENT = Experiment(
    key="leak",
    title="Leak microscope",
    question="Does the network see what is in the picture, or was it told?",
    prediction=Question(
        prompt="A network that never learned is shown pure noise, with labels drawn at random, and "
        "judged as the paper does, its label clamped. How often is it right?",
        options=(
            "About as often as guessing",
            "More often than guessing, but less than 60 %",
            "60 % or more",
        ),
    ),
    equations=(
        Equation(
            name="Energy",
            latex=r"E = \tfrac12 \sum_{l<L} \|x_l - f(W_l x_{l+1})\|^2"
            r" + \tfrac{\pi}{2} \|y - W_{out} x_L\|^2",
            function="transformer_lab.pcn.energy.energy",
            source="arXiv:2506.06332; the precision is ours, 1 in the paper",
        ),
        Equation(
            name="Settling",
            latex=r"x_l \leftarrow x_l - \eta\,(\varepsilon_l - W_{l-1}^\top"
            r" (f' \odot \varepsilon_{l-1})), \quad \varepsilon_L := \pi W_{out}^\top (\hat y - y)",
            function="transformer_lab.pcn.inference.descend",
            source="arXiv:2506.06332",
        ),
        Equation(
            name="The leak: along a singular direction s of the readout",
            latex=r"\hat y(T) - y = (1 - \eta \pi s^2)^T (\hat y(0) - y)",
            function="transformer_lab.experiments.evaluator.infer_label",
            source="derived here, for latents that nothing else pulls at; tested",
        ),
        Equation(
            name="Each label tried, the fair use of clamping: nobody says which is right",
            latex=r"\hat c = \arg\min_c\, E(x(T; y = c))",
            function="transformer_lab.experiments.evaluator.try_labels",
            source="as generative classifiers are read; every label is tried alike",
        ),
        Equation(
            name="Learning",
            latex=r"W_l \leftarrow W_l + \eta_w (f' \odot \varepsilon_l) x_{l+1}^\top",
            function="transformer_lab.pcn.learning.learn",
            source="arXiv:2506.06332, algorithm 3, with its mean over the batch",
        ),
    ),
    settings=LeakSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
    source=leak_source,
)
