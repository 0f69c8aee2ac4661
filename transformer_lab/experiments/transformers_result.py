"""What the race of transformers measured, and how it is shown."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from transformer_lab.experiments import by_seed
from transformer_lab.experiments.experiment import Plot, Reference, Table, to_draw
from transformer_lab.experiments.paired import Judged, judged, option_of, worded
from transformer_lab.experiments.statistics import (
    Spread,
    bars,
    over_seeds,
    place_by_place,
    spread,
    verdict_table,
)
from transformer_lab.experiments.transformer_variants import (
    IDENTITY,
    MATCHED,
    STANDARD,
    VARIANTS,
    TransformerSettings,
)

WORDS = ("better", "worse")  # of a loss that is lower, and of one that is higher


@dataclass(kw_only=True)
class Lane:
    """One variant and one seed, growing.

    After `steps` steps, which took `seconds` of training, its validation loss was `losses`, in
    nats. `text` is what it writes in the end, `failed` why it came to none.
    """

    variant: str
    seed: int
    parameters: int = 0
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    text: str = ""
    failed: str = ""

    @property
    def last(self) -> int:
        """The step of the last look at the validation text; 0 before the first."""
        return self.steps[-1] if self.steps else 0


@dataclass(frozen=True, kw_only=True)
class TransformerRace:
    """The lanes so far, of every variant and seed; `corpus` is the text's title."""

    settings: TransformerSettings
    corpus: str
    lanes: list[Lane]

    def of(self, variant: str) -> list[Lane]:
        """Its lanes, in the order of the seeds."""
        return [lane for lane in self.lanes if lane.variant == variant]

    def ended(self, variant: str) -> dict[int, Lane]:
        """Its lanes that came to their last step, by seed."""
        steps = self.settings.training_steps
        return {lane.seed: lane for lane in self.of(variant) if lane.last == steps}

    def differences(self, variant: str, other: str) -> list[float]:
        """Its last loss minus the other's, in nats, for every seed that has both."""
        last = (
            {seed: lane.losses[-1] for seed, lane in self.ended(name).items()}
            for name in (variant, other)
        )
        return by_seed.differences(*last)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every racer with each of its controls."""
        return [(name, one) for name in self.settings.racers for one in VARIANTS[name].controls]

    def compared(self) -> dict[tuple[str, str], Judged]:
        """The verdict on each racer against each of its controls, corrected for their number."""
        names = {f"{name}/{control}": (name, control) for name, control in self.pairs}
        found = judged({key: self.differences(*pair) for key, pair in names.items()})
        return {names[key]: one for key, one in found.items()}

    def identical(self) -> list[bool]:
        """Of every seed that has both: whether T = 0 gave the losses of the standard model."""
        ours, theirs = self.ended(IDENTITY), self.ended(STANDARD)
        return [lane.losses == theirs[seed].losses for seed, lane in ours.items() if seed in theirs]

    def cost(self, variant: str) -> float | None:
        """Its time in multiples of the standard model's, over the seeds that have both."""
        ours, theirs = self.ended(variant), self.ended(STANDARD)
        both = ours.keys() & theirs.keys()
        if not both:
            return None
        return sum(ours[s].seconds[-1] for s in both) / sum(theirs[s].seconds[-1] for s in both)

    def plots(self) -> list[Plot]:
        """Loss against steps and seconds; the difference of each variant from its control."""
        found = [self._lines(by="steps"), self._lines(by="seconds"), self._gaps()]
        return to_draw(found)

    def _lines(self, by: str) -> Plot:
        return Plot(
            title=f"Validation loss against {by}",
            kind="line",
            x_label={"steps": "step", "seconds": "seconds of its own training"}[by],
            y_label="nats per token",
            series=[
                series
                for variant in self.settings.variants
                if variant == STANDARD or variant in self.settings.racers
                for series in over_seeds(
                    VARIANTS[variant].words,
                    [lane.losses for lane in self.of(variant)],
                    [
                        place.mean
                        for place in place_by_place(
                            [getattr(lane, by) for lane in self.of(variant)]
                        )
                    ],
                )
            ],
            note=self._checked() if by == "steps" else "",
        )

    def _gaps(self) -> Plot:
        def gap(variant: str, control: str) -> tuple[str, Spread | None]:
            found = self.differences(variant, control)
            return VARIANTS[variant].words, spread(found) if found else None

        kinds = {
            "against one as large": lambda name: VARIANTS[name].controls[0],
            "against itself with T = 0": lambda name: VARIANTS[name].controls[1],
        }
        return Plot(
            title="Last validation loss, above or below that of its controls",
            kind="bar",
            y_label="difference, nats per token",
            series=[
                series
                for words, control in kinds.items()
                for series in bars(
                    words, [gap(name, control(name)) for name in self.settings.racers]
                )
            ],
            references=[Reference(name="no difference", y=0.0)],
        )

    def _checked(self) -> str:
        """Whether the control that must be identical is, and which runs did not finish."""
        words = []
        if same := self.identical():
            words.append(
                f"PC-FFN with T = 0 has the losses of the standard model, bit for bit, in "
                f"{sum(same)} of {len(same)} seeds."
            )
        words += [
            f"{VARIANTS[lane.variant].words}, seed {lane.seed + 1}, was ended: {lane.failed}"
            for lane in self.lanes
            if lane.failed
        ]
        return " ".join(words)


def answer(result: TransformerRace) -> int | None:
    """Which option of the question is right; None too while PC-FFN does not take part."""
    return option_of(result.compared().get(("pc_ffn", MATCHED)), wanted=-1)


def verdict(result: TransformerRace) -> str:
    """What the numbers say, of every racer against its controls."""
    base, found = result.ended(STANDARD), result.compared()
    if not base or not found:
        return "Not yet enough: no seed has come to its last step for a variant and its control."
    if not all(result.identical()):
        return (
            "Do not believe this race: PC-FFN with T = 0 is not the standard model, so something "
            "besides predictive coding differs."
        )
    standard = nats(lane.losses[-1] for lane in base.values())
    said = [one for name in result.settings.racers if (one := compared(result, name))]
    return (
        f"After {result.settings.training_steps:,} steps on {result.corpus} the standard model is "
        f"at {standard} nats. {' '.join(said)}"
    )


def compared(result: TransformerRace, name: str) -> str:
    """One racer beside its controls, in words; empty before a seed has both."""
    found = {control: one for (own, control), one in result.compared().items() if own == name}
    if not found:
        return ""
    numbers = nats(lane.losses[-1] for lane in result.ended(name).values())
    cost = result.cost(name)
    price = f" at {cost:.1f} times the standard's time" if cost else ""
    said = "; ".join(
        f"against “{VARIANTS[control].words}” {worded(one, 'nats', 3, WORDS)}"
        for control, one in found.items()
    )
    return f"{VARIANTS[name].words} is at {numbers}{price}: {said}."


def nats(losses: Iterable[float]) -> str:
    """Mean and range, to three decimals: 1.912 (1.902 to 1.925)."""
    found = spread(losses)
    if found.count == 1:
        return f"{found.mean:.3f}"
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def tables(result: TransformerRace) -> list[Table]:
    """Last losses, sizes and times; and what each model writes."""
    found = [
        [
            VARIANTS[name].words,
            f"{ended[0].parameters:,}",
            nats(lane.losses[-1] for lane in ended),
            f"{cost:.1f}" if (cost := result.cost(name)) else "",
        ]
        for name in result.settings.variants
        if (ended := list(result.ended(name).values()))
    ]
    texts = [
        [VARIANTS[lane.variant].words, " ".join(lane.text.split())]
        for lane in result.lanes
        if lane.seed == 0 and lane.text
    ]
    return [
        Table(
            title=f"Validation loss in nats after {result.settings.training_steps:,} steps on "
            f"{result.corpus}, the same batches for all",
            columns=[
                "transformer",
                "parameters",
                "loss",
                "time, of the standard's",
            ],
            rows=found,
        ),
        verdict_table(
            {
                f"{VARIANTS[name].words}, against {VARIANTS[control].words}": one
                for (name, control), one in result.compared().items()
            },
            "nats",
            3,
            WORDS,
        ),
        Table(
            title="What they write after “The ”, first seed",
            columns=["transformer", "text"],
            rows=texts,
        ),
    ]


def rows(result: TransformerRace) -> list[dict[str, Any]]:
    """Every look at the validation text."""
    return [
        {
            "variant": lane.variant,
            "seed": lane.seed,
            "parameters": lane.parameters,
            "step": step,
            "seconds": seconds,
            "validation_nats": loss,
        }
        for lane in result.lanes
        for step, seconds, loss in zip(lane.steps, lane.seconds, lane.losses, strict=True)
    ]
