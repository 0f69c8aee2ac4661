"""Health: signs that the training goes well, at the moment that is looked at."""

from collections.abc import Sequence

import plotly.graph_objects as go
from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.health import COLLAPSED
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.checkups import HealthLook
from transformer_lab.ui.charts import health as charts
from transformer_lab.ui.charts.training import blank
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.parts import chart, is_dark, note, opened, tried, trouble
from transformer_lab.ui.look.state import Opened

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

    outputs = {
        "signs": Output(ids.HEALTH_SIGNS, "children"),
        "deviations": Output(ids.DEVIATIONS, "figure"),
        "entropies": Output(ids.ENTROPIES, "figure"),
        "updates": _chart_outputs(ids.UPDATES, ids.UPDATES_NOTE),
        "gradients": _chart_outputs(ids.GRADIENTS, ids.GRADIENTS_NOTE),
        "problem": Output(ids.HEALTH_PROBLEM, "children"),
        "seen": Output(ids.HEALTH_SEEN, "data"),
    }

    @app.callback(
        output=outputs,
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        state={"seen": State(ids.HEALTH_SEEN, "data")},
        prevent_initial_call=True,
    )
    def examine(
        data: Opened | None, sub_tab: str | None, theme: str | None, seen: list[object] | None
    ) -> dict[str, object]:
        """How the model is at this moment; one that trains is examined at each of its moments."""
        what = opened(data, sub_tab, NAME)
        moments, problem = tried(lambda: lab.models.moments(what.run))
        if moments is None:
            return _unexamined(problem)
        fresh = [what.run, moments[:-1] if what.step is None else what.step, theme]
        if fresh == seen:
            raise PreventUpdate
        before = _before(moments, data["after"] if data else 0)
        look, problem = tried(lambda: lab.inspector.health(what, before))
        if look is None:
            return _unexamined(problem)
        return _drawn(look, is_dark(theme)) | {"problem": "", "seen": fresh}


def _chart_outputs(chart_id: str, note_id: str) -> dict[str, Output]:
    """A chart as high as its bars need, and the note below."""
    return {
        "figure": Output(chart_id, "figure"),
        "style": Output(chart_id, "style"),
        "note": Output(note_id, "children"),
    }


def _unexamined(problem: str) -> dict[str, object]:
    """The sentence why there is nothing to show; what is on the page stays."""
    chart_kept = dict.fromkeys(("figure", "style", "note"), no_update)
    kept = dict.fromkeys(("signs", "deviations", "entropies"), no_update)
    both = {"updates": chart_kept, "gradients": chart_kept}
    return {**kept, **both, "problem": problem, "seen": None}


def _drawn(look: HealthLook, dark: bool) -> dict[str, object]:
    """Every chart and note of an examination."""
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
    note = (
        f"Of a loss of {look.loss:.3f} nats on {look.gradient_tokens:,} tokens of validation "
        "text, without dropout."
    )
    return {
        "signs": signs(look),
        "deviations": charts.deviation_figure(look.deviations, dark=dark),
        "entropies": charts.entropy_figure(
            look.entropies, look.collapsed, look.attention_layers, dark=dark
        ),
        "updates": _sized(updates, look.update_note),
        "gradients": _sized(gradients, note),
    }


def _sized(figure: go.Figure, note: str) -> dict[str, object]:
    """A chart as high as it needs, and its note."""
    return {
        "figure": figure, "style": {"height": f"{figure.layout.height or 120}px"}, "note": note,
    }  # fmt: skip


def _before(moments: Sequence[int], after: int) -> int | None:
    """The moment before the one that is open."""
    earlier = [step for step in moments if step < after]
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
