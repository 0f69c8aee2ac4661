"""The queue: which trainings wait, their order, and how many run at once."""

import contextlib
from collections.abc import Mapping

from dash import ALL, Dash, Input, Output, State, ctx, html
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.queue import MOST_AT_ONCE, Waiting
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import polling
from transformer_lab.ui.runs import cluster, ids
from transformer_lab.ui.runs.layout import TITLE

AT_ONCE = [str(count) for count in range(1, MOST_AT_ONCE + 1)]
ANY_BUTTON = {"type": "queue-button", "what": ALL, "item": ALL}


def register(app: Dash, lab: Lab) -> None:
    """The callback of the queue."""

    @app.callback(
        output={
            "waiting": Output(ids.QUEUE, "children"),
            "head": Output(ids.QUEUE_HEAD, "children"),
            "run_hidden": Output(ids.QUEUE_RUN, "hidden"),
            "cluster": Output(ids.CLUSTER, "children"),
        },
        inputs={
            "tick": Input(ids.RUNS_TICK, "n_intervals"),
            "tab": Input(shared_ids.TABS, "active_tab"),
            "run": Input(ids.QUEUE_RUN, "n_clicks"),
            "at_once": Input(ids.AT_ONCE, "value"),
            "buttons": Input(ANY_BUTTON, "n_clicks"),
        },
        state={
            "head": State(ids.QUEUE_HEAD, "children"),
            "drawn": State(ids.QUEUE, "children"),
            "computers": State(ids.CLUSTER, "children"),
        },
    )
    def queue(
        tick: int | None,
        tab: str | None,
        run: int | None,
        at_once: str | None,
        buttons: list[int | None],
        head: object,
        drawn: object,
        computers: object,
    ) -> dict[str, object]:
        """The trainings that wait, after what a button asked of the queue."""
        if ctx.triggered_id == shared_ids.TABS and tab != TITLE:
            raise PreventUpdate
        problem = ""
        try:
            _change(lab, ctx.triggered_id, at_once)
        except OSError as error:
            problem = f" - this could not be written: {error.strerror or error}"
        answer = _queue(lab, problem)
        seen = {"waiting": drawn, "head": head, "cluster": computers or []}
        if ctx.triggered_id == ids.RUNS_TICK and _digests(answer) == _digests(seen):
            raise PreventUpdate
        return answer


def _digests(parts: Mapping[str, object]) -> list[int]:
    return [polling.digest(parts[name]) for name in ("waiting", "head", "cluster")]


def _queue(lab: Lab, problem: str) -> dict[str, object]:
    """What waits and why, and how many; Run shows while the queue is held or stuck."""
    waiting = lab.trainings.queue.list()
    held = bool(waiting) and lab.trainings.queue.held
    count = f"{len(waiting)} waiting" if waiting else "nothing waits"
    count += (", held" if held else "") + problem
    why = cluster.why_waiting(lab, waiting)
    lines = [
        waiting_line(item, place, why.get(item.id, ""))
        for place, item in enumerate(waiting, start=1)
    ]
    stuck = any(item.problem for item in waiting)
    hidden = not (held or stuck)
    card = cluster.card(lab)
    return {"waiting": lines, "head": count, "run_hidden": hidden, "cluster": card}


def _change(lab: Lab, pressed: object, at_once: str | None) -> None:
    """Do what a button of the queue asks. Raises OSError."""
    if not ctx.triggered[0]["value"]:
        return
    if button := ids.queue_button(pressed):
        if button.what == "remove":
            lab.trainings.remove_from_queue(button.item)
        elif button.what == "take-off":
            with contextlib.suppress(LabError):  # it has just got a computer, and ended there
                lab.trainings.stop(run_id=button.item)
        else:
            lab.trainings.queue.move(button.item, -1 if button.what == "up" else 1)
    elif pressed == ids.QUEUE_RUN:
        lab.trainings.run_queue()
    elif pressed == ids.AT_ONCE and str(at_once) in AT_ONCE:
        lab.trainings.set_at_once(int(str(at_once)))


def waiting_line(item: Waiting, place: int, why: str = "") -> html.Div:
    """One training that waits, with its buttons; `why` says what it waits for."""
    what = {
        "new": item.recipe.replace("_", " "),
        "resume": f"resume {item.run}",
        "extended": f"{item.run}, more steps",
        "branched": f"branch of {item.run}",
        "finetuned": f"fine-tuning of {item.run}",
    }[item.kind]

    def button(name: str, icon: str, label: str) -> html.Button:
        return html.Button(
            html.I(className=f"bi bi-{icon}", **{"aria-hidden": "true"}),
            id=ids.QueueButton(name, item.id).as_id(),
            className="btn btn-sm",
            title=label,
            **{"aria-label": f"{label}: {what}"},
        )

    return html.Div(
        [
            html.Span(f"{place}.", className="quiet"),
            html.Span(f"{what}, {item.setup['train']['steps']:,} steps", className="waiting-name"),
            button("up", "chevron-up", "Earlier"),
            button("down", "chevron-down", "Later"),
            button("remove", "x-lg", "Remove from the queue"),
            html.Div(item.problem, className="warn waiting-problem") if item.problem else None,
            html.Div(why, className="quiet waiting-problem") if why else None,
        ],
        className="waiting",
    )
