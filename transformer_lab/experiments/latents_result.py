"""What was found in the latents, and how it is shown."""

from dataclasses import dataclass, field
from typing import Any

from transformer_lab.experiments import by_seed
from transformer_lab.experiments.experiment import Picture, Plot, Reference, Table
from transformer_lab.experiments.generative import GenerativeSettings
from transformer_lab.experiments.paired import Judged, all_worded, judged
from transformer_lab.experiments.statistics import (
    Chance,
    Spread,
    bars,
    chance_reference,
    spread,
    verdict_table,
)
from transformer_lab.settings import knob

NETWORKS = {
    "trained": "trained",
    "shuffled": "trained on shuffled labels",
    "untrained": "never trained",
}
PIXELS, MEAN = "pixels", "mean"  # what can be had without any network
READ = {
    "x1": "latents next to the image",
    "x2": "middle latents",
    "x3": "top latents",
    "all": "all latents",
    "all_shuffled": "all latents, probe fitted on shuffled labels",
    "readout": "the network's own readout",
    PIXELS: "the pixels themselves",
}
SEEN = {"x1": "from the latents next to it", "x3": "from the top latents alone"}
# What is compared, seed by seed.
LEARNING = "trained, against never trained"
LABELS = "trained, against trained on shuffled labels"
OVER_PIXELS = "latents of the trained network, against the pixels themselves"
WORDS = ("lower", "higher")
CLOSE = 2.0  # points that count as about equal in the question
SHOWN = 6  # digits drawn


@dataclass(frozen=True, kw_only=True)
class LatentSettings(GenerativeSettings):
    """The knobs of the look at the latents."""

    GROUP = "pcn_latents"

    ridge: float = knob(
        1.0, 1e-4, 1e4, "Ridge", "How much the probe is kept from large weights.", advanced=True
    )


@dataclass(kw_only=True)
class Look:
    """What one network of one seed was found to know.

    `accuracy` in percent by what was read; `missed` the mean squared error of a pixel when the
    picture is made from those latents; both hold what can be had without a network, too: the same
    probe on the pixels, and the mean training picture. `pictures` rows of pixels, digit by digit,
    first seed only.
    """

    seed: int
    network: str
    accuracy: dict[str, float] = field(default_factory=dict)
    missed: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, list[list[list[float]]]] = field(default_factory=dict)
    refused: int = 0


@dataclass(frozen=True, kw_only=True)
class LatentResult:
    """The looks so far; each seed has other test pictures. `digits` are the ones that are drawn."""

    settings: LatentSettings
    tests: int
    chance: Chance
    digits: list[list[list[float]]]
    looks: list[Look]

    def accuracy(self, network: str, read: str) -> Spread | None:
        """Accuracy over seeds, or None when there is none yet."""
        return _over(one.accuracy.get(read) for one in self.looks if one.network == network)

    def missed(self, network: str, read: str) -> Spread | None:
        """Error of the pictures over seeds, or None when there is none yet."""
        return _over(one.missed.get(read) for one in self.looks if one.network == network)

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences of the probe's accuracy, in points, by seed."""
        return judged(
            {
                LEARNING: differences(self, ("trained", "all"), ("untrained", "all")),
                LABELS: differences(self, ("trained", "all"), ("shuffled", "all")),
                OVER_PIXELS: differences(self, ("trained", "all"), ("trained", PIXELS)),
            }
        )

    def plots(self) -> list[Plot]:
        """Bars of what can be read, and the pictures made from the latents."""
        drawn = [read_bars(self), pictures(self)]
        return [plot for plot in drawn if plot.series or plot.pictures]


def _over(found: Any) -> Spread | None:
    numbers = [one for one in found if one is not None]
    return spread(numbers) if numbers else None


def read_bars(result: LatentResult) -> Plot:
    """How often the class can be read, by network and by where it is read."""
    return Plot(
        title="What can be read from latents settled without the label",
        kind="bar",
        x_label="read from",
        y_label="accuracy, %",
        series=[
            series
            for network, words in NETWORKS.items()
            for series in bars(
                words,
                (
                    (label, result.accuracy(network, read))
                    for read, label in READ.items()
                    if read != PIXELS
                ),
            )
        ],
        references=[chance_reference(result.chance), *_of_pixels(result)],
        note=refusals(result),
    )


def _of_pixels(result: LatentResult) -> list[Reference]:
    """What the same probe finds in the pixels, once that is known."""
    found = result.accuracy("trained", PIXELS)
    name = "the same probe on the pixels themselves"
    return [Reference(name=name, y=found.mean, low=found.low, high=found.high)] if found else []


def pictures(result: LatentResult) -> Plot:
    """The digits, and what each network makes of them, row by row."""
    shown = [Picture(name=f"digit {n + 1}", pixels=one) for n, one in enumerate(result.digits)]
    for look in result.looks:
        if look.network == "shuffled":
            continue
        for read, made in look.pictures.items():
            name = f"{NETWORKS[look.network]}, {SEEN[read]}"
            shown += [Picture(name=name, pixels=one) for one in made]
    drawn = any(look.pictures for look in result.looks)
    return Plot(
        title="Pictures made from the latents",
        kind="image",
        pictures=shown if drawn else [],
        columns=len(result.digits),
    )


def refusals(result: LatentResult) -> str:
    """What had to be done so that no energy rose; empty when nothing."""
    count = sum(look.refused for look in result.looks)
    if not count:
        return ""
    return (
        f"{count:,} steps of single pictures would have raised the energy, and were refused and "
        "halved."
    )


def answer(result: LatentResult) -> int | None:
    """Which option of the question is right: latents, neither, or pixels."""
    found = differences(result, ("trained", "all"), ("trained", PIXELS))
    if not found:
        return None
    gain = spread(found).mean
    if abs(gain) <= CLOSE:
        return 1
    return 0 if gain > 0 else 2


def differences(result: LatentResult, one: tuple[str, str], other: tuple[str, str]) -> list[float]:
    """How many points more are found in one network by one probe than by another, by seed."""
    ours, theirs = (
        {
            look.seed: look.accuracy[read]
            for look in result.looks
            if look.network == network and read in look.accuracy
        }
        for network, read in (one, other)
    )
    return by_seed.differences(ours, theirs)


def verdict(result: LatentResult) -> str:
    """What the numbers say."""
    trained, shuffled, untrained, pixels, top, readout = (
        result.accuracy(network, read)
        for network, read in (
            ("trained", "all"),
            ("shuffled", "all"),
            ("untrained", "all"),
            ("trained", PIXELS),
            ("trained", "x3"),
            ("trained", "readout"),
        )
    )
    if not (trained and shuffled and untrained and pixels and top and readout):
        return "Not yet enough: not all three networks have been read."
    found = result.compared()
    clearer, labels = (
        found[name].clear and found[name].found.mean > 0 for name in (LEARNING, LABELS)
    )
    learned = (
        "Learning made the latents easier to read, but not clearly because of the labels"
        if clearer and not labels
        else "Learning from the labels made the latents easier to read"
        if clearer
        else "Whether learning made the latents easier to read cannot be told"
    )
    said = all_worded(found, "points", 1, WORDS)
    return (
        f"{learned}: a linear probe finds the class in {trained} % of the trained network's, in "
        f"{shuffled} % of one's trained on shuffled labels and in {untrained} % of an untrained "
        f"one's; in the pixels themselves it finds {pixels} %. Seed by seed: {said}. The top "
        f"latents alone give {top} %, and the network's own readout {readout} % (chance "
        f"{result.chance.low:.1f} to {result.chance.high:.1f})."
    )


def tables(result: LatentResult) -> list[Table]:
    """What can be read, and how well pictures are made from it."""
    names = list(NETWORKS)
    read = [
        [label, *(str(result.accuracy(network, key) or "-") for network in names)]
        for key, label in READ.items()
    ]
    missed = [
        [label, *(_small(result.missed(network, key)) for network in names)]
        for key, label in {**SEEN, MEAN: "the mean training picture"}.items()
    ]
    return [
        Table(
            title=f"Accuracy in percent after {result.settings.steps} steps without the label, on "
            f"{result.tests:,} test pictures; chance {result.chance.low:.1f} to "
            f"{result.chance.high:.1f}",
            columns=["linear probe on", *NETWORKS.values()],
            rows=read,
        ),
        verdict_table(result.compared(), "points", 1, WORDS),
        Table(
            title="Mean squared error of a pixel (0 to 1), of pictures made",
            columns=["made", *NETWORKS.values()],
            rows=missed,
        ),
    ]


def _small(spot: Spread | None) -> str:
    return f"{spot.mean:.3f} ({spot.low:.3f} to {spot.high:.3f})" if spot else "-"


def rows(result: LatentResult) -> list[dict[str, Any]]:
    """Every measured number, a row each, for the download."""
    return [
        {
            "seed": look.seed,
            "network": look.network,
            "measured": measured,
            "read": read,
            "value": value,
        }
        for look in result.looks
        for measured, found in (("accuracy_percent", look.accuracy), ("pixel_error", look.missed))
        for read, value in found.items()
    ]
