"""Settings are declared once, checked always, and explain themselves."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lab.generation import SampleConfig
from transformer_lab.model import ModelConfig
from transformer_lab.recipes import GROUPS, SETTINGS, Setup
from transformer_lab.settings import ConfigError, checked, exact, from_mapping, plain
from transformer_lab.training import TrainConfig

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


@pytest.mark.parametrize(
    ("key", "given", "way_out"),
    [
        ("train.learning_rate", "0,001", "write 0.001"),
        ("train.learning_rate", "1,5e-4", "write 1.5e-4"),
        ("sample.temperature", "0,5", "write 0.5"),
        ("sample.temperature", "1,000", "write 1."),
        ("train.gradient_clip", "1,000", "write 1000 or 1."),
        ("model.layers", "2,5", "choose a whole number, 1 to 48"),
        ("train.steps", "1.000", "write 1000 or 1."),
        ("train.steps", "1.000.000", "write 1000000"),
        ("train.steps", "1,00,000", "choose a whole number"),
        ("train.steps", "10\N{NARROW NO-BREAK SPACE}000", "write 10000"),
        ("train.steps", "10'000", "write 10000"),
        ("data.vocabulary_size", "2.048", "write 2048"),
        ("data.vocabulary_size", "20.000", "choose a whole number, 300 to 16,384"),
        ("train.save_minutes", "1.000,5", "write 1000.5"),
        (
            "train.learning_rate",
            "'\N{ARABIC-INDIC DIGIT THREE},\N{ARABIC-INDIC DIGIT ONE}",
            "choose a number",
        ),
    ],
)
def test_a_number_that_may_be_two_is_refused_with_what_to_write(key, given, way_out):
    with pytest.raises(ConfigError) as caught:
        checked(SETTINGS[key], given)
    assert way_out in str(caught.value)


@given(st.sampled_from(NUMBERS), st.from_regex(r"[+-]?[\d.,' ]{1,9}(e-?\d)?", fullmatch=True))
def test_what_a_refusal_tells_to_write_is_allowed(setting, given):
    try:
        checked(setting, given)
    except ConfigError as error:
        for written in str(error).partition(": write ")[2].rstrip(".").split(" or "):
            assert not written or checked(setting, written) is not None


@given(st.sampled_from(NUMBERS), st.floats(0, 1))
def test_a_value_stands_in_its_control_with_all_its_digits(setting, share):
    value = checked(setting, setting.kind(setting.low + share * (setting.high - setting.low)))
    assert checked(setting, exact(value)) == value


def test_a_value_just_out_of_bounds_is_not_rounded_into_them():
    with pytest.raises(ConfigError, match=r"is 5\.0000001: choose a number from 0 to 5"):
        checked(SETTINGS["sample.temperature"], 5.0000001)


@pytest.mark.parametrize("temperature", [1e-40, "1e-40", 5e-324, "0.0000001"])
def test_a_temperature_that_cannot_be_divided_by_is_refused(temperature):
    with pytest.raises(ConfigError, match="choose 0, which always"):
        SampleConfig(temperature=temperature)


def test_shares_of_a_schedule_say_what_is_left():
    with pytest.raises(ConfigError, match=r"choose at most 0\.2\."):
        TrainConfig(warmup_share=0.8, final_share=0.3)
    assert TrainConfig(warmup_share=0.1234561, final_share=0.8765439).final_share == 0.8765439


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
