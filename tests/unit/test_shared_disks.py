"""Runs on a disk that several computers share."""

import contextlib
from pathlib import Path

import pytest

from transformer_lab.runs import database
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.disk import shared_by_computers
from transformer_lab.runs.run import Run


@pytest.mark.parametrize(
    ("folder", "shared"),
    [("/home/jo/lab", True), ("/home/jo/my disk/lab", False), ("/tmp/lab", False), ("lab", False)],
)
def test_a_disk_that_several_computers_write_to_is_known(tmp_path, folder, shared):
    (tmp_path / "mounts").write_text(
        "/dev/sda1 / ext4 rw 0 0\n"
        "server:/export /home nfs4 rw 0 0\n"
        "/dev/sdb1 /home/jo/my\\040disk ext4 rw 0 0\n"
    )
    assert shared_by_computers(Path(folder), tmp_path / "mounts") is shared
    assert not shared_by_computers(Path(folder), tmp_path / "none")


def test_metrics_on_a_shared_disk_are_written_without_a_log_beside_them(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "shared_by_computers", lambda folder: True)
    with contextlib.closing(RunWriter(tmp_path, new=True)) as writer:
        assert writer.state("running", 0) == ""
        assert writer.flush_through() == ""
        assert not (tmp_path / "metrics.sqlite-wal").exists()
        assert Run(tmp_path).last_event("state") == (0, '{"state": "running", "reason": ""}')
