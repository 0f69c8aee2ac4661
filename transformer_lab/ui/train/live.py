"""What one poll of the page brings back: only what changed since the last one.

The page holds a cursor: which curve it shows, up to which step, and a digest of every other part.
"""

from typing import Any, TypeAlias, TypedDict

import plotly.graph_objects as go
from dash import html, no_update
from dash.development.base_component import Component

from transformer_lab.experiments.expected import LEAST, Band
from transformer_lab.lab.cost.threads import planned as planned_threads
from transformer_lab.lab.device import memory_free, memory_used
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.states import BUSY, STEPPING
from transformer_lab.lab.training.views import View
from transformer_lab.recipes import Setup
from transformer_lab.runs.database import Sample, State
from transformer_lab.runs.run import RESUMABLE, RunNotFoundError, step_of
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.training import TrainConfig
from transformer_lab.ui import polling, words
from transformer_lab.ui.charts import training as charts
from transformer_lab.ui.train import upcoming
from transformer_lab.ui.train.plan import FormPlan, planned

REDRAW_AFTER = 1000  # points on the page; then it gets a thinned whole figure
FAST, SLOW = 200, 1000  # milliseconds between polls, while something runs and while nothing does
BEFORE_CURVES = (None, "preparing", "ready")
PREPARING = "The text and the model are being prepared."
WAITS = {  # why what is busy cannot be paused
    "preparing": PREPARING,
    "starting": PREPARING,
    "pausing": "It pauses after this step.",
    "stopping": "It is saved and ends.",
}
BUTTON_HELP = {
    "initialize": "Make the model with random weights, and train it later",
    "start": "Train a model with these settings from now on",
    "pause": "Rest after this step, or go on from there",
    "stop": "Save the run and end it; it can be resumed on the Runs tab",
    "start_over": "End this run and train a new model with these settings",
}
LATEST = "latest"
NO_BAND = (
    f"Not known: it takes {LEAST} earlier runs that began afresh with the same settings and other "
    "seeds."
)
MOST_RUNS = 50  # in the list to choose from

Drawn: TypeAlias = go.Figure | list[Any]  # a figure, or what new points add to it, or no_update


class Cursor(TypedDict, total=False):
    """What the page has: a curve's name, its last step and points, and digests of the rest."""

    curve: str
    n: int
    shown: int
    seen: dict[str, int]


def shown(lab: Lab, run_id: str | None) -> View:
    """The run that was chosen, or the newest where that one is gone."""
    try:
        return lab.runs.view(None if run_id in (LATEST, None) else str(run_id))
    except RunNotFoundError:
        return lab.runs.view()


def curves(
    lab: Lab, view: View, plan: FormPlan | None, cursor: Cursor
) -> tuple[list[Drawn], Cursor]:
    """Figure and extendData of loss, perplexity and rate, and the new place in the curve."""
    drawn = "" if view.state in BEFORE_CURVES and not view.step else view.run_id
    key = f"{drawn} {view.attempt}" if drawn else f"plan-{polling.digest(plan)}"
    if view.peaks:  # each change of the learning rate is drawn at once, and the zoom stays
        key += f" {len(view.peaks)} {view.peaks[-1]}"
    if not drawn and plan is None and "curve" in cursor:  # a value is wrong: keep what is drawn
        return [no_update] * 6, _same(cursor)
    following = upcoming.schedule(lab, view, plan)
    if plan is None and cursor.get("curve", "").startswith(key):
        key = cursor["curve"]  # a value is wrong: keep what is drawn
    elif following:
        key += f" {polling.digest(upcoming.course(following))}"
    if cursor.get("curve") != key:
        return _whole(lab, view, plan, drawn, key, following)
    points, n = lab.runs.since(drawn, cursor["n"]) if drawn else ([], 0)
    if not points:
        return [no_update] * 6, _same(cursor)
    if not cursor["shown"] or cursor["shown"] + len(points) > REDRAW_AFTER:
        return _whole(lab, view, plan, drawn, key, following)
    curve = charts.curve_of(points)
    added = [
        no_update,
        charts.loss_extension(curve),
        no_update,
        charts.perplexity_extension(curve),
        no_update,
        charts.rate_extension(curve),
    ]
    return added, {"curve": key, "n": n, "shown": cursor["shown"] + len(points)}


def _same(cursor: Cursor) -> Cursor:
    return {"curve": cursor["curve"], "n": cursor["n"], "shown": cursor["shown"]}


def _whole(
    lab: Lab,
    view: View,
    plan: FormPlan | None,
    drawn: str,
    key: str,
    following: TrainConfig | None,
) -> tuple[list[Drawn], Cursor]:
    most = charts.MOST_POINTS
    points, evaluated, n = lab.runs.envelope(drawn, most) if drawn else ([], [], 0)
    curve = charts.curve_of(points, most, evaluated)
    setup = view.setup if drawn else planned(plan)
    vocabulary_size = view.vocabulary_size if drawn else (plan["vocabulary_size"] if plan else 0)
    train = (setup or Setup()).train
    seam = view.seams[-1].step if drawn and view.seams else 0
    characters = setup is None or setup.data.tokenizer == "characters"
    zoom = f"{drawn} {view.attempt}" if drawn else key
    peaks = [(change.after, change.value) for change in view.peaks]
    phases = list(train.phases(seam))
    figures = [
        charts.loss_figure(
            curve,
            zoom,
            vocabulary_size,
            characters=characters,
            seams=words.seams(view.seams),
            band=lab.runs.expected(view) if drawn else None,
        ),
        charts.perplexity_figure(curve, zoom),
        charts.planned_figure(zoom, following.phases(), following.learning_rate)
        if following
        else charts.rate_figure(curve, zoom, phases, train.learning_rate, peaks),
    ]
    last = max([phase.last for phase in phases] + curve.steps[-1:], default=1)
    for figure in figures[: 2 if following else 3]:  # as wide as the training will be long
        figure.update_xaxes(range=[0, last], autorange=False, showticklabels=setup is not None)
    outputs = [part for figure in figures for part in (figure, no_update)]
    return outputs, {"curve": key, "n": n, "shown": len(curve.steps)}


def state_line(view: View) -> list[Component | None]:
    """The run's name and state, how far it is, and why it ended or what to know about it."""
    share = view.step / view.steps if view.steps else 0.0
    facts = []
    if view.step:
        facts.append(f"step {view.step:,} / {view.steps:,}")
        if view.state not in STEPPING:
            facts.append(f"{words.clock(view.seconds)} of training")
        elif view.remaining is not None:
            facts.append(f"{words.clock(view.remaining)} left")
    if view.accuracy is not None:
        facts.append(f"{view.accuracy:.0%} of held-out problems solved")
    state = view.doing or words.STATES[view.state]
    return [
        html.Div(
            [
                html.Span(view.run_id or "New model", className="run-name") if view.state else None,
                html.Span(state, className=f"state state-{view.state or 'none'}"),
                *[html.Span(fact, className="fact") for fact in facts],
            ],
            className="facts",
        ),
        html.Div(
            html.Div(style={"width": f"{100 * share:.1f}%"}),
            className="progress-line",
            role="progressbar",
            **{
                "aria-label": "Steps done",
                "aria-valuenow": f"{100 * share:.0f}",
                "aria-valuemin": "0",
                "aria-valuemax": "100",
            },
        ),
        html.Div(view.reason, className="reason") if view.reason else None,
        html.Div(view.note, className="note") if view.note else None,
    ]


def panel(view: View, plan: FormPlan | None, band: Band | None) -> list[Component]:
    """Device, model, text and milestones of what is shown, or of what the form would make.

    `band` is what earlier runs lead to expect of it.
    """
    shows_run = view.setup is not None and view.parameters > 0
    setup = view.setup if shows_run else planned(plan)
    corpus = view.corpus if shows_run else (plan["corpus"] if plan else "")
    if setup is None:
        return [_row("Model", "Correct the marked settings first.")]
    parameters = view.parameters if shows_run else sum(plan["breakdown"].values() if plan else ())
    threads = view.threads if shows_run else ""
    device = view.device or (plan["device"] if plan else "")
    rows = [
        _row("Model", f"{parameters:,} parameters"),
        _row("Text", corpus),
        _row(
            "Device",
            f"{device}, {threads or planned_threads(setup.train, device)}",
        ),
        _row("GPU", view.device_reason or (plan["device_reason"] if plan else "")),
    ]
    if view.bits_per_byte is not None:
        nats, bits = f"{view.validation_loss:.3f}", f"{view.bits_per_byte:.3f}"
        rows.append(_row("Validation", f"{nats} nats per token, {bits} bits per byte"))
    if shows_run and view.evaluations and view.validation_loss is not None:
        said = band.verdict(view.evaluations[-1].step, view.validation_loss) if band else NO_BAND
        rows.append(_row("Is this normal?", said))
    if setup.data.tokenizer == "characters":
        rows.append(_row("Milestones", _milestones(view.validation_loss)))
    return rows


def _row(name: str, value: Component | str | list[Component]) -> html.Div:
    return html.Div([html.Dt(name), html.Dd(value)], className="row-pair")


def _milestones(loss: float | None) -> list[Component]:
    reached = [(limit, loss is not None and loss < limit) for limit in charts.MILESTONES]
    return [
        html.Span(
            [
                html.I(
                    className="bi bi-check-circle-fill" if done else "bi bi-circle",
                    **{"aria-hidden": "true"},
                ),
                f" {limit:.1f}",
                html.Span(" reached" if done else " not yet", className="visually-hidden"),
            ],
            className="milestone" + (" reached" if done else ""),
            title=charts.MILESTONES[limit],
        )
        for limit, done in reached
    ]


def written_at(sample: Sample) -> str:
    """When a sample was written."""
    return f"after step {sample.step:,}" if sample.step else "untrained, before step 1"


def memory() -> str:
    """Memory of this process and what is left, coarse enough not to change at every poll."""
    return (
        f"{words.size(round(memory_used(), -7))} used, {words.size(round(memory_free(), -8))} free"
    )


def buttons(lab: Lab, view: View, setup: Setup | None = None) -> dict[str, str]:
    """Why each button cannot be pressed now; an empty reason means that it can.

    `view` is the run that is shown; what runs is meant when that one does not. `setup` is what
    stands in the form.
    """
    run = lab.trainings.live(view.run_id) if view.run_id else lab.trainings.current
    run = run if run and run.busy else lab.trainings.current
    state = run.status.state if run and run.busy else _state_away(lab, view)
    full = _full(lab, setup)
    idle = "Nothing is running."
    stopping = "It is saved and ends." if state == "stopping" else idle
    reasons = {
        "initialize": full,
        "start": full,
        "pause": "" if state in ("running", "paused") else WAITS.get(str(state), idle),
        "stop": "" if state in BUSY and state != "stopping" else stopping,
        "start_over": "" if state in BUSY and state != "stopping" else stopping,
    }
    if state is None and view.state in RESUMABLE and view.step and not view.field:
        reasons["pause"] = full
    return reasons


def _state_away(lab: Lab, view: View) -> State | None:
    """The state of what another process trains and can be steered from here, if anything."""
    if lab.trainings.awaited and not lab.trainings.awaited.ended:
        return "preparing"
    away = lab.trainings.remote(view.run_id) or lab.trainings.remote()
    if not away:
        return None
    return view.state if away == view.run_id else lab.runs.open(away).state()[0]


def _full(lab: Lab, setup: Setup | None) -> str:
    """Why nothing more can start now; empty when it can."""
    if lab.trainings.has_room(setup):
        return ""
    elsewhere, run = lab.trainings.elsewhere(), lab.trainings.current
    if lab.trainings.awaited and not (run and run.busy):
        return PREPARING
    if elsewhere and not (run and run.busy):
        if lab.trainings.remote(elsewhere.id):
            return f"{elsewhere.id} trains in a process of its own: stop it first."
        return (
            f"{elsewhere.id} is being trained by another program on this folder; "
            "it can only be ended there (Ctrl-C)."
        )
    name = (run.status.run_id if run else "") or "A training"
    state = run.status.state if run else "running"
    if state in ("preparing", "starting"):
        return PREPARING
    way = "resume or stop it" if state == "paused" else "stop it first"
    return f"{name} is {state}: {way}, or add to the queue."


def offer(lab: Lab, dismissed: str | None) -> str:
    """What to say of runs that were cut off; empty when there is nothing to offer."""
    cut_off = lab.trainings.interrupted()
    if not cut_off or not lab.trainings.has_room() or cut_off[0].id == dismissed:
        return ""
    first, rest = cut_off[0], len(cut_off) - 1
    more = f" {rest} more on the Runs tab." if rest else ""
    at = f"at step {first.step:,} of {first.steps:,}"
    points = lab.runs.open(first.id).resume_points()
    begins = f"after step {step_of(points[0]):,}, its newest save" if points else "from its start"
    return f"{first.name} was interrupted {at}. It goes on {begins}.{more}"


def run_options(runs: list[RunSummary]) -> list[dict[str, str]]:
    """The runs to choose from."""
    options = [{"value": LATEST, "label": "Latest run"}]
    for run in runs[:MOST_RUNS]:
        loss = "" if run.validation_loss is None else f" · {run.validation_loss:.3f}"
        if run.bits_per_byte is not None:  # the one number that compares across tokenizers
            loss += f" ({run.bits_per_byte:.2f} bits/byte)"
        options.append({"value": run.id, "label": f"{run.name} · {run.state}{loss}"})
    return options
