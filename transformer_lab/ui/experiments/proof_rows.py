"""Proofs of the leak audit and its conclusion, as rows of the page."""

from dash import html

from transformer_lab.inspection.audit import Proof, Verdict
from transformer_lab.ui import words

MARKS = {
    True: ("check-circle-fill", "passed", "good"),
    False: ("x-octagon-fill", "failed", "warn"),
    None: ("question-circle", "cannot tell", "quiet"),
}


def verdict_row(verdict: Verdict) -> html.Div:
    """The conclusion of an audit."""
    passed = {"passed": True, "failed": False, "broken": False, "not a number": False}.get(
        verdict.outcome
    )
    icon, _, kind = MARKS[passed]
    return html.Div(
        [
            html.I(className=f"bi bi-{icon}", **{"aria-hidden": "true"}),
            html.Strong(f" {verdict.outcome.capitalize()}. "),
            verdict.sentence,
        ],
        className=f"audit-verdict {kind}",
        role="status",
    )


def proof_row(proof: Proof) -> html.Li:
    """One proof, with what was measured."""
    icon, word, kind = MARKS[proof.passed]
    numbers = ", ".join(
        f"{name.replace('_', ' ')} {words.value(value)}" for name, value in proof.numbers.items()
    )
    return html.Li(
        [
            html.Span(
                [html.I(className=f"bi bi-{icon}", **{"aria-hidden": "true"}), f" {word}"],
                className=f"audit-mark {kind}",
            ),
            html.Strong(f" {proof.title}. "),
            proof.sentence,
            html.Div(numbers, className="quiet"),
        ]
    )
