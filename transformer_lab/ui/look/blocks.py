"""The parts of a model as they are drawn: a column of buttons, and the facts of one of them."""

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from transformer_lab.inspection.architecture import Part
from transformer_lab.ui.look import ids


def column(parts: Sequence[Part], chosen: int) -> list[html.Button]:
    """The parts as buttons, in the order in which a token meets them."""
    totals = [total(parts, place) for place in range(len(parts))]
    return [
        html.Button(
            [
                html.Span(part.name, className="block-name"),
                html.Span(f"{totals[place]:,}", className="block-count"),
                html.Span(_shapes(part), className="block-shape"),
                html.Span(
                    html.Span(style={"width": f"{100 * totals[place] / max(*totals, 1):.1f}%"}),
                    className="block-bar",
                ),
            ],
            id=ids.block_button(str(place)),
            className="block-button",
            style={"marginLeft": f"{14 * part.depth}px"},
            title=f"{part.purpose} {totals[place]:,} parameters.",
            **{"aria-current": "true" if place == chosen else "false"},
        )
        for place, part in enumerate(parts)
    ]


def total(parts: Sequence[Part], place: int) -> int:
    """Parameters of a part and of all parts inside it."""
    count = parts[place].parameters
    for part in parts[place + 1 :]:
        if part.depth <= parts[place].depth:
            break
        count += part.parameters
    return count


def _shapes(part: Part) -> str:
    """What goes in and comes out, for one text."""
    pairs = ((part.input_axes, part.input_shape), (part.output_axes, part.output_shape))
    return " → ".join(" × ".join(_named(axes[1:], sizes[1:])) for axes, sizes in pairs)


def _named(axes: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Shape letters with their sizes, as in T 64."""
    return [
        f"{size:,}" if axis.isdigit() else f"{axis} {size:,}"
        for axis, size in zip(axes, sizes, strict=True)
    ]


def headline(part: Part, parameters: int) -> list[Component]:
    """What a part is: its purpose, its shapes, its parameters and those of the parts inside."""
    inside = parameters - part.parameters
    counted = f"{part.parameters:,} of its own" if part.parameters or not inside else ""
    counted += ", " * bool(counted and inside) + f"{inside:,} in the parts inside" * bool(inside)
    facts = [
        ("In", f"({', '.join(_named(part.input_axes, part.input_shape))})"),
        ("Out", f"({', '.join(_named(part.output_axes, part.output_shape))})"),
        ("Parameters", counted),
        ("Path", html.Code(part.path or "the model")),
    ]
    rows = [
        html.Div([html.Dt(name), html.Dd(value)], className="row-pair") for name, value in facts
    ]
    return [
        html.H2(part.name),
        html.P(f"{part.purpose} {part.detail}".replace("`", ""), className="block-purpose"),
        html.Dl(rows, className="pairs"),
    ]
