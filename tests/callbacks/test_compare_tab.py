"""The Compare tab, without a browser: what stands in it before anything is raced."""

import json

import pytest

from transformer_lab.experiments.questions import load_questions
from transformer_lab.recipes import Setup
from transformer_lab.ui.compare.own import SLUG
from transformer_lab.ui.results.poll import RESTING, SLOW
from waiting import until


def poll(page, changed="compare-tick.n_intervals"):
    return page.fire("compare-seen.data", changed)


def choose(page, slug):
    entry = {"type": "compare-button", "question": slug}
    button = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    page.values[button, "n_clicks"] = (page.values.get((button, "n_clicks")) or 0) + 1
    page.fire("compare-question.data", f"{button}.n_clicks")
    poll(page)


@pytest.fixture
def tab(visited):
    visited.values["tabs", "active_tab"] = "Compare"
    visited.fire("compare-question.data", "tabs.active_tab")
    poll(visited)
    return visited


def test_a_question_is_told_with_its_guess_and_its_cost(tab):
    for slug, one in load_questions().items():
        choose(tab, slug)
        assert tab.text("compare-title") == one.title
        assert tab.text("compare-prompt") == one.guess.prompt
        said = [option["label"] for option in tab.get("compare-options", "options")]
        assert said == list(one.guess.options)
        assert f"{len(one.lanes)} lanes" in tab.text("compare-cost")
        assert tab.get("compare-own", "hidden") is True
        assert tab.get("compare-result", "hidden") is True


def test_what_is_wrong_with_a_question_made_by_hand_is_said_at_its_control(tab):
    choose(tab, SLUG)
    tab.values["compare-values", "value"] = "1, 1"
    poll(tab, "compare-values.value")
    assert "stands there twice" in tab.text("compare-values-problem")
    assert tab.get("compare-start", "disabled") is True
    tab.values["compare-values", "value"] = "1, 2"
    poll(tab, "compare-values.value")
    assert tab.text("compare-values-problem") == ""
    assert tab.get("compare-start", "disabled") is False


SMALL = {
    "data.corpus": "python_docs",
    "model.layers": "1",
    "model.embedding_dim": "16",
    "model.sequence_length": "16",
    "train.batch_size": "4",
    "train.threads": "1",
}


def pick(page, tool):
    """Open a tool in the place of a question."""
    button = json.dumps({"tool": tool, "type": "compare-tool"}, separators=(",", ":"))
    page.values[button, "n_clicks"] = 1
    page.fire("compare-tool.data", f"{button}.n_clicks")


def rate_poll(page, changed="finder-tick.n_intervals"):
    return page.fire("finder-seen.data", changed)


def test_a_learning_rate_is_found_with_the_settings_of_train_and_taken_over(page, lab):
    page.set(SMALL)
    page.values["tabs", "active_tab"] = "Compare"
    pick(page, "rate")
    assert (page.get("compare-asked", "hidden"), page.get("finder-panel", "hidden")) == (
        True,
        False,
    )
    rate_poll(page, "compare-tool.data")
    assert "It takes the settings of Train" in page.text("finder-about")
    assert page.get("finder-take", "hidden") is True
    page.values["finder-start", "n_clicks"] = 1
    page.fire("finder-message.children", "finder-start.n_clicks")
    assert lab.range_tests.newest.wait(120)
    rate_poll(page, "finder-refresh.data")
    found = lab.range_tests.newest.suggestion
    assert page.text("finder-said") == found.sentence
    assert page.get("finder-take", "children") == f"Use {found.rate:g} on Train"
    assert page.get("finder-tick", "interval") == RESTING
    assert rate_poll(page) == {}
    page.values["finder-take", "n_clicks"] = 1
    page.react("finder-take.n_clicks")
    control = {"type": "setting", "group": "train", "name": "learning_rate"}
    assert float(page.get(control, "value")) == found.rate
    assert page.get("tabs", "active_tab") == "Train"
    page.values["tabs", "active_tab"] = "Compare"
    choose(page, "deeper")
    assert (page.get("compare-asked", "hidden"), page.get("finder-panel", "hidden")) == (
        False,
        True,
    )


def test_every_finished_run_is_a_point_of_the_scaling_view_and_others_say_why_not(trained, lab):
    page = trained
    page.values["tabs", "active_tab"] = "Compare"
    pick(page, "scaling")
    assert (page.get("compare-asked", "hidden"), page.get("scaling-panel", "hidden")) == (
        True, False)  # fmt: skip
    page.fire("scaling-said.children", "compare-tool.data")
    (run,) = lab.runs.all()
    assert page.get("scaling-chart-parameters", "figure")["data"][0]["x"] == [run.parameters]
    assert "fewer than three different values" in page.text("scaling-said")
    assert run.name in page.text("scaling-tables")
    lab.trainings.start(Setup().with_values(SMALL | {"model.causal": False, "train.steps": 3}))
    assert lab.trainings.wait(60)
    until(lambda: lab.trainings.current.status.state == "finished")
    lab.runs.refresh()
    page.fire("scaling-said.children", "scaling-again.n_clicks")
    assert page.get("scaling-chart-flops", "figure")["data"][0]["y"] == pytest.approx(
        [run.bits_per_byte], rel=1e-3)  # fmt: skip
    assert "it has no causal mask" in page.text("scaling-tables")


def test_polls_rest_while_another_tab_is_open_and_send_only_what_is_new(tab):
    assert tab.get("compare-tick", "interval") == SLOW
    poll(tab)
    assert poll(tab) == {}
    tab.values["tabs", "active_tab"] = "Train"
    poll(tab, "tabs.active_tab")
    assert tab.get("compare-tick", "interval") == RESTING
    tab.values["tabs", "active_tab"] = "Compare"
    poll(tab, "tabs.active_tab")
    assert tab.get("compare-tick", "interval") == SLOW
