"""Watch it fail: a leak is planted into a copy of a model, the loss falls, and a proof finds it.

Stands on the card of the leak audit, whose model it takes.
"""

import inspect
from typing import Any, Required, TypedDict

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, dcc, html, no_update

from transformer_lab.inspection.audit import PROOFS, Proof, Verdict
from transformer_lab.inspection.planted import LEAKS
from transformer_lab.inspection.planting import Losses, caught_first, told_by
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.looking.plants import Untouched
from transformer_lab.ui import words
from transformer_lab.ui.experiments import ids
from transformer_lab.ui.experiments.proof_rows import proof_row, verdict_row
from transformer_lab.ui.web.values import Scalar

FIRST = next(iter(LEAKS))

ABOUT = (
    "Plant a leak into a copy of the model that is chosen above. With most of them the loss falls "
    "to where no honest model gets, and the audit shows by which number it finds the leak. The "
    "model itself, and what its run says of it, stay as they are."
)


class Planting(TypedDict, total=False):
    """The job under way, and whose copy it is about."""

    job: Required[str]
    who: str


def layout() -> html.Section:
    """Choose a kind of leak, press, and watch."""
    return html.Section(
        [
            dcc.Store(id=ids.PLANT_JOB),
            dcc.Interval(id=ids.PLANT_TICK, interval=300, disabled=True),
            html.H3("Watch it fail"),
            html.P(ABOUT, className="quiet"),
            html.Div(
                [
                    html.Label(
                        [
                            html.Span("Leak", className="field-label"),
                            dbc.Select(
                                id=ids.PLANT_KIND,
                                options=[
                                    {"value": key, "label": leak.label}
                                    for key, leak in LEAKS.items()
                                ],
                                value=FIRST,
                                size="sm",
                            ),
                        ],
                        className="audit-model",
                        title="Where the copy gets to know what it shall predict",
                    ),
                    html.Button(
                        "Plant it and audit",
                        id=ids.PLANT_START,
                        className="btn btn-primary btn-sm",
                        title="Plant this leak into a copy of the model, and run all proofs on it",
                    ),
                    html.Button(
                        "Stop",
                        id=ids.PLANT_STOP,
                        className="btn btn-outline-secondary btn-sm",
                        title="End it here; what has come so far stays",
                        disabled=True,
                    ),
                    html.Span(id=ids.PLANT_CAPTION, className="quiet", role="status"),
                ],
                className="audit-choice",
            ),
            html.Div(_described(FIRST), id=ids.PLANT_HELP),
            html.Div(id=ids.PLANT_FOUND),
        ],
        className="plant",
        **{"aria-label": "Watch it fail"},
    )


def _described(kind: str) -> list[Any]:
    leak = LEAKS[kind]
    return [
        html.P(f"{leak.help} The loss is read {leak.how}."),
        html.Details(
            [
                html.Summary("The lines of this leak"),
                html.Pre(inspect.getsource(leak.model), className="sample code", tabIndex=0),
            ]
        ),
    ]


def register(app: Dash, lab: Lab) -> None:
    """What this part of the card answers to."""
    _register_help(app)
    _register_start(app, lab)
    _register_stop(app, lab)
    _register_poll(app, lab)


def _register_help(app: Dash) -> None:
    @app.callback(
        output={"help": Output(ids.PLANT_HELP, "children")},
        inputs={"kind": Input(ids.PLANT_KIND, "value")},
        prevent_initial_call=True,
    )
    def describe(kind: Scalar) -> dict[str, Any]:
        """What the chosen leak is, and its lines."""
        return {"help": _described(str(kind)) if kind in [*LEAKS] else no_update}


def _register_start(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "job": Output(ids.PLANT_JOB, "data"),
            "idle": Output(ids.PLANT_TICK, "disabled"),
            "busy": Output(ids.PLANT_START, "disabled"),
            "over": Output(ids.PLANT_STOP, "disabled"),
            "caption": Output(ids.PLANT_CAPTION, "children"),
            "found": Output(ids.PLANT_FOUND, "children"),
        },
        inputs={"pressed": Input(ids.PLANT_START, "n_clicks")},
        state={
            "name": State(ids.AUDIT_MODEL, "value"),
            "kind": State(ids.PLANT_KIND, "value"),
        },
        prevent_initial_call=True,
    )
    def start(pressed: int | None, name: Scalar, kind: Scalar) -> dict[str, Any]:
        """Plant the leak, or say why not."""
        state = {"idle": True, "busy": False, "over": True, "found": []}
        try:
            snapshot, job = lab.models.plant(str(name) if name else "latest", str(kind))
        except LabError as error:
            return state | {"job": no_update, "caption": str(error)}
        who = f"a copy of {snapshot.run_id or 'the untrained model'} at step {snapshot.step:,}"
        return {
            "job": {"job": job.id, "who": who},
            "idle": False,
            "busy": True,
            "over": False,
            "caption": f"{who} · planting",
            "found": [],
        }


def _register_stop(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={"over": Output(ids.PLANT_STOP, "disabled", allow_duplicate=True)},
        inputs={"pressed": Input(ids.PLANT_STOP, "n_clicks")},
        state={"data": State(ids.PLANT_JOB, "data")},
        prevent_initial_call=True,
    )
    def stop(pressed: int | None, data: Planting | None) -> dict[str, bool]:
        """End the job; the next tick shows what there is."""
        job = lab.jobs.find(data["job"]) if data else None
        if job is not None:
            job.stop()
        return {"over": True}


def _register_poll(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "found": Output(ids.PLANT_FOUND, "children", allow_duplicate=True),
            "caption": Output(ids.PLANT_CAPTION, "children", allow_duplicate=True),
            "idle": Output(ids.PLANT_TICK, "disabled", allow_duplicate=True),
            "busy": Output(ids.PLANT_START, "disabled", allow_duplicate=True),
            "over": Output(ids.PLANT_STOP, "disabled", allow_duplicate=True),
        },
        inputs={"tick": Input(ids.PLANT_TICK, "n_intervals")},
        state={"data": State(ids.PLANT_JOB, "data")},
        prevent_initial_call=True,
    )
    def follow(tick: int | None, data: Planting | None) -> dict[str, Any]:
        """The losses and proofs so far."""
        job = lab.jobs.find(data["job"]) if data else None
        if data is None or job is None:
            ended = {"idle": True, "busy": False, "over": True}
            return ended | {"found": no_update, "caption": no_update}
        over = job.done  # before what it has found is read, or the last could be missed
        found, _ = job.since()
        return {
            "found": _found(found),
            "caption": f"{data.get('who', '')}{_state(found, over, job.error)}",
            "idle": over,
            "busy": not over,
            "over": over or job.stopped,
        }


def _state(found: list[Any], over: bool, error: str | None) -> str:
    if over:
        whole = any(isinstance(one, Untouched) for one in found)
        return f" · {error}" if error else "" if whole else " · stopped"
    proofs = sum(isinstance(one, Proof) for one in found)
    return f" · proof {min(proofs + 1, len(PROOFS))} of {len(PROOFS)}"


def _found(found: list[Any]) -> list[Any]:
    """The losses, what caught the leak, and all proofs, those that failed first."""
    losses = [one for one in found if isinstance(one, Losses)]
    proofs = caught_first([one for one in found if isinstance(one, Proof)])
    ended = [one for one in found if isinstance(one, Verdict)]
    return [
        *([_losses(losses)] if losses else []),
        *(_caught(verdict, proofs) for verdict in ended),
        *(_untouched(one) for one in found if isinstance(one, Untouched)),
        html.Ol([proof_row(proof) for proof in proofs]),
    ]


def _losses(found: list[Losses]) -> html.Div:
    heads = ("Loss in nats", "honest", "with the leak", "change", "ln V")
    return html.Div(
        html.Table(
            [
                html.Thead(html.Tr([html.Th(head, scope="col") for head in heads])),
                html.Tbody([_loss(one) for one in found]),
            ],
            className="numbers plant-losses",
        ),
        className="plant-found",
    )


def _loss(one: Losses) -> html.Tr:
    leaking: list[Any] = [f"{one.leaking:.4f}"]
    if one.impossible:
        leaking.append(html.Div("impossible"))
    return html.Tr(
        [
            html.Th([one.text, html.Div(f"{one.tokens:,} tokens", className="quiet")], scope="row"),
            html.Td(f"{one.honest:.4f}"),
            html.Td(leaking, className="warn" if one.impossible else ""),
            html.Td(f"{one.leaking - one.honest:+.4f}".replace("-", words.MINUS)),
            html.Td(f"{one.ln_vocabulary:.4f}"),
        ],
        title="The same tokens in the same batches for both. On random tokens an honest model is "
        "below ln V by luck only, and so far below, where it says impossible, once in 500 million",
    )


def _caught(verdict: Verdict, proofs: list[Proof]) -> html.Div:
    """By which proofs the leak was caught, the first with its number."""
    failed = [proof for proof in proofs if proof.passed is False]
    if verdict.outcome != "failed":
        return verdict_row(verdict)
    others = ", ".join(proof.title for proof in failed[1:])
    return html.Div(
        [
            html.Strong(f"Caught by {failed[0].title}: "),
            f"{told_by(failed[0])}.",
            f" {len(failed)} of {len(proofs)} proofs failed: also {others}." if others else "",
        ],
        className="audit-verdict",
        role="status",
    )


def _untouched(one: Untouched) -> html.P:
    said = (
        "Your own model is unchanged: its weights are the same as before, bit for bit."
        if one.same
        else "The weights of your model as it was read are no longer the same."
    )
    return html.P(f"{said} (Seed {one.seed}.)", className="quiet")
