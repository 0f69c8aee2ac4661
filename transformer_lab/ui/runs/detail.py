"""One run: its curves, settings, samples, checkpoints, environment and log."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from dash import Output, html
from dash.development.base_component import Component

from transformer_lab.lab.cost.threads import MEASURED
from transformer_lab.lab.training.views import stored_threads
from transformer_lab.recipes import SETTINGS, setup_from
from transformer_lab.runs.checkpoint import can_go_on
from transformer_lab.runs.events import ResumedEvent, event_value
from transformer_lab.runs.run import RESUMABLE, DamagedRunError, Run, step_of
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui import words
from transformer_lab.ui.charts import training as charts
from transformer_lab.ui.runs import ids
from transformer_lab.ui.runs.export import downloads

MOST_SAMPLES = 100
MOST_LOG = 300
GROUP_TITLES = {"data": "Text", "model": "Model", "train": "Training", "sample": "Sample"}
KINDS = {
    "step": "regular save",
    "best": "lowest validation loss, weights only",
    "kept": "kept by you",
}
# The parts of the page that show a run.
PARTS = {
    "title": Output(ids.DETAIL_TITLE, "children"),
    "facts": Output(ids.DETAIL_FACTS, "children"),
    "reason": Output(ids.DETAIL_REASON, "children"),
    "resume_hidden": Output(ids.RUN_RESUME, "hidden"),
    "extend_disabled": Output(ids.RUN_EXTEND, "disabled"),
    "loss": Output(ids.DETAIL_LOSS, "figure"),
    "rate": Output(ids.DETAIL_RATE, "figure"),
    "settings": Output(ids.DETAIL_SETTINGS, "children"),
    "samples": Output(ids.DETAIL_SAMPLES, "children"),
    "checkpoints": Output(ids.DETAIL_CHECKPOINTS, "children"),
    "environment": Output(ids.DETAIL_ENVIRONMENT, "children"),
    "log": Output(ids.DETAIL_LOG, "children"),
    "away": Output(ids.DETAIL_AWAY, "children"),
}


def parts(run: Run, summary: RunSummary, *, held: bool) -> dict[str, object]:
    """Everything that is shown of one run, named as in PARTS; `held` while it is trained."""
    resumable = summary.state in RESUMABLE and not held
    whole = summary.state != "damaged"
    loss, rate = _curves(run)
    return {
        "title": [
            summary.name,
            html.Span(f" {run.id}" if summary.title else "", className="quiet"),
        ],
        "facts": " · ".join(_facts(summary)),
        "reason": summary.reason,
        "resume_hidden": not resumable,
        "extend_disabled": held or not whole or not run.resume_points(),
        "loss": loss,
        "rate": rate,
        "settings": _part(_settings, run),
        "samples": _part(_samples, run),
        "checkpoints": _checkpoints(run),
        "environment": _part(_environment, run),
        "log": _part(_log, run),
        "away": downloads(run),
    }


def _part(make: Callable[[Run], html.Div], run: Run) -> html.Div:
    """A part of the view, or the reason why it cannot be read."""
    try:
        return make(run)
    except DamagedRunError as error:
        return html.Div(str(error), className="card quiet")


def _facts(summary: RunSummary) -> list[str]:
    facts = [
        words.STATES[summary.state],
        f"step {summary.step:,} of {summary.steps:,}",
        f"{words.clock(summary.seconds)} of training",
    ]
    if summary.best_loss is not None:
        facts.append(f"best validation loss {summary.best_loss:.3f}")
    if summary.audit:
        facts.append(f"leak audit {summary.audit}")
    if summary.parent:
        facts.append(f"goes on from {summary.parent}")
    return facts


def _curves(run: Run) -> tuple[go.Figure, go.Figure]:
    """Loss and learning rate; empty charts where they cannot be read."""
    try:
        return _drawn(run)
    except DamagedRunError:
        return charts.blank("Loss"), charts.blank("Learning rate")


def _drawn(run: Run) -> tuple[go.Figure, go.Figure]:
    points, evaluated = run.envelope(charts.MOST_POINTS)
    curve = charts.curve_of(points, charts.MOST_POINTS, evaluated)
    setup = setup_from(run.manifest["setup"])
    loss = charts.loss_figure(
        curve,
        run.id,
        characters=setup.data.tokenizer == "characters",
        seams=words.seams(run.seams),
    )
    phases = setup.train.phases(run.seams[-1].step if run.seams else 0)
    peaks = [(x.after, x.value) for x in run.changes(after=0) if x.name == "learning_rate"]
    return loss, charts.rate_figure(curve, run.id, phases, setup.train.learning_rate, peaks)


def _settings(run: Run) -> html.Div:
    setup = setup_from(run.manifest["setup"])
    groups: dict[str, list[Component]] = {title: [] for title in GROUP_TITLES.values()}
    for key, value in setup.values().items():
        setting = SETTINGS[key]
        groups[GROUP_TITLES[setting.group]].append(
            _pair(setting.label, words.value(value, setting), setting.help)
        )
    return html.Div(
        [
            html.Div([html.H2(title), html.Dl(rows, className="pairs")])
            for title, rows in groups.items()
        ],
        className="card settings-columns",
    )


def _environment(run: Run) -> html.Div:
    manifest = run.manifest
    corpus, environment = manifest["corpus"], manifest["environment"]
    rows = [
        ("Text", f"{corpus['title']}, {corpus['characters']:,} characters"),
        ("Text's sha256", corpus["sha256"]),
        ("Where from", corpus["source"]),
        ("Tokens", f"{corpus['training_tokens']:,} to train on, "
                   f"{corpus['validation_tokens']:,} for validation"),
        ("Seed", f"{manifest['setup']['train']['seed']}"),
        ("Device", f"{manifest['device']['name']} ({manifest['device']['reason']})"),
        ("Threads", stored_threads(run)),
        ("Micro-batch", f"{manifest.get('micro_batch', '?')} sequences at a time"),
        ("Transformer Lab", environment["transformer_lab"]),
        ("PyTorch", environment["torch"]),
        ("CUDA", environment["cuda"] or "none"),
        ("Python", environment["python"]),
        ("System", environment["platform"]),
        ("Memory free", words.size(environment["memory_free"])),
        ("Folder", str(run.folder)),
    ]  # fmt: skip
    rows += [("Left its parent", f"{s.run} after step {s.step:,} ({s.kind})") for s in run.seams]
    return html.Div(html.Dl([_pair(k, v) for k, v in rows], className="pairs wide-pairs"),
                    className="card")  # fmt: skip


def _samples(run: Run) -> html.Div:
    samples = run.samples(MOST_SAMPLES)[::-1]
    if not samples:
        return html.Div("No sample has been written yet.", className="card quiet")
    return html.Div(
        [
            html.Div(
                [
                    html.Div(f"after step {sample.step:,}", className="quiet"),
                    html.Pre([html.Span(sample.prompt, className="prompt"), sample.text],
                             className="sample", tabIndex=0),
                ],
                className="card one-sample",
            )
            for sample in samples
        ],
        className="samples-over-time",
    )  # fmt: skip


def _checkpoints(run: Run) -> html.Div:
    folders = [*run.checkpoints(), *run.best_checkpoints(), *run.kept_checkpoints()]
    if not folders:
        return html.Div("Nothing has been saved yet.", className="card quiet")
    heads = ("after step", "what", "size", "saved", "", "")
    rows = [
        html.Tr(
            [
                html.Td(f"{step_of(folder):,}"),
                html.Td(_kind(folder)),
                html.Td(words.size(_size(folder))),
                html.Td(_saved(folder)),
                html.Td(
                    html.Button(
                        "Branch from here",
                        id=ids.CheckpointButton(folder.name).as_id(),
                        className="btn btn-outline-secondary btn-sm",
                        title="Train on from this moment with other settings, as a new run",
                    )
                ),
            ]
        )
        for folder in sorted(folders, key=step_of)
    ]
    head = html.Thead(html.Tr([html.Th(words) for words in heads[:5]]))
    return html.Div(
        html.Table([head, html.Tbody(rows)], className="numbers checkpoints"), className="card"
    )


def _kind(folder: Path) -> str:
    kind = KINDS[folder.name.partition("-")[0]]
    return kind if can_go_on(folder) or "weights only" in kind else f"{kind}, weights only"


def _saved(folder: Path) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(folder.stat().st_mtime))
    except (OSError, OverflowError, ValueError):
        return "–"


def _size(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except OSError:  # a training has just replaced it
        return 0


def _log(run: Run) -> html.Div:
    rows = [
        html.Tr(
            [
                html.Td(time.strftime("%m-%d %H:%M:%S", time.localtime(when))),
                html.Td(f"{step:,}"),
                html.Td(_in_words(kind, detail)),
            ]
        )
        for when, step, kind, detail in run.log(MOST_LOG)[::-1]
    ]
    head = html.Thead(html.Tr([html.Th("when"), html.Th("after step"), html.Th("what")]))
    table = html.Table([head, html.Tbody(rows)], className="numbers log")
    return html.Div(table, className="card table-box", tabIndex=0)


def _in_words(kind: str, detail: str) -> str:
    value = event_value(kind, detail)
    return EVENTS[kind](value) if kind in EVENTS else str(value)


def _resumed(event: ResumedEvent) -> str:
    again = event.steps_taken_again
    return f"resumed; {again:,} steps are taken again" if again else "resumed"


# What is written of each kind of event, whose value has the type of that kind.
EVENTS: dict[str, Callable[[Any], str]] = {
    "state": lambda event: f"{words.STATES[event.state]}. {event.reason}".strip(),
    "resumed": _resumed,
    "learning_rate": lambda rate: f"learning rate set to {rate:g} by hand",
    "micro_batch": lambda count: f"batches computed {count} sequences at a time",
    "uncompiled": lambda value: "compiling failed; it runs uncompiled",
    "threads": lambda count: f"computed on CPU threads: {count}",
    MEASURED: lambda event: _measured(event.plain()),
    "accuracy": lambda share: f"{share:.0%} of held-out problems solved",
    "kept": lambda value: "a checkpoint was saved by hand",
    "audit": lambda event: f"leak audit: {event.sentence}",
}


def _measured(facts: Mapping[str, Any]) -> str:
    """The seconds that a step took on each number of CPU threads."""
    found = facts["seconds"].items()
    paces = ", ".join(f"{words.duration(seconds)} a step on {count}" for count, seconds in found)
    return f"fastest on CPU threads: {facts['threads']}" + (f" ({paces})" if paces else "")


def _pair(name: str, value: str, title: str = "") -> html.Div:
    return html.Div([html.Dt(name), html.Dd(value)], className="row-pair", title=title)
