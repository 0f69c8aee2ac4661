"""Archives of runs: what leaves is whole, what comes is checked, what is refused leaves nothing."""

import contextlib
import csv
import hashlib
import io
import itertools
import json
import re
import shutil
import sqlite3
import stat
import threading
import tracemalloc
import zipfile
from dataclasses import asdict

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transformer_lab.exchange import (
    ExportRefusedError,
    ImportRefusedError,
    Limits,
    read_archive,
    write_archive,
    write_metrics_csv,
)
from transformer_lab.exchange.database import SCHEMA
from transformer_lab.exchange.package import Package
from transformer_lab.exchange.run_folder import preferred_checkpoint
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.saves import Progress
from transformer_lab.lab.training.views import stored_view
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import META, WEIGHTS, load_checkpoint, load_training
from transformer_lab.runs.database import COLUMNS, RunWriter
from transformer_lab.runs.moments import Moments
from transformer_lab.runs.run import SOUND, Run, _extremes, _spread
from transformer_lab.runs.store import RunStore
from transformer_lab.runs.tables import TABLES
from transformer_lab.training import StepMetrics
from waiting import until

WHERE = "checkpoints/step-00000012"
TRAINED = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 1,
        "model.embedding_dim": 8,
        "model.sequence_length": 8,
        "train.steps": 6,
        "train.batch_size": 2,
        "train.evaluate_every": 3,
        "train.threads": 1,
        "sample.length": 3,
    }
)


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("home"), **{"model.layers": 1})


@pytest.fixture(scope="module")
def archive(run):
    return packed(run.folder)


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "runs"


def packed(folder, **wishes):
    stream = io.BytesIO()
    write_archive(folder, stream, **wishes)
    return stream.getvalue()


def unzipped(data):
    """The files of an archive, without the folder they are in."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def zipped(files, *, sign=True, folder="small-1", **how):
    """An archive of these files whose sums are right: what only someone who means it can make."""
    files = dict(files)
    for name in [name for name in files if sign and name.endswith(META)]:
        beside = name.removesuffix(META)
        sums = {f.removeprefix(beside): digest(files[f]) for f in files if f.startswith(beside)}
        sums.pop(META)
        with contextlib.suppress(ValueError, TypeError):  # spoiled by the test itself
            files[name] = dumped({**json.loads(files[name]), "sha256": sums})
    if sign and "archive.json" in files:
        listed = {
            name: {"bytes": len(data), "sha256": digest(data)}
            for name, data in files.items()
            if name != "archive.json"
        }
        files["archive.json"] = dumped({**json.loads(files["archive.json"]), "files": listed})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **how) as archive:
        for name, data in files.items():
            archive.writestr(f"{folder}/{name}", data)
    return stream.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def dumped(content):
    return json.dumps(content).encode()


def changed(files, name, **values):
    """The files with some values of a JSON file changed, by dotted name."""
    content = json.loads(files[name])
    for key, value in values.items():
        *path, last = key.split("__")
        inner = content
        for part in path:
            inner = inner[part]
        inner[last] = value
    return {**files, name: dumped(content)}


def take(data, folder, **limits):
    return read_archive(io.BytesIO(data), folder, "came-1", limits=Limits(**limits))


def refused(data, folder, match, **limits):
    """The archive is refused with a sentence, and nothing of it is left."""
    with pytest.raises(ImportRefusedError, match=match) as error:
        take(data, folder, **limits)
    assert str(error.value).endswith((".", "?"))
    assert not folder.exists() or list(folder.iterdir()) == []


# --- out and in again ----------------------------------------------------------------------------


def test_a_run_comes_back_as_it_left(run, archive, elsewhere):
    place = take(archive, elsewhere)
    assert place == elsewhere / "came-1"
    assert [path.name for path in elsewhere.iterdir()] == ["came-1"]
    here, there = Run(run.folder), RunStore(elsewhere.parent).open("came-1")
    assert there.since() == here.since()
    assert there.state() == here.state()
    assert there.latest_sample() == here.latest_sample()
    assert there.events("learning_rate") == here.events("learning_rate")
    own = {"id", "imported", "order"}
    assert {k: v for k, v in there.manifest.items() if k not in own} == {
        k: v for k, v in here.manifest.items() if k not in own
    }
    assert there.manifest["id"] == "came-1"
    assert there.manifest["imported"]["from"] == run.id
    assert [p.name for p in there.checkpoints()] == [p.name for p in here.checkpoints()]
    for checkpoint in here.usable_checkpoints():
        theirs = place / "checkpoints" / checkpoint.name
        weights, tokenizer, meta = load_checkpoint(theirs)
        ours, own_tokenizer, own_meta = load_checkpoint(checkpoint)
        assert (tokenizer, meta) == (own_tokenizer, own_meta)
        assert all(torch.equal(weights[name], ours[name]) for name in ours | weights)


def test_an_archive_that_came_in_can_leave_again(archive, elsewhere):
    again = packed(take(archive, elsewhere))
    files, before = unzipped(again), unzipped(archive)
    assert set(files) == set(before)
    assert files["metrics.csv"] == before["metrics.csv"]
    read_archive(io.BytesIO(again), elsewhere, "came-2")


@pytest.mark.parametrize("kind", ["bpe", "gpt2", "bytes", "words"])
def test_every_tokenizer_comes_along(make_run, tmp_path, kind):
    run = make_run(tmp_path, steps=3, checkpoints=("step",), **{"data.tokenizer": kind})
    place = take(packed(run.folder), tmp_path / "other")
    assert json.loads((place / "run.json").read_text())["tokenizer"] == run.tokenizer.to_json()


def test_a_run_the_lab_really_trained_comes_back(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(TRAINED, "small")
    until(
        lambda: (
            lab.trainings.current.ended
            and lab.runs.view().sample
            and lab.runs.view().sample.step == 6
        )
    )
    lab.close()
    read_archive(io.BytesIO(packed(tmp_path / "runs/small-1")), tmp_path / "runs", "came-1")
    lab = Lab(tmp_path)
    ours, theirs = lab.models.snapshot("small-1"), lab.models.snapshot("came-1")
    assert theirs.step == 6
    assert all(torch.equal(theirs.weights[name], ours.weights[name]) for name in ours.weights)
    assert lab.runs.view("came-1").state == "finished"
    assert lab.runs.view("came-1").corpus == lab.runs.view("small-1").corpus
    lab.close()


def test_a_run_that_came_in_goes_on_exactly_as_it_would_have_at_home(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(TRAINED.with_values({"train.steps": 100_000}), "small")
    until(lambda: lab.trainings.current.status.step >= 3)
    lab.trainings.stop()
    until(lambda: lab.trainings.current.ended)
    step = lab.trainings.current.status.step
    read_archive(io.BytesIO(packed(tmp_path / "runs/small-1")), tmp_path / "runs", "came-1")
    for name in ("small-1", "came-1"):
        lab.trainings.extend(name, 4)
        until(lambda: lab.trainings.current.ended)
        assert lab.trainings.current.status.state == "finished"
    lab.close()
    ends = [Run(tmp_path / f"runs/{name}-more-1") for name in ("small-1", "came-1")]
    losses = [[point.train_loss for point in run.since()[0]] for run in ends]
    assert len(losses[0]) == step + 4
    assert losses[0] == losses[1]
    read_archive(io.BytesIO(packed(ends[1].folder)), tmp_path / "runs", "came-2")
    assert Run(tmp_path / "runs/came-2").seams == ends[1].seams


def test_everything_in_an_archive_can_be_read_without_us(run, archive, tmp_path):
    files = unzipped(archive)
    index = json.loads(files["archive.json"])
    assert index["format"] == 1
    assert set(index["files"]) == set(files) - {"archive.json"}
    for name, about in index["files"].items():
        assert about == {"bytes": len(files[name]), "sha256": digest(files[name])}
    (tmp_path / "metrics.sqlite").write_bytes(files["metrics.sqlite"])
    rows = sqlite3.connect(tmp_path / "metrics.sqlite").execute("SELECT * FROM steps").fetchall()
    table = list(csv.reader(io.StringIO(files["metrics.csv"].decode())))
    assert table[0] == COLUMNS
    assert [[float(x) if x else None for x in line] for line in table[1:]] == [
        [None if x is None else float(x) for x in row] for row in rows
    ]
    assert files["samples.txt"].decode().endswith("The cat, they say.\n\n\n")
    readme = files["README.md"].decode()
    for name in set(files) - {"README.md"}:
        assert name.split("/")[-1] in readme
    for column in COLUMNS:
        assert f"`{column}`" in readme
    weights = safetensors.torch.load(files[f"{WHERE}/{WEIGHTS}"])
    assert set(weights) == set(run.model.state_dict())


def test_the_instructions_in_the_readme_work(archive, tmp_path, monkeypatch):
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        file.extractall(tmp_path)
    monkeypatch.chdir(tmp_path / "small-1")
    readme = (tmp_path / "small-1/README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"(?:^    .*\n)+", readme, re.MULTILINE)
    ran = 0
    for snippet in snippets:
        code = "\n".join(line[4:] for line in snippet.splitlines())
        if not code.startswith(("pip", "sqlite3")):
            compiled = compile(code, "README.md", "exec")
            exec(compiled, {"print": lambda *words: None})
            ran += 1
    assert ran == 3


def test_a_run_leaves_whole_while_a_training_writes_it(make_run, tmp_path):
    run = make_run(tmp_path, steps=2)
    writer, stop = RunWriter(run.folder), threading.Event()

    def train():
        number = 2
        while not stop.is_set():
            number += 1
            writer.append(StepMetrics(number, 1.0, 0.1, 1.0, 100.0, 1.0))
            if number % 20 == 0:
                writer.state("running", number)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        archives = [packed(run.folder) for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    assert Run(run.folder).is_held()
    writer.close()
    lengths = []
    for number, data in enumerate(archives):
        read_archive(io.BytesIO(data), tmp_path / "other", f"came-{number}")
        points, last = Run(tmp_path / f"other/came-{number}").since()
        assert [point.step for point in points] == list(range(1, last + 1))
        assert unzipped(data)["metrics.csv"].count(b"\n") == last + 1
        lengths.append(last)
    assert lengths == sorted(lengths)
    assert not list(run.folder.glob("metrics.sqlite-*"))


def test_a_stream_that_cannot_be_wound_back_is_enough(run, archive, elsewhere):
    class Away(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    away = Away()
    write_archive(run.folder, away)
    assert set(unzipped(away.data)) == set(unzipped(archive))
    take(away.data, elsewhere)


def test_large_files_pass_through_in_little_memory(make_run, tmp_path):
    run = make_run(tmp_path, steps=3, checkpoints=("step",))
    size = 48_000_000
    add_files(run.folder / "checkpoints/step-00000003", {"more.safetensors": tensors(size)})
    with (tmp_path / "archive.zip").open("w+b") as file:
        tracemalloc.start()
        write_archive(run.folder, file)
        _, leaving = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        read_archive(file, tmp_path / "other", "came-1")
        _, coming = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert leaving < size / 4
    assert coming < size / 4
    name = "checkpoints/step-00000003/more.safetensors"
    assert (tmp_path / "other/came-1" / name).stat().st_size > size


def tensors(size=4):
    return safetensors.torch.save({"some": torch.zeros(size // 4)})


def add_files(checkpoint, files):
    """More files in a checkpoint, named in its meta.json as the lab does."""
    meta = json.loads((checkpoint / META).read_text())
    for name, data in files.items():
        (checkpoint / name).write_bytes(data)
        meta["sha256"][name] = digest(data)
    (checkpoint / META).write_text(json.dumps(meta))


def test_training_state_and_notes_come_along_or_stay_behind(make_run, tmp_path):
    run = make_run(tmp_path, steps=3, checkpoints=("step",))
    moments = {f"{name}/exp_avg": torch.ones_like(p) for name, p in run.model.named_parameters()}
    more = {
        "optimizer.safetensors": safetensors.torch.save(moments),
        "progress.json": dumped(asdict(Progress(step=3, optimizer="adamw", best_loss=3.5))),
    }
    add_files(run.folder / "checkpoints/step-00000003", more)
    (run.folder / "about.json").write_text('{"title": "Mine"}')
    (run.folder / "secret.txt").write_text("not for others")
    whole, small = packed(run.folder), packed(run.folder, training_state=False)
    names = {f"checkpoints/step-00000003/{name}" for name in more}
    assert names <= set(unzipped(whole))
    assert set(unzipped(whole)) - set(unzipped(small)) == names
    assert not any("secret" in name or "lock" in name for name in unzipped(whole))
    for number, data in enumerate((whole, small)):
        place = read_archive(io.BytesIO(data), tmp_path / "other", f"came-{number}")
        weights, _, meta = load_checkpoint(place / "checkpoints/step-00000003")
        assert set(weights) == set(run.model.state_dict())
        assert ("progress.json" in meta["sha256"]) == (number == 0)
        remembered, progress = load_training(place / "checkpoints/step-00000003")
        assert set(remembered) == (set() if number else set(moments))
        assert progress == ({} if number else json.loads(more["progress.json"]))
        assert json.loads((place / "about.json").read_text()) == {"title": "Mine"}


def test_moments_come_along_or_stay_behind(make_run, tmp_path):
    run = make_run(tmp_path, steps=3)
    moments = Moments(run.folder)
    for step in (0, 1, 2):
        moments.add(step, run.model.state_dict())
    next((run.folder / "moments").glob("00000001*")).write_bytes(b"damaged")
    came = Moments(take(packed(run.folder), tmp_path / "other"))
    assert came.steps() == [0, 2]
    assert all(torch.equal(came.load(2)[name], value) for name, value in moments.load(2).items())
    assert not [name for name in unzipped(packed(run.folder, moments=False)) if "moments" in name]


def test_moments_that_do_not_fit_are_refused(make_run, run, archive, tmp_path):
    other = make_run(tmp_path, **{"model.layers": 1, "model.embedding_dim": 32})
    for number, weights in enumerate((other.model.state_dict(), run.model.state_dict())):
        place = tmp_path / f"moments-{number}"
        place.mkdir()
        Moments(place).add(4, weights)
        (path,) = (place / "moments").iterdir()
        name = path.name if number == 0 else "00000004-0123456789ab.safetensors"
        files = {**unzipped(archive), f"moments/{name}": path.read_bytes()}
        why = "does not fit" if number == 0 else "does not match its name"
        refused(zipped(files), tmp_path / "other", why)


def test_the_weights_that_leave_can_be_chosen(run):
    names = {name.split("/")[1] for name in unzipped(packed(run.folder)) if "/" in name}
    assert names == {"step-00000012", "best-00000012"}
    chosen = unzipped(packed(run.folder, checkpoints=["best-00000012"]))
    assert {name.split("/")[1] for name in chosen if "/" in name} == {"best-00000012"}
    assert not [name for name in unzipped(packed(run.folder, checkpoints=[])) if "/" in name]


def test_a_run_without_weights_leaves_and_comes(make_run, tmp_path):
    run = make_run(tmp_path, checkpoints=())
    assert Run(take(packed(run.folder), tmp_path / "other")).latest()[0].step == 12


@pytest.mark.parametrize("keep_best", [True, False])
def test_a_model_leaves_with_the_weights_the_lab_writes_with(make_run, save, tmp_path, keep_best):
    run = make_run(tmp_path, steps=9, checkpoints=("step",), **{"train.keep_best": keep_best})
    for number, kind in ((5, "kept"), (7, "best"), (12, "step")):
        save(run.folder / f"checkpoints/{kind}-{number:08d}", run.model, run.tokenizer, number)
    add_files(run.folder / "checkpoints/kept-00000005", {"optimizer.safetensors": tensors()})
    preferred = [preferred_checkpoint(run.folder)]
    assert preferred == [path.name for path in Run(run.folder).usable_checkpoints()[:1]]
    assert preferred == ["best-00000007" if keep_best else "kept-00000005"]


@pytest.mark.parametrize("names", [["step-00000099"], ["../step-00000012"], [".."]])
def test_weights_that_are_not_there_cannot_leave(run, names):
    stream = io.BytesIO()
    with pytest.raises(ExportRefusedError):
        write_archive(run.folder, stream, checkpoints=names)
    assert stream.getvalue() == b""


def test_damaged_weights_stay_behind_and_the_readme_says_so(make_run, save, tmp_path):
    run = make_run(tmp_path, steps=3)
    path = run.folder / "checkpoints/step-00000003" / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    stream = io.BytesIO()
    with pytest.raises(ExportRefusedError, match=r"step-00000003.* is damaged"):
        write_archive(run.folder, stream, checkpoints=["step-00000003"])
    assert stream.getvalue() == b""
    for older in (False, True):
        if older:
            save(run.folder / "checkpoints/step-00000002", run.model, run.tokenizer, 2)
        stream = io.BytesIO()
        (lost,) = write_archive(run.folder, stream)
        files = unzipped(stream.getvalue())
        assert "step-00000003" in lost
        assert lost in files["README.md"].decode()
        names = {name.split("/")[1] for name in files if "/" in name}
        assert names == {"best-00000003"} | ({"step-00000002"} if older else set())
        take(stream.getvalue(), tmp_path / f"other-{older}")


def spoil_manifest(folder):
    (folder / "run.json").write_bytes(b"{")


def spoil_database(folder):
    path = folder / "metrics.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 * 3 :] = b"\xff" * (len(data) - 4096 * 3)
    path.write_bytes(data)


def no_database(folder):
    (folder / "metrics.sqlite").unlink()


@pytest.mark.parametrize("spoil", [spoil_manifest, spoil_database, no_database])
def test_a_damaged_run_leaves_as_far_as_it_is_whole(make_run, tmp_path, spoil):
    run = make_run(tmp_path, steps=600)
    spoil(run.folder)
    stream = io.BytesIO()
    (lost,) = write_archive(run.folder, stream)
    files = unzipped(stream.getvalue())
    assert lost in files["README.md"].decode()
    assert f"checkpoints/step-00000600/{WEIGHTS}" in files
    if spoil is spoil_manifest:
        assert files["run.json"] == b"{"
        assert files["metrics.csv"].count(b"\n") == 601
        refused(stream.getvalue(), tmp_path / "other", "run.json is not JSON")
        return
    came = Run(take(stream.getvalue(), tmp_path / "other"))
    assert came.state()[0] in ("finished", "interrupted")
    kept = len(came.since()[0])
    assert kept == (0 if spoil is no_database else kept)
    assert f"{kept:,} steps" in lost


def test_what_is_no_run_cannot_leave(tmp_path):
    with pytest.raises(ExportRefusedError):
        write_archive(tmp_path, io.BytesIO())


def test_metrics_leave_as_a_table(run):
    stream = io.BytesIO()
    write_metrics_csv(run.folder, stream)
    lines = list(csv.DictReader(io.StringIO(stream.getvalue().decode())))
    assert [int(line["step"]) for line in lines] == list(range(1, 13))
    assert [line["validation_loss"] for line in lines[3:6]] == ["", "3.5", ""]
    assert float(lines[2]["train_loss"]) == 4 / 3


def repacked(data, rename, litter=()):
    """The archive as another program packs its files again."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in unzipped(data).items():
            archive.writestr(rename(name), content)
        for name in litter:
            archive.writestr(name, b"litter")
    return stream.getvalue()


REPACKED = {
    "a Mac": (
        lambda name: f"small-1 2/{name}",
        ("small-1 2/.DS_Store", "__MACOSX/small-1 2/._run.json"),
    ),
    "flat": (lambda name: name, (".DS_Store", "__MACOSX/._run.json")),
    "in a folder": (lambda name: f"Downloads/small-1/{name}", ("Downloads/small-1/Thumbs.db",)),
    "Windows": (lambda name: f"small-1/{name}".replace("/", "\\"), ("small-1/desktop.ini",)),
    "a German": (lambda name: f"Müllers Läufe/{name}", ()),
}


@pytest.mark.parametrize("how", REPACKED)
def test_an_archive_that_was_packed_again_is_a_run_all_the_same(run, archive, elsewhere, how):
    rename, litter = REPACKED[how]
    place = take(repacked(archive, rename, litter), elsewhere)
    assert Run(place).since() == Run(run.folder).since()
    assert not list(place.rglob("._*"))


def test_long_curves_come_in_and_are_looked_at_thinned(make_run, tmp_path):
    run = make_run(tmp_path, steps=2)
    with contextlib.closing(sqlite3.connect(run.folder / "metrics.sqlite")) as database, database:
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) "
            "INSERT INTO steps SELECT i, 1000.0 / i, 0.1, 1.0, 1.0, i, "
            "CASE WHEN i % 10 = 0 THEN 500.0 / i END FROM n"
        )
    came = Run(take(packed(run.folder), tmp_path / "other"))
    points, evaluated = came.thinned(300)
    assert (len(points), points[0].step, points[-1].step) == (300, 1, 50_000)
    assert (len(evaluated), evaluated[0].step, evaluated[-1].step) == (300, 10, 50_000)
    steps = [point.step for point in points]
    assert max(b - a for a, b in itertools.pairwise(steps)) < 200, "evenly spread"
    points, evaluated = came.envelope(300)
    assert (points[0].step, points[-1].step) == (1, 50_000)
    assert len(points) <= 302
    assert {668, 669} <= {p.step for p in points}, "the lowest of one, the highest of the next"
    assert (evaluated[0].step, evaluated[-1].step) == (10, 50_000)
    smooth = came.thinned(10, window=4)[0]
    assert smooth[-1].train_loss == pytest.approx(sum(1000 / (50_000 - k) for k in range(4)) / 4)
    with came.reading() as database:
        plans = [
            " ".join(str(row) for row in database.execute(f"EXPLAIN QUERY PLAN {query}"))
            for query in (
                "SELECT step FROM steps WHERE validation_loss IS NOT NULL AND step >= 3 "
                "ORDER BY step LIMIT 1",
                "SELECT min(validation_loss) FROM steps WHERE validation_loss IS NOT NULL",
            )
        ]
    assert all("evaluations" in plan for plan in plans), plans


def test_a_long_curve_is_looked_through_once_and_not_once_for_each_of_its_points(
    make_run, tmp_path
):
    run = make_run(tmp_path, steps=1)
    rows, operations = 20_000, 0
    with contextlib.closing(sqlite3.connect(run.folder / "metrics.sqlite")) as database, database:
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO steps SELECT i, 1.0, 0.1, 1.0, 1.0, i, 2.0 FROM n",
            (rows,),
        )

    def count() -> None:
        nonlocal operations
        operations += 1000

    with Run(run.folder).reading() as database:
        database.set_progress_handler(count, 1000)
        for table in (f"steps WHERE {SOUND}", f"steps WHERE validation_loss > 0 AND {SOUND}"):
            assert len(_extremes(database, table, "train_loss", 300)) >= 150
            assert len(_spread(database, table, 300)) == 300
        database.execute(f"SELECT * FROM steps WHERE step > ? AND {SOUND}", (rows - 1,)).fetchall()
    assert operations < 500 * rows  # what SQLite did for 4 looks at each row


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
    "characters out of order": ("run.json", {"tokenizer__characters": ["b", "a"]}, "vocabulary"),
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
def test_a_flipped_byte_under_a_right_sum_does_no_harm_either(
    small_archive, elsewhere, name, flips, at_the_beginning
):
    data = bytearray(small_archive[name])
    for place, flip in flips:
        data[int(place * min(400 if at_the_beginning else 2**30, len(data)))] ^= flip
    files = {**small_archive, name: bytes(data)}
    comes_whole_or_not_at_all(zipped(files, sign=name != "archive.json"), elsewhere)


@given(st.sampled_from([name for name in INSIDE if name.endswith(".json")]), st.data())
@settings(by_chance, max_examples=60)
def test_an_odd_value_anywhere_does_no_harm(small_archive, elsewhere, name, data):
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
