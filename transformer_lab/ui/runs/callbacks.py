"""The Runs tab: every run there is, to find, open, compare, continue and take away.

Its layout is in `ui/runs/layout.py`, one run opened in `ui/runs/detail.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, Patch, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.continuing import LabError, extension, resumption
from transformer_lab.lab.training.queue import MOST_AT_ONCE, Waiting
from transformer_lab.recipes import SETTINGS, setup_from
from transformer_lab.runs.run import Run, RunNotFoundError
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.settings import ConfigError
from transformer_lab.ui import ids, polling, words
from transformer_lab.ui.charts.comparison import MOST_POINTS, RunCurve, overlay_figure, run_colors
from transformer_lab.ui.runs import detail as run_detail
from transformer_lab.ui.runs import folding
from transformer_lab.ui.runs.layout import EMPTY, layout
from transformer_lab.ui.train import live

__all__ = ["TITLE", "layout", "register"]

TITLE = "Runs"
MOST_COMPARED = 10
AT_ONCE = [str(count) for count in range(1, MOST_AT_ONCE + 1)]
ANY_QUEUE_BUTTON = {"type": "queue-button", "what": ALL, "item": ALL}
ANY_CHECKPOINT = {"type": "checkpoint-button", "checkpoint": ALL}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_list(app, lab)
    _register_edits(app, lab)
    _register_detail(app, lab)
    _register_actions(app, lab)
    _register_comparison(app, lab)
    _register_queue(app, lab)
    app.clientside_callback(
        ClientsideFunction("lab", "only_on_runs"),
        Output(ids.RUNS_TICK, "interval"),
        Input(ids.TABS, "active_tab"),
    )


def _register_list(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.RUNS, "rowTransaction"),
        Output(ids.RUNS_KNOWN, "data"),
        Output(ids.RUNS_COUNT, "children"),
        Input(ids.RUNS_TICK, "n_intervals"),
        Input(ids.TABS, "active_tab"),
        Input(ids.REFRESH, "data"),
        Input(ids.RUNS_FOLD, "value"),
        State(ids.RUNS_KNOWN, "data"),
        running=[(Output(ids.RUNS_TICK, "disabled"), True, False)],
    )
    def listed(tick: Any, tab: Any, refresh: Any, fold: Any, known: Any) -> tuple[Any, Any, Any]:
        """The lines of the list that changed since the last look."""
        if tab != TITLE:
            raise PreventUpdate
        known = known if isinstance(known, dict) else {}
        runs = lab.runs.all()
        rows = folding.rows(runs, folded=bool(fold))
        digests = {run_id: polling.digest(line) for run_id, line in rows.items()}
        changes = {
            "add": [line for run_id, line in rows.items() if run_id not in known],
            "addIndex": 0,
            "update": [line for i, line in rows.items() if i in known and known[i] != digests[i]],
            "remove": [{"id": run_id} for run_id in known if run_id not in rows],
        }
        if known and digests == known:
            raise PreventUpdate
        count = f"{len(runs):,} run" + "s" * (len(runs) != 1)
        return changes, digests, count if rows else EMPTY

    @app.callback(
        Output(ids.RUNS, "dashGridOptions"),
        Input(ids.RUNS_SEARCH, "value"),
        prevent_initial_call=True,
    )
    def searched(sought: Any) -> Patch:
        """Only lines in which every word occurs somewhere."""
        options = Patch()
        options["quickFilterText"] = str(sought or "")
        return options

    @app.callback(
        Output(ids.RUNS_PICKED, "data"),
        Output(ids.RUN_DELETE, "disabled"),
        Output(ids.RUN_DELETE, "title"),
        Output(ids.RUNS_HINT, "hidden"),
        Input(ids.RUNS, "selectedRows"),
    )
    def picked(rows: Any) -> tuple[list[str], bool, str, bool]:
        """Which runs are chosen in the list."""
        marked = [str(line["id"]) for line in rows or [] if isinstance(line, dict) and "id" in line]
        chosen = folding.unfolded(marked, lab.runs.all())
        title = f"Delete {', '.join(chosen)}" if chosen else "Choose runs in the list first"
        return chosen, not chosen, title, bool(chosen)


def _register_edits(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.RUNS_MESSAGE, "children", allow_duplicate=True),
        Output(ids.REFRESH, "data", allow_duplicate=True),
        Input(ids.RUNS, "cellValueChanged"),
        Input(ids.RUN_NOTES, "n_blur"),
        State(ids.RUN_NOTES, "value"),
        State(ids.RUNS_PICKED, "data"),
        State(ids.REFRESH, "data"),
        prevent_initial_call=True,
    )
    def edited(changes: Any, blur: Any, notes: Any, chosen: Any, refresh: Any) -> tuple[Any, Any]:
        """A title, a pin or the notes were changed."""
        try:
            if ctx.triggered_id == ids.RUN_NOTES and len(chosen or []) == 1:
                lab.runs.describe(chosen[0], notes=str(notes or ""))
            elif ctx.triggered_id == ids.RUNS:
                for change in changes or []:
                    _describe(lab, change)
        except (LabError, RunNotFoundError) as error:
            return str(error), no_update
        return "", (refresh or 0) + 1

    @app.callback(
        Output(ids.RUNS_MESSAGE, "children"),
        Output(ids.RUN_DELETED, "data"),
        Output(ids.RUN_UNDO, "hidden"),
        Output(ids.REFRESH, "data", allow_duplicate=True),
        Input(ids.RUN_DELETE, "n_clicks"),
        Input(ids.RUN_UNDO, "n_clicks"),
        Input(ids.RUN_IMPORTED, "data"),
        State(ids.RUNS_PICKED, "data"),
        State(ids.RUN_DELETED, "data"),
        State(ids.REFRESH, "data"),
        prevent_initial_call=True,
    )
    def deleted(
        press: Any, undo: Any, imported: Any, chosen: Any, gone: Any, refresh: Any
    ) -> tuple[Any, Any, bool, Any]:
        """Runs were deleted or brought back, or one was brought in."""
        if ctx.triggered_id == ids.RUN_IMPORTED:
            lab.runs.refresh()
            return _imported(imported), no_update, True, (refresh or 0) + 1
        undoing = ctx.triggered_id == ids.RUN_UNDO
        done, problem = _move(lab, (gone if undoing else chosen) or [], back=undoing)
        what = "Brought back" if undoing else "Deleted"
        message = f"{what} {', '.join(done)}. {problem} " if done else f"{problem} "
        return message, [] if undoing else done, undoing or not done, (refresh or 0) + 1


def _move(lab: Lab, run_ids: Sequence[Any], *, back: bool) -> tuple[list[str], str]:
    """Delete runs or bring them back; those it was done to, and why not to the others."""
    done: list[str] = []
    problem = ""
    for run_id in map(str, run_ids):
        try:
            lab.runs.restore(run_id) if back else lab.runs.delete(run_id)
            done.append(run_id)
        except (LabError, RunNotFoundError) as error:
            problem = str(error)
    return done, problem


def _describe(lab: Lab, change: Mapping[str, Any]) -> None:
    field, value = change.get("colId"), change.get("value")
    run_id = str(change.get("rowId"))
    if run_id.startswith(folding.PREFIX):
        if field == "pinned":
            for lane in folding.unfolded([run_id], lab.runs.all()):
                lab.runs.describe(lane, pinned=bool(value))
            return
        raise LabError("A comparison keeps its name: unfold comparisons to rename its runs.")
    if field == "name":
        lab.runs.describe(run_id, title="" if value == run_id else str(value or ""))
    elif field == "pinned":
        lab.runs.describe(run_id, pinned=bool(value))


def _imported(answer: Any) -> Any:
    if not isinstance(answer, dict):  # the tab was made just now
        raise PreventUpdate
    if answer.get("error"):
        return html.Span(str(answer["error"]), className="warn")
    return html.Span(f"Brought in as {answer.get('id', '')}. ", className="done")


def _register_detail(app: Dash, lab: Lab) -> None:
    shown = tuple(run_detail.IDS)

    @app.callback(
        *[Output(*part) for part in shown],
        Output(ids.RUNS_DETAIL, "hidden"),
        Output(ids.RUN_NOTES, "value"),
        Output(ids.RUNS_SEEN, "data"),
        Input(ids.RUNS_PICKED, "data"),
        Input(ids.RUNS_TICK, "n_intervals"),
        State(ids.RUNS_SEEN, "data"),
        State(ids.TABS, "active_tab"),
    )
    def opened(chosen: Any, tick: Any, seen: Any, tab: Any) -> list[Any]:
        """One run was chosen, or the one that is open went on."""
        seen = seen if isinstance(seen, dict) else {}
        nothing: list[Any] = [no_update] * len(shown)
        found = _summary(lab, chosen)
        if tab != TITLE or (found is None and not seen):
            raise PreventUpdate
        if found is None:
            return [*nothing, True, no_update, {}]
        run = lab.runs.open(found.id)
        version = polling.digest(run.stamp)
        if seen.get("run") == found.id and seen.get("version") == version:
            raise PreventUpdate
        fresh = run_detail.parts(run, found, held=run.is_held())
        digests = {f"{name}.{prop}": polling.digest(fresh[name, prop]) for name, prop in shown}
        same = seen.get("parts", {}) if seen.get("run") == found.id else {}
        outputs = [
            no_update
            if same.get(f"{part[0]}.{part[1]}") == digests[f"{part[0]}.{part[1]}"]
            else fresh[part]
            for part in shown
        ]
        notes = no_update if seen.get("run") == found.id else found.notes
        return [*outputs, False, notes, {"run": found.id, "version": version, "parts": digests}]


def _summary(lab: Lab, chosen: Any) -> RunSummary | None:
    """The one run that is chosen."""
    if not isinstance(chosen, list) or len(chosen) != 1:
        return None
    return next((run for run in lab.runs.all() if run.id == chosen[0]), None)


def _register_actions(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.TABS, "active_tab", allow_duplicate=True),
        Output(ids.RUN, "value", allow_duplicate=True),
        Output(ids.BRANCH, "data"),
        Output(ids.RUNS_MESSAGE, "children", allow_duplicate=True),
        Input(ids.RUN_RESUME, "n_clicks"),
        Input(ids.RUN_SHOW, "n_clicks"),
        Input(ids.RUN_EXTEND, "n_clicks"),
        Input(ANY_CHECKPOINT, "n_clicks"),
        State(ids.RUNS_PICKED, "data"),
        State(ids.RUN_MORE, "value"),
        prevent_initial_call=True,
    )
    def act(
        resume: Any, show: Any, extend: Any, branch: Any, chosen: Any, steps: Any
    ) -> tuple[Any, Any, Any, Any]:
        """Go on with a run, show it on the Train tab, add steps, or branch from a checkpoint."""
        found = _summary(lab, chosen)
        pressed = ctx.triggered_id
        if found is None or not ctx.triggered[0]["value"]:
            raise PreventUpdate
        try:
            if pressed == ids.RUN_SHOW:
                return "Train", found.id, no_update, ""
            if isinstance(pressed, dict):
                run = lab.runs.open(found.id)
                name = run.checkpoint(pressed["checkpoint"]).name
                return "Train", found.id, {"run": found.id, "checkpoint": name}, ""
            item = _continuation(lab, found, pressed, steps)
            if lab.trainings.has_room():
                lab.trainings.start_item(item)
                shown = found.id if pressed == ids.RUN_RESUME else live.LATEST
                return "Train", shown, no_update, ""
            lab.trainings.add_to_queue(item)
            return no_update, no_update, no_update, "Added to the queue: another one is running. "
        except ConfigError as error:
            return no_update, no_update, no_update, f"{error} "
        except (LabError, RunNotFoundError) as error:
            return no_update, no_update, no_update, f"{error} "


def _continuation(lab: Lab, run: RunSummary, pressed: Any, steps: Any) -> Waiting:
    if pressed == ids.RUN_EXTEND:
        return extension(lab.runs.store, run.id, steps)
    return resumption(lab.runs.store, run.id)


def _register_comparison(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.OVERLAY, "figure"),
        Output(ids.DIFFERENCES, "children"),
        Output(ids.OVERLAY_CARD, "hidden"),
        Input(ids.RUNS_PICKED, "data"),
        Input(ids.RUNS_KNOWN, "data"),
        Input(ids.OVERLAY_AXIS, "value"),
        Input(ids.OVERLAY_SHOWN, "value"),
        Input(ids.OVERLAY_SMOOTH, "value"),
        prevent_initial_call=True,
    )
    def compared(
        chosen: Any, known: Any, axis: Any, shown: Any, smooth: Any
    ) -> tuple[Any, Any, bool]:
        """Several runs were chosen: their curves in one chart, and what differs."""
        chosen = chosen if isinstance(chosen, list) else []
        if len(chosen) < 2:
            return no_update, no_update, True
        summaries = [run for run in lab.runs.all() if run.id in chosen][:MOST_COMPARED]
        window = int(smooth)
        summaries = [run for run in summaries if run.state != "damaged"]
        curves = [_curve(lab.runs.open(run.id), run, axis, window) for run in summaries]
        figure = overlay_figure(curves, axis, shown, window)
        return figure, differences(lab, summaries), False


def _curve(run: Run, summary: RunSummary, axis: Any, window: int) -> RunCurve:
    setup = setup_from(run.manifest["setup"])
    points, evaluated = (
        run.thinned(MOST_POINTS, window) if window > 1 else run.envelope(MOST_POINTS)
    )
    each = setup.train.batch_size * setup.model.sequence_length
    place = {
        "tokens": lambda point: point.step * each,
        "seconds": lambda point: point.seconds,
    }.get(axis, lambda point: point.step)
    seam = run.step_at(run.seams[-1].step) if run.seams else None
    return RunCurve(
        run=run.id,
        name=summary.name,
        x=[place(point) for point in points],
        train=[point.train_loss for point in points],
        validation_x=[place(point) for point in evaluated],
        validation=[p.validation_loss for p in evaluated if p.validation_loss is not None],
        seam=place(seam) if seam else None,
    )


def differences(lab: Lab, summaries: list[RunSummary]) -> html.Table:
    """A table of only what differs between runs, their results first."""
    opened = [lab.runs.open(run.id) for run in summaries]
    manifests = [run.manifest for run in opened]
    values = [setup_from(manifest["setup"]).values() for manifest in manifests]
    rows = [
        (
            "Best validation loss",
            ["–" if run.best_loss is None else f"{run.best_loss:.3f}" for run in summaries],
        ),
        ("Steps taken", [f"{run.step:,}" for run in summaries]),
        ("Parameters", [f"{run.parameters:,}" for run in summaries]),
    ]
    for key, setting in SETTINGS.items():
        rows.append((setting.label, [words.value(one[key], setting) for one in values]))
    facts = {
        "Text's sha256": lambda m: m["corpus"]["sha256"][:12],
        "Device": lambda m: m["device"]["name"],
        "PyTorch": lambda m: m["environment"]["torch"],
        "Python": lambda m: m["environment"]["python"],
    }
    rows += [(name, [str(fact(m)) for m in manifests]) for name, fact in facts.items()]
    rows.append(("CPU threads", [str(run.threads()) for run in opened]))
    differing = [(name, cells) for place, (name, cells) in enumerate(rows)
                 if place == 0 or len(set(cells)) > 1]  # fmt: skip
    colors = run_colors(run.id for run in summaries)
    head = [
        html.Th([html.Span("●", style={"color": colors[run.id]}, **{"aria-hidden": "true"}),
                 f" {run.name}"])
        for run in summaries
    ]  # fmt: skip
    body = [html.Tr([html.Th(name), *map(html.Td, cells)]) for name, cells in differing]
    return html.Table(
        [html.Thead(html.Tr([html.Th("setting"), *head])), html.Tbody(body)],
        className="numbers differences",
    )


def _register_queue(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.QUEUE, "children"),
        Output(ids.QUEUE_HEAD, "children"),
        Output(ids.QUEUE_RUN, "hidden"),
        Input(ids.RUNS_TICK, "n_intervals"),
        Input(ids.TABS, "active_tab"),
        Input(ids.QUEUE_RUN, "n_clicks"),
        Input(ids.AT_ONCE, "value"),
        Input(ANY_QUEUE_BUTTON, "n_clicks"),
        State(ids.QUEUE_HEAD, "children"),
        State(ids.QUEUE, "children"),
    )
    def queue(
        tick: Any, tab: Any, run: Any, at_once: Any, buttons: Any, head: Any, drawn: Any
    ) -> tuple[Any, Any, bool]:
        """What waits, and what was asked of it."""
        problem = ""
        try:
            _change_queue(lab, run, at_once)
        except OSError as error:
            problem = f" - this could not be written: {error.strerror or error}"
        waiting = lab.trainings.queue.list()
        count = f"{len(waiting)} waiting" if waiting else "nothing waits"
        if lab.trainings.queue.held and waiting:
            count += ", held"
        count += problem
        stuck = any(item.problem for item in waiting)
        fresh = [_waiting(item, place) for place, item in enumerate(waiting, start=1)]
        same = polling.digest(fresh) == polling.digest(drawn) and count == head
        if same and ctx.triggered_id == ids.RUNS_TICK:
            raise PreventUpdate
        return fresh, count, not (waiting and (lab.trainings.queue.held or stuck))


def _change_queue(lab: Lab, run: Any, at_once: Any) -> None:
    """Do what a button of the queue asks. Raises OSError."""
    if isinstance(ctx.triggered_id, dict) and ctx.triggered[0]["value"]:
        what, item = ctx.triggered_id["what"], ctx.triggered_id["item"]
        if what == "remove":
            lab.trainings.queue.remove(item)
        else:
            lab.trainings.queue.move(item, -1 if what == "up" else 1)
    elif ctx.triggered_id == ids.QUEUE_RUN and run:
        lab.trainings.run_queue()
    elif ctx.triggered_id == ids.AT_ONCE and str(at_once) in AT_ONCE:
        lab.trainings.set_at_once(int(at_once))


def _waiting(item: Waiting, place: int) -> html.Div:
    what = {
        "new": item.recipe.replace("_", " "),
        "resume": f"resume {item.run}",
        "extended": f"{item.run}, more steps",
        "branched": f"branch of {item.run}",
    }[item.kind]
    train = item.setup["train"]

    def button(name: str, icon: str, label: str) -> html.Button:
        return html.Button(
            html.I(className=f"bi bi-{icon}", **{"aria-hidden": "true"}),
            id=ids.queue_button(name, item.id),
            className="btn btn-sm",
            title=label,
            **{"aria-label": f"{label}: {what}"},
        )

    return html.Div(
        [
            html.Span(f"{place}.", className="quiet"),
            html.Span(f"{what}, {train['steps']:,} steps", className="waiting-name"),
            button("up", "chevron-up", "Earlier"),
            button("down", "chevron-down", "Later"),
            button("remove", "x-lg", "Remove from the queue"),
            html.Div(item.problem, className="warn waiting-problem") if item.problem else None,
        ],
        className="waiting",
    )
