"""Archives that someone made up: each is refused with a sentence, or can be looked at as any other.

They are generated: every value of every file of a run is replaced by odd ones, every column of its
tables and every kind of event too.
"""

import hashlib
import io
import json
import random
import shutil
import sqlite3
import sys
import zipfile

import pytest

from transformer_lab.exchange import ImportRefusedError, write_archive
from transformer_lab.lab.lab import Lab
from transformer_lab.runs.events import EVENTS
from transformer_lab.runs.store import RunStore
from transformer_lab.runs.tables import TABLES

NORMALLY = 8  # of all crafted archives, drawn anew each time
META = "checkpoints/step-00000008/meta.json"
JSON_FILES = ("run.json", "about.json", META, META.replace("meta", "progress"))
ODD = (None, True, -1, 0, 10**18, 1e308, float("nan"), "", "x" * 20_000, [], {})
ODD_NUMBERS = (None, "x", b"x", -1e300, 1e308, 10**18, float("inf"))
ODD_DETAILS = ("", "{", "null", "[]", "{}", "nan", "1e999", '{"state": "exploded", "reason": ""}',
               '{"outcome": [], "sentence": 3}', '{"steps_taken_again": -1}')  # fmt: skip


def paths(content, depth=2):
    """Every key of a JSON object, and of the objects in it."""
    for key, value in content.items():
        yield (key,)
        if isinstance(value, dict) and depth > 1 and key not in ("setup", "sha256"):
            yield from ((key, *inner) for inner in paths(value, depth - 1))


def crafted(files):
    """(what was changed, how to change it) of every archive there is to make."""
    yield from crafted_json(files)
    yield from crafted_tables()


def crafted_json(files):
    for name in JSON_FILES:
        for number, path in enumerate(paths(json.loads(files[name]))):
            for odd in (ODD[number % len(ODD)], ODD[(7 * number + 3) % len(ODD)]):
                yield f"{name} {'.'.join(path)} {odd!r:.20}", (name, path, odd)


def crafted_tables():
    for table, columns in TABLES.items():
        for column in columns:
            for odd in ODD_NUMBERS:
                statement = f"UPDATE {table} SET {column} = ?"
                yield f"{table}.{column} {odd!r}", ("metrics.sqlite", statement, (odd,))
    for kind in (*EVENTS, "note", "kept", "more"):
        for detail in ODD_DETAILS:
            statement = "INSERT INTO events VALUES (4e9, 3, ?, ?)"
            yield f"event {kind} {detail}", ("metrics.sqlite", statement, (kind, detail))


def with_value(data, path, odd):
    content = inner = json.loads(data)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = odd
    return json.dumps(content).encode()


def with_row(data, statement, values, place):
    place.write_bytes(data)
    database = sqlite3.connect(place)
    try:
        with database:
            database.execute(statement, values)
    except (sqlite3.Error, OverflowError):
        return None  # sqlite itself does not take it
    finally:
        database.close()
    return place.read_bytes()


def spoiled(files, change, place):
    """The files with one thing changed; None where that cannot be done."""
    name, where, odd = change
    change = with_value(files[name], where, odd) if name.endswith("json") else None
    changed = change or with_row(files[name], where, odd, place)
    return {**files, name: changed} if changed is not None else None


def signed(files):
    """The files with right sums in meta.json, as someone makes them who means it."""
    files, beside = dict(files), META.removesuffix("meta.json")
    meta = json.loads(files[META])
    if isinstance(meta, dict) and isinstance(meta.get("sha256"), dict):
        sums = {name: digest(files[beside + name]) for name in meta["sha256"]}
        files[META] = json.dumps({**meta, "sha256": sums}).encode()
    return files


def zipped(files):
    listed = {
        name: {"bytes": len(data), "sha256": digest(data)}
        for name, data in files.items()
        if name != "archive.json"
    }
    index = json.loads(files["archive.json"])
    files["archive.json"] = json.dumps({**index, "files": listed}).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"crafted-1/{name}", data)
    return io.BytesIO(stream.getvalue())


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def whole(used_home):
    """The files of a run that left whole."""
    stream = io.BytesIO()
    assert write_archive(RunStore(used_home).open("first-1").folder, stream) == []
    with zipfile.ZipFile(stream) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def bring_in(lab, files, what, failed):
    """Bring one in; its id, or nothing when it is refused."""
    try:
        return lab.runs.bring_in(zipped(files), "crafted")
    except ImportRefusedError as error:
        if not str(error).endswith((".", "?")):
            failed.append(f"{what} is refused without a sentence: {error}")
    except Exception as error:  # noqa: BLE001 - it would have reached a person
        failed.append(f"{what}: {type(error).__name__}: {error}")
    return None


def lay_on_disk(folder, files):
    """The same as a run that has always been there."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def try_all(whole, changes, used_home, place, everything):
    """Bring them all into one home, lay them there by hand too, open everything; what failed."""
    home, failed = place / "home", []
    shutil.copytree(used_home, home)
    taken, laid = {}, {}
    lab = Lab(home)
    for number, (what, change) in enumerate(changes):
        files = spoiled(whole, change, place / "odd.sqlite")
        if files is None:
            continue
        files = signed(files)
        if run_id := bring_in(lab, files, what, failed):
            taken[run_id] = what
        laid[f"laid-{number}"] = what
        lay_on_disk(home / "runs" / f"laid-{number}", files)
    lab.close()
    tried = everything(home)
    states = tried.look(suspect="")
    failed += [f"{what}: taken, but damaged" for i, what in taken.items() if states[i] == "damaged"]
    if states.get("second-1") != "finished" or states.keys() < taken.keys() | laid.keys():
        failed.append(f"runs are missing: {states}")
    names = taken | laid
    failed += [f"{one} ({[names[i] for i in names if i in one.split()]})" for one in tried.failed]
    sys.stdout.write(
        f"{len(laid)} crafted archives, {len(laid) - len(taken)} refused, {len(taken)} taken; "
        f"{tried.count:,} things tried, {len(failed)} failed\n"
    )
    return failed


def test_a_crafted_archive_is_refused_or_can_be_looked_at(whole, used_home, tmp_path, everything):
    seed = random.randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    drawn = random.Random(seed).sample(list(crafted(whole)), NORMALLY)
    assert try_all(whole, drawn, used_home, tmp_path, everything) == []


@pytest.mark.slow
def test_no_crafted_archive_breaks_a_view(whole, used_home, tmp_path, everything):
    assert try_all(whole, list(crafted(whole)), used_home, tmp_path, everything) == []
