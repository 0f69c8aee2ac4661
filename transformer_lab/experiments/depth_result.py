"""What was measured of deep networks, and how it is shown."""

import math
from dataclasses import dataclass, field

from transformer_lab.experiments.by_seed import differences
from transformer_lab.experiments.experiment import Plot, Series, to_draw
from transformer_lab.experiments.paired import Judged, judged
from transformer_lab.experiments.statistics import Chance, chance_reference, over_seeds
from transformer_lab.settings import Config, knob

RULES = {"states": "state PC", "errors": "ePC", "backpropagation": "backpropagation"}
KINDS = {"standard": "standard", "mupc": "muPC"}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Who learns: a parameterization and a rule; `still` settles for no step."""

    kind: str
    rule: str
    shuffled: bool = False
    still: bool = False

    @property
    def words(self) -> str:
        """As a legend has it."""
        end = ", shuffled labels" if self.shuffled else ", T = 0" if self.still else ""
        return f"{KINDS[self.kind]}, {RULES[self.rule]}{end}"

    @property
    def settles(self) -> bool:
        """Whether its step size matters."""
        return self.rule != "backpropagation" and not self.still


ARMS: dict[str, Arm] = {
    "standard_backpropagation": Arm(kind="standard", rule="backpropagation"),
    "standard_states": Arm(kind="standard", rule="states"),
    "standard_errors": Arm(kind="standard", rule="errors"),
    "mupc_backpropagation": Arm(kind="mupc", rule="backpropagation"),
    "mupc_states": Arm(kind="mupc", rule="states"),
    "mupc_errors": Arm(kind="mupc", rule="errors"),
    "mupc_still": Arm(kind="mupc", rule="states", still=True),
    "mupc_shuffled": Arm(kind="mupc", rule="states", shuffled=True),
}
SWEPT = [name for name, arm in ARMS.items() if arm.settles and not arm.shuffled]
# What is compared, seed by seed: the first against the second.
PAIRS: dict[str, tuple[str, str]] = {
    "state PC, against backpropagation, standard": (
        "standard_states",
        "standard_backpropagation",
    ),
    "ePC, against state PC, standard": ("standard_errors", "standard_states"),
    "state PC with muPC, against standard": ("mupc_states", "standard_states"),
    "state PC, against backpropagation, muPC": ("mupc_states", "mupc_backpropagation"),
    "ePC, against backpropagation, muPC": ("mupc_errors", "mupc_backpropagation"),
    "state PC with muPC, against itself with T = 0": ("mupc_states", "mupc_still"),
    "state PC with muPC, against shuffled labels": ("mupc_states", "mupc_shuffled"),
}
STEP_SIZES = (0.01, 0.05, 0.2, 0.5)
FLOOR = -15.0  # where nothing is drawn, as a power of ten: below it is only rounding


@dataclass(frozen=True, kw_only=True)
class DepthSettings(Config):
    """The knobs of the experiment on deep networks."""

    GROUP = "pcn_depth"

    layers: int = knob(20, 3, 64, "Layers", "L: layers of weights of the network that learns.")
    width: int = knob(64, 4, 256, "Width", "Units of every hidden layer.")
    steps: int = knob(
        20, 0, 200, "Inference Steps", "T: settling steps before each weight update, for both ways."
    )
    epochs: int = knob(5, 1, 50, "Epochs", "Times every training picture is learned from.")
    seeds: int = knob(3, 1, 20, "Seeds", "Independent repetitions, from weights to test pictures.")
    standard_rate: float = knob(
        0.001,
        1e-5,
        0.1,
        "Learning Rate, Standard",
        "Of Adam, the same for all rules of standard networks.",
        advanced=True,
    )
    mupc_rate: float = knob(
        0.03,
        1e-5,
        0.3,
        "Learning Rate, muPC",
        "Of Adam, the same for all rules of muPC networks, whose weights are larger.",
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What reaches layer 1 of a network that has not learned, compared with backpropagation.

    `length` is that of the gradient over backpropagation's, `cosine` that of their directions.
    """

    kind: str
    rule: str
    layers: int
    length: float
    cosine: float


@dataclass(kw_only=True)
class DepthTrial:
    """One seed, growing. Accuracies in percent; `sweep` by arm and step size, `chosen` the best.

    `accuracy` is by arm, after 0, 1, 2 ... epochs, on the test pictures, by one forward pass.
    """

    seed: int
    signals: list[Signal] = field(default_factory=list)
    sweep: dict[str, dict[float, float]] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    accuracy: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DepthResult:
    """The trials so far, one a seed."""

    settings: DepthSettings
    chance: Chance
    trials: list[DepthTrial]

    def finals(self, arm: str) -> dict[int, float]:
        """Accuracy after the last epoch, of every seed that got there."""
        epochs = self.settings.epochs
        return {
            one.seed: one.accuracy[arm][epochs]
            for one in self.trials
            if len(one.accuracy.get(arm, ())) > epochs
        }

    def compared(self) -> dict[str, Judged]:
        """What the verdict rests on: differences in points, paired by seed."""
        return judged({name: self.differences(*pair) for name, pair in PAIRS.items()})

    def differences(self, one: str, other: str) -> list[float]:
        """One arm minus another, for every seed that has both."""
        return differences(self.finals(one), self.finals(other))

    def signal(self, kind: str, rule: str, layers: int) -> list[Signal]:
        """The signal of every seed at one depth."""
        return [
            one
            for trial in self.trials
            for one in trial.signals
            if (one.kind, one.rule, one.layers) == (kind, rule, layers)
        ]

    def plots(self) -> list[Plot]:
        """The signal against depth, accuracy against epochs, and the sweep of step sizes."""
        drawn = [signal_lines(self), learning_lines(self), sweep_lines(self)]
        return to_draw(drawn)


def depths(settings: DepthSettings) -> list[int]:
    """Numbers of layers whose signal is looked at, up to that of the network that learns."""
    return sorted({*(depth for depth in (3, 5, 10, 20, 30) if depth < settings.layers),
                   settings.layers})  # fmt: skip


def power_of_ten(value: float) -> float:
    """Its logarithm; FLOOR for 0 and what is below it."""
    return max(FLOOR, math.log10(value)) if value > 0 else FLOOR


def signal_lines(result: DepthResult) -> Plot:
    """How much of backpropagation's gradient reaches layer 1, against depth."""
    found = depths(result.settings)
    series = []
    for kind in KINDS:
        for rule in ("states", "errors"):
            lines = [
                [
                    power_of_ten(one.length)
                    for depth in found
                    for one in trial.signals
                    if (one.kind, one.rule, one.layers) == (kind, rule, depth)
                ]
                for trial in result.trials
            ]
            name = Arm(kind=kind, rule=rule).words
            series += over_seeds(name, lines, [float(depth) for depth in found])
    return Plot(
        title="What reaches the first layer, before anything is learned",
        kind="line",
        x_label="layers",
        y_label="length of its gradient over backpropagation's, power of ten",
        series=series,
        note=f"In double precision, T = {result.settings.steps}, step size {SIGNAL_SIZE:g}. "
        f"Nothing, or only rounding, is drawn at {FLOOR:.0f}.",
    )


SIGNAL_SIZE = 0.1


def learning_lines(result: DepthResult) -> Plot:
    """Test accuracy against epochs."""
    return Plot(
        title=f"Test accuracy of {result.settings.layers} layers, by one forward pass",
        kind="line",
        x_label="epoch",
        y_label="accuracy, %",
        series=[
            series
            for name, arm in ARMS.items()
            for series in over_seeds(
                arm.words, (one.accuracy.get(name, []) for one in result.trials)
            )
        ],
        references=[chance_reference(result.chance)],
    )


def sweep_lines(result: DepthResult) -> Plot:
    """Accuracy on held-out training pictures against the step size, by which it was chosen."""
    series: list[Series] = []
    for name in SWEPT:
        lines = [
            [one.sweep[name][size] for size in STEP_SIZES if size in one.sweep[name]]
            for one in result.trials
            if name in one.sweep
        ]
        series += over_seeds(ARMS[name].words, lines, STEP_SIZES)
    return Plot(
        title="How each rule's step size is chosen",
        kind="line",
        x_label="step size of settling",
        x_log=True,
        y_label="accuracy on training pictures held back, %",
        series=series,
        note="Each rule goes on with its best; the test pictures have no say in it.",
    )
