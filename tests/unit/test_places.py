"""Where the lab runs: what it says there, and what stands in the way."""

import json
import re
from pathlib import Path

import pytest

from transformer_lab.cli import places
from transformer_lab.cli.commands import parser
from transformer_lab.cli.places import container_warning, jupyter_base, jupyter_words, wsl_problem

ROOT = Path(__file__).parents[2]
CONTAINER = (ROOT / "Containerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({}, ""),
        ({"JUPYTER_SERVER_URL": "http://localhost:8888/"}, "/proxy/8050"),
        ({"JUPYTER_SERVER_URL": "http://localhost:8888"}, "/proxy/8050"),
        ({"JUPYTER_SERVER_URL": "https://a.b/user/jo/"}, "/user/jo/proxy/8050"),
        ({"JUPYTERHUB_SERVICE_PREFIX": "/user/jo/"}, "/user/jo/proxy/8050"),
        ({"JUPYTER_SERVER_URL": "javascript:alert(1)"}, ""),
    ],
)
def test_the_base_path_of_jupyter_is_found(environment, base):
    assert jupyter_base(environment, 8050) == base


def test_in_jupyter_the_link_is_told_or_how_to_get_one():
    here = {"JUPYTER_SERVER_URL": "http://localhost:8888/"}
    assert jupyter_words({}, 8050, "") == ""
    assert "start it with --base-path /proxy/8050" in jupyter_words(here, 8050, "")
    told = jupyter_words(here, 8050, "/proxy/8050")
    assert told == "In Jupyter it is at http://localhost:8888/proxy/8050/"
    hub = {"JUPYTERHUB_SERVICE_PREFIX": "/user/jo/"}
    assert "the hub/user/jo/proxy/8050/" in jupyter_words(hub, 8050, "/user/jo/proxy/8050")


def test_a_home_inside_a_container_is_said_to_need_a_volume(tmp_path):
    home, mounts = Path("/home/learner/lab"), tmp_path / "mounts"
    mounts.write_text("overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n")
    assert "--volume lab:/home/learner/lab" in container_warning(home, str(mounts))
    mounts.write_text("overlay / overlay rw 0 0\n/dev/sda /home/learner/lab ext4 rw 0 0\n")
    assert container_warning(home, str(mounts)) == ""


@pytest.mark.parametrize(
    ("home", "bad"), [("/mnt/c/lab", True), ("/mnt/c", True), ("/home/jo/lab", False),
                      ("/mnt/data/lab", False)],
)  # fmt: skip
def test_on_wsl_a_home_on_a_windows_drive_is_named(home, bad):
    assert ("Windows drive" in wsl_problem(Path(home))) is bad
    assert places.on_wsl("5.15.153.1-microsoft-standard-WSL2")
    assert not places.on_wsl("6.1.0-28-amd64")


def test_doctor_names_every_place_it_is_in(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(places, "in_container", lambda: True)
    monkeypatch.setattr(places, "on_wsl", lambda: True)
    monkeypatch.setattr(places, "container_warning", lambda home: "No volume.")
    environment = {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22", "USER": "jo",
                   "JUPYTER_SERVER_URL": "http://localhost:8888/"}  # fmt: skip
    monkeypatch.setattr(places, "wsl_problem", lambda home: "A home of Linux.")
    assert places.place_problems(tmp_path, environment) == ["A home of Linux."]
    said = capsys.readouterr().out
    for words in (
        "a container",
        "No volume",
        "WSL",
        "ssh -N -L 8050:localhost:8050 jo@6.7.8.9",
        "/proxy/8050",
    ):
        assert words in said


def test_the_container_starts_a_command_that_there_is_and_not_as_root():
    (command,) = re.findall(r"^CMD (\[.*\])$", CONTAINER, re.MULTILINE)
    asked = parser().parse_args(json.loads(command))
    assert (asked.host, asked.port) == ("0.0.0.0", 8050)
    (user,) = re.findall(r"^USER (\w+)$", CONTAINER, re.MULTILINE)
    assert user != "root"
    (home,) = re.findall(r"^ENV TRANSFORMER_LAB_HOME=(\S+)$", CONTAINER, re.MULTILINE)
    assert re.findall(r"^VOLUME (\S+)$", CONTAINER, re.MULTILINE) == [home]


def test_everything_that_the_container_copies_is_there_and_not_left_out():
    kept = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    copied = [name for line in re.findall(r"^COPY (.*)$", CONTAINER, re.MULTILINE)
              for name in line.split()[:-1]]  # fmt: skip
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.findall(r'^"?([\w/.]+)"? = "transformer_lab/_packaged', project, re.MULTILINE)
    assert set(needed) <= set(copied)
