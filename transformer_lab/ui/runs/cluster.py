"""The cluster: its computers, what runs on which, and why something waits."""

from collections.abc import Mapping

from dash import html
from dash.development.base_component import Component

from transformer_lab.lab.elsewhere.cluster import Cluster, Sent
from transformer_lab.lab.elsewhere.needs import Computer
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.queue import Waiting
from transformer_lab.ui.runs import ids

Steps = Mapping[str, tuple[int, int]]  # of each run: how many are done, and how many there are
ITS_TURN = "It is sent when the one before it has a computer."


def card(lab: Lab) -> list[Component]:
    """What the card of the queue says of the cluster; nothing where there is none."""
    cluster = lab.trainings.cluster
    if cluster is None:
        return []
    steps = {run.id: (run.step, run.steps) for run in lab.runs.all()}
    sent = cluster.busy()
    return [
        html.H3("Cluster"),
        html.Div(cluster.problem, className="warn") if cluster.problem else _total(cluster),
        *(_computer(cluster, one, sent, steps) for one in cluster.computers),
        *(_without(cluster, child) for child in sent if not child.node and not child.item),
    ]


def why_waiting(lab: Lab, items: list[Waiting]) -> dict[str, str]:
    """Why trainings of the queue wait for the cluster, by their ids."""
    cluster = lab.trainings.cluster
    if cluster is None or lab.trainings.queue.held:
        return {}
    sent = {child.item: child for child in cluster.busy() if child.item}
    found = {}
    for item in items:
        if item.problem:
            continue
        child = sent.get(item.id)
        if child is None:
            found[item.id] = cluster.problem or ITS_TURN
            break  # those after it wait for the same
        found[item.id] = (
            f"It begins on {cluster.name_of(child.node)}."
            if child.node
            else cluster.why_waiting(child)
        )
    return found


def _total(cluster: Cluster) -> html.Div:
    computers = cluster.computers
    cpus, gpus = sum(one.cpus for one in computers), sum(one.gpus for one in computers)
    count = f"{len(computers)} computer{'s' * (len(computers) != 1)}"
    return html.Div(
        f"{count}, {size(cpus, gpus)}. What is queued is sent there.",
        className="quiet",
    )


def size(cpus: float, gpus: float) -> str:
    """So many CPUs and GPUs, in words."""
    words = f"{cpus:g} CPU{'s' * (cpus != 1)}"
    return f"{words}, {gpus:g} GPU{'s' * (gpus != 1)}" if gpus else words


def _computer(cluster: Cluster, one: Computer, sent: list[Sent], steps: Steps) -> html.Div:
    here = [_training(child, steps) for child in sent if one.id in child.nodes]
    return html.Div(
        [
            html.Div(
                [
                    html.Span(cluster.name_of(one.id), className="computer-name"),
                    html.Span(f"{one.address}, {size(one.cpus, one.gpus)}", className="quiet"),
                ],
                className="computer-head",
            ),
            *(here or [html.Div("nothing of this lab", className="quiet")]),
        ],
        className="computer",
    )


def _training(child: Sent, steps: Steps) -> html.Div:
    done, of = steps.get(child.run_id, (0, 0))
    how_far = f"step {done:,} of {of:,}" if of else "begins"
    return html.Div(
        [html.Span(_name(child), className="waiting-name"), html.Span(how_far, className="quiet")],
        className="computer-run",
    )


def _without(cluster: Cluster, child: Sent) -> html.Div:
    """A run whose computer was lost, as long as it has no other; or a lane that waits for one."""
    if not child.run_id:
        return _waits(_name(child), cluster.why_waiting(child))
    take_off = html.Button(
        html.I(className="bi bi-x-lg", **{"aria-hidden": "true"}),
        id=ids.QueueButton("take-off", child.run_id).as_id(),
        className="btn btn-sm",
        title="Take it off the cluster",
        **{"aria-label": f"Take it off the cluster: {child.run_id}"},
    )
    return _waits(child.run_id, f"Its computer was lost. {cluster.why_waiting(child)}", take_off)


def _waits(name: str, why: str, *more: Component) -> html.Div:
    head = html.Div([html.Span(name, className="computer-name"), *more], className="computer-head")
    return html.Div([head, html.Div(why, className="quiet")], className="computer")


def _name(child: Sent) -> str:
    lane = f", {child.begins.lane}" if child.begins.lane else ""
    return child.run_id or child.begins.recipe.replace("_", " ") + lane
