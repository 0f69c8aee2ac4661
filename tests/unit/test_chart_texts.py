"""What a person or a text wrote is shown in charts as it is: Plotly takes < > & for markup."""

import json
from typing import Any

import numpy as np
import pytest

from transformer_lab.ui.charts import attention, comparison, health, predictions, training

LINK = '<a href="https://evil.example">&lt;b&gt;</a>'
NAMES = [LINK, "<b>x", "a & b"]
ONE, SQUARE = np.array([0.2, 0.5, 0.3]), np.full((3, 3), 0.1)


def curve() -> comparison.RunCurve:
    return comparison.RunCurve(
        run="run-1", name=LINK, x=[1.0], train=[2.0], validation_x=[1.0], validation=[2.0]
    )


@pytest.mark.parametrize(
    "figure",
    [
        attention.head_figure(SQUARE, 1, NAMES, LINK, dark=False),
        attention.bars_figure(ONE, LINK, "token", NAMES, dark=False),
        attention.matrix_figure(SQUARE, LINK, NAMES, dark=True),
        comparison.overlay_figure([curve()], "steps", "both", 1),
        predictions.attribution_figure(NAMES, ONE, LINK, dark=False),
        predictions.next_token_figure(NAMES, ONE, ONE, dark=False),
        health.part_bars_figure(NAMES, ONE, LINK, "size", dark=False),
        training.figure_with_title(f"A title<br>of two lines: {LINK}"),
    ],
)
def test_no_words_from_elsewhere_are_markup(figure):
    strings = list(texts(json.loads(figure.to_json())))
    assert any("&lt;" in one for one in strings)
    for text in strings:
        assert "<a" not in text
        assert "<b>" not in text
        assert "a & b" not in text


def texts(value: Any) -> Any:
    """Every string that a figure shows."""
    if isinstance(value, str):
        yield value
    if isinstance(value, dict):
        value = [inner for key, inner in value.items() if key != "uirevision"]
    for inner in value if isinstance(value, list) else ():
        yield from texts(inner)


def test_lines_of_our_own_titles_stay_lines():
    assert training.figure_with_title("one<br>two").layout.title.text == "one<br>two"


def test_an_axis_names_its_tokens_however_long_the_text_is():
    assert attention.token_axis(list("abcd" * 12))["ticktext"] == list("abcd" * 12)
    axis = attention.token_axis(["token"] * 400)
    assert set(axis["ticktext"]) == {"token"}
    assert len(axis["ticktext"]) == len(axis["tickvals"]) < 40
    assert axis["tickvals"][-1] <= 400


def test_words_beside_the_lines_of_a_loss_chart_stand_where_no_curve_can_be():
    line = training.Curve(
        steps=[1, 100], train=[4.0, 2.0], validation_steps=[100], validation=[2.0], rates=[0, 0]
    )
    figure = training.loss_figure(line, "run-1", 65, seams=[(50, "branched from run-0")])
    beside = [one for one in figure.layout.annotations if one.yref != "y domain"]
    above = [one for one in figure.layout.annotations if one.yref == "y domain"]
    assert [one.hovertext for one in beside] == [
        *training.MILESTONES.values(), "random guessing: ln 65 = 4.17"
    ]  # fmt: skip
    for one in beside:
        assert (one.x, one.xref, one.xanchor) == (1, "x domain", "left")
        width = max(map(len, one.text.split("<br>"))) * 5.5  # pixels, at the size of its font
        assert width <= figure.layout.margin.r - 4
        assert (one.yanchor, one.yshift) == ("top", training.HALF_A_LINE)  # and others below
    assert [(one.y, one.yanchor) for one in above] == [(1, "bottom")]


def test_a_change_no_larger_than_chance_has_no_colour_and_stands_in_brackets():
    changes = np.array([[0.071, -0.0021, 10.05, np.nan]])
    figure = predictions.importance_figure(
        changes, 2 + changes, np.full((1, 4), 0.01), ["layer 1"], list("abcd"), dark=False
    )
    assert list(figure.data[0].text[0]) == ["+.071", "(-.002)", "+10.050", ""]
    assert figure.data[0].z[0, :3].tolist() == pytest.approx([0.071, 0, 10.05])
