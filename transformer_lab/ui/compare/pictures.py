"""The charts of a comparison as data, from which the page makes one picture."""

from flask import Flask, Response, abort, request
from plotly.io.json import to_json_plotly

from transformer_lab.experiments.comparison_result import AXES, Axis
from transformer_lab.experiments.comparison_words import verdict
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.charts import experiments as charts
from transformer_lab.ui.results.parts import CHARTS


def serve_pictures(server: Flask, lab: Lab) -> None:
    """Answer GET /comparison-charts/<name>.json?axis=steps with title, verdict and figures."""

    @server.get(f"/{CHARTS}/<name>.json")
    def comparison_charts(name: str) -> Response:
        outcome = lab.comparisons.measured(name)
        axis: Axis = next((one for one in AXES if one == request.args.get("axis")), "steps")
        plots = outcome.plots(axis) if outcome else []
        if outcome is None or not plots:
            abort(404, "Nothing of this comparison has been measured.")
        titles = (run.race_title for run in lab.runs.all() if run.comparison == name)
        content = {
            "title": next(filter(None, titles), outcome.comparison.title),
            "said": verdict(outcome),
            "figures": [charts.figure(plot) for plot in plots],
        }
        return Response(to_json_plotly(content), mimetype="application/json")
