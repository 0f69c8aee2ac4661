"""The colour scales of everything that is looked into: one for signed numbers, one for shares.

Both have the same blue; in the dark nothing has the colour of the card, and the blue is lighter.
"""

from collections.abc import Iterable

Scale = list[list[object]]
BLANK = "rgba(0,0,0,0)"
ORANGE = "#f59322"
_MIDDLE = {False: "#e8eaeb", True: "#1d2125"}
_BLUE = {False: "#0877bd", True: "#4fb0ee"}
SHARE_TICKS = (0.01, 0.1, 0.25, 0.5, 1.0)
STOPS = 16


def signed(dark: bool) -> Scale:
    """Orange below 0, blue above; for charts whose middle is 0."""
    return [[0.0, ORANGE], [0.5, _MIDDLE[dark]], [1.0, _BLUE[dark]]]


def blue(dark: bool) -> str:
    """The colour of the whole, and of what is positive."""
    return _BLUE[dark]


def amounts(dark: bool) -> Scale:
    """From nothing to much, evenly; for numbers that are never negative."""
    return [[0.0, _MIDDLE[dark]], [1.0, _BLUE[dark]]]


def shares(dark: bool) -> Scale:
    """From nothing to the whole; colour grows with the square root, so that little shows too."""
    return [[depth**2, _mixed(dark, depth)] for depth in _depths()]


def share_tiles(dark: bool) -> Scale:
    """The same for whole numbers from 0 to 255, where 0 is blank and 1 is a share of nothing."""
    stops = [[(1 + 254 * depth**2) / 255, _mixed(dark, depth)] for depth in _depths()]
    edge = 0.5 / 255
    return [[0.0, BLANK], [edge, BLANK], [edge, _MIDDLE[dark]], *stops]


def _depths() -> Iterable[float]:
    return (stop / STOPS for stop in range(STOPS + 1))


def _mixed(dark: bool, depth: float) -> str:
    parts = zip(_parts(_MIDDLE[dark]), _parts(_BLUE[dark]), strict=True)
    return "#" + "".join(f"{round(low + depth * (high - low)):02x}" for low, high in parts)


def _parts(color: str) -> list[int]:
    return [int(color[begin : begin + 2], 16) for begin in (1, 3, 5)]
