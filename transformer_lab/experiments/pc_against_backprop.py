"""Experiment 2: predictive coding against backpropagation, judged honestly.

Both learn from the same initial weights and the same batches, with the label clamped in training
only, and both are judged by one feed-forward pass. Controls: predictive coding that settles for no
step, so that only the last layer learns; shuffled training labels; and the evaluation that leaks,
which praises all of them on labels drawn at random.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from transformer_lab.experiments.discriminative import Learner, batches, build
from transformer_lab.experiments.evaluator import infer_label, leak_source, score
from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Question,
    Tick,
    recorded,
    seeds_in,
)
from transformer_lab.experiments.pictures import Pictures, digits, one_hot
from transformer_lab.experiments.race_result import (
    LEAK_STEPS,
    RACERS,
    TWIN,
    UNTRAINED,
    Race,
    RaceResult,
    RaceSettings,
    answer,
    rows,
    tables,
    verdict,
)
from transformer_lab.experiments.statistics import chance
from transformer_lab.pcn import PCN_LEARNING_RULES, DiscriminativeNetwork, backpropagation, classify


def run(
    settings: RaceSettings,
    folders: Sequence[Path] = (),
    kept: Partial[RaceResult] | None = None,
) -> Iterator[Partial[RaceResult]]:
    """Advance all learners an epoch at a time, seed after seed; then try the leak on them."""
    pictures = digits()
    yield from recorded(
        kept,
        "races",
        lambda races: work(settings, pictures, races),
        lambda races: RaceResult(
            settings=settings,
            tests=len(pictures.test),
            chance=chance(len(pictures.test), pictures.classes),
            races=races,
        ),
    )


def work(settings: RaceSettings, pictures: Pictures, races: list[Race]) -> Iterator[Tick]:
    """Everything there is to measure; appends to `races`.

    Each seed is tested on other pictures: what one split favours is no result.
    """
    per_seed = len(RACERS) * settings.epochs * batches(len(pictures.training))
    per_seed += 3 * (LEAK_STEPS + 1)
    total, done = settings.seeds * per_seed, seeds_in(races) * per_seed
    for seed in range(seeds_in(races), settings.seeds):
        race = Race(seed=seed)
        races.append(race)
        pictures = digits(split=seed)
        generator = torch.Generator().manual_seed(2_000 + seed)
        start = build(
            pictures.training.shape[1],
            settings.width,
            pictures.classes,
            settings.precision,
            seed,
        )
        learners = {name: learner(settings, name, start.copy()) for name in RACERS}
        for words in learn(settings, pictures, race, learners, generator):
            done += 1
            yield done / total, words
        networks = {
            "predictive_coding": learners["predictive_coding"].network,
            "backpropagation": learners["backpropagation"].network,
            UNTRAINED: start,
        }
        for words in leak(settings, pictures, race, networks, generator):
            done += 1
            yield done / total, words


def learner(settings: RaceSettings, name: str, network: DiscriminativeNetwork) -> Learner:
    """The learner of one of the compared methods."""
    by_settling = name.startswith("predictive_coding")
    rule = PCN_LEARNING_RULES["settling" if name == TWIN else settings.rule]
    return Learner(
        network,
        rule if by_settling else backpropagation,
        steps=0 if name == TWIN else settings.steps,
        step_size=settings.step_size,
        learning_rate=settings.learning_rate,
    )


def learn(
    settings: RaceSettings,
    pictures: Pictures,
    race: Race,
    learners: dict[str, Learner],
    generator: torch.Generator,
) -> Iterator[str]:
    """Every epoch of every learner; yields what is being done after each batch"""
    classes = pictures.training_classes
    label = one_hot(classes, pictures.classes)
    shuffled = label[torch.randperm(len(label), generator=generator)]
    for name, racer in learners.items():
        race.accuracy[name] = [accuracy(racer.network, pictures)]
        race.seconds[name] = 0.0
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(label), generator=generator)
        for name, racer in learners.items():
            wanted = shuffled if name.endswith("shuffled") else label
            begun = time.perf_counter()
            for _ in racer.epoch(pictures.training, wanted, order):
                race.seconds[name] += time.perf_counter() - begun
                yield f"seed {race.seed + 1}, epoch {epoch}: {RACERS[name]}"
                begun = time.perf_counter()
            race.accuracy[name].append(accuracy(racer.network, pictures))
            race.refused[name] = racer.refused


def accuracy(network: DiscriminativeNetwork, pictures: Pictures) -> float:
    """Percent of the test pictures that one feed-forward pass gets right."""
    says = classify(network, pictures.test).argmax(1)
    return 100 * (says == pictures.test_classes).float().mean().item()


def leak(
    settings: RaceSettings,
    pictures: Pictures,
    race: Race,
    networks: dict[str, DiscriminativeNetwork],
    generator: torch.Generator,
) -> Iterator[str]:
    """Judge each network by the evaluation that leaks, on labels drawn at random."""
    drawn = torch.randint(0, pictures.classes, (len(pictures.test),), generator=generator)
    label: Tensor = one_hot(drawn, pictures.classes)
    for name, network in networks.items():
        race.leaked[name] = []
        for readout, state in infer_label(
            network,
            pictures.test,
            label,
            steps=LEAK_STEPS,
            step_size=settings.step_size,
            generator=generator,
        ):
            race.leaked[name].append(score(network, readout, state, label).accuracy)
            yield f"seed {race.seed + 1}: the evaluation that leaks, on random labels"


EXPERIMENT = Experiment(
    key="race",
    title="Predictive coding against backpropagation",
    question="Does predictive coding learn to classify when nobody tells it the answer?",
    prediction=Question(
        prompt="Same initial weights, same batches, judged by one feed-forward pass. After the "
        "last epoch, how do their test accuracies compare?",
        options=(
            "Predictive coding is ahead by more than 3 points",
            "They are within 3 points of each other",
            "Backpropagation is ahead by more than 3 points",
        ),
    ),
    equations=(
        Equation(
            name="Energy, label clamped in training only",
            latex=r"E = \tfrac12 \sum_{l<L} \|z_l - f(W_l z_{l-1})\|^2"
            r" + \tfrac{\pi}{2} \|y - W_L z_{L-1}\|^2",
            function="transformer_lab.pcn.energy.energy",
            source="as in Whittington & Bogacz 2017, doi:10.1162/NECO_a_00949",
        ),
        Equation(
            name="Local learning, after T steps of settling",
            latex=r"\Delta W_l \propto (f' \odot \varepsilon_l)\, z_{l-1}^\top",
            function="transformer_lab.pcn.learning.settling",
            source="as in Whittington & Bogacz 2017",
        ),
        Equation(
            name="Backpropagation, to compare",
            latex=r"\Delta W_l \propto -\partial\, \tfrac{\pi}{2} \|y - \hat y\|^2 / \partial W_l",
            function="transformer_lab.pcn.learning.backpropagation",
            source="by automatic differentiation",
        ),
        Equation(
            name="How both are judged",
            latex=r"\hat y = W_L f(W_{L-1} \cdots f(W_1 z_0))",
            function="transformer_lab.pcn.network.classify",
            source="as jpc evaluates a discriminative network (its _test.py)",
        ),
    ),
    settings=RaceSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
    source=leak_source,
)
