"""What the comparison of gradients measured, and how it is shown."""

from dataclasses import dataclass, field, replace

from transformer_lab.experiments.by_seed import differences
from transformer_lab.experiments.discriminative import DiscriminativeSettings
from transformer_lab.experiments.experiment import Plot, Reference, to_draw
from transformer_lab.experiments.paired import Judged, judged
from transformer_lab.experiments.statistics import over_seeds, spread
from transformer_lab.settings import knob

MOMENTS = {
    "initial": "at initialization",
    "trained": "after training",
    "shuffled": "after training on shuffled labels",
}
EXACT = {"zero_divergence": "Z-IL", "fixed_prediction": "fixed predictions"}
PRECISIONS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
# What is compared, seed by seed, of the mean cosine over all layers at the end of settling.
TRAINED = "after training, against at initialization"
LEARNED = "after training, against after training on shuffled labels"
LABELS = "at initialization, against predictive coding given the labels of other pictures"
FIRST = 8  # steps that are also drawn by themselves


@dataclass(frozen=True, kw_only=True)
class GradientSettings(DiscriminativeSettings):
    """The knobs of the comparison of gradients."""

    GROUP = "pcn_gradients"

    steps: int = knob(200, 2, 1000, "Inference Steps", "T: the most steps of settling looked at.")
    epochs: int = knob(10, 0, 100, "Epochs", "Of predictive coding, before the second look.")


@dataclass(kw_only=True)
class Agreement:
    """One network of one seed, growing as it settles.

    `cosines[layer][t]` is the cosine between predictive coding's gradient of that layer and
    backpropagation's, 0 while none has arrived; `energy[t]` the mean over the batch. `exact` gives
    the largest difference of each exact rule from backpropagation, relative to its largest entry.
    `other_labels` is the control: the cosine when predictive coding was given the labels of other
    pictures, so as much as comes of the pictures alone.
    """

    seed: int
    moment: str
    cosines: list[list[float]]
    energy: list[float] = field(default_factory=list)
    refused: int = 0
    exact: dict[str, float] = field(default_factory=dict)
    by_precision: list[list[float]] = field(default_factory=list)  # [layer][precision], at the end
    other_labels: list[float] = field(default_factory=list)  # [layer], at the end


@dataclass(frozen=True, kw_only=True)
class GradientResult:
    """The comparisons so far: for every seed one at each of MOMENTS."""

    settings: GradientSettings
    agreements: list[Agreement]

    @property
    def layers(self) -> int:
        """How many weight matrices there are."""
        return max((len(one.cosines) for one in self.agreements), default=0)

    def cosine(self, moment: str, layer: int, step: int) -> list[float]:
        """One cosine of every seed that got there; layers count from 0 at the image."""
        return [
            one.cosines[layer][step]
            for one in self.agreements
            if one.moment == moment and len(one.cosines[layer]) > step
        ]

    def nearest(self, moment: str) -> dict[int, float]:
        """The mean cosine of all layers after all steps, by seed."""
        end = self.settings.steps
        return {
            one.seed: spread(line[end] for line in one.cosines).mean
            for one in self.agreements
            if one.moment == moment and all(len(line) > end for line in one.cosines)
        }

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences of the mean cosine, paired by seed."""
        found = {moment: self.nearest(moment) for moment in MOMENTS}
        other = {
            one.seed: spread(one.other_labels).mean
            for one in self.agreements
            if one.moment == "initial" and one.other_labels
        }
        pairs = {
            TRAINED: (found["trained"], found["initial"]),
            LEARNED: (found["trained"], found["shuffled"]),
            LABELS: (found["initial"], other),
        }
        return judged({name: differences(ours, theirs) for name, (ours, theirs) in pairs.items()})

    def plots(self) -> list[Plot]:
        """Cosines against T, the first steps by themselves; energy; cosines by the precision."""
        drawn = [
            first_steps(cosine_lines(self, "initial")),
            *(cosine_lines(self, moment) for moment in MOMENTS),
            energy_lines(self),
            precision_lines(self),
        ]
        return to_draw(drawn)


def cosine_lines(result: GradientResult, moment: str) -> Plot:
    """Cosine of each layer against T."""
    looks = [one for one in result.agreements if one.moment == moment]
    return Plot(
        title=f"Direction of learning, {MOMENTS[moment]}",
        kind="line",
        x_label="steps of settling, T",
        y_label="cosine with backpropagation's gradient",
        series=[
            series
            for layer in range(result.layers)
            for series in over_seeds(f"layer {layer + 1}", (one.cosines[layer] for one in looks))
        ],
        references=[Reference(name="the same direction", y=1.0)],
    )


def first_steps(plot: Plot, count: int = FIRST) -> Plot:
    """The beginning of a plot, where the error comes down one layer a step."""
    return replace(
        plot,
        title="The first steps, at initialization",
        series=[
            replace(
                one,
                x=one.x[: count + 1],
                y=one.y[: count + 1],
                low=one.low[: count + 1],
                high=one.high[: count + 1],
            )
            for one in plot.series
        ],
    )


def energy_lines(result: GradientResult) -> Plot:
    """Energy against T, which may only fall."""
    return Plot(
        title="The energy only falls",
        kind="line",
        x_label="steps of settling, T",
        y_label="energy per picture",
        series=[
            series
            for moment, words in MOMENTS.items()
            for series in over_seeds(
                words, (one.energy for one in result.agreements if one.moment == moment)
            )
        ],
        note=refusals(result),
    )


def precision_lines(result: GradientResult) -> Plot:
    """Cosine of each layer at the end of settling, against the precision of the label."""
    looks = [one for one in result.agreements if one.by_precision]
    return Plot(
        title="The less the label weighs, the nearer to backpropagation (at initialization)",
        kind="line",
        x_label="precision of the label",
        x_log=True,
        y_label=f"cosine after {result.settings.steps} steps",
        series=[
            series
            for layer in range(result.layers)
            for series in over_seeds(
                f"layer {layer + 1}", (one.by_precision[layer] for one in looks), PRECISIONS
            )
        ],
        references=[Reference(name="the same direction", y=1.0)],
    )


def refusals(result: GradientResult) -> str:
    """What had to be done so that no energy rose; empty when nothing."""
    count = sum(one.refused for one in result.agreements)
    if not count:
        return ""
    return (
        f"{count:,} steps of single pictures would have raised the energy, and were refused and "
        "halved: the step size is too large there."
    )
