"""Who is in a class: names, keys, and codes for those let in again."""

import json
import stat

import pytest

from transformer_lab.lab.classroom import people as module
from transformer_lab.lab.classroom.people import CODE_TRIES, LONGEST, People, checked_name
from transformer_lab.settings import ConfigError


@pytest.fixture
def people(tmp_path):
    return People(tmp_path / "people", 4)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Jo", "Jo"),
        ("  Jo   O'Neil ", "Jo O'Neil"),
        ("Jos\u00e9", "Jos\u00e9"),
        ("\u5c0f\u660e", "\u5c0f\u660e"),
        ("\u0905\u0902\u0915\u093f\u0924", "\u0905\u0902\u0915\u093f\u0924"),
        ("\uff2a\uff4f", "Jo"),  # wide letters
    ],
)
def test_names_of_all_languages_are_taken(given, shown):
    assert checked_name(given) == shown


@pytest.mark.parametrize(
    "given",
    [
        "", "   ", "...", "-", "../x", "a/b", "a\\b", "a\0b", "<b>Jo</b>", '"Jo"', "Jo&amp;",
        "a\u202eb", "a\u200bb", "Jo\x1b[31m", "{Jo}", "$(Jo)", "J" * (LONGEST + 1), "Jo\U0001f600",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_in_a_sentence(given, people):
    with pytest.raises(ConfigError) as refused:
        people.enter(given)
    assert refused.value.field == "name"
    assert str(refused.value)[-1] == "."
    assert people.all() == []


def test_no_name_is_part_of_a_path(people):
    person = people.enter("Jo . . .")
    assert set(person.id) <= set("0123456789abcdef")
    assert len(person.id) == 16


def test_people_are_there_again_after_a_restart_and_only_their_owner_may_read_them(people):
    jo = people.enter("Jo")
    again = People(people.folder, 4)
    assert again.holding(jo.id, jo.key) == jo
    assert again.secret == people.secret
    assert stat.S_IMODE(people.folder.stat().st_mode) == 0o700


def test_a_name_is_taken_once_however_it_is_written(people):
    people.enter("Jo O'Neil")
    for same in ("jo oneil", "JO  O'NEIL", "Jo-O'Neil.", "\uff2ao O'Neil"):
        with pytest.raises(ConfigError, match="is here already"):
            people.enter(same)
    assert len(people.all()) == 1


def test_a_code_lets_one_in_once_and_ends_the_cookie_before(people):
    jo = people.enter("Jo")
    code = people.let_in(jo.id)
    spoken = f" {code[:4].upper()}-{code[4:]}"
    back = people.enter("jo", spoken)
    assert (back.id, back.name) == (jo.id, jo.name)
    assert people.holding(jo.id, jo.key) is None
    assert people.holding(jo.id, back.key) == back
    with pytest.raises(ConfigError, match="not the code"):
        people.enter("jo", spoken)


def test_a_code_ends_by_itself_and_after_a_few_wrong_ones(people, monkeypatch):
    jo = people.enter("Jo")
    code = people.let_in(jo.id)
    for _ in range(CODE_TRIES):
        with pytest.raises(ConfigError, match="ask your teacher for a new one"):
            people.enter("Jo", "wrong")
    with pytest.raises(ConfigError, match="not the code"):
        people.enter("Jo", code)
    monkeypatch.setattr(module, "CODE_SECONDS", -1.0)
    code = people.let_in(jo.id)
    with pytest.raises(ConfigError, match="not the code"):
        people.enter("Jo", code)
    assert people.holding(jo.id, jo.key) == jo


def test_a_code_is_for_one_person_alone_and_nobody_gets_in_without(people):
    jo, al = people.enter("Jo"), people.enter("Al")
    code = people.let_in(jo.id)
    for name, given in (("Al", code), ("New", code), ("Jo", "\ud800"), ("Al", "")):
        with pytest.raises(ConfigError):
            people.enter(name, given)
    assert people.let_in("nobody") == ""
    assert people.holding(al.id, jo.key) is None
    assert people.holding("", "") is None
    assert people.holding("nobody", "") is None


def test_a_class_has_an_end(people):
    for name in ("A1", "A2", "A3", "A4"):
        people.enter(name)
    with pytest.raises(ConfigError, match=r"4 people already.*--people"):
        people.enter("A5")


def test_a_spoiled_list_is_kept_and_told(people):
    people.enter("Jo")
    path = people.folder / "people.json"
    stored = json.loads(path.read_text())
    for spoiled in ("{", "[]", json.dumps(stored | {"secret": ""}), json.dumps({"people": [1]})):
        path.write_text(spoiled)
        with pytest.raises(ConfigError, match=r"people\.json cannot be used"):
            People(people.folder, 4)
        assert path.read_text() == spoiled


def test_a_key_is_not_written_where_things_are_shown(people):
    jo = people.enter("Jo")
    assert jo.key not in repr(jo)
