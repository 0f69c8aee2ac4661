"""The Compare tab, without a browser: what stands in it before anything is raced."""

import json

import pytest

from transformer_lab.experiments.questions import load_questions
from transformer_lab.ui.compare.own import SLUG
from transformer_lab.ui.results.poll import RESTING, SLOW


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
