"""What the address of the page says is read, checked and put on the page."""

from urllib.parse import urlencode

import pytest

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.ui import address, form, ids
from transformer_lab.ui.server import TABS

TITLES = [tab.TITLE for tab in TABS]


def opened(page, **said):
    """A page that opens on an address."""
    return type(page)(page.app, "?" + urlencode(said))


def test_an_address_fills_the_form_as_it_was_when_it_was_copied(visited):
    first = opened(visited)
    first.values["recipe", "value"] = "tiny_shakespeare"
    first.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "recipe.value")
    first.set({"train.learning_rate": "1e-3", "train.seed": "7", "model.causal": True})
    said = first.get("address-form", "data")["said"]
    assert said == {"recipe": "tiny_shakespeare", "train.learning_rate": "0.001", "train.seed": "7"}
    second = opened(visited, **said, **{"sample.temperature": "0.7", "sample.prompt": "To be"})
    assert second.get("recipe", "value") == "tiny_shakespeare"
    assert second.get("recipe-summary", "children") == load_recipes()["tiny_shakespeare"].summary
    assert second.get("plan", "data")["setup"] == first.get("plan", "data")["setup"]
    assert second.get("address-form", "data")["said"] == said
    assert second.get(ids.sample_setting("temperature"), "value") == "0.7"
    assert second.get(ids.sample_setting("prompt"), "value") == "To be"
    assert second.get("address-problem", "children") == ""


def test_an_address_names_what_is_open_in_tabs_made_late_too(trained_lab):
    lab, open_page = trained_lab
    run = lab.runs.all()[0].id
    first = lab.models.moments(run)[0]
    said = {"tab": "look-inside", "run": run, "model": run, "moment": str(first), "look": "Health"}
    said |= {"layer": "1", "head": "2", "text": "a b", "question": "own", "find": "x y"}
    said |= {"experiment": list(EXPERIMENTS)[-1]}
    page = opened(open_page(), **said)
    assert page.get("address-problem", "children") == ""
    assert page.get("address-places", "data") == said | {"tab": "Look inside"}
    assert page.get("moment-goal", "data") == {"run": run, "step": first}
    assert page.get("writer", "value") == run
    assert page.get("run", "value") == run
    assert page.get("look-tabs", "active_tab") == "Health"
    assert page.get("look-layer", "value") == "0"
    assert page.get("look-head", "value") == "1"
    assert page.get("look-text", "value") == "a b"
    assert page.get("compare-question", "data") == "own"
    assert page.get("experiment", "data") == list(EXPERIMENTS)[-1]
    assert page.get("runs-search", "value") == "x y"
    assert page.get("runs", "dashGridOptions")["quickFilterText"] == "x y"


def test_an_address_without_a_form_opens_on_the_usual_one(visited):
    usual = opened(visited).get("plan", "data")
    assert opened(visited, tab="runs").get("plan", "data") == usual


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("train.learning_rate", "0,001", "write 0.001"),
        ("train.steps", "1.000", "write 1000 or 1."),
        ("train.steps", "-1", "choose a number from"),
        ("model.heads", "3", "does not divide"),
        ("model.layer", "3", "There is no setting 'model.layer'"),
        ("data.corpus", "/nowhere", "There is no corpus"),
        ("recipe", "cake", "There is no recipe 'cake'"),
        ("tab", "cake", "There is no tab 'cake'"),
        ("run", "../../etc", "There is no run"),
        ("model", "cake", "There is no model 'cake'"),
        ("moment", "17", "There is no checkpoint '17'"),
        ("moment", "1" * 50, "There is no checkpoint"),
        ("layer", "0", "count from 1"),
        ("head", "²", "count from 1"),
        ("look", "cake", "There is no part of Look inside 'cake'"),
        ("lesson", "cake", "There is no lesson 'cake'"),
        ("question", "cake", "There is no question"),
        ("experiment", "cake", "There is no experiment"),
        ("cake", "1", "There is no part of an address 'cake'"),
        ("sample.temperature", "0,8", "write 0.8"),
    ],
)
def test_what_is_wrong_in_an_address_is_reported_and_the_rest_is_used(
    trained_lab, name, value, why
):
    lab, _ = trained_lab
    text = urlencode({"train.batch_size": "8", name: value})
    read = address.read(lab, text, TITLES)
    assert why in read.sentence
    assert read.setup.train.batch_size == 8
    usual = load_recipes()["quick_start"].setup
    assert read.setup == usual.with_values({"train.batch_size": 8})
    assert name not in read.places


def test_what_is_wrong_is_on_the_page(visited):
    page = opened(visited, **{"train.steps": "1.000", "recipe": "good_text"})
    assert "write 1000" in page.text("address-problem")
    assert page.get("recipe", "value") == "good_text"


def test_of_many_wrong_values_three_are_reported(trained_lab):
    lab, _ = trained_lab
    text = "&".join(f"wrong{place}=1" for place in range(9))
    assert address.read(lab, text, TITLES).sentence.endswith("And 6 more.")


def test_every_setting_survives_the_way_through_an_address(trained_lab):
    lab, _ = trained_lab
    recipe = load_recipes()["quick_start"]
    setup = Setup().with_values(
        {"train.keep_best": True, "train.piece": 0, "train.weight_decay": 0.012345678}
    )
    said = form.in_address(setup, recipe)["said"]
    back = address.read(lab, urlencode(said), TITLES)
    assert back.sentence == ""
    own, other = (
        {key: value for key, value in one.values().items() if not key.startswith("sample.")}
        for one in (setup, back.setup)
    )
    assert own == other


def test_a_long_address_opens_the_usual_page(visited):
    page = opened(visited, **{"train.steps": "7", "text": "a" * 9000})
    assert "too long" in page.text("address-problem")
    assert page.get("plan", "data") == opened(visited).get("plan", "data")


def test_a_link_can_keep_controls_as_they_are(visited):
    lock = "recipe,model.layers,train.cake"
    page = opened(visited, recipe="quick_start", lock=lock, **{"model.layers": "2"})
    assert page.get("recipe", "disabled") is True
    assert page.get(ids.setting("model", "layers"), "disabled") is True
    assert not page.get(ids.setting("model", "heads"), "disabled")
    assert "Recipe, Layers." in page.text("locked-note")
    assert "There is no setting 'train.cake' to lock." in page.text("address-problem")
    page.set({"train.steps": "7"})
    page.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "undo.n_clicks")
    page.fire("plan.data", "recipe.value")
    assert page.fire("recipe-summary.children", "offer.n_clicks") == {}, "nor another recipe"
    setup = page.get("plan", "data")["setup"]
    assert setup["model"]["layers"] == 2, "undo leaves what the link keeps"
    assert setup["train"]["steps"] == 100


def test_no_other_tab_changes_what_a_link_keeps(visited):
    page = opened(visited, lock="data.corpus", **{"data.corpus": "python_docs"})
    page.values["text", "value"] = "tiny_shakespeare"
    page.values["text-tokenizer", "value"] = "bytes"
    page.fire("tabs.active_tab", "train-on.n_clicks")
    assert page.get("tabs", "active_tab") == "Train"
    assert page.get(ids.setting("data", "corpus"), "value") == "python_docs"
    assert page.get(ids.setting("data", "tokenizer"), "value") == "bytes"


def test_a_branch_does_not_change_what_a_link_keeps(trained_lab):
    lab, open_page = trained_lab
    run = lab.runs.all()[0].id
    page = opened(open_page(), recipe="tiny_shakespeare", lock="recipe,train.learning_rate")
    page.values["branch", "data"] = {"run": run, "checkpoint": "newest-1"}
    page.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "branch.data")
    assert page.get("recipe", "value") == "tiny_shakespeare"
    assert page.get(ids.setting("train", "learning_rate"), "value") == "3e-4"


def test_a_link_can_keep_every_control(visited):
    page = opened(visited, lock="all")
    assert page.get("address-problem", "children") == ""
    assert all(page.get(ids.setting(one.group, one.name), "disabled") for one in form.FORM)
