"""Experiment 1: the evaluation of arXiv:2506.06332 beside the honest one.

The controls are always there: random test labels, pictures of noise, a network that never learned,
and one that learned from shuffled labels. What is still "right" under them was not seen.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from transformer_lab.experiments.evaluator import infer_label, leak_source, score
from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Question,
    Tick,
    paced,
)
from transformer_lab.experiments.generative import build, train
from transformer_lab.experiments.leak_result import (
    EVALUATIONS,
    HONEST,
    NETWORKS,
    NOISE,
    RANDOM,
    TRUE,
    Curve,
    LeakResult,
    LeakSettings,
    answer,
    rows,
    tables,
    verdict,
)
from transformer_lab.experiments.pictures import (
    PICTURES,
    Pictures,
    check_available,
    one_hot,
)
from transformer_lab.experiments.statistics import chance
from transformer_lab.pcn import GenerativeNetwork


def run(settings: LeakSettings, folders: Sequence[Path] = ()) -> Iterator[Partial[LeakResult]]:
    """Train nothing, then train, then train on shuffled labels; evaluate each in every way.

    Raises ConfigError at once when the pictures are not on this computer.
    """
    check_available(settings.pictures, folders)
    return measure(settings, folders)


def measure(settings: LeakSettings, folders: Sequence[Path]) -> Iterator[Partial[LeakResult]]:
    """The run itself; nothing is read before it is advanced."""
    pictures = PICTURES[settings.pictures](
        folders, settings.training_pictures, settings.test_pictures
    )
    found = Found()

    def snapshot() -> LeakResult:
        return LeakResult(
            settings=settings,
            tests=len(pictures.test),
            chance=chance(len(pictures.test), pictures.classes),
            curves=copy.deepcopy(found.curves),
            training_refused=found.training_refused,
        )

    yield from paced(work(settings, pictures, found), snapshot)


@dataclass
class Found:
    """What is being measured, growing."""

    curves: list[Curve] = field(default_factory=list)
    training_refused: int = 0


def work(settings: LeakSettings, pictures: Pictures, found: Found) -> Iterator[Tick]:
    """Everything there is to measure; adds to `found`."""
    training_ticks = settings.ticks(len(pictures.training))
    test_ticks = 3 * settings.steps + settings.long_steps + 4
    total = settings.seeds * (2 * training_ticks + 3 * test_ticks)
    done = 0
    for seed in range(settings.seeds):
        generator = torch.Generator().manual_seed(1_000 + seed)
        tests = test_sets(pictures, generator)
        for name, words in NETWORKS.items():
            network = build(pictures.training.shape[1], pictures.classes, settings, seed)
            if name != "untrained":
                label = training_label(pictures, name, generator)
                for halved in train(network, pictures.training, label, settings, generator):
                    found.training_refused += halved
                    done += 1
                    yield done / total, f"seed {seed + 1}: the network is being {words}"
            for evaluation, (images, label) in tests.items():
                says = f"seed {seed + 1}, {words}: {EVALUATIONS[evaluation]}"
                curve = Curve(seed=seed, network=name, evaluation=evaluation)
                found.curves.append(curve)
                for _ in evaluate(network, images, label, settings, curve, generator):
                    done += 1
                    yield done / total, says


def training_label(pictures: Pictures, network: str, generator: torch.Generator) -> Tensor:
    """(N, C) labels of the training pictures, dealt out at random for the shuffled network."""
    classes = pictures.training_classes
    if network == "shuffled":
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
    }


def evaluate(
    network: GenerativeNetwork,
    images: Tensor,
    label: Tensor,
    settings: LeakSettings,
    curve: Curve,
    generator: torch.Generator,
) -> Iterator[None]:
    """Extend the curve step by step. Only here is decided whether the label is clamped."""
    honest = curve.evaluation == HONEST
    clamped = None if honest else label
    steps = settings.long_steps if honest else settings.steps
    for readout, state in infer_label(
        network, images, clamped, steps=steps, step_size=settings.step_size, generator=generator
    ):
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
