"""Experiment 6: what information do latents hold when the label is never clamped?

The generative network settles on training and test pictures, nothing clamped but the pixels. Then
a linear probe is fitted on the latents of the training pictures and their true classes, and judged
on the test pictures. Controls: networks that never learned, or learned from shuffled labels; a
probe fitted on shuffled labels; the same probe on the pixels, which is what latents must beat.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from transformer_lab.experiments.evaluator import infer_label
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
from transformer_lab.experiments.latents_result import (
    MEAN,
    NETWORKS,
    PIXELS,
    SHOWN,
    LatentResult,
    LatentSettings,
    Look,
    answer,
    rows,
    tables,
    verdict,
)
from transformer_lab.experiments.pictures import Pictures, digits, one_hot
from transformer_lab.experiments.statistics import chance
from transformer_lab.pcn import GenerativeNetwork
from transformer_lab.pcn.inference import Settled


def run(
    settings: LatentSettings,
    folders: Sequence[Path] = (),
    kept: Partial[LatentResult] | None = None,
) -> Iterator[Partial[LatentResult]]:
    """Train, settle without the label, probe; network after network, seed after seed."""
    pictures = digits()
    yield from recorded(
        kept,
        "looks",
        lambda looks: work(settings, looks),
        lambda looks: LatentResult(
            settings=settings,
            tests=len(pictures.test),
            chance=chance(len(pictures.test), pictures.classes),
            digits=drawn(pictures.test[:SHOWN], pictures),
            looks=looks,
        ),
    )


def work(settings: LatentSettings, looks: list[Look]) -> Iterator[Tick]:
    """Everything there is to measure; appends to `looks`. Each seed has other test pictures."""

    def begin(seed: int) -> tuple[int, Iterator[str]]:
        pictures = digits(split=seed)
        total = 6 * (settings.steps + 1) + 2 * settings.ticks(len(pictures.training))
        return total, one_seed(settings, pictures, seed, looks)

    return seed_after_seed(seeds_in(looks), settings.seeds, begin)


def one_seed(
    settings: LatentSettings, pictures: Pictures, seed: int, looks: list[Look]
) -> Iterator[str]:
    """Every network of a seed, trained and then looked into"""
    true = one_hot(pictures.training_classes, pictures.classes)
    generator = torch.Generator().manual_seed(4_000 + seed)
    shuffled = true[torch.randperm(len(true), generator=generator)]
    without = without_network(pictures, true, settings.ridge)
    for name, words in NETWORKS.items():
        network = build(pictures.training.shape[1], pictures.classes, settings, seed)
        look = Look(seed=seed, network=name)
        looks.append(look)
        if name != "untrained":
            label = shuffled if name == "shuffled" else true
            for halved in train(network, pictures.training, label, settings, generator):
                look.refused += halved
                yield f"the network is being {words}"
        for _ in examine(network, pictures, shuffled, settings, look, generator):
            yield f"{words}: settling without the label"
        look.accuracy[PIXELS], look.missed[MEAN] = without


def without_network(pictures: Pictures, label: Tensor, ridge: float) -> tuple[float, float]:
    """Accuracy of the probe on the pixels; squared error of showing the mean training picture."""
    says = probe(pictures.training, label, pictures.test, ridge)
    missed = (pictures.test - pictures.training.mean(0)).square().mean().item()
    return accuracy(says, pictures), missed


def examine(
    network: GenerativeNetwork,
    pictures: Pictures,
    shuffled: Tensor,
    settings: LatentSettings,
    look: Look,
    generator: torch.Generator,
) -> Iterator[None]:
    """Settle on training and test pictures without the label, and read what is there."""
    found: list[tuple[Tensor, Settled]] = []
    for images in (pictures.training, pictures.test):
        for said in infer_label(
            network,
            images,
            label=None,
            steps=settings.steps,
            step_size=settings.step_size,
            generator=generator,
        ):
            outcome = said
            yield
        found.append(outcome)
        look.refused += outcome[1].refused
    (_, training), (readout, test) = found
    look.accuracy = {
        **probes(network, pictures, shuffled, training, test, settings.ridge),
        "readout": accuracy(readout, pictures),
    }
    for node in (network.free[0], network.free[-1]):
        made = downwards(network, test.values[node], node)
        look.missed[node] = (made - pictures.test).square().mean().item()
        if look.seed == 0:
            look.pictures[node] = drawn(made[:SHOWN].clamp(0, 1), pictures)


def probes(
    network: GenerativeNetwork,
    pictures: Pictures,
    shuffled: Tensor,
    training: Settled,
    test: Settled,
    ridge: float,
) -> dict[str, float]:
    """Accuracy of a probe on each layer of latents, on all, and on all with shuffled labels."""
    true = one_hot(pictures.training_classes, pictures.classes)
    found = {
        node: accuracy(probe(training.values[node], true, test.values[node], ridge), pictures)
        for node in network.free
    }
    known = torch.cat([training.values[node] for node in network.free], dim=1)
    unknown = torch.cat([test.values[node] for node in network.free], dim=1)
    found["all"] = accuracy(probe(known, true, unknown, ridge), pictures)
    found["all_shuffled"] = accuracy(probe(known, shuffled, unknown, ridge), pictures)
    return found


def probe(known: Tensor, label: Tensor, unknown: Tensor, ridge: float) -> Tensor:
    """Ridge regression in closed form: (N, F), (N, C), (M, F) -> (M, C)

    B = (X^T X + ridge I)^-1 X^T Y, on features and labels whose training means were taken off.
    """
    known, label, unknown = known.double(), label.double(), unknown.double()
    middle, level = known.mean(0), label.mean(0)
    centred = known - middle
    held = ridge * torch.eye(known.shape[1], dtype=known.dtype)
    weights = torch.linalg.solve(centred.T @ centred + held, centred.T @ (label - level))
    return (unknown - middle) @ weights + level


def accuracy(says: Tensor, pictures: Pictures) -> float:
    """Percent of the test pictures whose class scores (N, C) are highest at the right place."""
    return 100 * (says.argmax(1) == pictures.test_classes).float().mean().item()


def downwards(network: GenerativeNetwork, value: Tensor, node: str) -> Tensor:
    """The picture that the network makes of one layer's latents: (B, D_l) -> (B, D_0)"""
    layer = network.free.index(node)
    for link, weight in zip(network.links[layer::-1], network.weights[layer::-1], strict=True):
        value = link.activation.function(value @ weight.T)
    return value


def drawn(images: Tensor, pictures: Pictures) -> list[list[list[float]]]:
    """(N, pixels) -> N lists of rows of brightness"""
    height, width, _ = pictures.shape
    return [one.view(height, width).tolist() for one in images]


EXPERIMENT = Experiment(
    key="latents",
    title="What the latents know",
    question="Is the class in the latents at all, though the readout cannot find it?",
    prediction=Question(
        prompt="A linear probe looks for the class: in all the latents of the trained network, "
        "settled without the label, and in the pixels themselves. Where is it right more often?",
        options=(
            "In the latents, by more than 2 points",
            "About equally often",
            "In the pixels, by more than 2 points",
        ),
    ),
    equations=(
        Equation(
            name="Settling without the label",
            latex=r"x_l \leftarrow x_l - \eta\,(\varepsilon_l - W_{l-1}^\top"
            r" (f' \odot \varepsilon_{l-1})), \quad \varepsilon_L := 0",
            function="transformer_lab.experiments.evaluator.infer_label",
            source="arXiv:2506.06332, without its label",
        ),
        Equation(
            name="Linear probe",
            latex=r"B = (X^\top X + \lambda I)^{-1} X^\top Y",
            function="transformer_lab.experiments.latents.probe",
            source="ridge regression, Hoerl & Kennard 1970",
        ),
        Equation(
            name="Pictures from the latents",
            latex=r"\hat x_0 = f(W_0 f(W_1 \cdots x_l))",
            function="transformer_lab.experiments.latents.downwards",
            source="the predictions of arXiv:2506.06332, from layer l down",
        ),
    ),
    settings=LatentSettings,
    run=run,
    answer=answer,
    verdict=verdict,
    tables=tables,
    rows=rows,
)
