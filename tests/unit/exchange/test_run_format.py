"""The format of a run: what was written once must stay readable, and be described."""

import contextlib
import io
import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

import transformer_lab
from transformer_lab.exchange import read_archive, script_text, write_archive
from transformer_lab.exchange.run_folder import read_manifest
from transformer_lab.generation import SampleConfig, write
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.saves import Progress, newest_save
from transformer_lab.runs.database import CHANGES, COLUMNS, RunWriter
from transformer_lab.runs.tables import VERSION, insertion
from transformer_lab.text.tokenizers import TOKENIZERS

FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format_1"
DOCS = (Path(__file__).parents[3] / "docs" / "run_format.md").read_text(encoding="utf-8")


@pytest.fixture
def lab(tmp_path):
    """A lab whose home holds the run that was made when the format was 1."""
    shutil.copytree(FORMAT_1 / "runs", tmp_path / "runs")
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def test_a_run_of_format_1_opens_as_it_always_did(lab):
    (summary,) = lab.runs.all()
    assert (summary.id, summary.title, summary.pinned) == ("kept-1", "A small one", True)
    assert (summary.state, summary.step, summary.steps) == ("finished", 24, 24)
    view = lab.runs.view("kept-1")
    assert view.setup.model.embedding_dim == 8
    assert view.corpus.startswith("Python documentation")
    assert view.sample.prompt == "The "
    points, _ = lab.runs.since("kept-1")
    assert [point.step for point in points] == list(range(1, 25))
    assert [point.step for point in points if point.validation_loss] == [8, 16, 24]
    assert 3 < points[-1].train_loss < 4


def test_the_model_of_format_1_still_writes_and_can_go_on(lab):
    snapshot = lab.models.snapshot("kept-1")
    assert snapshot.step == 24
    sample = SampleConfig(prompt="The ", length=12, temperature=0.0)
    text = "".join(write(snapshot.model(), snapshot.tokenizer, sample))
    assert len(text) == 12
    saved, damaged = newest_save(lab.runs.open("kept-1"))
    assert not damaged
    assert saved.progress == Progress(
        step=24,
        optimizer="adamw",
        learning_rate=0.02,
        micro_batch=4,
        best_loss=saved.progress.best_loss,
    )
    assert set(saved.weights) <= {key.rpartition("/")[0] for key in saved.remembered}


def test_a_run_of_format_1_can_still_leave(lab, tmp_path):
    folder = tmp_path / "runs" / "kept-1"
    compile(script_text(read_manifest(folder)), "generate.py", "exec")
    stream = io.BytesIO()
    write_archive(folder, stream)
    read_archive(stream, tmp_path / "runs", "came-1")
    assert lab.models.snapshot("came-1").step == 24


def test_an_archive_of_format_1_still_comes_in(lab, tmp_path):
    with (FORMAT_1 / "archive.zip").open("rb") as file:
        read_archive(file, tmp_path / "runs", "came-1")
    assert lab.runs.since("came-1")[0] == lab.runs.since("kept-1")[0]
    assert lab.runs.view("came-1").sample == lab.runs.view("kept-1").sample
    assert lab.runs.open("came-1").about == lab.runs.open("kept-1").about


def version_of(folder):
    with contextlib.closing(sqlite3.connect(folder / "metrics.sqlite")) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


def test_a_database_says_its_version_and_an_old_one_is_brought_up_to_date(lab, tmp_path):
    old = tmp_path / "runs" / "kept-1"
    assert version_of(old) == 0
    before = lab.runs.since("kept-1")[0]
    RunWriter(old).close()
    assert version_of(old) == VERSION
    assert lab.runs.since("kept-1")[0] == before
    stream = io.BytesIO()
    write_archive(old, stream)
    read_archive(stream, tmp_path / "runs", "came-1")
    assert version_of(tmp_path / "runs" / "came-1") == VERSION


def test_a_database_of_a_newer_lab_is_refused_in_a_sentence_and_left_as_it_is(lab, tmp_path):
    folder = tmp_path / "runs" / "kept-1"
    with contextlib.closing(sqlite3.connect(folder / "metrics.sqlite")) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    (summary,) = lab.runs.store.list()
    assert summary.state == "damaged"
    assert "update Transformer Lab" in summary.reason
    with pytest.raises(sqlite3.DatabaseError, match="update Transformer Lab"):
        RunWriter(folder)
    assert version_of(folder) == VERSION + 1


def test_every_statement_names_its_columns():
    assert insertion("samples") == (
        "INSERT INTO samples (step, time, prompt, text) VALUES (?, ?, ?, ?)"
    )
    for path in Path(transformer_lab.__file__).parent.rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        if path.name not in ("script.py", "notebook.py"):
            assert not re.search(r"INSERT [\w ]*INTO \w+ VALUES|SELECT \*", code), path


def test_everything_on_disk_is_described():
    run = FORMAT_1 / "runs" / "kept-1"
    names = set(COLUMNS) | set(CHANGES) | set(TOKENIZERS)
    for path in run.rglob("*.json"):
        names |= {path.name, *json.loads(path.read_text(encoding="utf-8"))}
    manifest = read_manifest(run)
    names |= {*manifest["corpus"], *manifest["device"], *manifest["setup"]}
    names |= {path.name for path in run.rglob("*") if path.suffix in (".sqlite", ".safetensors")}
    for name in names - set(manifest["tokenizer"]):
        assert re.search(rf"`{re.escape(name)}`|^[# ]*{re.escape(name)}\b", DOCS, re.MULTILINE), (
            name
        )


def test_the_recipes_for_reading_it_work(tmp_path, monkeypatch):
    shutil.copytree(FORMAT_1 / "runs" / "kept-1", tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    told = []
    snippets = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    for snippet in snippets:
        if not snippet.startswith("# needs"):
            exec(
                compile(snippet, "run_format.md", "exec"), {"print": lambda *one: told.append(one)}
            )
    assert len(snippets) == 4
    assert told[23][0] == 24
    assert told[24] == ("kept-1", "finished")
    assert ("norm.weight", (8,)) in told
