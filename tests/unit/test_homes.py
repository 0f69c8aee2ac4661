"""Homes that cannot be: each is answered in one sentence that names it and the way out."""

import errno
import os
import pwd

import pytest

from transformer_lab.cli import main
from transformer_lab.runs import checkpoint


def a_file(tmp_path):
    (tmp_path / "home").write_text("not a folder")
    return tmp_path / "home", "is not a folder"


def below_a_file(tmp_path):
    a_file(tmp_path)
    return tmp_path / "home" / "below", "Not a directory"


def a_link_to_nowhere(tmp_path):
    (tmp_path / "home").symlink_to(tmp_path / "nowhere")
    return tmp_path / "home", "link to a folder that is not there"


def below_a_link_to_nowhere(tmp_path):
    a_link_to_nowhere(tmp_path)
    return tmp_path / "home" / "below", "home is a link to a folder that is not there"


def a_link_in_a_circle(tmp_path):
    (tmp_path / "home").symlink_to(tmp_path / "home")
    return tmp_path / "home", "symbolic links"


def a_long_name(tmp_path):
    return tmp_path / ("x" * 5000), "too long"


def of_nobody(tmp_path):
    return "~no such user/home", "no such user"


BAD_HOMES = [
    a_file, below_a_file, a_link_to_nowhere, below_a_link_to_nowhere, a_link_in_a_circle,
    a_long_name, of_nobody,
]  # fmt: skip


@pytest.mark.parametrize("make", BAD_HOMES, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "command", [["runs"], ["train"], ["generate"], ["export", "latest"], ["data", "list"]],
    ids=lambda command: command[0],
)  # fmt: skip
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_home_that_cannot_be_is_one_sentence(tmp_path, monkeypatch, capsys, make, command, by):
    home, why = make(tmp_path)
    if by == "environment":
        monkeypatch.setenv("TRANSFORMER_LAB_HOME", str(home))
    assert main([*command, *(["--home", str(home)] if by == "option" else [])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("transformer-lab: home: ")
    assert why in line
    assert "--home" in line
    assert len(line) < 400


def test_without_a_home_folder_a_home_must_be_named(monkeypatch, capsys):
    def unknown(_):
        raise KeyError("no such user")

    for name in ("HOME", "XDG_DATA_HOME", "TRANSFORMER_LAB_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert main(["runs"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "name a folder with --home" in line


def test_in_a_folder_that_was_deleted_one_is_sent_to_another(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    assert main(["runs", "--home", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is gone" in line
    os.chdir(tmp_path)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EPERM, errno.ENOTSUP])
def test_where_a_folder_cannot_be_flushed_a_save_is_a_save(tmp_path, monkeypatch, code):
    fsync = os.fsync

    def files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    checkpoint.save_checkpoint(tmp_path / "step-00000001", {}, {}, {"step": 1})
    assert checkpoint.load_checkpoint(tmp_path / "step-00000001")[2]["step"] == 1


def test_a_disk_that_fails_to_flush_a_folder_fails_the_save(tmp_path, monkeypatch):
    def failing(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        checkpoint.save_checkpoint(tmp_path / "step-00000001", {}, {}, {"step": 1})
