"""A comparison that was asked, and how it stands."""

from transformer_lab.experiments.comparing import whole_seeds
from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_result import Cell, Outcome
from transformer_lab.experiments.experiment import Partial
from transformer_lab.lab.experiments.trial import Trial, TrialState


class Asked(Trial):
    """A comparison that was started: here, before the lab was opened, or by another process.

    The last two are `stored`; `elsewhere` says that another process is racing it now.
    """

    @property
    def comparison(self) -> Comparison:
        """The question that is measured: its lanes, its budget and its seeds."""
        return self.settings

    @property
    def outcome(self) -> Outcome | None:
        """What was measured so far."""
        return self.latest.result if self.latest else None

    @property
    def whole(self) -> bool:
        """Whether every seed has been raced to its end."""
        found = self.outcome
        if found is None:
            return False
        return len(whole_seeds(found)) == self.comparison.seeds * len(self.comparison.lanes)

    @property
    def state(self) -> TrialState:
        """Whether it still measures, or how it ended."""
        if self.elsewhere:
            return "running"
        if self.stored:
            return "done" if self.whole else "stopped"
        return super().state

    @property
    def busy(self) -> bool:
        """Whether more may come."""
        return not self.stored and super().busy

    @property
    def seconds(self) -> float:
        """How long it has been measuring."""
        return 0.0 if self.stored else super().seconds


def stored_as(name: str, outcome: Outcome) -> Asked:
    """One that is on disk."""
    one = outcome.comparison
    asked = Asked(name, one)
    asked.stored = True
    if outcome.cells:  # else it was ended before anything was measured
        steps = one.seeds * sum(setup.train.steps for setup in one.lanes.values())
        done = sum(_done(cell, one.lanes[cell.variant].train.steps) for cell in outcome.cells)
        share = min(1.0, done / steps)
        asked.latest = Partial(progress=share, words="in another program", result=outcome)
    return asked


def _done(cell: Cell, steps: int) -> int:
    """How many steps of a cell need not be raced any more."""
    return steps if cell.failed and not cell.stopped else cell.last
