"""Archives that are refused: each in a sentence, and nothing of them is left."""

import contextlib
import io
import json
import shutil
import sqlite3
import stat
import zipfile
from dataclasses import asdict

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archives import changed, dumped, packed, refused, take, unzipped, zipped
from transformer_lab.exchange import (
    ImportRefusedError,
    read_archive,
)
from transformer_lab.exchange.database import SCHEMA
from transformer_lab.exchange.package import Package
from transformer_lab.lab.training.saves import Progress
from transformer_lab.lab.training.views import stored_view
from transformer_lab.runs.checkpoint import META, WEIGHTS, load_checkpoint
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from transformer_lab.runs.tables import TABLES

WHERE = "checkpoints/step-00000012"


# --- what is refused -----------------------------------------------------------------------------


def test_the_tables_are_the_labs(run, archive, elsewhere):
    made = sqlite3.connect(":memory:")
    made.executescript(SCHEMA)
    found = "SELECT type, name, sql FROM sqlite_master"
    ours = made.execute(found).fetchall()
    assert ours == sqlite3.connect(run.folder / "metrics.sqlite").execute(found).fetchall()
    assert {name for kind, name, _ in ours if kind == "table"} == set(TABLES)
    place = take(archive, elsewhere) / "metrics.sqlite"
    assert ours == sqlite3.connect(place).execute(found).fetchall()


NAMES = {
    "a path out of the folder": "small-1/../evil.json",
    "a path from the root": "/etc/evil.json",
    "a drive": "C:/evil.json",
    "a backslash": "small-1\\evil.json",
    "a path in another folder": "other-1/about.json",
    "a file of no folder": "evil.json",
    "a pickle": "small-1/checkpoints/step-00000012/optimizer.pt",
    "a program": "small-1/run.py",
    "a moment in a folder": "small-1/moments/4/00000004-0123456789ab.safetensors",
    "a moment of no sum": "small-1/moments/00000004.safetensors",
    "a hidden file": "small-1/.about.json",
    "a folder too many": "small-1/checkpoints/step-00000012/more/about.json",
    "another folder": "small-1/notes/about.json",
    "a checkpoint of no number": "small-1/checkpoints/last/meta.json",
    "a lock": "small-1/lock",
    "a second database": "small-1/metrics.sqlite-wal",
    "a name that ends in the middle": "small-1/about.json\0.exe",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_that_no_run_has_are_refused(archive, elsewhere, name):
    stream = io.BytesIO(archive)
    with zipfile.ZipFile(stream, "a") as file:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        file.writestr(info, b"{}")
    refused(stream.getvalue(), elsewhere, "which no run has|damaged|list")
    assert not list(elsewhere.parent.rglob("evil*"))


def entry(archive, name, change):
    """The archive with one more entry, changed before it is written."""
    stream = io.BytesIO(archive)
    with zipfile.ZipFile(stream, "a") as file:
        info = zipfile.ZipInfo(f"small-1/{name}")
        change(info)
        file.writestr(info, b"{}")
    return stream.getvalue()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFDIR])
def test_links_and_devices_are_refused(archive, elsewhere, kind):
    data = entry(
        archive, "about.json", lambda info: setattr(info, "external_attr", (kind | 0o777) << 16)
    )
    refused(data, elsewhere, "no plain file")


def test_two_files_of_one_name_are_refused(archive, elsewhere):
    with pytest.warns(UserWarning, match="Duplicate"):
        data = entry(archive, "run.json", lambda info: None)
    refused(data, elsewhere, "twice")


def test_encrypted_files_are_refused(archive, elsewhere):
    data = bytearray(archive)
    for mark, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        data[data.index(mark) + offset] |= 1
    refused(bytes(data), elsewhere, "encrypted")


def test_unknown_compression_is_refused(archive, elsewhere):
    refused(zipped(unzipped(archive), compression=zipfile.ZIP_BZIP2), elsewhere, "compressed in a")


def test_what_would_unpack_to_far_more_is_refused(archive, elsewhere):
    bomb = {**unzipped(archive), "about.json": b"[" + b" " * 20_000_000 + b"]"}
    refused(zipped(bomb, compression=zipfile.ZIP_DEFLATED), elsewhere, "trick")


def test_a_file_that_is_larger_than_it_claims_is_refused(archive, elsewhere):
    files = {**unzipped(archive), "about.json": b'{"a": "' + b"x" * 50_000 + b'"}'}
    data = bytearray(zipped(files, compression=zipfile.ZIP_DEFLATED))
    for mark, name_at, size_at in ((b"PK\1\2", 46, 24), (b"PK\3\4", 30, 22)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            if data[place + name_at :].startswith(b"small-1/about.json"):
                data[place + size_at : place + size_at + 4] = (100).to_bytes(4, "little")
    refused(bytes(data), elsewhere, "not as long as")


def test_files_that_share_bytes_are_refused(archive, elsewhere):
    stream = io.BytesIO(archive)
    with zipfile.ZipFile(stream, "a") as file:
        first = file.infolist()[0]
        again = zipfile.ZipInfo("small-1/about.json")
        for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
            setattr(again, name, getattr(first, name))
        file.filelist.append(again)
        file._didModify = True
    refused(stream.getvalue(), elsewhere, "overlaps")


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"files": 5}, "files"),
        ({"total": 10_000}, "more than 10,000 bytes"),
        ({"json": 1_000}, "larger than 1,000 bytes"),
        ({"vocabulary": 10}, "vocabulary"),
        ({"parameters": 100}, "parameters"),
    ],
)
def test_limits_are_kept(archive, elsewhere, limits, match):
    refused(archive, elsewhere, match, **limits)


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"no zip at all" * 99, b"\0" * 1000])
def test_what_is_no_zip_is_refused(elsewhere, data):
    refused(data, elsewhere, "not a whole .zip")


def test_half_an_archive_is_refused(archive, elsewhere):
    refused(archive[: len(archive) // 2], elsewhere, "not a whole .zip")


def test_a_wrong_sum_is_refused(archive, elsewhere):
    files = unzipped(archive)
    weights = bytearray(files[f"{WHERE}/{WEIGHTS}"])
    weights[-1] ^= 1
    files[f"{WHERE}/{WEIGHTS}"] = bytes(weights)
    refused(zipped(files, sign=False), elsewhere, "sha256 does not match")


@pytest.mark.parametrize(
    "name",
    ["archive.json", "run.json", "metrics.sqlite", f"{WHERE}/{WEIGHTS}", f"{WHERE}/{META}"],
)
@pytest.mark.parametrize("sign", [True, False])
def test_a_missing_file_is_refused(archive, elsewhere, name, sign):
    files = unzipped(archive)
    del files[name]
    refused(zipped(files, sign=sign), elsewhere, "missing|has no")


CHANGES = {
    "a newer archive": ("archive.json", {"format": 2}, "newer Transformer Lab"),
    "a newer run": ("run.json", {"format": 2}, "newer Transformer Lab"),
    "a newer checkpoint": (f"{WHERE}/{META}", {"format": 2}, "newer Transformer Lab"),
    "a step that is not its name's": (f"{WHERE}/{META}", {"step": 13}, "another step"),
    "an unknown setting": ("run.json", {"setup__model__wings": 2}, "wings"),
    "a setting out of bounds": ("run.json", {"setup__model__layers": 10**9}, "Layers"),
    "settings that are no settings": ("run.json", {"setup": [1]}, "setup"),
    "another shape": ("run.json", {"setup__model__layers": 2}, "parameters"),
    "another count": ("run.json", {"parameters": 5}, "parameters"),
    "a title that is no text": ("run.json", {"corpus__title": {"a": 1}}, "title"),
    "an endless title": ("run.json", {"corpus__title": "x" * 100_000}, "title"),
    "half a character": ("run.json", {"corpus__title": "\ud800"}, "not JSON"),
    "threads without end": ("run.json", {"threads": 2**40}, "threads"),
    "a batch without end": ("run.json", {"micro_batch": 2**40}, "micro_batch"),
    "a batch that is no number": ("run.json", {"micro_batch": "all"}, "micro_batch"),
    "a seam that is none": ("run.json", {"seams": [{"run": "a-1"}]}, "seam"),
    "a seam of another kind": (
        "run.json",
        {"seams": [{"run": "a-1", "step": 1, "kind": "extended", "more": 1}]},
        "seam",
    ),
    "a seam after the end": (
        "run.json",
        {"seams": [{"run": "a-1", "step": 10**6, "kind": "extended"}]},
        "seam",
    ),
    "a count that is no number": ("run.json", {"corpus__characters": "9"}, "characters"),
    "a negative count": ("run.json", {"threads": -1}, "threads"),
    "a time that never was": ("run.json", {"created": float("inf")}, "created"),
    "an unknown tokenizer": ("run.json", {"tokenizer": {"kind": "runes"}}, "not known"),
    "a tokenizer of no kind": ("run.json", {"tokenizer": {"kind": []}}, "not known"),
    "no characters": ("run.json", {"tokenizer__characters": []}, "vocabulary"),
    "numbers for characters": ("run.json", {"tokenizer__characters": [1, 2]}, "vocabulary"),
    "fewer characters": ("run.json", {"tokenizer__characters": ["b", "a"]}, "parameters"),
    "a character twice": ("run.json", {"tokenizer__characters": ["a", "a"]}, "vocabulary"),
    "half of the bytes": ("run.json", {"tokenizer": {"kind": "bpe", "pieces": ["61"]}}, "vocabul"),
    "GPT-2 of elsewhere": ("run.json", {"tokenizer": {"kind": "gpt2", "sha256": {}}}, "vocabulary"),
    "the tokenizer of another": (f"{WHERE}/tokenizer.json", {"kind": "bytes"}, "another tokenizer"),
}


@pytest.mark.parametrize(("name", "values", "match"), CHANGES.values(), ids=CHANGES)
def test_what_the_lab_could_not_use_is_refused(archive, elsewhere, name, values, match):
    refused(zipped(changed(unzipped(archive), name, **values)), elsewhere, match)


def test_json_that_is_too_deep_is_refused(archive, elsewhere):
    files = {**unzipped(archive), "about.json": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"}
    refused(zipped(files), elsewhere, "not JSON")


def altered(run, change):
    weights = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    change(weights)
    return safetensors.torch.save(weights)


TENSORS = {
    "a tensor too few": (lambda w: w.pop("head.weight"), "does not fit"),
    "a tensor too many": (lambda w: w.update(more=torch.zeros(1)), "does not fit"),
    "another shape": (lambda w: w.update({"norm.weight": torch.zeros(17)}), "does not fit"),
    "another type": (lambda w: w.update({"norm.weight": torch.zeros(16).half()}), "does not fit"),
    "no number": (lambda w: w["norm.weight"].fill_(torch.nan), "not finite"),
}


@pytest.mark.parametrize("file", [f"{WHERE}/{WEIGHTS}", f"{WHERE}/optimizer.safetensors"])
def test_tensors_of_another_model_are_refused_before_anything_is_unpacked(
    run, archive, elsewhere, monkeypatch, file
):
    """Else a small model could bring files of any size."""
    unpacked, unpack = [], Package.unpack
    monkeypatch.setattr(
        Package, "unpack", lambda self, name, *to: [unpacked.append(name), unpack(self, name, *to)]
    )
    huge = safetensors.torch.save({"norm.weight": torch.zeros(100, 1000)})
    one = safetensors.torch.save({"norm.weight/exp_avg": torch.zeros(16)})
    longer = (altered(run, len) if file.endswith(WEIGHTS) else one) + bytes(1000)
    cut = {"no header": b"", "half a header": huge[:20], "no JSON": huge[:8] + b"x" * len(huge)}
    for data in (huge, longer, *cut.values()):
        refused(zipped({**unzipped(archive), file: data}), elsewhere, "does not fit|damaged|JSON")
    assert unpacked == []


@pytest.mark.parametrize(("change", "match"), TENSORS.values(), ids=TENSORS)
def test_weights_that_do_not_fit_are_refused(run, archive, elsewhere, change, match):
    files = {**unzipped(archive), f"{WHERE}/{WEIGHTS}": altered(run, change)}
    refused(zipped(files), elsewhere, match)


MEMORIES = {
    "another shape": {"norm.weight/exp_avg": torch.zeros(17)},
    "another model's": {"nose.weight/exp_avg": torch.zeros(16)},
    "no number": {"norm.weight/exp_avg": torch.full((16,), torch.inf)},
}


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_an_optimizers_memory_that_does_not_fit_is_refused(archive, elsewhere, memory):
    files = {**unzipped(archive), f"{WHERE}/optimizer.safetensors": safetensors.torch.save(memory)}
    refused(zipped(files), elsewhere, "does not fit|not finite")


@pytest.mark.parametrize(
    "odd",
    [
        {"step": 11},
        {"step": "12"},
        {"micro_batch": -1},
        {"learning_rate": "x"},
        {"best_loss": float("nan")},
        {"uncompiled": 1},
        {"optimizer": None},
        {"wings": 1},
    ],
    ids=str,
)
def test_progress_that_cannot_be_gone_on_from_is_refused(archive, elsewhere, odd):
    progress = dumped(asdict(Progress(step=12)) | odd)
    files = {**unzipped(archive), f"{WHERE}/progress.json": progress}
    refused(zipped(files), elsewhere, "progress.json")


def test_a_pickle_under_the_name_of_weights_is_refused(archive, elsewhere):
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, stream)
    for name in (WEIGHTS, "optimizer.safetensors"):
        files = {**unzipped(archive), f"{WHERE}/{name}": stream.getvalue()}
        refused(zipped(files), elsewhere, "is damaged")


STATEMENTS = {
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON steps BEGIN DELETE FROM samples; END",
    "a view": "CREATE VIEW v AS SELECT 1",
    "an index": "CREATE INDEX i ON steps (train_loss)",
    "another table": "CREATE TABLE more (a)",
    "another column": "ALTER TABLE samples ADD COLUMN more",
    "a computed column": "ALTER TABLE samples ADD COLUMN more AS (step)",
    "a missing table": "DROP TABLE events",
    "a missing column": "ALTER TABLE steps DROP COLUMN seconds",
    "text for a number": "UPDATE steps SET train_loss = 'x' WHERE step = 3",
    "no number": "UPDATE steps SET train_loss = NULL WHERE step = 3",
    "bytes for a number": "UPDATE steps SET seconds = x'00'",
    "a negative step": "UPDATE steps SET step = -1 WHERE step = 3",
    "bytes for a text": "UPDATE samples SET text = x'00'",
    "a state that is none": "UPDATE events SET detail = 'x' WHERE kind = 'state'",
    "a state of no kind": "UPDATE events SET detail = '[]' WHERE kind = 'state'",
    "a batch of nothing": "INSERT INTO events VALUES (1.0, 1, 'micro_batch', '0')",
    "a rate without end": "INSERT INTO events VALUES (1.0, 1, 'learning_rate', 'inf')",
    "threads of no number": "INSERT INTO events VALUES (1.0, 1, 'threads', '0')",
    "threads without end": "INSERT INTO events VALUES (1.0, 1, 'threads', '1e9')",
    "a trial of nothing": "INSERT INTO events VALUES (1.0, 1, 'threads_measured', '{}')",
    "a trial without end": """INSERT INTO events VALUES
        (1.0, 1, 'threads_measured', '{"threads": 2, "seconds": {"2": Infinity}}')""",
    "a switch that is none": "INSERT INTO events VALUES (1.0, 1, 'uncompiled', '7')",
    "an accuracy that is none": "INSERT INTO events VALUES (1.0, 1, 'accuracy', 'much')",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_metrics_that_are_not_a_runs_are_refused(archive, elsewhere, tmp_path, statement):
    files = unzipped(archive)
    (tmp_path / "odd.sqlite").write_bytes(files["metrics.sqlite"])
    database = sqlite3.connect(tmp_path / "odd.sqlite")
    database.execute(statement)
    database.commit()
    database.close()
    files["metrics.sqlite"] = (tmp_path / "odd.sqlite").read_bytes()
    refused(zipped(files), elsewhere, "metrics.sqlite")


def test_a_database_whose_pages_do_not_add_up_is_refused(archive, elsewhere):
    files = unzipped(archive)
    data = bytearray(files["metrics.sqlite"])
    data[36:40] = (5).to_bytes(4, "big")  # as many free pages, of which there are none
    refused(zipped({**files, "metrics.sqlite": bytes(data)}), elsewhere, "(?i)freelist")


def test_hidden_constraints_and_virtual_tables_are_refused(archive, elsewhere, tmp_path):
    for number, sql in enumerate(
        (
            "CREATE TABLE samples (step INTEGER CHECK (abs(step) >= 0), time, prompt, text)",
            "CREATE TABLE samples (step DEFAULT (1 + 1), time, prompt, text)",
            "CREATE VIRTUAL TABLE samples USING fts5(step, time, prompt, text)",
        )
    ):
        files, path = unzipped(archive), tmp_path / f"odd-{number}.sqlite"
        path.write_bytes(files["metrics.sqlite"])
        database = sqlite3.connect(path)
        database.executescript(f"DROP TABLE samples; {sql};")
        database.close()
        files["metrics.sqlite"] = path.read_bytes()
        refused(zipped(files), elsewhere, "metrics.sqlite")


def test_a_name_that_is_taken_or_none_is_refused(archive, elsewhere):
    take(archive, elsewhere)
    for name in ("came-1", "../came-2", "", "a/b", ".staging-1", "Came", "came_2"):
        with pytest.raises(ImportRefusedError, match="called"):
            read_archive(io.BytesIO(archive), elsewhere, name)
    assert [path.name for path in elsewhere.iterdir()] == ["came-1"]


def test_a_folder_that_cannot_be_written_is_a_sentence(archive, tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(ImportRefusedError, match="could not be unpacked"):
        read_archive(io.BytesIO(archive), tmp_path / "runs", "came-1")


def test_a_run_that_is_coming_in_is_not_listed_yet(archive, elsewhere, monkeypatch):
    seen = []

    class Slow(io.BytesIO):
        def read(self, *size):
            seen.append(RunStore(elsewhere.parent).list())
            return super().read(*size)

    read_archive(Slow(archive), elsewhere, "came-1")
    assert len(seen) > 10
    assert not any(seen)


# --- by chance -----------------------------------------------------------------------------------


def comes_whole_or_not_at_all(data, folder):
    """Either the run is there and can be used, or nothing is."""
    place = folder / "came-1"
    with contextlib.suppress(ImportRefusedError):
        assert read_archive(io.BytesIO(data), folder, "came-1") == place
    there = [path.name for path in folder.iterdir()] if folder.exists() else []
    if not there:
        return
    assert there == ["came-1"]
    assert len(RunStore(folder.parent).list()) == 1
    stored_view(Run(place))
    for checkpoint in Run(place).usable_checkpoints():
        load_checkpoint(checkpoint)
    shutil.rmtree(place)


by_chance = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1)


@given(FLIPS)
@settings(by_chance, max_examples=60)
def test_a_flipped_byte_never_breaks_more_than_the_archive(archive, elsewhere, flips):
    data = bytearray(archive)
    for place, flip in flips:
        data[int(place * len(data))] ^= flip
    comes_whole_or_not_at_all(bytes(data), elsewhere)


INSIDE = ["run.json", "metrics.sqlite", "archive.json"]
INSIDE += [f"{WHERE}/{name}" for name in (META, WEIGHTS, "tokenizer.json")]
ODD = st.sampled_from([None, True, -1, 2**70, 1e308, float("nan"), "", "x", [], [[]], {}, {"a": 1}])


@pytest.fixture(scope="module")
def small_archive(run):
    return unzipped(packed(run.folder, checkpoints=["step-00000012"]))


@given(st.sampled_from(INSIDE), FLIPS, st.booleans())
@settings(by_chance, max_examples=60)
def test_a_flipped_byte_under_a_right_sum_breaks_nothing_either(
    small_archive, elsewhere, name, flips, at_the_beginning
):
    data = bytearray(small_archive[name])
    for place, flip in flips:
        data[int(place * min(400 if at_the_beginning else 2**30, len(data)))] ^= flip
    files = {**small_archive, name: bytes(data)}
    comes_whole_or_not_at_all(zipped(files, sign=name != "archive.json"), elsewhere)


@given(st.sampled_from([name for name in INSIDE if name.endswith(".json")]), st.data())
@settings(by_chance, max_examples=60)
def test_an_odd_value_anywhere_breaks_nothing(small_archive, elsewhere, name, data):
    content = inner = json.loads(small_archive[name])
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(inner[key], dict | list) and len(inner[key])
        if not deeper or data.draw(st.booleans()):
            break
        inner = inner[key]
    inner[key] = data.draw(ODD)
    files = {**small_archive, name: dumped(content)}
    comes_whole_or_not_at_all(zipped(files, sign=name != "archive.json"), elsewhere)
