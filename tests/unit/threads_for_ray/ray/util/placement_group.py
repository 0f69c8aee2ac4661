"""Bundles of CPUs that are had all at once."""

from ray import PlacementGroup


def placement_group(bundles: list[dict[str, float]], strategy: str) -> PlacementGroup:
    return PlacementGroup([bundle["CPU"] for bundle in bundles])


def remove_placement_group(group: PlacementGroup) -> None:
    group.nodes = []
