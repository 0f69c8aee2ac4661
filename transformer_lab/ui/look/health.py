"""Health: signs that the training goes well, at the moment that is looked at."""

from collections.abc import Sequence
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.health import COLLAPSED
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.checkups import HealthLook
from transformer_lab.ui import ids
from transformer_lab.ui.charts import health as charts
from transformer_lab.ui.charts.training import blank
from transformer_lab.ui.look.parts import chart, is_dark, note, opened, tried, trouble

NAME = "Health"
MANY_DEAD = 0.1  # of a layer's units
VANISHING = 1e-7
UPDATES = "Update-to-weight ratio"


def layout() -> html.Div:
    """What is to be said in words, and the numbers behind it."""
    return html.Div(
        [
            dcc.Store(id=ids.HEALTH_SEEN),
            trouble(ids.HEALTH_PROBLEM),
            html.Section(
                [html.H2("Health checks"), html.Div(id=ids.HEALTH_SIGNS, role="status")],
                className="card",
            ),
            html.Div(
                [
                    chart(ids.DEVIATIONS, "Residual-stream standard deviation", "short"),
                    chart(ids.ENTROPIES, "Entropy of each head's attention", "short heat"),
                    html.Section(
                        [chart(ids.UPDATES, UPDATES, "tall"), note(ids.UPDATES_NOTE)],
                        className="card",
                    ),
                    html.Section(
                        [
                            chart(ids.GRADIENTS, "Gradient norm of each part", "tall"),
                            note(ids.GRADIENTS_NOTE),
                        ],
                        className="card",
                    ),
                ],
                className="two-cards",
            ),
        ],
        className="look-part",
    )


def register(app: Dash, lab: Lab) -> None:
    """The callback of this part."""

    @app.callback(
        Output(ids.HEALTH_SIGNS, "children"),
        Output(ids.DEVIATIONS, "figure"),
        Output(ids.ENTROPIES, "figure"),
        Output(ids.UPDATES, "figure"),
        Output(ids.UPDATES, "style"),
        Output(ids.UPDATES_NOTE, "children"),
        Output(ids.GRADIENTS, "figure"),
        Output(ids.GRADIENTS, "style"),
        Output(ids.GRADIENTS_NOTE, "children"),
        Output(ids.HEALTH_PROBLEM, "children"),
        Output(ids.HEALTH_SEEN, "data"),
        Input(ids.LOOK_OPEN, "data"),
        Input(ids.LOOK_TABS, "active_tab"),
        Input(ids.LOOK_THEME, "data"),
        State(ids.HEALTH_SEEN, "data"),
        prevent_initial_call=True,
    )
    def examine(data: Any, sub_tab: Any, theme: Any, seen: Any) -> tuple[Any, ...]:
        """How the model is at this moment; one that trains is examined at each of its moments."""
        what = opened(data, sub_tab, NAME)
        moments, problem = tried(lambda: lab.models.moments(what.run))
        if moments is None:
            return *([no_update] * 9), problem, None
        fresh = [what.run, moments[:-1] if what.step is None else what.step, theme]
        if fresh == seen:
            raise PreventUpdate
        before = _before(moments, data.get("after"))
        look, problem = tried(lambda: lab.inspector.health(what, before))
        if look is None:
            return *([no_update] * 9), problem, None
        dark = is_dark(theme)
        updates = blank(UPDATES)
        if look.update_parts:
            updates = charts.part_bars_figure(
                look.update_parts, look.updates, UPDATES, "‖ΔW‖ / ‖W‖ per step",
                guide=charts.PACE, dark=dark,
            )  # fmt: skip
        gradients = charts.part_bars_figure(
            look.gradient_parts, look.gradients, "Gradient norm of each part",
            "‖∂loss/∂W‖", dark=dark,
        )  # fmt: skip
        return (
            signs(look),
            charts.deviation_figure(look.deviations, dark=dark),
            charts.entropy_figure(look.entropies, look.collapsed, look.attention_layers, dark=dark),
            updates,
            {"height": f"{updates.layout.height or 120}px"},
            look.update_note,
            gradients,
            {"height": f"{gradients.layout.height}px"},
            f"Of a loss of {look.loss:.3f} nats on {look.gradient_tokens:,} tokens of validation "
            "text, without dropout.",
            "",
            fresh,
        )


def _before(moments: Sequence[int], after: Any) -> int | None:
    """The moment before the one that is open."""
    earlier = [step for step in moments if isinstance(after, int) and step < after]
    return earlier[-1] if earlier else None


def signs(look: HealthLook) -> html.Ul:
    """What stands out, each in a sentence; that nothing does, when nothing does."""
    found = [*_dead(look), *_collapsed(look), *_updates(look), *_gradients(look)]
    quiet = _not_applicable(look)
    if not found:
        found = [("good", "Nothing stands out: no dead units, no collapsed attention, no part that "
                          "stands still or leaps.")]  # fmt: skip
    return html.Ul(
        [html.Li([_icon(kind), words]) for kind, words in [*found, *(("note", q) for q in quiet)]],
        className="signs",
    )


def _icon(kind: str) -> html.I:
    name = {"good": "check-circle-fill", "look": "exclamation-triangle", "note": "info-circle"}[
        kind
    ]
    return html.I(className=f"bi bi-{name} sign-{kind}", **{"aria-hidden": "true"})


def _dead(look: HealthLook) -> list[tuple[str, str]]:
    return [
        (
            "look" if dead > MANY_DEAD * units else "note",
            f"Layer {layer + 1}: {dead:,} of {units:,} hidden units never woke on "
            f"{look.tokens:,} tokens.",
        )
        for layer, dead, units in zip(
            look.dead_layers, look.dead.tolist(), look.units.tolist(), strict=True
        )
        if dead > 0
    ]


def _not_applicable(look: HealthLook) -> list[str]:
    return [f"Dead units: {note}" for note in dict.fromkeys(filter(None, look.dead_notes))]


def _collapsed(look: HealthLook) -> list[tuple[str, str]]:
    sharp = [
        f"layer {look.attention_layers[row] + 1} head {head + 1}"
        for row, flags in enumerate(look.collapsed)
        for head, flag in enumerate(flags)
        if flag
    ]
    if not sharp:
        return []
    many = len(sharp) > look.collapsed.size / 2
    return [
        (
            "look" if many else "note",
            f"Attention with less than {COLLAPSED} nats of entropy: {', '.join(sharp)}. "
            + (
                "That many at once, early in a training, go with an unstable loss."
                if many
                else "A head that always attends to one position may just do its work."
            ),
        )
    ]


def _updates(look: HealthLook) -> list[tuple[str, str]]:
    if not look.update_parts:
        return []
    order = look.updates.argsort()
    slow, fast = look.update_parts[order[0]], look.update_parts[order[-1]]
    found = []
    if look.updates[order[-1]] > 100 * charts.PACE:
        found.append(
            (
                "look",
                f"{fast} moves by {look.updates[order[-1]]:.2g} of its length in a step: that is a "
                "leap. A lower learning rate may help, unless it is the very beginning.",
            )
        )
    if look.updates[order[0]] == 0:
        found.append(("look", f"{slow} did not move at all."))
    return found


def _gradients(look: HealthLook) -> list[tuple[str, str]]:
    still = [
        name
        for name, value in zip(look.gradient_parts, look.gradients.tolist(), strict=True)
        if value < VANISHING
    ]
    if not still:
        return []
    return [("look", f"Next to no gradient reaches {', '.join(still)}.")]
