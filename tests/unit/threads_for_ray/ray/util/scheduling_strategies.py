"""Which bundle an actor has."""

from ray import PlacementGroup


class PlacementGroupSchedulingStrategy:
    def __init__(self, group: PlacementGroup, number: int) -> None:
        self.group, self.number = group, number
