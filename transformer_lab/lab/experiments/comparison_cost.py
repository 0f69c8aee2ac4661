"""What a comparison will take: time and memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.lab.cost.estimate import MARGIN, PER_PARAMETER, Estimate


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a comparison will take: seconds in all, None while unknown.

    And the bytes of memory beside those that are `free`, both None on a GPU.
    """

    seconds: float | None
    memory: float | None
    free: float | None


def cost_of(comparison: Comparison, lanes: Sequence[Estimate], at_once: int = 1) -> Cost:
    """Of all seeds, from what one training of each lane takes.

    Of lanes in processes of their own, so many train at once. On a CPU they share its cores. What
    they take on a cluster is not known.
    """
    if comparison.where == "cluster":
        return Cost(seconds=None, memory=None, free=None)
    seconds = [one.seconds for one in lanes if one.seconds is not None]
    whole = sum(seconds) * comparison.seeds if len(seconds) == len(lanes) else None
    if not comparison.paced:
        whole = float(comparison.seconds * len(lanes) * comparison.seeds)
    # Lanes are advanced in turn: one computes while the others only keep what they have.
    kept = [MARGIN * PER_PARAMETER * one.parameters for one in lanes]
    needed = [one.memory for one in lanes if one.memory is not None]
    if len(needed) < len(lanes):
        return Cost(seconds=whole, memory=None, free=None)
    if comparison.where == "process":
        largest = sum(sorted(needed)[-at_once:])
        return Cost(seconds=whole, memory=largest, free=lanes[0].free)
    most = max(need - own for need, own in zip(needed, kept, strict=True))
    return Cost(seconds=whole, memory=sum(kept) + most, free=lanes[0].free)
