"""Settings are declared once, checked always, and explain themselves."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lab.model import ModelConfig
from transformer_lab.recipes import GROUPS, SETTINGS, Setup
from transformer_lab.settings import ConfigError, checked, from_mapping, plain

NUMBERS = [setting for setting in SETTINGS.values() if setting.kind in (int, float)]
by_key = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


@by_key
def test_every_setting_has_a_label_and_a_sentence_of_help(setting):
    assert setting.label
    assert setting.help.endswith(".")
    assert setting.help[0].isupper()


@by_key
def test_every_default_is_allowed(setting):
    assert checked(setting, setting.default) == setting.default
    if setting.kind in (int, float):
        assert setting.low <= setting.default <= setting.high
        assert checked(setting, setting.low) == setting.low
        assert checked(setting, setting.high) == setting.high


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.key)
@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, -math.inf, "", " ", None, "abc", "nan", True, []]
)
def test_what_is_no_number_is_refused_with_the_limits(setting, bad):
    with pytest.raises(ConfigError) as caught:
        checked(setting, bad)
    assert caught.value.field == setting.key
    assert setting.label in str(caught.value)
    assert plain(setting.high) in str(caught.value)


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.key)
def test_what_is_out_of_bounds_is_refused(setting):
    for value in (setting.low - 1, setting.high * 2 + 1):
        with pytest.raises(ConfigError, match="choose a number from"):
            checked(setting, value)


@given(
    setting=st.sampled_from(list(SETTINGS.values())),
    value=st.one_of(
        st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.integers())
    ),
)
def test_any_value_is_allowed_or_refused_in_a_sentence(setting, value):
    try:
        found = checked(setting, value)
    except ConfigError as error:
        assert (error.field, len(str(error)) < 500) == (setting.key, True)  # noqa: PT017
    else:
        assert type(found) is setting.kind
        if setting.kind in (int, float):
            assert setting.low <= found <= setting.high


@pytest.mark.parametrize(
    ("key", "given", "found"),
    [
        ("train.learning_rate", "3e-4", 3e-4),
        ("train.steps", "10,000", 10_000),
        ("train.steps", "1_000", 1000),
        ("model.bias", "off", False),
        ("model.heads", "4.0", 4),
    ],
)
def test_values_are_read_as_people_write_them(key, given, found):
    assert checked(SETTINGS[key], given) == found


def test_half_a_head_is_refused():
    with pytest.raises(ConfigError, match="whole number"):
        checked(SETTINGS["model.heads"], "2.5")


def test_an_unknown_key_names_the_nearest_one():
    with pytest.raises(ConfigError, match="did you mean heads"):
        from_mapping(ModelConfig, {"haeds": 4})


def test_heads_that_do_not_divide_say_which_do():
    with pytest.raises(ConfigError, match="choose 1, 2, 4, 8, 16 or 32") as caught:
        ModelConfig(heads=5)
    assert caught.value.field == "model.heads"


@pytest.mark.parametrize("config", GROUPS.values(), ids=GROUPS)
def test_a_config_is_a_fact_not_a_variable(config):
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config(), name, 1)


def test_settings_can_be_changed_by_their_dotted_names():
    setup = Setup().with_values({"model.layers": "2", "train.learning_rate": "1e-3"})
    assert (setup.model.layers, setup.train.learning_rate) == (2, 1e-3)
    with pytest.raises(ConfigError, match=r"did you mean model\.layers"):
        setup.with_values({"model.layer": 2})
