"""Advanced settings: each in one section, and shown where it has an effect."""

from collections import Counter

import pytest

from transformer_lab.recipes import SETTINGS, Setup, differences, load_recipes
from transformer_lab.ui.train import sections

ADVANCED = [setting for setting in SETTINGS.values() if setting.advanced]


def test_every_advanced_setting_stands_in_one_section_and_no_section_is_empty():
    listed = Counter(key for keys in sections.SECTIONS.values() for key in keys)
    assert {*listed.values()} == {1}
    assert {*listed} <= {setting.key for setting in ADVANCED}
    assert {sections.section_of(setting) for setting in ADVANCED} == {*sections.SECTIONS}


@pytest.mark.parametrize("key", sorted(sections.NEEDS))
def test_what_a_setting_needs_can_be_chosen_and_is_reported(key: str):
    for other, allowed in sections.NEEDS[key].items():
        assert {*allowed} < {*(SETTINGS[other].choices or ())}
        assert SETTINGS[other].label in sections.needs(key, SETTINGS)


def test_a_setting_applies_when_what_it_needs_is_chosen():
    assert not sections.applies("train.momentum", {"train.optimizer": "adamw"})
    assert sections.applies("train.momentum", {"train.optimizer": "muon"})
    assert sections.applies("train.seed", {})


def test_differences_from_the_tutorial_are_computed_from_the_settings():
    recipes = load_recipes()
    assert differences(recipes["tiny_shakespeare"].setup) == []
    changed = recipes["tiny_shakespeare"].setup.with_values(
        {"model.layers": 2, "train.seed": 5, "sample.length": 7}
    )
    found = [(each.key, own, taught) for each, own, taught in differences(changed)]
    assert found == [("model.layers", 2, 4)]
    assert differences(Setup()) != []
