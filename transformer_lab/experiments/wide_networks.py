"""Experiment 8: where width is much larger than depth, predictive coding is backpropagation.

muPC networks with ReLU settle on a few digits; the cosine of each layer's gradient with
backpropagation's is taken, and the lowest of them counts. Controls: settling that is too short,
which must break it; the standard parameterization, settled as long; and the settled energy over
the loss, which has to come to 1 with the cosines.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Partial,
    Question,
    Tick,
    recorded,
    seeds_in,
)
from transformer_lab.experiments.gradient_agreement import cosine
from transformer_lab.experiments.pictures import Pictures, digits, one_hot
from transformer_lab.experiments.width_result import (
    LONG,
    SHORT,
    STANDARD,
    WidthLook,
    WidthResult,
    WidthSettings,
    answer,
    rows,
    tables,
    verdict,
    ways,
)
from transformer_lab.pcn.chain import (
    by_layer,
    chain_backpropagation,
    new_chain,
    weight_gradients,
)
from transformer_lab.pcn.depth import energy_of, settle_states
from transformer_lab.pcn.energy import ACTIVATIONS

LOOKED_AT = 16  # pictures


def run(
    settings: WidthSettings,
    folders: Sequence[Path] = (),
    kept: Partial[WidthResult] | None = None,
) -> Iterator[Partial[WidthResult]]:
    """Settle networks of every width and depth, seed after seed, and compare the gradients."""
    return recorded(
        kept,
        "looks",
        lambda looks: work(settings, looks),
        lambda looks: WidthResult(settings=settings, looks=looks),
    )


def work(settings: WidthSettings, looks: list[WidthLook]) -> Iterator[Tick]:
    """Everything there is to measure; adds to `looks`. Each seed has other pictures."""
    for seed in range(seeds_in(looks), settings.seeds):
        pictures = digits(split=seed)
        networks = [
            (way, layers, width)
            for width in settings.widths
            for way in ways(settings)
            for layers in (settings.depths if way == LONG else [settings.layers])
        ]
        for place, (way, layers, width) in enumerate(networks):
            for share in look(settings, pictures, seed, way, layers, width, looks):
                progress = (seed + (place + share) / len(networks)) / settings.seeds
                yield progress, f"seed {seed + 1}: {layers} layers of {width} units"


def look(
    settings: WidthSettings,
    pictures: Pictures,
    seed: int,
    way: str,
    layers: int,
    width: int,
    looks: list[WidthLook],
) -> Iterator[float]:
    """Settle one network and compare its gradients; adds to `looks`, yields the share done"""
    images = pictures.training[:LOOKED_AT]
    label = one_hot(pictures.training_classes[:LOOKED_AT], pictures.classes)
    chain = new_chain(
        images.shape[1],
        width,
        pictures.classes,
        layers,
        torch.Generator().manual_seed(seed),
        parameterization="standard" if way == STANDARD else "mupc",
        activation=ACTIVATIONS["relu"],
    )
    steps = settings.short if way == SHORT else settings.steps
    for state in settle_states(chain, images, label, steps=steps, step_size=settings.step_size):
        if state.step == 0:
            loss = energy_of(state.errors, state.missed)  # there are no hidden errors yet
        yield state.step / (steps + 1)
    ours = weight_gradients(chain, images, state.hidden, state.errors, state.missed)
    right = chain_backpropagation(chain, images, label)
    looks.append(
        WidthLook(
            seed=seed,
            way=way,
            layers=layers,
            width=width,
            cosine=min(map(cosine, by_layer(ours), by_layer(right))),
            energy=(state.energy.sum() / loss.sum()).item(),
        )
    )
    yield 1.0


EXPERIMENT = Experiment(
    key="width",
    title="Wide networks",
    question="When does predictive coding become backpropagation by itself?",
    prediction=Question(
        prompt="A muPC network of many layers, as wide as is tried here, settles for long. How "
        "near is the layer that is farthest from backpropagation's gradient (lowest cosine)?",
        options=("Nearly the same: above 0.99", "Near: 0.9 to 0.99", "Not near: up to 0.9"),
    ),
    equations=(
        Equation(
            name="The layer that is farthest",
            latex=r"\min_l\ \cos\big(\partial E(z^*) / \partial W_l,\ "
            r"\partial \mathcal{L} / \partial W_l\big)",
            function="transformer_lab.experiments.wide_networks.look",
            source="our measure of what arXiv:2602.07697 (abstract read) says of widths",
        ),
        Equation(
            name="Settled energy comes to backpropagation's loss",
            latex=r"E(z^*) \to \tfrac12 \|y - \hat y\|^2 \quad (N \gg L)",
            function="transformer_lab.pcn.depth.energy_of",
            source="arXiv:2602.07697, proved there for linear residual networks; measured here",
        ),
        Equation(
            name="Settling by states",
            latex=r"z_l \leftarrow z_l - \eta\,"
            r"(\varepsilon_l - \mathrm{back}_l(\varepsilon_{l+1}))",
            function="transformer_lab.pcn.chain.state_gradient",
            source="as in Whittington & Bogacz 2017; tested against automatic differentiation",
        ),
    ),
    settings=WidthSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
)
