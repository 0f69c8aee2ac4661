"""Experiment 7: why deep predictive coding stops learning, and two cures.

First the signal: how long is the gradient that reaches layer 1, over backpropagation's? Settling
by states it fades with every layer; settling by errors (ePC) it does not, and with muPC's scales
even states carry it far. Then learning, judged by one forward pass. Controls: backpropagation in
the same network, settling for no step, shuffled labels, and a step size for each rule, chosen on
training pictures that are held back.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from transformer_lab.experiments.depth_result import (
    ARMS,
    KINDS,
    SIGNAL_SIZE,
    STEP_SIZES,
    SWEPT,
    Arm,
    DepthResult,
    DepthSettings,
    DepthTrial,
    Signal,
    depths,
)
from transformer_lab.experiments.depth_words import answer, rows, tables, verdict
from transformer_lab.experiments.discriminative import BATCH, batches
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
from transformer_lab.experiments.gradient_agreement import cosine
from transformer_lab.experiments.pictures import Pictures, digits, one_hot
from transformer_lab.experiments.statistics import chance
from transformer_lab.pcn.chain import (
    Chain,
    chain_backpropagation,
    forward,
    length,
    new_chain,
    readout,
)
from transformer_lab.pcn.depth import chain_gradients

LOOKED_AT = 256  # pictures the signal is measured on
HELD_BACK = 0.2  # of the training pictures, to choose the step size by


def run(
    settings: DepthSettings,
    folders: Sequence[Path] = (),
    kept: Partial[DepthResult] | None = None,
) -> Iterator[Partial[DepthResult]]:
    """Measure the signal, choose the step sizes, let all of them learn; seed after seed."""
    pictures = digits()
    yield from recorded(
        kept,
        "trials",
        lambda trials: work(settings, trials),
        lambda trials: DepthResult(
            settings=settings,
            chance=chance(len(pictures.test), pictures.classes),
            trials=trials,
        ),
    )


def work(settings: DepthSettings, trials: list[DepthTrial]) -> Iterator[Tick]:
    """Everything there is to measure; appends to `trials`. Each seed has other test pictures."""

    def begin(seed: int) -> tuple[int, Iterator[str]]:
        trials.append(DepthTrial(seed=seed))
        pictures = digits(split=seed)
        return ticks(settings, len(pictures.training)), one_seed(settings, pictures, trials[-1])

    return seed_after_seed(seeds_in(trials), settings.seeds, begin)


def ticks(settings: DepthSettings, pictures: int) -> int:
    """How often `one_seed` yields."""
    sweeps = len(SWEPT) * len(STEP_SIZES) * batches(pictures - round(HELD_BACK * pictures))
    return (
        len(KINDS) * 2 * len(depths(settings))
        + sweeps
        + len(ARMS) * settings.epochs * batches(pictures)
    )


def one_seed(settings: DepthSettings, pictures: Pictures, trial: DepthTrial) -> Iterator[str]:
    """The signal, the sweep, and the training of one seed"""
    yield from signals(settings, pictures, trial)
    yield from sweep(settings, pictures, trial)
    label = one_hot(pictures.training_classes, pictures.classes)
    generator = torch.Generator().manual_seed(7_000 + trial.seed)
    shuffled = label[torch.randperm(len(label), generator=generator)]
    orders = [torch.randperm(len(label), generator=generator) for _ in range(settings.epochs)]
    for name, arm in ARMS.items():
        chain = begin(settings, pictures, arm.kind, trial.seed)
        line = trial.accuracy[name] = [accuracy(chain, pictures.test, pictures.test_classes)]
        learner = ChainLearner(chain, arm, settings, trial.chosen.get(name, STEP_SIZES[0]))
        wanted = shuffled if arm.shuffled else label
        for order in orders:
            for _ in learner.epoch(pictures.training, wanted, order):
                yield f"{arm.words}, {settings.layers} layers"
            line.append(accuracy(chain, pictures.test, pictures.test_classes))


def begin(
    settings: DepthSettings, pictures: Pictures, kind: str, seed: int, layers: int | None = None
) -> Chain:
    """The network of a seed before it has learned; the same numbers for all rules."""
    return new_chain(
        pictures.training.shape[1],
        settings.width,
        pictures.classes,
        layers or settings.layers,
        torch.Generator().manual_seed(seed),
        parameterization=kind,
    )


def signals(settings: DepthSettings, pictures: Pictures, trial: DepthTrial) -> Iterator[str]:
    """How much of backpropagation's gradient reaches layer 1, for each depth, kind and rule"""
    images = pictures.training[:LOOKED_AT].double()
    label = one_hot(pictures.training_classes[:LOOKED_AT], pictures.classes).double()
    for layers in depths(settings):
        for kind in KINDS:
            chain = begin(settings, pictures, kind, trial.seed, layers).copy(torch.float64)
            right = chain_backpropagation(chain, images, label)[0]
            for rule in ("states", "errors"):
                ours = chain_gradients(
                    chain, images, label, how=rule, steps=settings.steps, step_size=SIGNAL_SIZE
                )[0]
                trial.signals.append(
                    Signal(
                        kind=kind,
                        rule=rule,
                        layers=layers,
                        length=length(ours) / length(right),
                        cosine=cosine(ours, right),
                    )
                )
                yield f"the signal through {layers} layers"


def sweep(settings: DepthSettings, pictures: Pictures, trial: DepthTrial) -> Iterator[str]:
    """Learn for one epoch with each step size, and choose by training pictures held back"""
    held = round(HELD_BACK * len(pictures.training))
    label = one_hot(pictures.training_classes, pictures.classes)[held:]
    images, classes = pictures.training[:held], pictures.training_classes[:held]
    generator = torch.Generator().manual_seed(8_000 + trial.seed)
    order = torch.randperm(len(label), generator=generator)
    for name in SWEPT:
        found = trial.sweep[name] = {}
        for size in STEP_SIZES:
            chain = begin(settings, pictures, ARMS[name].kind, trial.seed)
            learner = ChainLearner(chain, ARMS[name], settings, size)
            for _ in learner.epoch(pictures.training[held:], label, order):
                yield f"{ARMS[name].words}: step size {size:g}"
            found[size] = accuracy(chain, images, classes)
        trial.chosen[name] = max(STEP_SIZES, key=lambda size: found[size])
    trial.chosen["mupc_shuffled"] = trial.chosen["mupc_states"]


class ChainLearner:
    """A chain that learns by one rule, with Adam."""

    def __init__(self, chain: Chain, arm: Arm, settings: DepthSettings, step_size: float) -> None:
        self._chain, self._arm, self._step_size = chain, arm, step_size
        self._steps = 0 if arm.still else settings.steps
        rate = settings.mupc_rate if arm.kind == "mupc" else settings.standard_rate
        self._optimizer = torch.optim.Adam(chain.weights, lr=rate)

    def epoch(self, images: Tensor, label: Tensor, order: Tensor) -> Iterator[None]:
        """Learn from images (N, D) and labels (N, C) in this order; yields after each batch"""
        for batch in order.split(BATCH):
            found = self._gradients(images[batch], label[batch])
            for weight, gradient in zip(self._chain.weights, found, strict=True):
                weight.grad = gradient
            self._optimizer.step()
            yield

    def _gradients(self, images: Tensor, label: Tensor) -> list[Tensor]:
        if self._arm.rule == "backpropagation":
            return chain_backpropagation(self._chain, images, label)
        return chain_gradients(
            self._chain,
            images,
            label,
            how=self._arm.rule,
            steps=self._steps,
            step_size=self._step_size,
        )


def accuracy(chain: Chain, images: Tensor, classes: Tensor) -> float:
    """Percent of the pictures that one forward pass gets right."""
    says = readout(chain, forward(chain, images)).argmax(1)
    return 100 * (says == classes).float().mean().item()


EXPERIMENT = Experiment(
    key="depth",
    title="Deep networks",
    question="Why does predictive coding stop learning in deep networks, and what cures it?",
    prediction=Question(
        prompt="A plain network of many layers learns by predictive coding, its states settling "
        "before each update. How does its test accuracy compare with backpropagation's in the "
        "same network?",
        options=(
            "Less than 3 points behind, or ahead",
            "3 to 20 points behind",
            "More than 20 points behind",
        ),
    ),
    equations=(
        Equation(
            name="Energy, settled by states: the error moves down a layer a step",
            latex=r"E = \tfrac12 \sum_{l<L} \|z_l - f_l(z_{l-1})\|^2 + \tfrac12 \|y - \hat y\|^2,"
            r"\quad z_l \leftarrow z_l - \eta\, \partial E / \partial z_l",
            function="transformer_lab.pcn.chain.state_gradient",
            source="as in Whittington & Bogacz 2017; tested against automatic differentiation",
        ),
        Equation(
            name="The same energy, settled by errors (ePC): its inner gradient is backpropagation",
            latex=r"z_l = f_l(z_{l-1}) + e_l,\quad e_l \leftarrow e_l - \eta\,"
            r"\big(e_l + \partial \tfrac12 \|y - \hat y(e)\|^2 / \partial z_l\big)",
            function="transformer_lab.pcn.depth.by_errors",
            source="after arXiv:2505.20137 (abstract read); derived here, and tested",
        ),
        Equation(
            name="muPC: skips, and scales by depth and width",
            latex=r"z_l = z_{l-1} + (NL)^{-1/2} W_l f(z_{l-1}),\quad W \sim N(0, 1),\quad"
            r"\hat y = N^{-1} W_L f(z_{L-1})",
            function="transformer_lab.pcn.chain.new_chain",
            source="arXiv:2505.13124, with the scales of jpc",
        ),
        Equation(
            name="Learning: the errors at both ends, whoever found them",
            latex=r"\partial E / \partial W_l = -c\, \varepsilon_l f(z_{l-1})^\top",
            function="transformer_lab.pcn.chain.weight_gradients",
            source="derived here; tested against automatic differentiation",
        ),
    ),
    settings=DepthSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
)
