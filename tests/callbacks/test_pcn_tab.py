"""The PCN Experiments tab, without a browser."""

import csv
import io
import json

import pytest

from sampling import sampled
from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.ui.experiments.layout import MOST_PLOTS
from transformer_lab.ui.results.poll import FAST, RESTING, SLOW
from waiting import PATIENCE

TINY = {
    "leak": {
        "steps": "4",
        "epochs": "1",
        "seeds": "2",
        "top_width": "8",
        "learning_steps": "2",
        "training_pictures": "40",
        "test_pictures": "40",
    },
    "race": {"steps": "2", "epochs": "1", "seeds": "1", "width": "8"},
    "gradients": {"steps": "3", "epochs": "0", "seeds": "1", "width": "8"},
    "language_model": {
        "steps": "1",
        "sequences": "2",
        "longest": "8",
        "training_steps": "1",
        "seeds": "1",
    },
    "transformers": {
        "pc_learning": False,
        "steps": "1",
        "training_steps": "10",
        "seeds": "1",
        "width": "16",
    },
    "latents": {"steps": "2", "epochs": "1", "seeds": "1", "learning_steps": "1"},
    "depth": {"layers": "3", "width": "8", "steps": "2", "epochs": "1", "seeds": "1"},
    "width": {"steps": "4", "layers": "4", "widest": "32", "seeds": "1"},
    "alignment": {"steps": "4", "seeds": "1"},
}
MOST_BYTES = 300_000
CHARTS = [{"type": "experiment-chart", "place": str(place)} for place in range(MOST_PLOTS)]
ANY_SETTING = '{"experiment":["ALL"],"name":["ALL"],"type":"experiment-setting"}'
PLOTS = [{"type": "experiment-plot", "place": str(place)} for place in range(MOST_PLOTS)]


def spelled(component):
    return json.dumps(component, sort_keys=True, separators=(",", ":"))


def press(page, button, output):
    page.values[button, "n_clicks"] = (page.values.get((button, "n_clicks")) or 0) + 1
    return page.fire(output, f"{button}.n_clicks")


def open_tab(page):
    """What opening the tab asks for."""
    page.values["tabs", "active_tab"] = "PCN Experiments"
    page.fire("experiment.data", "tabs.active_tab")
    page.fire("experiment-options.options", "experiment.data")
    return poll(page)


def poll(page):
    return page.fire("experiment-seen.data", "experiment-tick.n_intervals")


def choose(page, key):
    button = spelled({"type": "experiment-button", "experiment": key})
    press(page, button, "experiment.data")
    page.fire("experiment-options.options", "experiment.data")
    poll(page)


def fill(page, key, values):
    """Type into the controls of an experiment; gives what is said at each of them."""
    for name, value in values.items():
        control = spelled({"type": "experiment-setting", "experiment": key, "name": name})
        page.values[control, "value"] = value
    page.fire("experiment-message.children", f"{control}.value")
    return {
        name: page.get({"type": "experiment-problem", "experiment": key, "name": name}, "children")
        for name in values
    }


def start(page, key, **changes):
    choose(page, key)
    fill(page, key, TINY[key] | changes)
    press(page, "experiment-start", "experiment-message.children")
    return poll(page)


def guess(page, option=None):
    page.values["experiment-options", "value"] = option
    button = "experiment-show" if option is None else "experiment-guess"
    press(page, button, "guesses.data")
    page.fire("experiment-options.options", "guesses.data")
    return poll(page)


def finish(page, lab, key):
    assert lab.trials.find(key).job.wait(PATIENCE)
    return poll(page)


def titles(page):
    """The titles of the charts that can be seen."""
    return [
        page.get(chart, "figure")["layout"]["title"]["text"].replace("<br>", " ")
        for chart, plot in zip(CHARTS, PLOTS, strict=True)
        if not page.get(plot, "hidden")
    ]


@pytest.fixture
def tab(page):
    open_tab(page)
    return page


def test_every_experiment_is_listed_with_its_question_and_one_is_chosen(tab):
    for key, one in EXPERIMENTS.items():
        button = {"type": "experiment-button", "experiment": key}
        assert tab.text(button) == one.title + one.question
        assert tab.components[spelled(button)]["type"] == "Button"  # reached by keyboard
        choose(tab, key)
        current = [
            other
            for other in EXPERIMENTS
            if tab.get({"type": "experiment-button", "experiment": other}, "aria-current") == "true"
        ]
        assert current == [key]
        assert tab.text("experiment-title") == one.title
        assert tab.text("experiment-question") == one.question
        assert tab.text("experiment-prompt") == one.prediction.prompt
        options = tab.get("experiment-options", "options")
        assert [option["label"] for option in options] == list(one.prediction.options)


def test_only_the_settings_of_the_chosen_one_are_shown_with_label_help_and_bounds(tab):
    choose(tab, "race")
    shown = [
        key
        for key in EXPERIMENTS
        if not tab.get({"type": "experiment-fields", "experiment": key}, "hidden")
    ]
    assert shown == ["race"]
    words = tab.text({"type": "experiment-fields", "experiment": "race"})
    assert "Inference Steps" in words
    assert "T: settling steps before each weight update. 0 to 200." in words


def test_equations_name_the_code_that_computes_them_and_where_they_are_from(tab):
    for key, one in EXPERIMENTS.items():
        choose(tab, key)
        words = tab.text("experiment-equations")
        for equation in one.equations:
            assert equation.latex in words
            assert equation.source in words
            assert f"computed by {equation.function}" in words
            assert f"def {equation.function.rpartition('.')[2]}(" in words
        assert tab.get("experiment-leak-box", "hidden") is (one.source is None)
        assert tab.text("experiment-leak") == (one.source() if one.source else "")
    assert tab.components["experiment-leak"]["type"] == "Pre"


def test_one_press_opens_the_summary_with_its_results_and_nothing_of_its_marks(tab):
    press(tab, "summary-open", "..summary.is_open...summary-body.children..")
    assert tab.get("summary", "is_open")
    shown = tab.text("summary-body")
    assert all(f"### {one.title}\n" in shown for one in EXPERIMENTS.values())
    assert "<!--" not in shown
    assert "](" not in shown  # the page has none of the files that it links to
    assert not shown.count("$") % 2


def test_the_leak_microscope_is_run_to_its_end_and_shows_everything(tab, lab):
    start(tab, "leak")
    guess(tab, 0)
    assert tab.get("experiment-start", "disabled") is True
    finish(tab, lab, "leak")
    result = lab.trials.find("leak").latest.result
    assert titles(tab) == [plot.title for plot in result.plots()]
    assert tab.text("experiment-verdict") == EXPERIMENTS["leak"].verdict(result)
    assert tab.text("experiment-tables") == "".join(
        table.title + "".join([*table.columns, *(cell for row in table.rows for cell in row)])
        for table in EXPERIMENTS["leak"].tables(result)
    )
    assert "100 % · done" in tab.text("experiment-state")
    assert tab.get("experiment-start", "disabled") is False
    assert tab.get("experiment-stop", "disabled") is True
    assert tab.text({"type": "experiment-badge", "experiment": "leak"}) == "measured"


@pytest.mark.parametrize("key", sampled(EXPERIMENTS, 3))
def test_an_answer_is_small_and_the_next_one_is_empty(tab, lab, key):
    start(tab, key)
    assert lab.trials.find(key).job.wait(PATIENCE)
    guess(tab)
    assert titles(tab)
    assert len(tab.last.get_data()) < MOST_BYTES
    assert poll(tab) == {}


def test_nothing_is_shown_or_sent_before_the_guess(tab, lab):
    start(tab, "leak")
    finish(tab, lab, "leak")
    assert tab.get("experiment-result", "hidden") is True
    assert tab.get("experiment-hint", "hidden") is False
    assert "hidden until you have guessed" in tab.text("experiment-hint")
    assert titles(tab) == []
    for part in ("experiment-verdict", "experiment-tables", "experiment-guessed"):
        assert tab.text(part) == ""
    guess(tab)
    assert tab.get("experiment-result", "hidden") is False
    assert tab.get("experiment-hint", "hidden") is True
    assert len(titles(tab)) == 4
    press(tab, "experiment-again", "guesses.data")
    poll(tab)
    assert tab.get("experiment-result", "hidden") is True
    assert titles(tab) == []


def test_the_guess_is_compared_with_what_was_measured(tab, lab):
    start(tab, "race")
    finish(tab, lab, "race")
    one = EXPERIMENTS["race"]
    right = one.answer(lab.trials.find("race").latest.result)
    for option, words in enumerate(one.prediction.options):
        guess(tab, option)
        said = tab.text("experiment-guessed")
        assert f"You guessed: “{words}”." in said
        if option == right:
            assert "says so too" in said
        else:
            assert f"The measurement says: “{one.prediction.options[right]}”." in said
    guess(tab)
    assert tab.text("experiment-guessed") == (
        f"The measurement says: “{one.prediction.options[right]}”."
    )


def test_an_answer_to_choose_from_cannot_be_changed_after_the_reveal(tab):
    guess(tab, 1)
    assert tab.get("experiment-options", "value") == 1
    assert all(option["disabled"] for option in tab.get("experiment-options", "options"))
    assert tab.get("experiment-guess", "hidden") is True
    assert tab.get("experiment-again", "hidden") is False
    assert "It has not been measured yet" in tab.text("experiment-guessed")


def test_a_guess_at_one_experiment_reveals_no_other(tab, lab):
    start(tab, "race")
    finish(tab, lab, "race")
    guess(tab, 0)
    choose(tab, "gradients")
    assert tab.get("experiment-options", "value") is None
    start(tab, "gradients")
    finish(tab, lab, "gradients")
    assert tab.get("experiment-result", "hidden") is True
    choose(tab, "race")
    assert tab.get("experiment-options", "value") == 0
    assert tab.get("experiment-result", "hidden") is False


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("steps", "0", "choose a number from 1 to 1,000"),
        ("seeds", "1.5", "whole number"),
        ("step_size", "", "is empty"),
        ("step_size", "0,05", "write 0.05"),
        ("pictures", "faces", "choose one of"),
    ],
)
def test_a_bad_value_is_answered_at_its_control_and_nothing_starts(tab, lab, name, value, why):
    assert why in fill(tab, "leak", {name: value})[name]
    press(tab, "experiment-start", "experiment-message.children")
    problem = {"type": "experiment-problem", "experiment": "leak", "name": name}
    assert why in tab.get(problem, "children")
    assert "Correct the marked settings" in tab.text("experiment-message")
    assert lab.trials.find("leak") is None
    press(tab, "experiment-defaults", f"{ANY_SETTING}.value")
    assert fill(tab, "leak", {"seeds": "3"})["seeds"] == ""
    assert tab.get(problem, "children") == ""


def test_pictures_that_are_not_there_are_reported_at_their_control(tab, lab):
    start(tab, "leak", pictures="cifar10")
    problem = {"type": "experiment-problem", "experiment": "leak", "name": "pictures"}
    assert "CIFAR-10 is not on this computer" in tab.get(problem, "children")
    assert lab.trials.find("leak") is None


def test_stop_keeps_what_was_computed(tab, lab, until):
    start(tab, "race", epochs="100", seeds="20")
    guess(tab)
    until(lambda: lab.trials.find("race").latest and poll(tab) and titles(tab))
    assert "running" in tab.text({"type": "experiment-badge", "experiment": "race"})
    press(tab, "experiment-stop", "experiment-message.children")
    finish(tab, lab, "race")
    assert titles(tab)
    assert "stopped; what was measured stays" in tab.text("experiment-state")
    assert "stopped at" in tab.text({"type": "experiment-badge", "experiment": "race"})
    assert tab.get("experiment-start", "disabled") is False


def test_more_seeds_are_added_to_those_that_are_there(tab, lab):
    start(tab, "alignment", seeds="1")
    finish(tab, lab, "alignment")
    first = lab.trials.find("alignment").latest.result.found
    fill(tab, "alignment", {"seeds": "3"})
    poll(tab)
    assert "keeps the 1 seeds that are measured, and adds 2" in tab.text("experiment-cost")
    press(tab, "experiment-start", "experiment-message.children")
    finish(tab, lab, "alignment")
    found = lab.trials.find("alignment").latest.result.found
    assert found[: len(first)] == first
    assert {one.seed for one in found} == {0, 1, 2}
    fill(tab, "alignment", {"steps": "5"})
    poll(tab)
    assert "keeps" not in tab.text("experiment-cost")


def test_a_third_one_at_once_is_asked_to_wait(tab, lab):
    start(tab, "race", epochs="100", seeds="20")
    start(tab, "gradients", epochs="100", seeds="20")
    start(tab, "leak")
    said = tab.text("experiment-message")
    assert EXPERIMENTS["race"].title in said
    assert "stop one of them, or wait" in said


def test_a_reload_shows_the_one_that_runs_and_its_settings(tab, lab, open_page, until):
    start(tab, "leak")
    finish(tab, lab, "leak")
    start(tab, "race", epochs="100", seeds="20")
    until(lambda: lab.trials.find("race").latest)
    again = open_page()
    open_tab(again)
    assert again.text("experiment-title") == EXPERIMENTS["race"].title
    assert "%" in again.text("experiment-state")
    assert again.get("experiment-stop", "disabled") is False
    epochs = {"type": "experiment-setting", "experiment": "race", "name": "epochs"}
    assert again.get(epochs, "value") == "100"
    assert again.text({"type": "experiment-badge", "experiment": "leak"}) == "measured"
    guess(again)
    until(lambda: titles(again) or (poll(again) and titles(again)))


def test_all_numbers_leave_as_csv(tab, lab):
    assert tab.client.get("/download-experiment/race.csv").status_code == 404
    assert tab.client.get("/download-experiment/nothing.csv").status_code == 404
    start(tab, "race")
    finish(tab, lab, "race")
    guess(tab)
    address = tab.get("experiment-away", "children")["props"]["href"]
    answer = tab.client.get(address)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == "attachment; filename=race.csv"
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    expected = EXPERIMENTS["race"].rows(lab.trials.find("race").latest.result)
    assert len(rows) == len(expected)
    assert float(rows[-1]["accuracy_percent"]) == pytest.approx(
        expected[-1]["accuracy_percent"], rel=1e-5
    )


def test_the_page_asks_only_while_the_tab_is_open_and_often_only_while_it_runs(tab, lab):
    assert tab.get("experiment-tick", "interval") == SLOW
    start(tab, "race", epochs="100", seeds="20")
    assert tab.get("experiment-tick", "interval") == FAST
    tab.values["tabs", "active_tab"] = "Train"
    tab.fire("experiment-seen.data", "tabs.active_tab")
    assert tab.get("experiment-tick", "interval") == RESTING
    open_tab(tab)  # while it still runs as it did
    assert tab.get("experiment-tick", "interval") == FAST
    tab.values["tabs", "active_tab"] = "Train"
    tab.fire("experiment-seen.data", "tabs.active_tab")
    lab.trials.stop("race")
    finish(tab, lab, "race")
    open_tab(tab)
    assert tab.get("experiment-tick", "interval") == SLOW
