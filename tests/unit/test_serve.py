"""What `transformer-lab serve` makes of its options, before and while it serves."""

import re
from types import SimpleNamespace

import pytest
from werkzeug.test import Client

from transformer_lab.cli import classroom, main
from transformer_lab.cli.addresses import TOKEN, address, checked_base, chosen_token
from transformer_lab.cli.classroom import CLASS_TOKEN
from transformer_lab.cli.places import tunnel_of
from transformer_lab.settings import ConfigError
from transformer_lab.ui.web.guard import is_loopback


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://localhost:8205"),
        ("0.0.0.0", "http://localhost:8205"),
        ("::1", "http://[::1]:8205"),
        ("::", "http://[::1]:8205"),
        ("fe80::1", "http://[fe80::1]:8205"),
        ("lab.school", "http://lab.school:8205"),
    ],
)
def test_the_address_that_is_printed_can_be_opened(host, shown):
    assert address(host, 8205) == shown


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("localhost", True),
        ("127.0.0.5", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("lab.school", False),
    ],
)
def test_loopback_is_what_reaches_this_computer_only(host, only_here):
    assert is_loopback(host) is only_here


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", ""),
        ("/", ""),
        ("/lab", "/lab"),
        ("/lab/", "/lab"),
        ("//school//lab_2", "/school/lab_2"),
    ],
)
def test_a_base_path_is_brought_into_one_form(given, taken):
    assert checked_base(given) == taken


@pytest.mark.parametrize("given", ["lab", "/../x", '/"><script>', "/a b", "/é", "/%2e"])
def test_a_base_path_that_is_none_is_refused(given):
    with pytest.raises(ConfigError, match="write it like /lab"):
        checked_base(given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", ""], "host: Host is empty"),
        (["--host", "   "], "host: Host is empty"),
        (
            ["--host", "999.1.1.1"],
            "host: Host is '999.1.1.1', which this computer cannot listen on",
        ),
        (["--port", "0"], "port: Port is 0"),
        (["--base-path", "lab"], "base-path: Base path is 'lab'"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_sentence(options, words, tmp_path, capsys):
    assert main(["serve", "--home", str(tmp_path), *options]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"transformer-lab: {words}")
    assert told.err.count("\n") == 1


def test_a_token_is_made_anew_or_taken_from_the_environment(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    assert len({chosen_token() for _ in range(5)}) == 5
    monkeypatch.setenv(TOKEN, "a-token-of-24-characters")
    assert chosen_token() == "a-token-of-24-characters"
    for wrong, words in (("short", "has 5 characters"), ("with a blank in it, &?", "letters")):
        monkeypatch.setenv(TOKEN, wrong)
        with pytest.raises(ConfigError, match=words):
            chosen_token()


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({}, ""),
        ({"SSH_CONNECTION": "nonsense"}, ""),
        (
            {"SSH_CONNECTION": "10.0.0.9 50000 10.0.0.2 22", "USER": "ada"},
            "ssh -N -L 8050:localhost:8050 ada@10.0.0.2",
        ),
        (
            {"SSH_CONNECTION": "10.0.0.9 50000 10.0.0.2 2222", "USER": "ada"},
            "ssh -N -L 8050:localhost:8050 -p 2222 ada@10.0.0.2",
        ),
    ],
)
def test_over_ssh_the_command_for_the_tunnel_is_told(environment, command):
    assert tunnel_of(environment, 8050) == command


class _OpenError(Exception):
    """Raised where the lab would begin to serve."""


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], False),
        (["--host", "0.0.0.0"], True),
        (["--allow-host", "lab.school"], True),
        (["--trust-proxy"], True),
        (["--host", "0.0.0.0", "--no-token"], False),
    ],
)
def test_a_token_is_asked_for_wherever_other_computers_can_come(
    options, asked, tmp_path, monkeypatch
):
    given = []

    def made(_lab, **settings):
        given.append(settings["token"])
        raise _OpenError

    monkeypatch.setattr("transformer_lab.cli.serve.create_app", made)
    with pytest.raises(_OpenError):
        main(["serve", "--home", str(tmp_path), *options])
    assert bool(given[0]) is asked


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ray", "auto"], "ray: A class trains on one computer: leave --ray out"),
        (["--no-token"], "no-token: --no-token lets everybody in as the teacher"),
        (["--debug"], "debug: --debug shows how the lab works inside"),
        (["--people", "0"], "people: --people is 0: choose one from 1 to 1,000."),
        (["--most-mb", "-1"], "most-mb: --most-mb is -1"),
    ],
)
def test_an_option_that_no_class_can_have_is_one_sentence(options, words, tmp_path, capsys):
    assert main(["serve", "--classroom", "--home", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"transformer-lab: {words}")
    assert told.count("\n") == 1


def test_a_class_has_a_link_for_the_teacher_and_another_for_the_class(
    tmp_path, monkeypatch, capsys
):
    """The tokens are asked for on this computer alone, too; nothing else is printed."""
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.delenv(CLASS_TOKEN, raising=False)
    served = []
    monkeypatch.setattr(
        classroom,
        "listen",
        lambda door, *_: served.append(door) or SimpleNamespace(run=lambda: None),
    )
    options = ["--port", "8205", "--allow-host", "lab.school", "--base-path", "/lab"]
    assert main(["serve", "--classroom", "--home", str(tmp_path), *options]) == 0
    links = re.findall(r"http://lab\.school:8205/lab/\?token=(\S+)", capsys.readouterr().out)
    assert len(set(links)) == 2
    for token, title in zip(links, ("Transformer Lab", "Come in"), strict=True):
        client = Client(served[0])
        at = {"base_url": "http://lab.school:8205"}
        assert client.get(f"/lab/?token={token}", **at).status_code == 303
        assert title in client.get("/lab/", **at).text
    monkeypatch.setenv(TOKEN, "the-very-same-token")
    monkeypatch.setenv(CLASS_TOKEN, "the-very-same-token")
    assert main(["serve", "--classroom", "--home", str(tmp_path)]) == 2
    assert "choose two" in capsys.readouterr().err
