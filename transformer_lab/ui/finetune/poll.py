"""What a poll of the Fine-tune tab brings: the run shown, its losses, its texts, its changes."""

from collections.abc import Sequence
from typing import Any, TypedDict

from dash import Dash, Input, Output, State, no_update

from transformer_lab.lab.lab import UNTRAINED, Lab
from transformer_lab.lab.writing import Writing
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.ui import form, polling, words
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.charts.training import blank
from transformer_lab.ui.finetune import ids, parts
from transformer_lab.ui.finetune.layout import RESTING
from transformer_lab.ui.train import live
from transformer_lab.ui.web.values import Scalar

TITLE = "Fine-tune"
FAST, SLOW = 400, 2000  # milliseconds between polls, while something goes on and while not
PARTS = {
    "bases": Output(ids.FINETUNE_BASE, "options"),
    "base": Output(ids.FINETUNE_BASE, "value"),
    "tuned": Output(ids.FINETUNE_SHOWN, "options"),
    "shown": Output(ids.FINETUNE_SHOWN, "value"),
    "state": Output(ids.FINETUNE_STATE, "children"),
    "losses": Output(ids.FINETUNE_LOSSES, "figure"),
    "sum": Output(ids.FINETUNE_SUM, "children"),
    "stop_disabled": Output(ids.FINETUNE_STOP, "disabled"),
    "changed": Output(ids.FINETUNE_CHANGED, "children"),
    "norms": Output(ids.FINETUNE_NORMS, "figure"),
    "singular": Output(ids.FINETUNE_SINGULAR, "figure"),
    "charts_hidden": Output(ids.FINETUNE_CHARTS, "hidden"),
    "text_1": Output(ids.FINETUNE_TEXT_1, "children"),
    "text_2": Output(ids.FINETUNE_TEXT_2, "children"),
    "tick_interval": Output(ids.FINETUNE_TICK, "interval"),
}
OF_A_SAVE = ("changed", "norms", "singular", "charts_hidden")  # the same until the next one


class Seen(TypedDict, total=False):
    """What is on the page: digests by part, the presses it knows, the save its changes are of."""

    parts: dict[str, int]
    refresh: int | None
    changes: str


class Written(TypedDict, total=False):
    """The writings on the page."""

    shown: list[str]


def register(app: Dash, lab: Lab) -> None:
    """The poll that fills the right side, and the lists of bases and runs."""

    @app.callback(
        output={"parts": PARTS, "seen": Output(ids.FINETUNE_SEEN, "data")},
        inputs={
            "tick": Input(ids.FINETUNE_TICK, "n_intervals"),
            "refresh": Input(ids.FINETUNE_REFRESH, "data"),
            "shown": Input(ids.FINETUNE_SHOWN, "value"),
            "writing": Input(ids.FINETUNE_WRITING, "data"),
            "tab": Input(shared_ids.TABS, "active_tab"),
        },
        state={
            "base": State(ids.FINETUNE_BASE, "value"),
            "seen": State(ids.FINETUNE_SEEN, "data"),
        },
        running=[(Output(ids.FINETUNE_TICK, "disabled"), True, False)],
    )
    def poll(
        tick: int | None,
        refresh: int | None,
        shown: Scalar,
        writing: Written | None,
        tab: str | None,
        base: Scalar,
        seen: Seen | None,
    ) -> dict[str, Any]:
        """What changed since the last poll, and nothing else."""
        before: Seen = seen or {}
        known = before.get("parts") or {}
        if tab != TITLE:
            resting = dict.fromkeys(PARTS, no_update) | {"tick_interval": RESTING}
            awake = {name: known[name] for name in known if name != "tick_interval"}
            return {"parts": resting, "seen": before | {"parts": awake}}
        started = "refresh" in before and refresh != before["refresh"]
        run = _run_shown(lab, shown, newest=started)
        found, busy = _found(lab, base, run, before)
        texts, writes = _texts(lab, writing)
        interval = FAST if busy or writes else SLOW
        fresh, digests = polling.changed(found | texts | {"tick_interval": interval}, known)
        return {
            "parts": fresh,
            "seen": {"parts": digests, "refresh": refresh, "changes": _stamp(lab, run)},
        }


def _run_shown(lab: Lab, shown: Scalar, *, newest: bool) -> str:
    """The fine-tuned run to show: the one chosen, the one under way, or the newest."""
    tuned = [summary.id for summary in lab.runs.all() if summary.base]
    current = lab.trainings.current
    under_way = current.status.run_id if current and current.trained else ""
    if under_way and (newest or not shown):
        return under_way
    if shown in tuned and not newest:
        return str(shown)
    return under_way or (tuned[0] if tuned else "")


def _found(lab: Lab, base: Scalar, shown: str, before: Seen) -> tuple[dict[str, Any], bool]:
    """Everything on the right and the choices on the left; and whether more is to come."""
    bases = {key: name for key, name in lab.models.writers().items() if key != UNTRAINED}
    summaries = [one for one in lab.runs.all() if one.base]
    tuned = {one.id: f"{one.name} · {words.STATES[one.state]}" for one in summaries}
    if shown:
        tuned.setdefault(shown, shown)
    current = lab.trainings.current
    preparing = bool(current and current.busy and not current.status.run_id)
    live_run = lab.trainings.live(shown) if shown else None
    busy = preparing or bool(live_run and live_run.busy)
    found = {
        "bases": form.options(bases),
        "base": base if base in bases else _usual_base(lab, list(bases)),
        "tuned": form.options(tuned),
        "shown": shown or None,
        **_of_run(lab, shown, busy, before),
    }
    return found, busy


def _usual_base(lab: Lab, bases: Sequence[str]) -> str | None:
    """The newest model that is neither fine-tuned nor a lane of a race, else the newest."""
    special = {one.id for one in lab.runs.all() if one.base or one.race}
    return next((one for one in bases if one not in special), next(iter(bases), None))


def _of_run(lab: Lab, shown: str, busy: bool, before: Seen) -> dict[str, Any]:
    """What is said of the run that is shown."""
    blanks = {
        "state": parts.NO_RUN,
        "losses": blank("Validation loss, nats per token"),
        "sum": "",
        "stop_disabled": not busy,
        "changed": "",
        "norms": blank("Norm of B A, by layer"),
        "singular": blank("Singular values of B A, over the largest"),
        "charts_hidden": True,
    }
    current = lab.trainings.current
    if current is not None and not shown and (current.busy or current.status.reason):
        return blanks | {"state": live.state_line(lab.runs.view(""))}
    try:
        run = lab.runs.open(shown) if shown else None
        if run is None or run.manifest.get("finetune") is None:
            return blanks
        figure, sentence = parts.course(run)
        state = [*live.state_line(lab.runs.view(shown)), parts.about(lab, run)]
        found = blanks | {"state": state, "losses": figure, "sum": sentence}
        if before.get("changes") == _stamp(lab, shown):
            return found | dict.fromkeys(OF_A_SAVE, no_update)
        changed, norms, singular = parts.changes(run)
        return found | {
            "changed": changed,
            "norms": norms,
            "singular": singular,
            "charts_hidden": not norms.data,
        }
    except RunNotFoundError as error:
        return blanks | {"state": str(error)}


def _stamp(lab: Lab, shown: str) -> str:
    """Changes when another save of the run shown can be looked at."""
    try:
        saves = lab.runs.open(shown).checkpoints() if shown else []
    except RunNotFoundError:
        saves = []
    return f"{shown} {saves[-1].name if saves else ''}"


def _texts(lab: Lab, writing: Written | None) -> tuple[dict[str, str], bool]:
    """The two texts side by side so far, and whether one is still being written."""
    names = (writing or {}).get("shown", [])[:2]
    found = [lab.writings.find(name) for name in names]
    writes = any(one is not None and not one.job.done for one in found)  # before they are read
    texts = [_text(one) for one in found] + [""] * (2 - len(found))
    return {"text_1": texts[0], "text_2": texts[1]}, writes


def _text(writing: Writing | None) -> str:
    if writing is None:
        return ""
    return writing.config.prompt + "".join(one.text for one in writing.since()[0])
