"""Architectures: which kind of block stands in each layer. The blocks are in `gpt.py`."""

from collections.abc import Callable


def standard(layer: int) -> str:
    """Attention and feed-forward in every layer."""
    return "standard"


def alternating(layer: int) -> str:
    """Attention alone, predictive coding alone, attention alone, ..."""
    return "predictive" if layer % 2 else "attention"


def dual_stream(layer: int) -> str:
    """A standard block and a predictive one side by side in every layer."""
    return "dual"


# The hierarchical architecture has standard blocks; a PredictiveHierarchy comes before them.
ARCHITECTURES: dict[str, Callable[[int], str]] = {
    "standard": standard,
    "pc_alternating": alternating,
    "pc_hierarchical": standard,
    "pc_dual": dual_stream,
}
