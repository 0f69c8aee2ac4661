"""What `transformer-lab doctor` finds missing, by trying it."""

import os
import shutil
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from transformer_lab.cli import main
from transformer_lab.cli.doctor import ROOM, home_problems

Usage = namedtuple("Usage", "total used free")


def told(capsys, *options: str) -> tuple[int, list[str]]:
    """The exit code, and what is said to be missing."""
    code = main(["doctor", *options])
    out = capsys.readouterr().out
    items = [line.removeprefix("  - ") for line in out.splitlines() if line.startswith("  - ")]
    assert ("Nothing is missing." in out) is (not items)
    assert code == (1 if items else 0)
    return code, items


def test_a_home_that_can_be_written_has_nothing_missing_and_keeps_nothing_of_it(tmp_path):
    assert home_problems(tmp_path / "new") == []
    assert list((tmp_path / "new").iterdir()) == []


def test_a_home_that_is_a_file_is_missing_in_a_sentence(tmp_path, capsys):
    place = tmp_path / "file"
    place.touch()
    _, items = told(capsys, "--home", str(place))
    assert any("is not a folder" in item and "--home" in item for item in items)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_home_that_cannot_be_written_to_is_missing(tmp_path, monkeypatch):
    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refused)  # as root would be let in
    (problem,) = home_problems(tmp_path)
    assert "cannot be written to (Permission denied)" in problem


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_home_that_ignores_permissions_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "chmod", lambda path, mode: os.chmod(path, 0o777))  # noqa: PTH101
    (problem,) = home_problems(tmp_path)
    assert "ignores permissions" in problem


def test_too_little_room_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10 * ROOM, 9 * ROOM, ROOM - 1))
    (problem,) = home_problems(tmp_path)
    assert problem.startswith("Room: 500 MB are free at ")


def test_a_home_where_nothing_stays_is_missing(tmp_path, monkeypatch):
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    (problem,) = home_problems(tmp_path)
    assert "No space left on device" in problem


def test_without_a_home_variable_or_a_folder_for_temporary_files_it_still_tells(
    tmp_path, monkeypatch, capsys
):
    def nowhere() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", nowhere)
    for name in ("HOME", "TRANSFORMER_LAB_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # whom the system does not know
    _, items = told(capsys)
    assert any(item.startswith("A folder for temporary files") for item in items)
    assert any("--home" in item for item in items)
