"""The leak audit on the page: any model of the lab, its proofs, and the lines that would leak."""

import inspect
from typing import Required, TypedDict

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.inspection import clamped
from transformer_lab.inspection.audit import LIMITS, PROOFS, Proof, Verdict
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.experiments import ids, plant_card
from transformer_lab.ui.experiments.proof_rows import proof_row, verdict_row
from transformer_lab.ui.web.values import Scalar

ABOUT = (
    "A model that predicts the next token must not have seen it. The proofs are run on the model "
    "itself, with fresh tokens each time; in one of them leaks are planted that the audit has to "
    "catch, or it is reported broken."
)


class Auditing(TypedDict, total=False):
    """The job under way, and whose audit it is."""

    job: Required[str]
    who: str


def layout(lab: Lab) -> html.Section:
    """Choose a model, press, and watch the proofs come in."""
    return html.Section(
        [
            dcc.Store(id=ids.AUDIT_JOB),
            dcc.Interval(id=ids.AUDIT_TICK, interval=300, disabled=True),
            html.H2("Leak audit"),
            html.P(ABOUT, className="quiet"),
            html.Div(
                [
                    html.Label(
                        [
                            html.Span("Model", className="field-label"),
                            dbc.Select(id=ids.AUDIT_MODEL, options=_options(lab), size="sm"),
                        ],
                        className="audit-model",
                        title="The run whose newest weights are examined",
                    ),
                    html.Button(
                        "Audit this model",
                        id=ids.AUDIT_START,
                        className="btn btn-primary btn-sm",
                        title="Compute the proofs on this model",
                    ),
                    html.Span(id=ids.AUDIT_CAPTION, className="quiet", role="status"),
                ],
                className="audit-choice",
            ),
            html.Div(id=ids.AUDIT_PROOFS),
            html.P(LIMITS, className="quiet"),
            plant_card.layout(),
            html.Details(
                [
                    html.Summary("The lines that leak"),
                    html.P(
                        "Honest and clamped evaluation are one function; they differ in the "
                        "argument `targets`. Here is the code that runs.",
                        className="quiet",
                    ),
                    html.Pre(_source(), className="sample code", tabIndex=0),
                ]
            ),
        ],
        className="card audit-card",
        **{"aria-label": "Leak audit"},
    )


def _options(lab: Lab) -> list[dict[str, str]]:
    return [{"value": key, "label": label} for key, label in lab.models.writers().items()]


def _source() -> str:
    functions = (clamped.settled_losses, clamped.honest_loss, clamped.clamped_target_loss)
    return "\n\n".join(inspect.getsource(function) for function in functions)


def register(app: Dash, lab: Lab) -> None:
    """What the card answers to."""
    plant_card.register(app, lab)
    _register_models(app, lab)
    _register_start(app, lab)
    _register_follow(app, lab)


def _register_models(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "options": Output(ids.AUDIT_MODEL, "options"),
            "value": Output(ids.AUDIT_MODEL, "value"),
        },
        inputs={
            "tab": Input(shared_ids.TABS, "active_tab"),
            "tick": Input(ids.EXPERIMENT_PARTS.tick, "n_intervals"),
        },
        state={
            "known": State(ids.AUDIT_MODEL, "options"),
            "value": State(ids.AUDIT_MODEL, "value"),
        },
    )
    def models(
        tab: str | None, tick: int | None, known: list[dict[str, str]] | None, value: Scalar
    ) -> dict[str, object]:
        """The models there are now; the first one if none is chosen."""
        if tab != "PCN Experiments":
            raise PreventUpdate
        fresh = _options(lab)
        kept = any(option["value"] == value for option in fresh)
        if kept and fresh == known:
            raise PreventUpdate
        return {
            "options": no_update if fresh == known else fresh,
            "value": no_update if kept else (fresh[0]["value"] if fresh else None),
        }


def _register_start(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "job": Output(ids.AUDIT_JOB, "data"),
            "tick_off": Output(ids.AUDIT_TICK, "disabled"),
            "start_off": Output(ids.AUDIT_START, "disabled"),
            "caption": Output(ids.AUDIT_CAPTION, "children"),
            "proofs": Output(ids.AUDIT_PROOFS, "children"),
        },
        inputs={"pressed": Input(ids.AUDIT_START, "n_clicks")},
        state={"name": State(ids.AUDIT_MODEL, "value")},
        prevent_initial_call=True,
    )
    def start(pressed: int | None, name: Scalar) -> dict[str, object]:
        """Begin the audit, or say why not."""
        rests: dict[str, object] = {"job": no_update, "tick_off": True, "start_off": False}
        try:
            snapshot, job = lab.models.audit(str(name) if name else "latest")
        except LabError as error:
            return rests | {"caption": str(error), "proofs": []}
        who = f"{snapshot.run_id or 'the untrained model'} after step {snapshot.step:,}"
        return {
            "job": {"job": job.id, "who": who},
            "tick_off": False,
            "start_off": True,
            "caption": f"{who} · auditing",
            "proofs": [],
        }


def _register_follow(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "proofs": Output(ids.AUDIT_PROOFS, "children", allow_duplicate=True),
            "caption": Output(ids.AUDIT_CAPTION, "children", allow_duplicate=True),
            "tick_off": Output(ids.AUDIT_TICK, "disabled", allow_duplicate=True),
            "start_off": Output(ids.AUDIT_START, "disabled", allow_duplicate=True),
        },
        inputs={"tick": Input(ids.AUDIT_TICK, "n_intervals")},
        state={"data": State(ids.AUDIT_JOB, "data")},
        prevent_initial_call=True,
    )
    def follow(tick: int | None, data: Auditing | None) -> dict[str, object]:
        """The proofs so far."""
        job = lab.jobs.find(data["job"]) if data else None
        if job is None or data is None:
            return {
                "proofs": no_update, "caption": no_update, "tick_off": True, "start_off": False,
            }  # fmt: skip
        over = job.done  # before what it has found is read, or the last could be missed
        found, _ = job.since()
        proofs = [one for one in found if isinstance(one, Proof)]
        verdicts = [one for one in found if isinstance(one, Verdict)]
        state = job.error or (
            "" if over else f" · proof {min(len(proofs) + 1, len(PROOFS))} of {len(PROOFS)}"
        )
        lab.runs.refresh()
        return {
            "proofs": [
                *map(verdict_row, verdicts), html.Ol([proof_row(proof) for proof in proofs]),
            ],
            "caption": f"{data.get('who', '')}{state}",
            "tick_off": over,
            "start_off": not over,
        }  # fmt: skip
