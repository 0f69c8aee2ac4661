"""What a training would cost, said before it is started."""

from dash import html
from dash.development.base_component import Component

from transformer_lab.lab.cost.estimate import Estimate, flops_per_step
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.states import BUSY
from transformer_lab.lab.training.views import View
from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.settings import ConfigError
from transformer_lab.ui import words
from transformer_lab.ui.train.plan import FormPlan, planned

QUICK_START = "quick_start"  # the recipe that is offered where another takes long
TOO_MANY = 20  # parameters for each token of the text, from which a model learns it by heart


def preflight(lab: Lab, view: View, plan: FormPlan | None) -> tuple[list[Component], bool]:
    """What pressing Start will cost, and whether to offer a recipe that takes less."""
    setup = planned(plan)
    if plan is None or setup is None or view.state in BUSY:
        return [], False
    try:
        cost = lab.costs.estimate(setup, plan["vocabulary_size"])
    except ConfigError:
        return [], False  # said at its control
    facts = [f"{words.flops(cost.flops)} a step"]
    if cost.memory is not None and cost.free is not None:
        facts.append(f"{words.size(cost.memory)} of {words.size(round(cost.free, -9))} memory")
    on_cpu = cost.memory is not None
    time = "time is being measured" if on_cpu else "time not known before the first steps"
    if cost.seconds is not None and cost.step_seconds is not None:
        about = "" if cost.measured else "roughly "
        time = f"{about}{words.duration(cost.seconds)}, {words.duration(cost.step_seconds)} a step"
    lines = [
        html.Div([html.Span("Before you start: ", className="quiet"), html.Strong(time)]),
        html.Div(" · ".join(facts), className="quiet"),
    ]
    tokens = plan["tokens"]
    if cost.parameters > TOO_MANY * tokens:
        lines.append(
            html.Div(
                f"About {words.compact(tokens)} tokens are few for "
                f"{words.compact(cost.parameters)} parameters: it will overfit.",
                className="warn",
            )
        )
    if cost.long:
        lines.append(html.Div("That is long for this computer.", className="warn"))
    return lines, cost.long and _takes_less(setup, cost, plan["vocabulary_size"])


def _takes_less(setup: Setup, cost: Estimate, vocabulary_size: int) -> bool:
    """Whether Quick start, on the same kind of text, would be done much sooner.

    By its arithmetic: times are measured one after the other, and the computer may be busy in one.
    """
    quick = load_recipes()[QUICK_START].setup
    whole = flops_per_step(quick, vocabulary_size) * quick.train.steps
    return whole < cost.flops * setup.train.steps / 2
