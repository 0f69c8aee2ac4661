"""Curves for a notebook, drawn as SVG with nothing but Python. `notebook.py` copies them."""

import csv
import html
import io
from collections.abc import Mapping

Points = list[tuple[float, float]]
WIDTH, HEIGHT = 640, 300  # of the area that the curves fill, in pixels
MARGIN = 60
COLORS = ("#f59322", "#0877bd")


def read_points(table: str, column: str) -> Points:
    """(step, value) for each line of a CSV table that has a value in the column."""
    lines = csv.DictReader(io.StringIO(table))
    return [(float(line["step"]), float(line[column])) for line in lines if line[column]]


class Curves:
    """Named curves over the same axes. A notebook shows what has a method `_repr_svg_`."""

    def __init__(self, curves: Mapping[str, Points], across: str, upward: str) -> None:
        self.curves = {name: points for name, points in curves.items() if points}
        self.across = across
        self.upward = upward

    def _repr_svg_(self) -> str:
        points = [point for curve in self.curves.values() for point in curve] or [(0.0, 0.0)]
        left, right = min(x for x, _ in points), max(x for x, _ in points)
        low, high = min(y for _, y in points), max(y for _, y in points)

        def place(x: float, y: float) -> str:
            across = MARGIN + WIDTH * (x - left) / ((right - left) or 1)
            down = MARGIN + HEIGHT * (high - y) / ((high - low) or 1)
            return f"{across:.1f},{down:.1f}"

        bottom, end = MARGIN + HEIGHT, MARGIN + WIDTH
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="13" '
            f'viewBox="0 0 {WIDTH + 2 * MARGIN} {HEIGHT + 2 * MARGIN}" width="{end + MARGIN}">',
            f'<path d="M{MARGIN},{MARGIN}V{bottom}H{end}" fill="none" stroke="#888"/>',
            svg_text(MARGIN - 8, MARGIN + 4, f"{high:.3g}", "end"),
            svg_text(MARGIN - 8, bottom, f"{low:.3g}", "end"),
            svg_text(MARGIN, bottom + 18, f"{left:g}", "start"),
            svg_text(end, bottom + 18, f"{right:g}", "end"),
            svg_text(MARGIN + WIDTH / 2, bottom + 36, self.across, "middle"),
            svg_text(MARGIN, MARGIN - 34, self.upward, "start"),
        ]
        for number, (name, curve) in enumerate(self.curves.items()):
            color = COLORS[number % len(COLORS)]
            line = " ".join(place(x, y) for x, y in curve)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{color}"/>')
            parts.append(svg_text(end, MARGIN - 34 + 18 * number, name, "end", color))
        return "".join([*parts, "</svg>"])


def svg_text(x: float, y: float, words: str, anchor: str, color: str = "#555") -> str:
    """Words in a drawing; `anchor` is start, middle or end."""
    escaped = html.escape(words)
    return f'<text x="{x}" y="{y}" fill="{color}" text-anchor="{anchor}">{escaped}</text>'
