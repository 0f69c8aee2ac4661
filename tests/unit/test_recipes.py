"""Recipes are complete, true to the tutorial, and fail in sentences."""

import os

import pytest

from transformer_lab.recipes import (
    TUTORIAL,
    changed_settings,
    differences,
    find_recipe,
    load_recipe,
    load_recipes,
    setup_from,
)
from transformer_lab.settings import ConfigError

RECIPES = load_recipes()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_says_what_it_is_for(recipe):
    assert recipe.title
    assert recipe.summary.endswith(".")
    assert changed_settings(recipe.setup, recipe) == []
    assert setup_from(recipe.setup.to_mapping()) == recipe.setup


def test_recipes_come_in_the_order_of_lessons():
    lessons = [
        "quick_start",
        "good_text",
        "tutorial_on_a_laptop",
        "tiny_shakespeare",
        "fast_learning",
        "best_quality",
        "pc_feedforward",
        "pc_alternating",
        "pc_hierarchical",
        "pc_dual_stream",
        "pc_positions",
        "pc_learning",
    ]
    assert [slug for slug in RECIPES if slug in lessons] == lessons  # others may stand among them
    groups = [RECIPES[slug].group for slug in lessons]
    assert groups == [""] * 6 + ["Research"] * 6


def test_research_recipes_change_one_idea_of_quick_start():
    for slug, own in {
        "pc_feedforward": {"model.feedforward"},
        "pc_alternating": {"model.architecture", "model.feedforward"},
        "pc_hierarchical": {"model.architecture"},
        "pc_dual_stream": {"model.architecture"},
        "pc_positions": {"model.positions"},
        "pc_learning": {
            "train.learning_rule",
            "train.pc_learning_steps",
            "model.embedding_deviation",
        },
    }.items():
        assert set(changed_settings(RECIPES[slug].setup, RECIPES["quick_start"])) == own


def test_the_tutorial_on_a_laptop_is_the_tutorials_model_and_optimizer_on_less_text_a_step():
    """What differs decides how much is read in a step and how often; nothing of how it learns."""
    own, taught = RECIPES["tutorial_on_a_laptop"].setup, RECIPES[TUTORIAL].setup
    smaller = {setting.key: (ours, theirs) for setting, ours, theirs in differences(own)}
    assert set(smaller) == {"model.sequence_length", "train.batch_size", "train.steps"}
    assert all(ours < theirs for ours, theirs in smaller.values())
    assert set(changed_settings(own, RECIPES[TUTORIAL])) == {*smaller, "train.evaluation_batches"}
    assert taught.sample == own.sample


@pytest.mark.parametrize(
    ("slug", "values"),
    [
        (
            "tiny_shakespeare",
            {
                "model.embedding_dim": 128,
                "model.heads": 4,
                "model.layers": 4,
                "model.sequence_length": 256,
                "model.dropout": 0.1,
                "model.feedforward": "relu",
                "model.norm_place": "pre",
                "train.batch_size": 64,
                "train.learning_rate": 3e-4,
                "train.schedule": "three_phase",
                "data.tokenizer": "characters",
            },
        ),
        ("fast_learning", {"train.learning_rate": 3e-3}),
        (
            "best_quality",
            {
                "model.layers": 8,
                "model.embedding_dim": 512,
                "train.steps": 10_000,
                "data.tokenizer": "gpt2",
                "train.keep_best": True,
            },
        ),
        (
            "quick_start",
            {
                "model.embedding_dim": 128,
                "model.layers": 4,
                "model.heads": 4,
                "data.tokenizer": "characters",
            },
        ),
    ],
)
def test_a_recipe_is_what_the_tutorial_says(slug, values):
    found = RECIPES[slug].setup.values()
    assert {key: found[key] for key in values} == values


@pytest.mark.parametrize(
    ("content", "field", "why"),
    [
        ("[model]\nhaeds = 4", "model.haeds", "did you mean heads"),
        ("[modle]\nheads = 4", "modle", "did you mean model"),
        ("[model]\nheads = 3", "model.heads", "does not divide"),
        ("[train]\nbatch_size = 0", "train.batch_size", "1 to 4,096"),
        ("model = 3", "model", "must be a section"),
        ("[about]\nauthor = 'me'", "about.author", "no setting"),
        ("[about]\norder = 'first'", "about.order", "whole number"),
        ("about = 3", "about", "must be a section"),
        ("not toml", "recipe", "not a readable TOML"),
        ("\udcff", "recipe", "not a readable TOML"),
    ],
)
def test_a_bad_recipe_names_its_file_the_key_and_the_way_out(tmp_path, content, field, why):
    path = tmp_path / "mine.toml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=why) as caught:
        load_recipe(path)
    assert caught.value.field == field
    assert "mine.toml" in str(caught.value)


def test_a_recipe_is_found_by_name_or_by_path(tmp_path):
    (tmp_path / "mine.toml").write_text("[model]\nlayers = 2")
    assert find_recipe(str(tmp_path / "mine.toml")).setup.model.layers == 2
    assert find_recipe("quick_start").title == "Quick start"
    for missing in ("quick", str(tmp_path / "no.toml")):
        with pytest.raises(ConfigError, match="There is no recipe"):
            find_recipe(missing)


def test_a_recipe_file_that_is_written_again_is_read_again(tmp_path):
    path = tmp_path / "mine.toml"
    for title in ("one", "two", "three, which is longer"):
        path.write_text(f"[about]\ntitle = '{title}'")
        os.utime(path, ns=(0, len(title) * 10**9 + ord(title[0])))
        assert load_recipe(path).title == title


def test_what_was_changed_is_known():
    recipe = RECIPES["quick_start"]
    changed = recipe.setup.with_values({"model.layers": 2, "train.seed": 7})
    assert changed_settings(changed, recipe) == ["model.layers", "train.seed"]
