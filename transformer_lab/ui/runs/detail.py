"""One run, opened: its curve, what it really ran with, what it wrote, its saves, and its log."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dash import html

from transformer_lab.exchange import why_not
from transformer_lab.exchange.peft import NONE
from transformer_lab.lab.training.threads import MEASURED
from transformer_lab.lab.training.views import stored_threads
from transformer_lab.recipes import SETTINGS, setup_from
from transformer_lab.runs.checkpoint import ADAPTER, BASE, can_go_on
from transformer_lab.runs.events import event_value
from transformer_lab.runs.run import RESUMABLE, DamagedRunError, Run, step_of
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui import ids, words
from transformer_lab.ui.charts import training as charts

MOST_SAMPLES = 100
WITHOUT_SETTINGS = ("run.zip", "weights.zip", "metrics.csv")  # leave also where run.json is lost
MOST_LOG = 300
GROUP_TITLES = {"data": "Text", "model": "Model", "train": "Training", "sample": "Sample"}
KINDS = {
    "step": "regular save",
    "best": "lowest validation loss, weights only",
    "kept": "kept by you",
}

WITHOUT_WEIGHTS = ("run.zip", "metrics.csv", "generate.py")  # forms that need no save


def parts(run: Run, summary: RunSummary, *, held: bool) -> dict[tuple[str, str], Any]:
    """Everything there is to see of one run, by (id, property); `held` while it is trained."""
    resumable = summary.state in RESUMABLE and not held
    whole = summary.state != "damaged"
    loss, rate = _readable(_curves, run, (charts.blank("Loss"), charts.blank("Learning rate")))
    return {
        (ids.DETAIL_TITLE, "children"): [
            summary.name,
            html.Span(f" {run.id}" if summary.title else "", className="quiet"),
        ],
        (ids.DETAIL_FACTS, "children"): " · ".join(_facts(summary)),
        (ids.DETAIL_REASON, "children"): summary.reason,
        (ids.RUN_RESUME, "hidden"): not resumable,
        (ids.RUN_EXTEND, "disabled"): held or not whole or not run.resume_points(),
        (ids.DETAIL_LOSS, "figure"): loss,
        (ids.DETAIL_RATE, "figure"): rate,
        (ids.DETAIL_SETTINGS, "children"): _part(_settings, run),
        (ids.DETAIL_SAMPLES, "children"): _part(_samples, run),
        (ids.DETAIL_CHECKPOINTS, "children"): _checkpoints(run),
        (ids.DETAIL_ENVIRONMENT, "children"): _part(_environment, run),
        (ids.DETAIL_LOG, "children"): _part(_log, run),
        (ids.DETAIL_AWAY, "children"): downloads(run),
    }


def _readable(make: Callable[[Run], Any], run: Run, otherwise: Any) -> Any:
    """A part of the view, or something else where that cannot be read."""
    try:
        return make(run)
    except DamagedRunError:
        return otherwise


def _part(make: Callable[[Run], Any], run: Run) -> Any:
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


def _curves(run: Run) -> tuple[Any, Any]:
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
    groups: dict[str, list[Any]] = {title: [] for title in GROUP_TITLES.values()}
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
        ("Tokens", f"{corpus['training_tokens']:,} to learn from, "
                   f"{corpus['validation_tokens']:,} to be judged on"),
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
        return html.Div("It has not written anything yet.", className="card quiet")
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
                        id=ids.checkpoint_button(folder.name),
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
                html.Td(_told(kind, detail)),
            ]
        )
        for when, step, kind, detail in run.log(MOST_LOG)[::-1]
    ]
    head = html.Thead(html.Tr([html.Th("when"), html.Th("after step"), html.Th("what")]))
    table = html.Table([head, html.Tbody(rows)], className="numbers log")
    return html.Div(table, className="card table-box", tabIndex=0)


def _told(kind: str, detail: str) -> str:
    """An event in words."""
    value = event_value(kind, detail)
    return TOLD[kind](value) if kind in TOLD else str(value)


def _resumed(event: Any) -> str:
    again = event.steps_taken_again
    return f"resumed; {again:,} steps are taken again" if again else "resumed"


TOLD: dict[str, Callable[[Any], str]] = {
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


def _measured(facts: dict[str, Any]) -> str:
    """What a trial of CPU threads found, in words."""
    found = facts["seconds"].items()
    paces = ", ".join(f"{words.duration(seconds)} a step on {count}" for count, seconds in found)
    return f"fastest on CPU threads: {facts['threads']}" + (f" ({paces})" if paces else "")


def downloads(run: Run) -> list[Any]:
    """Links to everything a run can be taken away as."""
    problem, reasons = "", []
    try:
        reasons = why_not(setup_from(run.manifest["setup"]).model, run.tokenizer.to_json())
    except DamagedRunError as error:
        problem = str(error)
    offers = [
        ("run.zip", "The whole run", "To keep, to send, and to bring into another lab: settings, "
         "metrics, samples, saves with the optimizer's memory, moments."),
        ("weights.zip", "The run without training state", "The same, much smaller: it writes and "
         "can be looked into, but not be trained on exactly."),
        ("huggingface.zip", "For Hugging Face transformers", "A folder that AutoModelForCausalLM "
         "and AutoTokenizer load, with the same logits."),
        ("adapter.zip", "The adapter alone, for PEFT", "What was learned by LoRA as "
         "adapter_model.safetensors, beside its base as a Hugging Face folder."),
        ("standalone.zip", "Standalone: script, notebook, weights", "One Python script that needs "
         "only torch, a Jupyter notebook of this run, and the weights both read."),
        ("generate.py", "The script alone", "The very lines of this model, in one file."),
        ("notebook.ipynb", "The notebook alone", "What the run is, its curve, its model."),
        ("metrics.csv", "Metrics as CSV", "One row for each step."),
    ]  # fmt: skip
    saved = bool(_readable(Run.usable_checkpoints, run, []))
    parts: list[Any] = []
    for name, title, told in offers:
        refusal = problem if name not in WITHOUT_SETTINGS else ""
        if not saved and name not in WITHOUT_WEIGHTS:
            refusal = refusal or "Nothing is saved yet."
        if name == "huggingface.zip" and reasons:
            refusal = f"Not this model. {' '.join(reasons)}"
        if name == "adapter.zip":
            refusal = refusal or _no_adapter(run, reasons)
        link = html.A(title, href=f"download/{quote(run.id)}/{name}", download="")
        parts.append(html.Div([html.Span(title) if refusal else link, html.P(refusal or told)]))
    return parts


def _no_adapter(run: Run, reasons: list[str]) -> str:
    """Why a run has no adapter to take away; empty when it has one."""
    if not (run.folder / "checkpoints" / BASE).is_dir() or not any(
        (folder / ADAPTER).is_file() for folder in run.resume_points()
    ):
        return NONE
    return f"Not this model. {' '.join(reasons)}" if reasons else ""


def _pair(name: str, value: Any, title: str = "") -> html.Div:
    return html.Div([html.Dt(name), html.Dd(value)], className="row-pair", title=title)


IDS = (
    (ids.DETAIL_TITLE, "children"),
    (ids.DETAIL_FACTS, "children"),
    (ids.DETAIL_REASON, "children"),
    (ids.RUN_RESUME, "hidden"),
    (ids.RUN_EXTEND, "disabled"),
    (ids.DETAIL_LOSS, "figure"),
    (ids.DETAIL_RATE, "figure"),
    (ids.DETAIL_SETTINGS, "children"),
    (ids.DETAIL_SAMPLES, "children"),
    (ids.DETAIL_CHECKPOINTS, "children"),
    (ids.DETAIL_ENVIRONMENT, "children"),
    (ids.DETAIL_LOG, "children"),
    (ids.DETAIL_AWAY, "children"),
)
