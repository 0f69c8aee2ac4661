"""What the command line prints reaches any terminal, and nothing depends on its being read."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_lab.cli import main
from transformer_lab.runs.store import RunStore

TITLE = "小说"
FULL = Path("/dev/full")
TEXT = "那是最美好的时代, “naïve” 🙂.\n" * 120
TINY = [
    "--set=model.layers=1",
    "--set=model.heads=1",
    "--set=model.embedding_dim=8",
    "--set=model.sequence_length=8",
    "--set=train.batch_size=2",
    "--set=train.evaluate_every=10",
    "--set=train.evaluation_batches=1",
    "--set=train.threads=1",
    "--steps=20",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a run on a text that few encodings can spell."""
    home = tmp_path_factory.mktemp("home")
    (home / f"{TITLE}.txt").write_text(TEXT, encoding="utf-8")
    corpus = ["--corpus", str(home / f"{TITLE}.txt")]
    assert main(["train", "--home", str(home), *corpus, *TINY]) == 0
    assert main(["data", "add", "--home", str(home), str(home / f"{TITLE}.txt")]) == 0
    return home


def commands(home, folder):
    """Every command that ends by itself, with something to say of that text."""
    text = str(home / f"{TITLE}.txt")
    return {
        "train": ["train", "--home", str(folder), "--corpus", text, *TINY],
        "train as JSON": ["train", "--json", "--home", str(folder), "--corpus", text, *TINY],
        "generate": ["generate", "--home", str(home), "--prompt=时代", "--length=30"],
        "generate as JSON": ["generate", "--json", "--home", str(home), "--prompt=时代"],
        "audit": ["audit", "--home", str(home)],
        "runs": ["runs", "--home", str(home)],
        "runs as JSON": ["runs", "--json", "--home", str(home)],
        "list": ["data", "list", "--home", str(home)],
        "show": ["data", "show", f"{TITLE}.txt", "--home", str(home)],
        "show as JSON": ["data", "show", f"{TITLE}.txt", "--json", "--home", str(home)],
        "tokenize": ["data", "tokenize", f"{TITLE}.txt", "--home", str(home)],
        "export": ["export", "latest", "--home", str(home), "--out", str(folder / "小.zip")],
        "import": ["import", "--home", str(folder / "other"), str(folder / "小.zip")],
        "doctor": ["doctor", "--home", str(home)],
        "no such run": ["export", "小", "--home", str(home)],
    }


NAMES = list(commands(Path(), Path()))


def prepared(home, folder, name):
    """The words of a command, with what it needs."""
    if name == "import":
        assert main(commands(home, folder)["export"]) == 0
    return commands(home, folder)[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_prints_on_a_terminal_that_lacks_the_letters(
    home, tmp_path, monkeypatch, name
):
    given = prepared(home, tmp_path, name)
    expected = main(given) if name in ("doctor", "audit", "no such run") else 0
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding=coding) for coding in ("cp1252", "ascii"))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    assert main(given) == expected
    said = out.buffer.getvalue().decode("cp1252") + error.buffer.getvalue().decode("ascii")
    assert said
    if "JSON" in name:
        assert [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    elif name in ("show", "generate", "no such run"):
        assert "\\u" in said


@pytest.mark.parametrize("name", [*NAMES, "--help"])
def test_a_closed_pipe_ends_every_command_quietly(home, tmp_path, monkeypatch, capsys, name):
    given = [name] if name == "--help" else prepared(home, tmp_path, name)
    expected = main(given) if name in ("audit", "doctor", "no such run") else 0
    capsys.readouterr()
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        try:
            code = main(given)
        except SystemExit as ended:
            code = ended.code
        assert code == expected
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "pipe" not in error
    if name.startswith("train"):
        run = RunStore(tmp_path).open("latest")
        assert run.state()[0] == "finished"
        assert run.checkpoints()[-1].name == "step-00000020"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("name", ["train", "runs", "show", "doctor"])
def test_a_full_disk_under_the_log_is_one_sentence_and_ends_no_training(
    home, tmp_path, monkeypatch, capsys, name
):
    given = prepared(home, tmp_path, name)
    capsys.readouterr()
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(given) == 1
    error = capsys.readouterr().err
    assert "the output cannot be written: No space left on device." in error
    if name == "train":
        assert RunStore(tmp_path).open("latest").state()[0] == "finished"


def test_a_training_whose_output_is_closed_goes_on_in_a_process_of_its_own(home, tmp_path):
    given = commands(home, tmp_path)["train"]
    process = subprocess.Popen(
        [sys.executable, "-m", "transformer_lab.cli", *given],
        env=os.environ | {"OMP_NUM_THREADS": "1", "LC_ALL": "C", "PYTHONUTF8": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    assert RunStore(tmp_path).open("latest").state()[0] == "finished"
