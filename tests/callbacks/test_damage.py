"""Every file of a home is damaged in turn, and then everything there is of the home is opened."""

import random
import shutil
import sys

import pytest

DAMAGED = "first-1"
NORMALLY = 2  # of all damages, drawn anew each time


def truncated(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flipped(path):
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data), max(len(data) // 5, 1)):
        data[place] ^= 0x15
    path.write_bytes(data)


def emptied(path):
    path.write_bytes(b"")


def overwritten(path):
    path.write_bytes(b"\xff" * path.stat().st_size)


def deleted(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = (truncated, flipped, emptied, overwritten, deleted, a_folder)


def files(home):
    """Those of the run that is damaged, and those that belong to no run."""
    found = (path.relative_to(home) for path in sorted(home.rglob("*")) if path.is_file())
    return [path for path in found if "runs" not in path.parts or is_worth_it(path)]


def is_worth_it(path):
    """One run, and of its moments only one."""
    return path.parts[1] == DAMAGED and ("moments" not in path.parts or "00000004" in path.name)


def walk(used_home, place, cases, everything):
    """Do the damages one after another, each to a new copy; what failed."""
    failed, count = [], 0
    for number, (path, damage) in enumerate(cases):
        home = place / f"home-{number}"
        shutil.copytree(used_home, home)
        damage(home / path)
        tried = everything(home)
        states = tried.look(DAMAGED)
        if states.get("second-1") != "finished":
            tried.failed.append(f"the other run is {states.get('second-1')}")
        if DAMAGED not in states and path.parts[0] == "runs":
            tried.failed.append("it is not listed")
        tried.commands(DAMAGED, place)
        tried.command("generate", "--run", "second-1", "--length", "2")
        if path.parts[0] != "runs":
            tried.command("data", "list")
        else:
            tried.tried("delete", lambda home=home: removed(home))
        failed += [f"{damage.__name__} {path}: {one}" for one in tried.failed]
        count += tried.count
        shutil.rmtree(home)
    sys.stdout.write(f"{len(cases)} damages, {count:,} things tried, {len(failed)} failed\n")
    return failed


def removed(home):
    from transformer_lab.runs.store import RunStore  # noqa: PLC0415

    store = RunStore(home)
    store.delete(DAMAGED)
    assert DAMAGED not in [run.id for run in store.list()]
    store.restore(DAMAGED)


def test_a_damaged_file_breaks_nothing_else(used_home, tmp_path, everything):
    seed = random.randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    cases = [(path, damage) for path in files(used_home) for damage in DAMAGES]
    drawn = random.Random(seed).sample(cases, NORMALLY)
    assert walk(used_home, tmp_path, drawn, everything) == []


@pytest.mark.slow
def test_no_damaged_file_breaks_anything_else(used_home, tmp_path, everything):
    cases = [(path, damage) for path in files(used_home) for damage in DAMAGES]
    assert walk(used_home, tmp_path, cases, everything) == []
