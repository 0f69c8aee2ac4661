"""The Train tab, without a browser."""

import json
from dataclasses import replace

import pytest

from transformer_lab.lab.coach.evidence import Advice
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.milestones import Milestone
from transformer_lab.lab.training.views import View
from transformer_lab.recipes import differences, load_recipes
from transformer_lab.runs.database import Sample
from transformer_lab.runs.run import Seam
from transformer_lab.training import StepMetrics
from transformer_lab.ui.form import FORM
from transformer_lab.ui.train import coach_card, live, milestones
from transformer_lab.ui.train.sections import applies

CHARTS = ("loss-chart", "perplexity-chart", "rate-chart")


def test_a_recipe_fills_every_control_and_a_change_can_be_undone(visited):
    page = visited
    page.values["recipe", "value"] = "tiny_shakespeare"
    page.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "recipe.value")
    page.fire("plan.data", "recipe.value")
    layers = '{"group":"model","name":"layers","type":"setting"}'
    rate = '{"group":"train","name":"learning_rate","type":"setting"}'
    assert page.get(rate, "value") == "3e-4"
    assert page.get("modified", "children") == ""
    assert page.get("undo", "hidden") is True
    page.set({"model.layers": "2"})
    assert page.get("modified", "children") == "modified (1) · "
    page.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "undo.n_clicks")
    assert page.get(layers, "value") == "4"
    page.fire("plan.data", "undo.n_clicks")
    assert page.get("modified", "children") == ""


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("train.batch_size", "0", "choose a number from 1 to 4,096"),
        ("train.learning_rate", "NaN", "choose a number from"),
        ("train.learning_rate", "0,001", "write 0.001"),
        ("train.steps", "1.000", "write 1000 or 1."),
        ("train.steps", "", "is empty"),
        ("model.heads", "3", "does not divide"),
        ("model.layers", "2.5", "whole number"),
        ("model.dropout", "none", "choose a number from 0 to 0.9"),
        ("data.corpus", "/nowhere", "There is no corpus"),
        ("train.device", "mps", "Apple GPU"),
    ],
)
def test_a_bad_value_is_answered_at_its_control_and_starts_nothing(page, lab, key, value, why):
    page.set({key: value})
    assert why in page.error_at(key)
    others = [k for k in ("train.batch_size", "model.heads", "model.layers") if k != key]
    assert all(page.error_at(other) == "" for other in others)
    page.click("start")
    assert why in page.get("message", "children")
    assert lab.trainings.current is None


def test_a_bad_value_leaves_the_planned_schedule_as_it_was(page):
    page.tick()
    page.set({"model.heads": "3"})
    assert "rate-chart" not in page.tick()


def test_initialize_then_start_trains_that_model(page, lab, until):
    page.click("initialize")
    until(lambda: lab.trainings.current.status.state == "ready")
    page.tick()
    assert "initialized" in json.dumps(page.get("state", "children"))
    first = lab.trainings.current
    page.click("start")
    until(lambda: lab.trainings.current.ended)
    assert lab.trainings.current is first
    assert page.get("message", "children") == ""


def test_start_while_running_is_refused_in_a_sentence(page, lab, until):
    page.set({"train.steps": "1000000"})
    page.click("start")
    until(lambda: lab.trainings.current.status.step > 0)
    page.tick()
    assert page.get("start", "disabled") is True
    assert "is running: stop it first" in page.get("start", "title")
    page.click("start")
    assert "is running" in page.get("message", "children")
    for button, state in (("pause", "paused"), ("pause", "running"), ("stop", "stopped")):
        page.click(button)
        until(lambda wanted=state: lab.trainings.current.status.state == wanted)


def test_a_learning_rate_can_be_changed_on_the_way(page, lab, until):
    page.set({"train.steps": "1000000", "train.schedule": "three_phase"})
    page.click("start")
    until(lambda: lab.trainings.current.status.step > 0)
    page.set({"train.learning_rate": "1e-5"})
    page.click("apply-rate")
    assert "1e-05 from the next step" in json.dumps(page.get("message", "children"))
    assert "the schedule makes" in json.dumps(page.get("message", "children"))
    page.set({"train.learning_rate": "fast"})
    page.click("apply-rate")
    assert "choose a number" in page.get("message", "children")
    until(lambda: lab.trainings.current.live.learning_rate == 1e-5)


def test_start_over_asks_before_it_stops_a_training(page, lab, until):
    page.set({"train.steps": "1000000"})
    page.click("start")
    until(lambda: lab.trainings.current.status.step > 0)
    first = lab.trainings.current
    page.values["start-over", "n_clicks"] = 1
    page.fire("start-over-ask.hidden", "start-over.n_clicks")
    assert page.get("start-over-ask", "hidden") is False
    assert first.status.run_id in page.get("start-over-words", "children")
    assert lab.trainings.current is first
    page.values["start-over-no", "n_clicks"] = 1
    page.fire("start-over-ask.hidden", "start-over-no.n_clicks")
    assert page.get("start-over-ask", "hidden") is True
    assert first.busy
    page.click("start-over-yes")
    assert f"{first.status.run_id} is stopped" in json.dumps(page.get("message", "children"))
    until(lambda: first.ended)
    assert lab.runs.open(first.status.run_id).state()[0] == "stopped"  # and can be resumed
    lab.trainings.stop()


def test_the_latest_run_is_the_one_another_program_began_last(trained, lab, until):
    here = lab.runs.shown()
    other = Lab(lab.home)
    other.trainings.start(lab.trainings.current.setup)
    until(lambda: other.trainings.current.ended)
    there = other.trainings.current.status.run_id
    other.close()
    assert there != here
    until(lambda: lab.runs.shown() == there)
    lab.trainings.start(lab.trainings.current.setup)
    assert lab.runs.shown() not in (here, there)


def test_a_poll_brings_what_is_new_and_then_nothing(trained):
    page = trained
    assert len(page.get("loss-chart", "figure")["data"][0]["x"]) == 40
    while page.tick():  # the sample and memory may still change
        assert all("figure" not in page.last.get_json()["response"].get(c, {}) for c in CHARTS)
    assert page.last.status_code == 204


def test_the_answer_to_a_command_shows_what_it_has_changed(page, lab, until):
    page.set({"train.steps": "100000"})
    page.tick()
    before = page.text("state"), page.text("headline")
    page.click("start")  # and no poll
    assert page.text("state").startswith(lab.trainings.current.status.run_id or "New model")
    assert (page.text("state"), page.text("headline")) != before
    assert page.get("start", "disabled") is True
    assert page.get("stop", "disabled") is False
    assert page.get("tick", "interval") == live.FAST
    until(lambda: lab.trainings.current.status.step)
    page.click("pause")
    assert any(state in page.text("state") for state in ("pausing", "paused"))
    page.click("stop")
    assert any(state in page.text("state") for state in ("stopping", "stopped"))


def test_what_a_command_has_shown_does_not_stay_when_it_is_over_before_the_next_poll(
    page, lab, until
):
    page.tick()
    page.click("initialize")
    assert page.get("start", "title") != live.BUTTON_HELP["start"]  # it is being prepared
    until(lambda: lab.trainings.current.status.state == "ready")
    page.fire("cursor.data", "refresh.data")
    assert page.get("start", "disabled") is False  # as before the press, which the page has seen
    assert page.get("start", "title") == live.BUTTON_HELP["start"]


def test_a_reload_replays_the_whole_curve(trained, open_page):
    page = open_page()
    page.tick()
    assert page.get("loss-chart", "figure")["data"][0]["x"] == list(range(1, 41))


def test_charts_are_as_wide_as_the_training_is_long_from_the_start(page):
    page.set({"train.steps": "77"})
    page.tick()
    for chart in CHARTS:
        axis = page.get(chart, "figure")["layout"]["xaxis"]
        assert axis["range"] == [0, 77]
        assert axis["showticklabels"]  # before the first step, too


def finished_run(lab, steps):
    """A run of many steps, written as a training would."""
    setup = {"model": {}, "train": {"steps": steps, "evaluate_every": 1}, "data": {}, "sample": {}}
    corpus = {"name": "x", "title": "X", "characters": 99, "distinct_characters": 9}
    manifest = {
        "recipe": "long",
        "setup": setup,
        "corpus": corpus,
        "tokenizer": {"kind": "characters", "characters": list("abcdefghi")},
        "parameters": 1000,
        "device": {"name": "CPU", "reason": ""},
        "threads": 1,
    }
    writer = lab.runs.store.create("long", manifest)
    writer.state("running", 0)
    for step in range(1, steps + 1):
        loss = 4 / step**0.1 + 0.0001234567
        writer.append(StepMetrics(step, loss, 3e-4, 1.0, 10_000.0, step / 10, loss))
    writer.state("finished", steps)
    writer.close()


def test_a_poll_stays_small_however_long_the_run(lab, open_page):
    finished_run(lab, 10_000)
    page = open_page()
    first = page.body("cursor.data", "tick.n_intervals")
    first["state"][0]["value"] = {}
    answer = page.post(first)
    figures = json.loads(answer.get_data())["response"]
    assert len(figures["loss-chart"]["figure"]["data"][0]["x"]) <= 401
    assert len(answer.get_data()) < 50_000


def test_the_cost_is_reported_before_the_start_and_a_long_one_has_a_way_out(page, until):
    def told():
        page.tick()
        return page.get("preflight", "children")

    assert "FLOP a step" in json.dumps(until(told))
    assert page.get("offer", "hidden") is True
    page.set({"train.steps": "10000000", "model.layers": "8", "model.embedding_dim": "512"})
    until(lambda: page.tick() and page.get("offer", "hidden") is False)
    assert "long for this computer" in json.dumps(page.get("preflight", "children"))
    page.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "offer.n_clicks")
    assert page.get('{"group":"train","name":"steps","type":"setting"}', "value") == "100"


def test_quick_start_is_not_offered_in_place_of_quick_start(lab, page, until, monkeypatch):
    monkeypatch.setattr("transformer_lab.lab.cost.estimate.LONG", 0.0)  # a very slow computer
    page.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "offer.n_clicks")
    until(lambda: page.tick() and "long for this" in json.dumps(page.get("preflight", "children")))
    assert page.get("offer", "hidden") is True


def test_too_little_text_for_so_many_parameters_is_reported(page, until):
    page.set({"model.layers": "8", "model.embedding_dim": "512", "model.sequence_length": "64"})
    until(lambda: page.tick() and "overfit" in json.dumps(page.get("preflight", "children")))


def test_a_training_without_a_tokenizer_of_characters_has_no_milestones(page, lab, until):
    page.set({"data.tokenizer": "bpe", "data.vocabulary_size": "300"})
    page.click("start")
    until(lambda: lab.trainings.current.ended)
    page.tick()
    drawn = json.dumps(page.get("loss-chart", "figure"))
    assert "random guessing: ln " in drawn
    assert "readable text" not in drawn
    panel = json.dumps(page.get("panel", "children"))
    assert "bits per byte" in panel
    assert "Not known: it takes 3 earlier runs" in panel
    until(lambda: page.tick() and "bits/byte" in json.dumps(page.get("run", "options")))


def test_an_exception_in_a_callback_is_reported_without_a_traceback(page, lab, monkeypatch):
    def broken(*args):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(lab.runs, "view", broken)
    answer = page.post(page.body("cursor.data", "tick.n_intervals"))
    assert answer.status_code < 500
    said = answer.get_data(as_text=True)
    assert "Something went wrong" in said
    assert "Traceback" not in said
    assert "secret detail" not in said
    monkeypatch.undo()
    page.tick()


def test_every_setting_has_a_control_with_a_label_and_help(visited):
    fields = {}
    for part in parts_of(visited.client.get("/_dash-layout").get_json()):
        if "field" in (part.get("className") or "").split():
            label, *others = part["children"]
            for control in parts_of(label):
                if isinstance(control.get("id"), dict) and control["id"]["type"] == "setting":
                    key = f"{control['id']['group']}.{control['id']['name']}"
                    fields[key] = (words_of(label), words_of(others[0]))
    assert fields.keys() == {setting.key for setting in FORM}
    for setting in FORM:
        label, explained = fields[setting.key]
        assert label.startswith(setting.label)
        assert explained.startswith(setting.help)
        assert len(setting.help) > 10


def parts_of(component):
    """The properties of every component in a part of the page."""
    if isinstance(component, list):
        for child in component:
            yield from parts_of(child)
    elif isinstance(component, dict) and "props" in component:
        yield component["props"]
        yield from parts_of(component["props"].get("children"))


def words_of(component):
    """The text in a part of the page."""
    if isinstance(component, str):
        return component
    if isinstance(component, list):
        return "".join(map(words_of, component))
    return words_of(component["props"].get("children", "")) if component else ""


def test_no_part_of_the_page_comes_from_elsewhere_or_is_a_field_of_numbers(visited):
    layout = visited.client.get("/_dash-layout").get_data(as_text=True)
    index = visited.client.get("/").get_data(as_text=True)
    for served in (layout, index):
        assert "http://" not in served.replace("http://www.w3.org", "")
        assert "https://" not in served
    for name, component in visited.components.items():
        if '"type":"setting"' in name:
            assert component["type"] in ("Input", "Select", "Switch", "Textarea")
        # A browser reads a field of numbers in its own language: there 0,001 may be sent as 1.
        assert component["props"].get("type") != "number"


def test_few_callbacks_name_every_setting(visited):
    """Each property of each setting that one names costs the browser time at every change."""
    named = [
        (known["output"], place, each["property"])
        for known in visited.app._callback_list
        for place in ("inputs", "state")
        for each in known[place]
        if '"type":"setting"' in each["id"] and '["ALL"]' in each["id"]
    ]
    named += [
        (known["output"], "output", part)
        for known in visited.app._callback_list
        for part in known["output"].strip(".").split("...")
        if '"type":"setting' in part and '["ALL"]' in part
    ]
    assert 0 < len(named) <= 6, named


def test_the_strip_shows_the_newest_numbers_of_the_run(trained):
    view, shown = trained, {}
    for name in ("train", "validation", "perplexity", "rate", "speed"):
        value, change = view.get(f"strip-{name}", "children")
        shown[name] = (words_of(value), words_of(change))
    validation = shown["validation"][0]
    assert float(validation) == pytest.approx(
        view.get("loss-chart", "figure")["data"][1]["y"][-1], abs=6e-4
    )
    assert shown["validation"][1][0] in "+\u2212±"
    assert shown["rate"][0].count("e") == 1


def test_nothing_is_offered_for_a_run_that_has_not_ended(page, lab, until):
    page.tick()
    assert page.get("after", "hidden") is True
    page.set({"train.steps": "1000000"})
    page.click("start")
    until(lambda: lab.trainings.current.status.step > 0)
    page.tick()
    assert page.get("after", "hidden") is True
    page.click("stop")
    until(lambda: lab.trainings.current.ended)
    page.tick()
    assert page.get("after", "hidden") is False
    assert page.get("run-shown", "data") == lab.trainings.current.status.run_id


def pressed(page, button, output):
    page.values[button, "n_clicks"] = (page.get(button, "n_clicks") or 0) + 1
    return page.fire(output, f"{button}.n_clicks")


def test_generate_after_the_end_writes_with_the_run_that_is_shown(trained, lab, until):
    page = trained
    first = page.get("run-shown", "data")
    page.click("start")  # a newer one, whose charts are not looked at
    until(lambda: lab.trainings.current.status.run_id != first and lab.trainings.current.ended)
    page.values["run", "value"] = first
    page.tick()
    pressed(page, "after-generate", "writer.value")
    assert (page.get("tabs", "active_tab"), page.get("writer", "value")) == ("Generate", first)
    pressed(page, "after-generate", "writing.data")
    page.fire("output.children", "writing.data")
    assert f"Written by {first}" in page.text("generate-caption")
    pressed(page, "after-look", "writer.value")
    assert page.get("tabs", "active_tab") == "Look inside"


def test_train_further_goes_on_as_a_new_run_or_to_the_planned_end(trained, lab, until):
    page = trained
    first = page.get("run-shown", "data")
    assert "40 steps more" in page.get("after-further", "title")
    page.values["after-further", "n_clicks"] = 1
    page.react("after-further.n_clicks")
    until(lambda: lab.trainings.current.status.run_id != first and lab.trainings.current.ended)
    assert lab.runs.view().steps == 80
    page.tick()
    assert page.get("run-shown", "data") != first
    assert "40 steps more" in page.get("after-further", "title")


def test_compare_is_offered_once_there_is_another_run(trained, lab, until):
    page = trained
    first = page.get("run-shown", "data")
    assert page.get("after-compare", "disabled") is True
    assert "no other run" in page.get("after-compare", "title")
    page.click("start")
    until(lambda: lab.trainings.current.status.run_id != first and lab.trainings.current.ended)
    until(lambda: page.tick() and page.get("run-before", "data") == first)
    assert page.get("after-compare", "disabled") is False


def test_every_recipe_says_in_what_it_differs_from_the_tutorial(visited):
    for slug, recipe in load_recipes().items():
        visited.values["recipe", "value"] = slug
        visited.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "recipe.value")
        visited.fire("plan.data", "recipe.value")
        said = words_of(visited.get("differs", "children"))
        values = recipe.setup.values()
        found = [one for one, *_ in differences(recipe.setup) if applies(one.key, values)]
        assert ("nothing changed" in said) == (not found)
        assert [one.label for one in found if f"{one.label}: " not in said] == []


def test_while_a_run_that_goes_on_is_prepared_the_plan_of_the_form_is_drawn(page, lab):
    plan = page.get("plan", "data")
    preparing = View(state="preparing", steps=80, seams=(Seam("first-1", 40, "extended"),))
    figures, cursor = live.curves(lab, preparing, plan, {})
    assert figures[0].layout.xaxis.range == (0, 40)
    assert cursor["n"] == 0


def test_the_next_schedule_is_drawn_when_the_form_has_another_than_the_run_that_has_ended(
    trained_lab,
):
    _, open_page = trained_lab
    page = open_page()
    page.tick()
    figure = page.get("rate-chart", "figure")
    assert figure["data"][1]["x"], "the rates that the run used"
    page.set({"train.steps": "777", "train.schedule": "cosine"})
    page.tick()
    figure = page.get("rate-chart", "figure")
    assert figure["data"][0]["x"][-1] == figure["layout"]["xaxis"]["range"][1] == 777
    assert len(figure["data"][1]["x"]) == 0
    assert "planned" in figure["layout"]["title"]["text"]
    page.set({"model.heads": "3"})
    assert "rate-chart" not in page.tick(), "a bad value leaves what is drawn"


def test_a_milestone_has_what_was_written_before_and_after(trained_lab):
    lab, open_page = trained_lab
    page = open_page()
    run = lab.runs.view().run_id
    evaluated = lab.runs.open(run).evaluated()
    limits = [evaluated[0].validation_loss + 1, evaluated[-1].validation_loss - 1]
    (found,) = lab.runs.milestones(run, limits)
    assert (found.limit, found.step) == (limits[0], evaluated[0].step)
    assert found.before.step == 0
    assert found.after is None or found.after.step >= found.step
    page.tick()
    assert page.get("milestone-card", "hidden") is True  # 3.0 is out of its reach


def test_a_card_says_what_the_newest_milestone_means_and_2_0_leads_to_generate(
    trained_lab, monkeypatch
):
    lab, open_page = trained_lab
    page = open_page()
    sample = Sample(20, "The ", "king is here.")
    reached = [Milestone(3.0, 10, 2.9), Milestone(2.0, 20, 1.9, Sample(10, "The ", "kk"), sample)]
    monkeypatch.setattr(lab.runs, "milestones", lambda run, limits: reached)
    page.tick()
    assert page.get("milestone-card", "hidden") is False
    assert page.text("milestone-title") == "Below 2.0: readable text"
    texts = page.text("milestone-texts")
    for said in ("1.900 at step 20", "The kk", "The king is here.", "Below 3.0: basic patterns"):
        assert said in texts
    assert page.get("generate-now", "hidden") is True  # it has ended: Generate stands elsewhere
    running = replace(lab.runs.view(), state="running")
    assert milestones.parts(lab, running)["generate_now_hidden"] is False
    reached.pop()
    assert milestones.parts(lab, running)["generate_now_hidden"] is True


def test_the_untrained_models_text_shows_after_initialize(page, lab, until):
    page.click("initialize")
    until(lambda: page.tick() and "untrained" in (page.get("sample-step", "children") or ""))
    assert len(page.get("sample", "children")) > 50


def offered(page):
    """The steps of the coach's button, as the page holds them."""
    found = [
        part["props"]["data-do"]
        for part in walked(page.get("coach", "children"))
        if "data-do" in part["props"]
    ]
    return [json.loads(each) for each in found]


def walked(children):
    for child in children if isinstance(children, list) else [children]:
        if isinstance(child, dict) and "props" in child:
            yield child
            yield from walked(child["props"].get("children"))


def test_the_coach_says_what_is_wrong_and_its_button_sets_the_form(page, lab, until):
    assert page.get("coach", "hidden") is True
    page.set({"train.learning_rate": "1e-6", "train.optimizer": "adamw", "train.steps": "90"})
    page.click("start")
    until(lambda: lab.trainings.current.ended)
    page.tick()
    assert page.get("coach", "hidden") is False
    assert "the learning rate is too low" in page.text("coach")
    assert "after 90 steps" in page.text("coach")
    (steps,) = offered(page)
    assert [step["value"] for step in steps] == ["1e-5"]  # it has ended: nothing to apply it to
    page.set({"train.learning_rate": steps[0]["value"]})
    assert page.error_at("train.learning_rate") == ""
    assert "coach" not in page.tick()  # sent only when it changes
    assert "learning_rate" in steps[0]["at"]


def test_the_coach_offers_the_weights_of_before_it_overfitted(page, lab):
    view = View(run_id="fit", state="running", here=True)
    advice = Advice(kind="overfitting", title="", evidence="", label="", checkpoint=40)
    steps = coach_card.steps(advice, view)
    assert [step["press"] for step in steps if "press" in step] == ["generate"]
    assert {"run": "fit", "step": 40} in [step.get("value") for step in steps]
    rate = replace(advice, checkpoint=None, settings={"train.learning_rate": 1e-3})
    assert coach_card.steps(rate, view)[-1] == {"press": "apply-rate"}
    assert "press" not in coach_card.steps(rate, replace(view, here=False))[-1]


@pytest.mark.parametrize("press", ["pause", "further", "lesson"])
def test_what_the_coach_presses_is_on_the_page(page, press):
    advice = Advice(kind="", title="", evidence="", label="", press=press)
    names = [step["press"] for step in coach_card.steps(advice, View()) if "press" in step]
    assert names
    assert set(names) <= set(page.components)


def test_no_part_of_the_headline_is_broken_between_two_lines(trained):
    parts = trained.text("headline").split(" · ")
    assert len(parts) > 2
    assert not any(" " in part for part in parts)
