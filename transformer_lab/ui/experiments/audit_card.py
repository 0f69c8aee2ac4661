"""The leak audit on the page: any model of the lab, its proofs, and the lines that would leak."""

import inspect
from typing import Any

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, dcc, html, no_update

from transformer_lab.inspection import clamped
from transformer_lab.inspection.audit import LIMITS, PROOFS, Proof, Verdict
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.ui import ids
from transformer_lab.ui.experiments import plant_card
from transformer_lab.ui.experiments.proof_rows import proof_row, verdict_row

ABOUT = (
    "A model that predicts the next token must not have seen it. The proofs are run on the model "
    "itself, with fresh tokens each time; in one of them leaks are planted that the audit has to "
    "catch, or it is reported broken."
)


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

    @app.callback(
        Output(ids.AUDIT_MODEL, "options"),
        Output(ids.AUDIT_MODEL, "value"),
        Input(ids.TABS, "active_tab"),
        Input(ids.EXPERIMENT_PARTS.tick, "n_intervals"),
        State(ids.AUDIT_MODEL, "options"),
        State(ids.AUDIT_MODEL, "value"),
    )
    def models(tab: Any, tick: Any, known: Any, value: Any) -> tuple[Any, Any]:
        """The models there are now; the first one if none is chosen."""
        if tab != "PCN Experiments":
            return no_update, no_update
        fresh = _options(lab)
        kept = any(option["value"] == value for option in fresh)
        chosen = no_update if kept else (fresh[0]["value"] if fresh else None)
        return no_update if fresh == known else fresh, chosen

    @app.callback(
        Output(ids.AUDIT_JOB, "data"),
        Output(ids.AUDIT_TICK, "disabled"),
        Output(ids.AUDIT_START, "disabled"),
        Output(ids.AUDIT_CAPTION, "children"),
        Output(ids.AUDIT_PROOFS, "children"),
        Input(ids.AUDIT_START, "n_clicks"),
        State(ids.AUDIT_MODEL, "value"),
        prevent_initial_call=True,
    )
    def start(pressed: Any, name: Any) -> tuple[Any, bool, bool, str, Any]:
        """Begin the audit, or say why not."""
        try:
            snapshot, job = lab.models.audit(str(name) if name else "latest")
        except LabError as error:
            return no_update, True, False, str(error), []
        who = f"{snapshot.run_id or 'the untrained model'} after step {snapshot.step:,}"
        return {"job": job.id, "who": who}, False, True, f"{who} · auditing", []

    @app.callback(
        Output(ids.AUDIT_PROOFS, "children", allow_duplicate=True),
        Output(ids.AUDIT_CAPTION, "children", allow_duplicate=True),
        Output(ids.AUDIT_TICK, "disabled", allow_duplicate=True),
        Output(ids.AUDIT_START, "disabled", allow_duplicate=True),
        Input(ids.AUDIT_TICK, "n_intervals"),
        State(ids.AUDIT_JOB, "data"),
        prevent_initial_call=True,
    )
    def follow(tick: Any, data: Any) -> tuple[Any, Any, bool, bool]:
        """The proofs so far."""
        job = lab.jobs.find(data["job"]) if isinstance(data, dict) and "job" in data else None
        if job is None:
            return no_update, no_update, True, False
        over = job.done  # before what it has found is read, or the last could be missed
        found, _ = job.since()
        proofs = [one for one in found if isinstance(one, Proof)]
        verdicts = [one for one in found if isinstance(one, Verdict)]
        state = job.error or (
            "" if over else f" · proof {min(len(proofs) + 1, len(PROOFS))} of {len(PROOFS)}"
        )
        shown = [*map(verdict_row, verdicts), html.Ol([proof_row(proof) for proof in proofs])]
        lab.runs.refresh()
        return shown, f"{data['who']}{state}", over, not over
