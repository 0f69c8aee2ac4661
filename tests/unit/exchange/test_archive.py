"""Archives of runs: what leaves is whole, and comes back as it left."""

import contextlib
import csv
import io
import itertools
import json
import re
import sqlite3
import threading
import tracemalloc
import zipfile
from dataclasses import asdict

import pytest
import safetensors.torch
import torch

from archives import digest, dumped, packed, refused, take, tensors, unzipped, zipped
from transformer_lab.exchange import (
    ExportRefusedError,
    read_archive,
    write_archive,
    write_metrics_csv,
)
from transformer_lab.exchange.run_folder import preferred_checkpoint
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.saves import Progress
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import META, WEIGHTS, load_checkpoint, load_training
from transformer_lab.runs.curves import SOUND, extremes, spread
from transformer_lab.runs.database import COLUMNS, RunWriter
from transformer_lab.runs.moments import Moments
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
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
            assert len(extremes(database, table, "train_loss", 300)) >= 150
            assert len(spread(database, table, 300)) == 300
        database.execute(f"SELECT * FROM steps WHERE step > ? AND {SOUND}", (rows - 1,)).fetchall()
    assert operations < 500 * rows  # what SQLite did for 4 looks at each row
