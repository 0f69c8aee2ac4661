"""The Compare tab, without a browser: what stands in it before anything is raced."""

import contextlib
import json
import shutil
import sqlite3

import pytest

from transformer_lab.experiments.comparison import NO_SECONDS
from transformer_lab.experiments.questions import load_questions
from transformer_lab.lab.cost import estimate
from transformer_lab.lab.experiments import comparisons
from transformer_lab.recipes import Setup
from transformer_lab.ui.compare.own import NOTHING, SLUG
from transformer_lab.ui.results.poll import RESTING, SLOW
from waiting import until

FORM = {
    "recipe": "quick_start", "setting": "model.layers", "values": "1, 2", "second": NOTHING,
    "second-values": "", "budget": "steps", "amount": "60", "seeds": "3", "preset": "quick",
    "where": "thread",
}  # fmt: skip


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


def test_a_question_is_reported_with_its_guess_and_its_cost(tab):
    for slug, one in load_questions().items():
        choose(tab, slug)
        assert tab.text("compare-title") == one.title
        assert tab.text("compare-prompt") == one.guess.prompt
        said = [option["label"] for option in tab.get("compare-options", "options")]
        assert said == list(one.guess.options)
        said = "no model to fine-tune yet" if one.base else f"{len(one.lanes)} lanes"
        assert said in tab.text("compare-cost")
        assert tab.get("compare-start", "disabled") is bool(one.base)
        assert tab.get("compare-own", "hidden") is True
        assert tab.get("compare-result", "hidden") is True


def test_what_is_wrong_with_a_question_made_by_hand_is_reported_at_its_control(tab):
    choose(tab, SLUG)
    tab.values["compare-values", "value"] = "1, 1"
    poll(tab, "compare-values.value")
    assert "stands there twice" in tab.text("compare-values-problem")
    assert tab.get("compare-start", "disabled") is True
    tab.values["compare-values", "value"] = "1, 2"
    poll(tab, "compare-values.value")
    assert tab.text("compare-values-problem") == ""
    assert tab.get("compare-start", "disabled") is False


def test_what_cannot_be_raced_is_reported_at_the_control_it_comes_from(tab, monkeypatch):
    choose(tab, SLUG)

    def problems(**typed):
        for name, value in (FORM | typed).items():
            tab.values[f"compare-{name}", "value"] = value
        poll(tab, "compare-values.value")
        assert tab.get("compare-start", "disabled") is bool(typed)
        places = ("values", "second-values", "amount", "recipe")
        said = {place: tab.text(f"compare-{place}-problem") for place in places}
        return {place: words for place, words in said.items() if words}

    assert problems() == {}
    grid = {"values": "1 2 3 4 5", "second": "model.heads", "second-values": "1 2 4 8 16"}
    (said,) = problems(**grid).items()
    assert said == ("values", "These are 25 lanes: choose 2 to 24, by fewer values.")
    (said,) = problems(values="2, 2").items()
    assert said == ("values", "2 stands there twice: give each value once.")
    (said,) = problems(budget="tokens", amount="63").items()
    assert said[0] == "amount"
    assert "need at least" in said[1]
    monkeypatch.setattr(comparisons.Comparisons, "_paces", lambda *_: {"1": 0.1, "2": 2.5})
    (said,) = problems(budget="seconds", amount="2").items()
    assert said[0] == "amount"
    assert "One step of “2” takes about 2.5 s here: choose 3 seconds or more" in said[1]
    (said,) = problems(budget="seconds", amount="9", where="process").items()
    assert said == ("amount", NO_SECONDS)
    monkeypatch.setattr(estimate, "memory_free", lambda: 1e6)
    (said,) = problems(values="1, 3").items()
    assert said[0] == "recipe"
    assert "0.0 GB are free" in said[1]


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
    page.set({"train.learning_rate": "0.5"})
    page.values["address-locked", "data"] = ["train.learning_rate"]
    page.react("finder-take.n_clicks")
    assert page.get(control, "value") == "0.5", "a link keeps it"
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
    assert page.get("scaling-chart-parameters", "figure")["data"][0]["x"] == pytest.approx(
        [run.parameters], rel=1e-3)  # fmt: skip
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


def with_sizes(lab, name, losses):
    """In place of all runs, copies of one that are as wide and end at the loss given for that."""
    before = [lab.runs.open(run.id).folder for run in lab.runs.all()]
    for number, (width, loss) in enumerate(losses.items(), 1):
        copy = before[0].with_name(f"{name}-{number}")
        shutil.copytree(before[0], copy)
        about = json.loads((copy / "run.json").read_text())
        about["setup"]["model"]["embedding_dim"] = width
        about |= {"id": copy.name, "parameters": 12 * width**2}
        (copy / "run.json").write_text(json.dumps(about))
        with contextlib.closing(sqlite3.connect(copy / "metrics.sqlite")) as database, database:
            database.execute(
                "UPDATE steps SET validation_loss = ? WHERE validation_loss IS NOT NULL", (loss,)
            )
    for folder in before:
        shutil.rmtree(folder)
    lab.runs.refresh()


WIDTHS = [16, 32, 48, 64, 96, 128, 192]
NOISE = [1.004, 0.997, 1.001, 0.996, 1.003, 0.999, 1.002]


def test_a_power_law_is_drawn_where_the_runs_follow_one_and_refused_where_they_bend(trained, lab):
    page = trained
    page.values["tabs", "active_tab"] = "Compare"
    pick(page, "scaling")
    for name, losses, words in (
        ("law", [9 * w**-0.3 * n for w, n in zip(WIDTHS, NOISE, strict=True)],
         "Twice as many parameters give 0.90"),
        ("bent", [1.5 + 40 / width for width in WIDTHS], "the residuals show a bend"),
    ):  # fmt: skip
        with_sizes(lab, name, dict(zip(WIDTHS, losses, strict=True)))
        page.fire("scaling-said.children", "scaling-again.n_clicks")
        marks = page.get("scaling-chart-parameters", "figure")["data"]
        drawn = [one["name"] for one in marks]
        assert drawn == ["a run each", "power law"][: 2 if name == "law" else 1]
        assert len(marks[0]["x"]) == len(WIDTHS)
        assert words in page.text("scaling-said")
