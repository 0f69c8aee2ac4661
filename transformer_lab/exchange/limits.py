"""Limits on the size of an imported archive."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes are in bytes, unpacked; `ratio` is unpacked to packed; `json` is for each such file."""

    files: int = 200
    total: int = 8_000_000_000
    json: int = 32_000_000
    ratio: int = 100
    vocabulary: int = 1_000_000
    parameters: int = 2_000_000_000
