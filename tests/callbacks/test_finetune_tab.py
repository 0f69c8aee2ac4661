"""The Fine-tune tab, without a browser: from a base to both losses and both texts."""

import json

from transformer_lab.ui.finetune.layout import RESTING
from transformer_lab.ui.finetune.poll import SLOW
from waiting import until


def spelled(group, name, kind="finetune-setting"):
    named = {"type": kind, "group": group, "name": name}
    return json.dumps(named, sort_keys=True, separators=(",", ":"))


def poll(page, changed="finetune-tick.n_intervals"):
    return page.fire("finetune-seen.data", changed)


def press(page, button, output):
    page.values[button, "n_clicks"] = (page.values.get((button, "n_clicks")) or 0) + 1
    return page.fire(output, f"{button}.n_clicks")


def opened(page):
    page.values["tabs", "active_tab"] = "Fine-tune"
    poll(page, "tabs.active_tab")
    return page


def test_a_base_is_tuned_and_both_write(trained_lab):
    lab, open_page = trained_lab
    page = opened(open_page())
    assert "Nothing has been fine-tuned yet" in page.text("finetune-state")
    base = page.get("finetune-base", "value")
    page.fire("finetune-step.options", "finetune-base.value")
    page.values["finetune-text", "value"] = "python_docs"
    assert page.get("finetune-step", "value") == "newest"
    for key, value in (("lora.rank", "2"), ("train.steps", "4"), ("train.batch_size", "4")):
        page.values[spelled(*key.split(".")), "value"] = value
    page.fire("finetune-cost.children", "finetune-base.value")
    assert "numbers learn" in page.text("finetune-cost")
    press(page, "finetune-start", "finetune-message.children")
    assert page.text("finetune-message") == ""
    until(lambda: lab.trainings.current.trained and lab.trainings.current.ended)
    poll(page, "finetune-refresh.data")
    tuned = page.get("finetune-shown", "value")
    assert tuned == lab.trainings.current.status.run_id != base
    until(lambda: poll(page) and "after step 4" in page.text("finetune-sum"))
    page.values["finetune-prompt", "value"] = "def "
    press(page, "finetune-write", "finetune-writing.data")
    until(lambda: poll(page) and len(page.text("finetune-text-2")) > 20)
    assert page.text("finetune-text-1").startswith("def ")
    assert page.text("finetune-text-2").startswith("def ")


def test_in_generate_its_adapter_has_a_strength(trained_lab):
    lab, open_page = trained_lab
    page = open_page()
    tuned = next(run for run in lab.runs.all() if run.base)
    page.values["moment-at", "data"] = {"run": tuned.id, "step": None, "newest": 4}
    page.fire("adapters.hidden", "moment-at.data")
    assert page.get("adapters", "hidden") is False
    assert page.get("adapter-first", "value") == tuned.id
    page.values["strength-first", "value"] = 0.5
    page.generate(prompt="def ", length="4")
    until(lambda: page.read_text() and "done" in page.get("generate-caption", "children"))
    assert f"base + 0.5 × {tuned.id}" in page.get("generate-caption", "children")
    page.values["strength-first", "value"] = "much"
    page.generate(prompt="def ", length="4")
    assert "Strength must be a number" in page.get("generate-message", "children")
    page.values["adapter-second", "value"] = tuned.id
    page.values["strength-first", "value"] = 1
    page.generate(prompt="def ", length="4")
    assert "Both adapters are the same" in page.get("generate-message", "children")
    page.values["moment-at", "data"] = {"run": tuned.base, "step": None, "newest": 4}
    page.fire("adapters.hidden", "moment-at.data")
    assert page.get("adapters", "hidden") is False
    assert page.get("adapter-first", "value") == "none"


def test_only_the_settings_of_the_method_are_shown_and_a_wrong_value_is_reported_there(trained_lab):
    page = opened(trained_lab[1]())
    rank = spelled("lora", "rank")
    page.values[rank, "value"] = "0"
    page.fire("finetune-cost.children", f"{rank}.value")
    problem = spelled("lora", "rank", "finetune-problem")
    assert "choose a number from 1" in page.get(json.loads(problem), "children")
    method = spelled("finetune", "method")
    page.values[method, "value"] = "full"
    field = json.dumps({"name": ["ALL"], "type": "finetune-field"}, separators=(",", ":"))
    page.fire(f"{field}.hidden", f"{method}.value")
    assert page.get({"type": "finetune-field", "name": "lora.rank"}, "hidden") is True


def cost(page):
    page.fire("finetune-cost.children", f"{spelled('lora', 'rank')}.value")
    return page.text("finetune-cost")


def problem(page, group, name):
    return page.get({"type": "finetune-problem", "group": group, "name": name}, "children")


def test_a_rank_of_1_works_and_one_above_the_width_or_an_unknown_matrix_is_a_sentence(trained_lab):
    page = opened(trained_lab[1]())
    page.values["finetune-text", "value"] = "python_docs"
    rank = spelled("lora", "rank")
    page.values[rank, "value"] = "1"
    assert "numbers learn" in cost(page)
    assert problem(page, "lora", "rank") == ""
    page.values[rank, "value"] = "1000"
    cost(page)
    assert "choose at most" in problem(page, "lora", "rank")
    page.values[rank, "value"] = "1"
    page.values[spelled("lora", "matrices"), "value"] = "single"
    page.values[spelled("lora", "single"), "value"] = "query, nose"
    cost(page)
    assert "'nose', which the base has not" in problem(page, "lora", "single")


def test_what_becomes_of_unknown_characters_and_what_it_costs_is_reported_beforehand(trained_lab):
    lab, open_page = trained_lab
    page = opened(open_page())
    entry = lab.texts.add(("a new text of \u0416\u0419. " * 200).encode(), "strange", "a test")
    page.values["finetune-text", "value"] = entry.id
    way = spelled("finetune", "unknown")
    cost(page)
    assert "'\u0416'" in page.text("finetune-unknown")
    page.values[way, "value"] = "extend"
    assert "2 new tokens" in cost(page)
    assert "2 in all" in page.text("finetune-unknown")
    page.values[way, "value"] = "replace"
    page.values[spelled("finetune", "replacement"), "value"] = "\u0416"
    press(page, "finetune-start", "finetune-message.children")
    assert "does not know '\u0416' either" in page.text("finetune-message")
    field = json.dumps({"name": ["ALL"], "type": "finetune-field"}, separators=(",", ":"))
    page.fire(f"{field}.hidden", f"{way}.value")
    assert page.get({"type": "finetune-field", "name": "finetune.replacement"}, "hidden") is False
    assert page.get({"type": "finetune-field", "name": "lora.single"}, "hidden") is True


def test_a_base_deleted_meanwhile_is_a_sentence(trained_lab):
    page = opened(trained_lab[1]())
    page.values["finetune-base", "value"] = "gone-1"
    press(page, "finetune-start", "finetune-message.children")
    assert page.text("finetune-message") == "There is no run 'gone-1'."


def test_polls_rest_while_another_tab_is_open(trained_lab):
    page = opened(trained_lab[1]())
    until(lambda: poll(page) and page.get("finetune-tick", "interval") == SLOW)
    page.values["tabs", "active_tab"] = "Train"
    poll(page, "tabs.active_tab")
    assert page.get("finetune-tick", "interval") == RESTING
    page.values["tabs", "active_tab"] = "Fine-tune"
    poll(page, "tabs.active_tab")
    assert page.get("finetune-tick", "interval") == SLOW


def brought(page, path):
    page.values["base-path", "value"] = path
    press(page, "base-add", "base-message.children")
    return page.text("base-message")


def test_a_base_from_elsewhere_is_brought_by_its_path_or_as_a_zip(trained_lab, tmp_path):
    lab, open_page = trained_lab
    page = opened(open_page())
    assert "Type the path" in brought(page, " ")
    assert "no Hugging Face folder" in brought(page, str(tmp_path))
    page.values["base-imported", "data"] = {"error": "It was no .zip."}
    page.fire("base-message.children", "base-imported.data")
    assert page.text("base-message") == "It was no .zip."
    base = next(run.id for run in lab.runs.all() if not run.base)
    page.values["base-imported", "data"] = {"id": base}
    page.fire("base-message.children", "base-imported.data")
    assert page.get("finetune-base", "value") == base
    lab.texts.paths_allowed = False
    try:
        assert "--allow-paths" in brought(page, str(tmp_path))
    finally:
        lab.texts.paths_allowed = True
