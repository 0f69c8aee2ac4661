"""The card of a milestone: what the model wrote before its loss fell below it, and after."""

from typing import Any

from dash import Output, html
from dash.development.base_component import Component

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.milestones import Milestone
from transformer_lab.lab.training.states import ENDED
from transformer_lab.lab.training.views import View
from transformer_lab.runs.database import Sample
from transformer_lab.ui.charts.training import MILESTONES
from transformer_lab.ui.train import ids

READABLE = 2.0  # the loss at which the tutorial goes on to Generate
LONGEST = 240  # characters of a sample on the card
# What a poll changes here.
PARTS = {
    "milestone_hidden": Output(ids.MILESTONE_CARD, "hidden"),
    "milestone_title": Output(ids.MILESTONE_TITLE, "children"),
    "milestone_texts": Output(ids.MILESTONE_TEXTS, "children"),
    "generate_now_hidden": Output(ids.GENERATE_NOW, "hidden"),
}


def layout() -> html.Div:
    """The card, which a poll shows once there is a milestone."""
    button = html.Button(
        "Generate now",
        id=ids.GENERATE_NOW,
        className="btn btn-sm btn-primary",
        title="The model of this moment writes, on the Generate tab; the training goes on",
        hidden=True,
    )
    return html.Div(
        [
            html.Div([html.H2(id=ids.MILESTONE_TITLE), button], className="card-head"),
            html.Div(id=ids.MILESTONE_TEXTS, className="milestone-texts"),
        ],
        id=ids.MILESTONE_CARD,
        className="card milestone-card",
        hidden=True,
    )


def parts(lab: Lab, view: View) -> dict[str, Any]:
    """What a poll shows of the card, named as in PARTS; tokens that are no characters have none."""
    characters = view.setup is not None and view.setup.data.tokenizer == "characters"
    found = lab.runs.milestones(view.run_id, MILESTONES) if characters and view.step else []
    if not found:
        return dict.fromkeys(PARTS, "") | {"milestone_hidden": True, "generate_now_hidden": True}
    readable = any(each.limit <= READABLE for each in found)
    return {
        "milestone_hidden": False,
        "milestone_title": _title(found[-1]),
        "milestone_texts": [*_texts(found[-1]), *map(_earlier, found[-2::-1])],
        "generate_now_hidden": not readable or view.state in ENDED,
    }


def _title(milestone: Milestone) -> str:
    limit, meaning = MILESTONES[milestone.limit].split(" ", 1)
    return f"Below {limit}: {meaning}"


def _texts(milestone: Milestone) -> list[Component]:
    """When it was reached, and both samples."""
    reached = f"validation loss {milestone.loss:.3f} at step {milestone.step:,}"
    return [
        html.Div(reached, className="quiet"),
        *_sample("before", milestone.before),
        *_sample("after", milestone.after),
    ]


def _sample(when: str, sample: Sample | None) -> list[Component]:
    if sample is None:
        return []
    written = f"{when}, step {sample.step:,}"
    text = (sample.prompt + sample.text)[:LONGEST]
    return [
        html.Div(written, className="quiet milestone-when"),
        html.Pre(text, className="sample", tabIndex=0, **{"aria-label": f"Sample {written}"}),
    ]


def _earlier(milestone: Milestone) -> html.Details:
    return html.Details([html.Summary(_title(milestone)), *_texts(milestone)])
