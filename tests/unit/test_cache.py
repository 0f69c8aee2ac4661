"""What can be computed again never stops anything, and is never believed."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.text.texts import Texts
from transformer_lab.recipes import Setup
from transformer_lab.text import cache as caches
from transformer_lab.text.cache import DATABASE, ByteCache

CONFIG = Setup().with_values({"data.corpus": "sorting", "data.tokenizer": "bytes"}).data
LARGE = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "texts"


def encoded(home):
    texts = Texts(home)
    try:
        return texts.encoded(CONFIG)
    finally:
        texts.close()


def kept(folder, key):
    cache = ByteCache(folder)
    try:
        found = cache.get(key)
        return None if found is None else bytes(found)
    finally:
        cache.close()


def keep(folder, key, value):
    cache = ByteCache(folder)
    cache.set(key, value)
    cache.close()


def test_tokens_that_were_changed_on_disk_are_made_again(tmp_path, folder, caplog):
    right = encoded(tmp_path)
    (largest,) = [path for path in folder.rglob("*.val") if path.stat().st_size > 1_000_000]
    spoiled = np.fromfile(largest, dtype=np.int32)
    spoiled[::2] = 0
    spoiled.tofile(largest)
    again = encoded(tmp_path)
    assert np.array_equal(again.training, right.training)
    assert "damaged" in caplog.text
    assert np.array_equal(encoded(tmp_path).training, right.training)


def test_values_that_changed_places_are_not_believed(folder):
    keep(folder, "training", LARGE)
    keep(folder, "validation", LARGE[::-1])
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database, database:
        (first, other) = database.execute("SELECT rowid, filename, tag FROM Cache").fetchall()
        for row, (_, file, tag) in ((first[0], other), (other[0], first)):
            database.execute(
                "UPDATE Cache SET filename = ?, tag = ? WHERE rowid = ?", (file, tag, row)
            )
    assert kept(folder, "training") is None
    assert kept(folder, "validation") is None


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_what_is_read_may_be_written_to_without_a_change_on_disk(folder, size):
    keep(folder, "key", LARGE[:size])
    cache = ByteCache(folder)
    cache.get("key")[0] = 99
    assert bytes(cache.get("key")) == LARGE[:size]
    cache.close()


def garbage(folder):
    (folder / DATABASE).write_bytes(b"no database at all " * 500)


def emptied(folder):
    (folder / DATABASE).write_bytes(b"")


def cut(folder):
    os.truncate(folder / DATABASE, 5000)


def overwritten(folder):
    with (folder / DATABASE).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 12_000)


def a_folder(folder):
    (folder / DATABASE).unlink()
    (folder / DATABASE).mkdir()


def a_file_in_its_place(folder):
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def another_schema(folder):
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute("DROP TABLE Cache")
        database.execute("CREATE TABLE Cache (one INTEGER)")


def odd_settings(folder):
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute("UPDATE Settings SET value = x'ff'")


SPOILS = [
    garbage, emptied, cut, overwritten, a_folder, a_file_in_its_place, another_schema, odd_settings
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_a_damaged_cache_is_replaced_by_one_that_works(folder, spoil):
    keep(folder, "key", LARGE)
    for path in folder.glob(f"{DATABASE}-*"):
        path.unlink()
    spoil(folder)
    assert kept(folder, "key") in (None, LARGE)
    keep(folder, "key", LARGE)
    assert kept(folder, "key") == LARGE


@pytest.mark.parametrize("spoil", [garbage, a_folder], ids=lambda spoil: spoil.__name__)
def test_a_cache_that_is_damaged_while_it_is_open_is_replaced_by_one_that_works(folder, spoil):
    cache = ByteCache(folder)
    cache.set("key", LARGE)
    cache.close()  # it opens it again when it is asked
    for path in folder.glob(f"{DATABASE}-*"):
        path.unlink()
    spoil(folder)
    assert cache.get("key") is None
    cache.set("key", LARGE)
    assert bytes(cache.get("key")) == LARGE
    cache.close()


def test_the_lab_opens_and_encodes_with_both_caches_damaged_and_says_so(tmp_path, caplog):
    for name in ("texts", "inspection"):
        (tmp_path / "cache" / name / DATABASE).mkdir(parents=True)
    lab = Lab(tmp_path)
    try:
        assert len(lab.texts.encoded(CONFIG).training) > 1000
    finally:
        lab.close()
    for name in ("texts", "inspection"):
        assert str(tmp_path / "cache" / f"{name}.damaged") in caplog.text
        assert (tmp_path / "cache" / f"{name}.damaged" / DATABASE).is_dir()


def test_only_one_damaged_cache_is_set_aside(folder):
    for _ in range(3):
        keep(folder, "key", LARGE)
        garbage(folder)
    keep(folder, "key", LARGE)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["texts", "texts.damaged"]


def test_a_cache_that_another_program_holds_is_done_without(folder, monkeypatch):
    monkeypatch.setattr(caches, "PATIENCE", 0.01)
    keep(folder, "key", LARGE)
    opened = ByteCache(folder)
    with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        shut = ByteCache(folder)
        for cache in (opened, shut):
            cache.set("other", LARGE)
            assert cache.get("other") is None
            cache.close()
    assert kept(folder, "key") == LARGE


FULL = """
import resource, sys
from pathlib import Path
from transformer_lab.text.cache import ByteCache
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
cache = ByteCache(Path(sys.argv[1]))
for number in range(20):
    cache.set(f"small {number}", b"x" * 20_000)
cache.set("large", b"x" * 1_000_000)
assert cache.get("large") is None
cache.close()
print("went on")
"""


@pytest.mark.parametrize("room", [100, 10_000, 100_000])
def test_a_disk_that_takes_no_more_stops_nothing_and_keeps_no_halves(folder, room):
    line = [sys.executable, "-c", FULL, str(folder), str(room)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.stdout == "went on\n", done.stderr
    assert "Traceback" not in done.stderr
    assert list(folder.rglob("*.val")) == []
    keep(folder, "key", LARGE)
    assert kept(folder, "key") == LARGE


def unchangeable(self, mode, **rest):
    raise PermissionError(1, "Operation not permitted")


def test_a_folder_in_which_others_may_write_is_done_without(folder, monkeypatch, caplog):
    keep(folder, "key", LARGE)
    folder.chmod(0o777)
    monkeypatch.setattr("pathlib.Path.chmod", unchangeable)
    cache = ByteCache(folder)
    cache.set("other", LARGE)
    assert cache.get("key") is None
    assert cache.get("other") is None
    cache.close()
    assert "others may write in it" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_person_is_done_without(folder):
    keep(folder, "key", LARGE)
    os.chown(folder, 65534, 65534)
    assert kept(folder, "key") is None


def test_where_a_file_system_keeps_no_permissions_the_cache_is_used(folder, monkeypatch):
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setattr("pathlib.Path.chmod", unchangeable)
    made = tempfile.mkdtemp

    def public(*where):
        path = made(*where)
        os.chmod(path, 0o777)  # noqa: PTH101 - as such a file system would show it
        return path

    monkeypatch.setattr("tempfile.mkdtemp", public)
    keep(folder, "key", LARGE)
    assert kept(folder, "key") == LARGE


def test_a_folder_that_can_only_be_read_is_done_without_and_is_no_news(tmp_path, caplog):
    (tmp_path / "cache").mkdir()
    folder, code = tmp_path / "cache" / "texts", "import sys; from pathlib import Path\n"
    code += "from transformer_lab.text.cache import ByteCache\n"
    code += "import os; os.geteuid() or os.setuid(65534)\n"
    code += "cache = ByteCache(Path(sys.argv[1])); cache.set('key', b'x'); print(cache.get('key'))"
    (tmp_path / "cache").chmod(0o555)
    tmp_path.chmod(0o755)
    line = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_a_dollar_in_the_name_of_a_home_sends_the_cache_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("ELSEWHERE", "other")
    keep(tmp_path / "$ELSEWHERE" / "texts", "key", LARGE)
    assert not (tmp_path / "other").exists()
