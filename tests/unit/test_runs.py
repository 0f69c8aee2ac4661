"""Runs on disk: what is recorded, by whom, and what is left when something goes wrong."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
import torch

from small import step
from transformer_lab.runs.checkpoint import (
    META,
    STAGING,
    WEIGHTS,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from transformer_lab.runs.database import Sample
from transformer_lab.runs.run import DamagedRunError, Run, RunNotFoundError
from transformer_lab.runs.store import RunBusyError, RunStore

MANIFEST = {
    "recipe": "quick_start",
    "setup": {"train": {"steps": 100}},
    "corpus": {"title": "Python documentation"},
}


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path)


def ended(store, slug, state="finished", steps=3):
    """A run that took some steps and ended."""
    writer = store.create(slug, MANIFEST)
    writer.state("running", 0)
    for number in range(1, steps + 1):
        writer.append(step(number))
    writer.state(state, steps)
    writer.close()
    return Run(writer.folder)


def test_names_number_on_after_the_highest_there_is(store):
    assert [ended(store, "Quick Start").id for _ in range(3)] == [
        "quick-start-1",
        "quick-start-2",
        "quick-start-3",
    ]
    (store.folder / "quick-start-12").mkdir()
    assert ended(store, "quick_start").id == "quick-start-13"
    assert ended(store, "quick").id == "quick-1"


@pytest.mark.parametrize(
    ("slug", "name"),
    [("../../etc", "etc-1"), ("", "run-1"), ("...", "run-1"), ("a b/c\\d", "a-b-c-d-1")],
)
def test_a_name_is_always_one_plain_folder(store, slug, name):
    run = ended(store, slug)
    assert run.id == name
    assert run.folder.parent == store.folder
    assert store.open(name).id == name


def test_run_json_says_what_the_run_was_started_with(store):
    before = time.time()
    run = ended(store, "mine")
    content = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    assert before <= content.pop("created") <= time.time()
    assert content == {"format": 1, "id": "mine-1", "order": 1, **MANIFEST}
    assert not list(run.folder.glob(".run.json"))


def test_steps_come_back_as_they_were(store):
    writer = store.create("mine", MANIFEST)
    taken = [step(number, validation_loss=2.5 if number == 2 else None) for number in range(1, 5)]
    for one in taken:
        writer.append(one)
    writer.close()
    assert Run(writer.folder).since() == (taken, 4)
    assert Run(writer.folder).since(2) == (taken[2:], 4)
    assert Run(writer.folder).since(4) == ([], 4)
    assert Run(writer.folder).latest(2) == taken[2:]
    assert Run(writer.folder).evaluated(1)[0].validation_loss == 2.5


def test_the_steps_before_an_event_are_on_disk_with_it(store):
    writer = store.create("mine", MANIFEST)
    writer.append(step(1))
    writer.event("note", 1, "Something happened.")
    assert Run(writer.folder).since()[1] == 1
    assert Run(writer.folder).events("note") == [(1, "Something happened.")]
    writer.close()


def test_states_are_kept_in_their_order_and_the_last_one_counts(store):
    writer = store.create("mine", MANIFEST)
    states = ["running", "paused", "running", "stopped"]
    for number, state in enumerate(states):
        writer.state(state, number, f"reason {number}")
        assert Run(writer.folder).state() == (state, f"reason {number}")
    writer.close()
    recorded = [json.loads(detail)["state"] for _, detail in Run(writer.folder).events("state")]
    assert recorded == states
    assert Run(writer.folder).state() == ("stopped", "reason 3")


@pytest.mark.parametrize("state", ["running", "paused"])
def test_an_unfinished_run_is_interrupted_once_nobody_holds_it(store, state):
    writer = store.create("mine", MANIFEST)
    writer.state(state, 0)
    assert Run(writer.folder).is_held()
    assert Run(writer.folder).state()[0] == state
    assert store.list()[0].elsewhere
    writer.close()
    assert not Run(writer.folder).is_held()
    assert Run(writer.folder).state()[0] == "interrupted"
    assert (store.list()[0].state, store.list()[0].elsewhere) == ("interrupted", False)


def test_readers_do_not_take_each_other_for_the_holder_of_a_run(store):
    writer = store.create("mine", MANIFEST)
    writer.state("running", 0)
    writer.close()
    states = []
    readers = [
        threading.Thread(
            target=lambda: states.extend(Run(writer.folder).state()[0] for _ in range(200))
        )
        for _ in range(8)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert set(states) == {"interrupted"}


def test_a_process_that_is_killed_lets_go_of_its_run(store):
    code = (
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "from transformer_lab.runs.store import RunStore\n"
        "writer = RunStore(Path(sys.argv[1])).create('mine', json.loads(sys.argv[2]))\n"
        "writer.state('running', 0)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    line = [sys.executable, "-c", code, str(store.folder.parent), json.dumps(MANIFEST)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            assert store.open("latest").state()[0] == "running"
        finally:
            process.kill()
    assert store.open("latest").state()[0] == "interrupted"


def test_the_newest_run_is_listed_first_and_is_the_latest(store):
    for name, created in (("one", 200.0), ("two", 300.0), ("three", 100.0)):
        rewritten(ended(store, name), created=created)
    assert [run.id for run in store.list()] == ["three-1", "two-1", "one-1"], "a clock was wrong"
    assert store.open("latest").id == "three-1"


def test_runs_of_an_older_lab_are_ordered_by_their_dates_before_the_others(store):
    for name, created in (("one", 200.0), ("two", 4e9), ("three", 100.0)):
        rewritten(ended(store, name), created=created, order=None)
    ended(store, "four")
    assert [run.id for run in store.list()] == ["four-1", "two-1", "one-1", "three-1"]


def rewritten(run, **changes):
    """Its run.json with some values changed, or taken out (None)."""
    content = json.loads((run.folder / "run.json").read_text()) | changes
    content = {key: value for key, value in content.items() if value is not None}
    (run.folder / "run.json").write_text(json.dumps(content))
    return Run(run.folder)


def test_a_line_of_the_list_says_how_far_the_run_came(store):
    writer = store.create("mine", MANIFEST)
    writer.state("running", 0)
    writer.append(step(7, validation_loss=1.25))
    writer.state("stopped", 7, "Interrupted.")
    writer.close()
    (line,) = store.list()
    assert (line.id, line.recipe, line.corpus) == ("mine-1", "quick_start", "Python documentation")
    assert (line.state, line.reason) == ("stopped", "Interrupted.")
    assert (line.step, line.steps, line.validation_loss) == (7, 100, 1.25)


def test_without_runs_the_list_is_empty_and_there_is_no_latest(store):
    assert store.list() == []
    with pytest.raises(RunNotFoundError, match="train one first"):
        store.open("latest")


@pytest.mark.parametrize(
    "name", ["../x", "..", "/etc", "a/b", "a\\b", "Mine-1", "mine-1\n", "mine-2"]
)
def test_only_the_name_of_a_run_opens_one(store, name):
    ended(store, "mine")
    (store.folder.parent / "x").mkdir()
    (store.folder.parent / "x" / "run.json").write_text("{}")
    with pytest.raises(RunNotFoundError, match="There is no run"):
        store.open(name)


def folder_for_json(run):
    (run.folder / "run.json").unlink()
    (run.folder / "run.json").mkdir()


def no_run_json(run):
    (run.folder / "run.json").unlink()


def of_a_newer_lab(run):
    rewritten(run, format=2)


def settings_out_of_bounds(run):
    rewritten(run, setup={"train": {"steps": -1}})


def cut_database(run):
    path = run.folder / "metrics.sqlite"
    path.write_bytes(path.read_bytes()[:5000])


def folder_for_database(run):
    no_database(run)
    (run.folder / "metrics.sqlite").mkdir()


def no_json(run):
    (run.folder / "run.json").write_text('{"recipe": ')


def no_text(run):
    (run.folder / "run.json").write_bytes(b"\xff\xfe\x00")


def other_json(run):
    (run.folder / "run.json").write_text('["a", "list"]')


def missing_key(run):
    (run.folder / "run.json").write_text('{"recipe": "x", "created": 1}')


def no_database(run):
    for path in run.folder.glob("metrics.sqlite*"):
        path.unlink()


def other_database(run):
    no_database(run)
    (run.folder / "metrics.sqlite").write_bytes(b"not a database " * 100)


SPOILED = {
    no_json: "run.json is no JSON",
    no_text: "run.json is no JSON",
    other_json: "run.json is no JSON object",
    missing_key: "run.json is not ours: setup is missing",
    no_run_json: "run.json cannot be read: No such file",
    folder_for_json: "run.json cannot be read: Is a directory",
    of_a_newer_lab: "format 2, and this lab knows 1",
    settings_out_of_bounds: "Steps is -1",
    no_database: "metrics.sqlite is missing",
    other_database: "metrics.sqlite cannot be read",
    cut_database: "metrics.sqlite cannot be read",
    folder_for_database: "metrics.sqlite is no file",
}


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_a_damaged_run_is_listed_with_the_reason_can_be_deleted_and_hides_no_other(store, spoil):
    good = ended(store, "good")
    spoil(ended(store, "spoiled"))
    listed = {run.id: run for run in store.list()}
    assert listed[good.id].state == "finished"
    assert listed["spoiled-1"].state == "damaged"
    assert SPOILED[spoil] in listed["spoiled-1"].reason
    assert listed["spoiled-1"].reason.endswith(".")
    assert store.open("latest").id == good.id
    assert store.open("spoiled-1").state() == ("damaged", listed["spoiled-1"].reason)
    store.sweep()
    store.delete("spoiled-1")
    assert [run.id for run in store.list()] == [good.id]
    store.restore("spoiled-1")
    assert len(store.list()) == 2


def test_reading_a_missing_database_never_makes_one(store):
    run = ended(store, "mine")
    no_database(run)
    for read in (run.since, run.latest, run.samples, run.log, run.accuracy):
        with pytest.raises(DamagedRunError, match="missing"):
            read()
    with pytest.raises(sqlite3.OperationalError):
        run.add_sample(Sample(1, "a", "b"))
    store.list()
    store.sweep()
    assert not list(run.folder.glob("metrics*"))


def with_row(run, table, *values):
    places = ", ".join("?" * len(values))
    database = sqlite3.connect(run.folder / "metrics.sqlite")
    with database:
        database.execute(f"INSERT INTO {table} VALUES ({places})", values)
    database.close()


ODD_EVENTS = [
    ("state", "{"),
    ("state", '{"state": "exploded", "reason": ""}'),
    ("state", "[]"),
    ("audit", '{"outcome": 3}'),
    ("resumed", "null"),
    ("accuracy", "much"),
    ("learning_rate", "nan"),
    ("micro_batch", "-1"),
    ("uncompiled", "7"),
    ("state", b"\xff"),
    (None, None),
]


@pytest.mark.parametrize(("kind", "detail"), ODD_EVENTS, ids=str)
def test_an_odd_event_is_passed_over_and_the_last_good_state_counts(store, kind, detail):
    run = ended(store, "mine")
    with_row(run, "events", 1.0, 3, kind, detail)
    (listed,) = store.list()
    assert (listed.state, listed.audit) == ("finished", "")
    assert (run.accuracy(), run.attempts(), run.changes(after=0)) == (None, 0, [])
    assert [one[2] for one in run.log()] == ["state", "state"]


@pytest.mark.parametrize("odd", ["x", None, b"1", float("inf"), 1e308])
def test_an_odd_row_is_passed_over_and_the_others_stay(store, odd):
    run = ended(store, "mine")
    with_row(run, "steps", 4, odd, 0.1, 1.0, 1.0, 1.0, None)
    with_row(run, "samples", 4, 1.0, odd, odd if isinstance(odd, bytes) else None)
    assert [point.step for point in run.since()[0]] == [1, 2, 3]
    assert [point.step for point in run.thinned(10)[0]] == [1, 2, 3]
    assert run.samples() == []
    assert store.list()[0].step == 3


ODD_VALUES = {
    "created": [1e18, -1, "x", float("nan"), None],
    "environment": [{}, [], 3, {"torch": 3}],
    "corpus": [{}, [], {"validation_bytes": 0, "validation_tokens": 3}, {"title": {}}],
    "seams": [3, [3], [{"run": "x"}], [{"run": "x", "step": "y", "kind": ""}]],
    "threads": [0, 10**9, "4"],
    "parameters": [-1, "many"],
    "device": ["cpu", {}],
    "tokenizer": [3, {"kind": []}, {"kind": "runes"}],
    "recipe": [3, "x" * 20_000],
    "format": ["1", None],
}


@pytest.mark.parametrize("key", ODD_VALUES)
def test_one_odd_value_of_run_json_has_its_default_and_the_rest_counts(store, key):
    for odd in ODD_VALUES[key]:
        run = rewritten(ended(store, "mine"), **{key: odd})
        (line,) = [line for line in store.list() if line.id == run.id]
        expected = "damaged" if key == "format" and odd else "finished"
        assert (line.state, line.step) == (expected, 3)
        assert line.id in [one.id for one in store.list()]


def test_settings_of_a_newer_lab_are_passed_over(store):
    setup = {"train": {"steps": 100, "wings": 2}, "more": {}}
    run = rewritten(ended(store, "mine"), setup=setup)
    assert run.steps == 100
    assert store.list()[0].state == "finished"


def test_a_run_whose_folder_was_renamed_by_hand_is_opened_by_the_name_it_is_listed_under(store):
    run = ended(store, "mine")
    run.folder.rename(store.folder / "My Run (copy)")
    (listed,) = store.list()
    assert store.open(listed.id).steps == 100
    assert store.open("latest").id == listed.id == "My Run (copy)"
    store.delete(listed.id)
    assert store.list() == []


@pytest.mark.parametrize("name", ["latest", "Untrained", "con", "NUL", "lpt1"])
def test_a_reserved_word_never_becomes_the_name_of_a_run(store, name):
    assert store.free_id(name) == f"{name.lower()}-1"
    run = ended(store, "mine")
    newest = ended(store, "newest")
    run.folder.rename(store.folder / name)
    with pytest.raises(RunNotFoundError):
        store.delete(name)
    assert store.open("latest").id == newest.id
    store.sweep()
    assert sorted(run.id for run in store.list()) == sorted([f"{name.lower()}-1", newest.id])


def test_delete_moves_only_the_folder_it_was_named(store):
    run = ended(store, "mine")
    for name in ("latest", "untrained", "", ".", "..", "mine", "mine-1/", "x" * 5000):
        with pytest.raises(RunNotFoundError):
            store.delete(name)
        with pytest.raises(RunNotFoundError):
            store.restore(name)
    assert run.folder.is_dir()


def test_a_run_that_comes_back_takes_no_others_place(store):
    run = ended(store, "mine")
    store.delete(run.id)
    other = ended(store, "other")
    other.folder.rename(store.folder / run.id)
    with pytest.raises(RunBusyError, match="another run of that name"):
        store.restore(run.id)
    store.delete(run.id)
    assert sorted(path.name for path in store.trash.iterdir()) == ["mine-1", "mine-1-1"]
    store.restore(run.id)
    assert store.open(run.id).manifest["id"] == other.id


def test_sweeping_removes_what_a_broken_save_left(store):
    run = ended(store, "mine")
    whole = saved(run.folder / "checkpoints" / "step-00000003")
    leftover = whole.parent / f"{STAGING}abc"
    leftover.mkdir()
    (leftover / WEIGHTS).write_bytes(b"half")
    store.sweep()
    assert list(whole.parent.iterdir()) == [whole]


def test_sweeping_leaves_a_save_that_is_still_being_written(store):
    writer = store.create("mine", MANIFEST)
    leftover = writer.folder / "checkpoints" / f"{STAGING}abc"
    leftover.mkdir(parents=True)
    store.sweep()
    assert leftover.is_dir()
    writer.close()
    store.sweep()
    assert not leftover.exists()


def test_steps_wait_in_memory_while_the_database_is_locked(store, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(
        "sqlite3.connect", lambda path, **rest: connect(path, **rest | {"timeout": 0.01})
    )
    writer = store.create("mine", MANIFEST)
    blocker = connect(writer.folder / "metrics.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    answers = [writer.append(step(number)) for number in range(1, 121)]
    assert any("locked" in answer and "wait in memory" in answer for answer in answers)
    assert Run(writer.folder).since() == ([], 0)
    blocker.execute("ROLLBACK")
    blocker.close()
    writer.state("finished", 120)
    writer.close()
    assert [point.step for point in Run(writer.folder).since()[0]] == list(range(1, 121))


def test_the_newest_sample_is_found(store):
    run = ended(store, "mine")
    assert run.latest_sample() is None
    for number in (1, 3, 2):
        run.add_sample(Sample(number, "The ", f"text {number}"))
    assert run.latest_sample() == Sample(3, "The ", "text 3")


def saved(folder):
    weights = {"head.weight": torch.arange(12.0).view(3, 4)}
    save_checkpoint(folder, weights, {"kind": "characters", "characters": ["a"]}, {"step": 3})
    return folder


def resealed(folder):
    """Give meta.json the sums of the files as they are now."""
    meta = json.loads((folder / META).read_text())
    for name in meta["sha256"]:
        meta["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / META).write_text(json.dumps(meta))


def truncated(folder):
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 4)


def flipped_bit(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def empty(folder):
    (folder / WEIGHTS).write_bytes(b"")


def bad_header(folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(b"\xff" * 8 + data[8:])
    resealed(folder)


def cut_and_resealed(folder):
    truncated(folder)
    resealed(folder)


def missing_weights(folder):
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize(
    "damage",
    [truncated, flipped_bit, empty, bad_header, cut_and_resealed, missing_weights],
    ids=lambda damage: damage.__name__,
)
def test_damaged_weights_are_named_not_loaded(tmp_path, damage):
    folder = saved(tmp_path / "step-00000003")
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert str(folder / WEIGHTS) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"null", b'{"sha256": {}}', b"\xff"])
def test_a_checkpoint_without_a_good_meta_file_is_named_not_loaded(tmp_path, content):
    folder = saved(tmp_path / "step-00000003")
    (folder / META).unlink()
    if content is not None:
        (folder / META).write_bytes(content)
    with pytest.raises(CheckpointError, match="step-00000003"):
        load_checkpoint(folder)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="step-00000009"):
        load_checkpoint(tmp_path / "step-00000009")


def test_a_run_opened_by_hand_reads_like_one_from_the_store(store):
    run = ended(store, "mine")
    assert Run(run.folder).manifest == store.open("mine-1").manifest
    assert Run(run.folder).steps == 100
