"""The charts of experiments: everything measured is drawn, and nothing is told by colour alone."""

import json
import math

import pytest

from transformer_lab.experiments.experiment import Picture, Plot, Reference, Series
from transformer_lab.ui.charts import experiments as charts

NAMES = [f"line {k}" for k in range(6)]
CHANCE = Reference(name="chance", y=10.0, low=7.0, high=13.0)


def line(name="one", count=5, **changes):
    x = [float(k) for k in range(count)]
    return Series(name=name, x=x, y=[value * 2 for value in x], **changes)


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_a_line_stands_in_the_band_from_lowest_to_highest_of_its_seeds():
    series = line(low=[0.0, 1.0, 2.0, 3.0, 4.0], high=[1.0, 3.0, 6.0, 9.0, 12.0])
    figure = charts.figure(Plot(title="t", kind="line", series=[series]))
    (mean,) = traces(figure, "one")
    assert list(mean.y) == series.y
    (band,) = (trace for trace in figure.data if trace.fill)
    assert list(band.x) == [*series.x, *series.x[::-1]]
    assert list(band.y) == [*series.high, *series.low[::-1]]
    low, high = figure.layout.yaxis.range
    assert low < 0
    assert high > 12


def test_one_seed_has_no_band():
    figure = charts.figure(Plot(title="t", kind="line", series=[line()]))
    assert not any(trace.fill for trace in figure.data)


@pytest.mark.parametrize("count", [5, 500])
def test_lines_differ_by_their_dash_and_not_only_by_colour(count):
    plot = Plot(title="t", kind="line", series=[line(name, count) for name in NAMES])
    figure = charts.figure(plot)
    drawn = [trace for trace in figure.data if trace.name in NAMES]
    assert len({trace.line.dash for trace in drawn}) == len(NAMES)
    assert len({trace.line.color for trace in drawn}) == len(NAMES)
    if count == 5:
        assert len({trace.marker.symbol for trace in drawn}) == len(NAMES)


def test_bars_differ_by_their_pattern_and_carry_the_range_of_their_seeds():
    series = [
        Series(name=name, x=["with", "without"], y=[50.0, 10.0], low=[40.0, 9.0], high=[55.0, 12.0])
        for name in NAMES
    ]
    figure = charts.figure(Plot(title="t", kind="bar", series=series, references=[CHANCE]))
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert len({trace.marker.pattern.shape for trace in bars}) == len(NAMES)
    assert list(bars[0].error_x.array) == [5.0, 2.0]
    assert list(bars[0].error_x.arrayminus) == [10.0, 1.0]
    assert figure.layout.xaxis.range[0] == 0


@pytest.mark.parametrize(("kind", "axis"), [("line", "y"), ("bar", "x")])
def test_chance_is_a_named_level_with_its_interval(kind, axis):
    series = line() if kind == "line" else Series(name="one", x=["a"], y=[90.0])
    figure = charts.figure(Plot(title="t", kind=kind, series=[series], references=[CHANCE]))
    band, level = sorted(figure.layout.shapes, key=lambda shape: shape.type == "line")
    assert (band[f"{axis}0"], band[f"{axis}1"]) == (7.0, 13.0)
    assert level[f"{axis}0"] == level[f"{axis}1"] == 10.0
    (named,) = traces(figure, "chance")
    assert named.line.dash == level.line.dash
    low, high = figure.layout[f"{axis}axis"].range
    assert low < 7.0
    assert high > 13.0


def test_long_lines_are_thinned_and_keep_their_ends():
    plot = Plot(title="t", kind="line", series=[line(count=5001)])
    (drawn,) = traces(charts.figure(plot), "one")
    assert len(drawn.x) <= charts.MOST_POINTS + 1
    assert (drawn.x[0], drawn.x[-1]) == (0.0, 5000.0)


def test_numbers_over_magnitudes_get_a_logarithmic_axis():
    for wanted in (True, False):
        plot = Plot(title="t", kind="line", series=[line()], x_log=wanted)
        assert (charts.figure(plot).layout.xaxis.type == "log") is wanted


def test_words_are_wrapped_and_the_chart_grows_for_them():
    short = Plot(title="short", kind="line", series=[line()])
    long = Plot(title="long words " * 12, kind="line", series=[line("many words " * 12)])
    figure = charts.figure(long)
    assert "<br>" in figure.layout.title.text
    assert charts.height(long) > charts.height(short)
    assert figure.layout.height == charts.height(long)


def test_numbers_that_are_not_finite_do_not_spoil_the_axis():
    series = Series(name="one", x=[0.0, 1.0], y=[1.0, math.inf])
    figure = charts.figure(Plot(title="t", kind="line", series=[series]))
    assert all(math.isfinite(end) for end in figure.layout.yaxis.range)


def test_pictures_stand_in_their_rows_with_a_gap_and_their_names():
    def picture(name, value):
        return Picture(name=name, pixels=[[value, 0.0], [0.0, value]])

    pictures = [picture(f"digit {k}", 1.0) for k in (1, 2, 3)]
    pictures += [picture("from the latents", 0.5)] * 3
    plot = Plot(title="t", kind="image", pictures=pictures, columns=3)
    figure = charts.figure(plot)
    (drawn,) = figure.data
    grid = [list(row) for row in drawn.z]
    assert grid[0] == [1.0, 0.0, None, 1.0, 0.0, None, 1.0, 0.0]
    assert grid[2] == [None] * 8
    assert grid[3] == [0.5, 0.0, None, 0.5, 0.0, None, 0.5, 0.0]
    assert list(figure.layout.yaxis.ticktext) == ["digit", "from the latents"]
    assert list(figure.layout.xaxis.ticktext) == ["1", "2", "3"]


def test_nothing_measured_yet_can_be_drawn_too():
    for kind in ("line", "bar"):
        json.loads(charts.figure(Plot(title="t", kind=kind)).to_json())


def test_settling_is_drawn_for_each_part():
    figure = charts.settling_figure([("layer 1", [3.0, 2.0, 1.0]), ("layer 2", [2.0, 1.0, 0.5])])
    assert [(trace.name, list(trace.x)) for trace in figure.data] == [
        ("layer 1", [0, 1, 2]),
        ("layer 2", [0, 1, 2]),
    ]
    assert figure.data[0].line.dash != figure.data[1].line.dash
