"""What was found in the latents, and how it is shown."""

from dataclasses import dataclass, field
from typing import Any

from transformer_lab.experiments.experiment import Picture, Plot, Reference, Table
from transformer_lab.experiments.generative import GenerativeSettings
from transformer_lab.experiments.paired import cannot_tell, holm, interval, paired
from transformer_lab.experiments.statistics import (
    Chance,
    Spread,
    bars,
    chance_reference,
    spread,
)
from transformer_lab.settings import knob

NETWORKS = {
    "trained": "trained",
    "shuffled": "trained on shuffled labels",
    "untrained": "never trained",
}
READ = {
    "x1": "latents next to the image",
    "x2": "middle latents",
    "x3": "top latents",
    "all": "all latents",
    "all_shuffled": "all latents, probe fitted on shuffled labels",
    "readout": "the network's own readout",
}
SEEN = {"x1": "from the latents next to it", "x3": "from the top latents alone"}
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
    picture is made from those latents; `pictures` rows of pixels, digit by digit, first seed only.
    """

    seed: int
    network: str
    accuracy: dict[str, float] = field(default_factory=dict)
    missed: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, list[list[list[float]]]] = field(default_factory=dict)
    refused: int = 0


@dataclass(frozen=True, kw_only=True)
class LatentResult:
    """The looks so far, and what can be had without any network.

    `pixel_accuracy` is that of the same probe on the pixels themselves, `mean_missed` the error of
    always showing the mean training picture; `digits` the pictures that are drawn.
    """

    settings: LatentSettings
    tests: int
    chance: Chance
    pixel_accuracy: float
    mean_missed: float
    digits: list[list[list[float]]]
    looks: list[Look]

    def accuracy(self, network: str, read: str) -> Spread | None:
        """Accuracy over seeds, or None when there is none yet."""
        return _over(one.accuracy.get(read) for one in self.looks if one.network == network)

    def missed(self, network: str, read: str) -> Spread | None:
        """Error of the pictures over seeds, or None when there is none yet."""
        return _over(one.missed.get(read) for one in self.looks if one.network == network)

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
                words, ((label, result.accuracy(network, read)) for read, label in READ.items())
            )
        ],
        references=[
            chance_reference(result.chance),
            Reference(name="the same probe on the pixels themselves", y=result.pixel_accuracy),
        ],
        note=refusals(result),
    )


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
    spot = result.accuracy("trained", "all")
    if spot is None:
        return None
    gain = spot.mean - result.pixel_accuracy
    if abs(gain) <= CLOSE:
        return 1
    return 0 if gain > 0 else 2


def differences(result: LatentResult, network: str, other: str) -> list[float]:
    """How many points more a probe finds in one network's latents than in another's, by seed."""
    found = {
        (one.network, one.seed): one.accuracy["all"]
        for one in result.looks
        if "all" in one.accuracy
    }
    return [
        accuracy - found[other, seed]
        for (name, seed), accuracy in found.items()
        if name == network and (other, seed) in found
    ]


def verdict(result: LatentResult) -> str:
    """One sentence, from the numbers."""
    trained, shuffled, untrained, top, readout = (
        result.accuracy(network, read)
        for network, read in (
            ("trained", "all"),
            ("shuffled", "all"),
            ("untrained", "all"),
            ("trained", "x3"),
            ("trained", "readout"),
        )
    )
    if not (trained and shuffled and untrained and top and readout):
        return "Not yet enough: not all three networks have been read."
    from_learning, from_labels = (
        paired(differences(result, "trained", other)) for other in ("untrained", "shuffled")
    )
    corrected = holm([from_learning.p, from_labels.p])
    clearer, labels = (
        gain.clear(p) and gain.mean > 0
        for gain, p in zip((from_learning, from_labels), corrected, strict=True)
    )
    learned = (
        "Learning made the latents easier to read, but not clearly because of the labels"
        if clearer and not labels
        else "Learning from the labels made the latents easier to read"
        if clearer
        else "Whether learning made the latents easier to read cannot be told"
    )
    doubts = "".join(
        f" Of {words} we {cannot_tell(gain, 'points', 1)}."
        for words, gain, p in (
            ("learning", from_learning, corrected[0]),
            ("the labels", from_labels, corrected[1]),
        )
        if not gain.clear(p)
    )
    return (
        f"{learned}: a linear probe finds the class in {trained} % of the trained network's, in "
        f"{shuffled} % of one's trained on shuffled labels and in {untrained} % of an untrained "
        f"one's; in the pixels themselves it finds {result.pixel_accuracy:.1f} %. Seed by seed, "
        f"learning adds {interval(from_learning, 1)} points, and the labels "
        f"{interval(from_labels, 1)}.{doubts} The top latents "
        f"alone give {top} %, and the network's own readout {readout} % (chance "
        f"{result.chance.low:.1f} to {result.chance.high:.1f})."
    )


def tables(result: LatentResult) -> list[Table]:
    """What can be read, and how well pictures are made from it."""
    names = list(NETWORKS)
    read = [
        [label, *(str(result.accuracy(network, key) or "-") for network in names)]
        for key, label in READ.items()
    ]
    read.append(["the pixels themselves", *[f"{result.pixel_accuracy:.1f}"] * len(names)])
    missed = [
        [label, *(_small(result.missed(network, key)) for network in names)]
        for key, label in SEEN.items()
    ]
    missed.append(["the mean training picture", *[f"{result.mean_missed:.3f}"] * len(names)])
    return [
        Table(
            title=f"Accuracy in percent after {result.settings.steps} steps without the label, on "
            f"{result.tests:,} test pictures; chance {result.chance.low:.1f} to "
            f"{result.chance.high:.1f}",
            columns=["linear probe on", *NETWORKS.values()],
            rows=read,
        ),
        Table(
            title="Mean squared error of a pixel (0 to 1), of pictures made",
            columns=["made", *NETWORKS.values()],
            rows=missed,
        ),
    ]


def _small(spot: Spread | None) -> str:
    return f"{spot.mean:.3f} ({spot.low:.3f} to {spot.high:.3f})" if spot else "-"


def rows(result: LatentResult) -> list[dict[str, Any]]:
    """Every number."""
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
