"""A model by its name on the Hugging Face Hub: what comes is checked; no network is used here."""

import hashlib
import shutil
import sys
from types import SimpleNamespace

import huggingface_hub
import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from transformer_lab.cli import main
from transformer_lab.cli.hub import fetch_model
from transformer_lab.settings import ConfigError


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("hub") / "small"
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator([text], vocab_size=300, show_progress=False)
    folder.mkdir()
    learned.save_model(str(folder))
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    GPT2LMHeadModel(GPT2Config(vocab_size=300, **shape)).save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    return folder


@pytest.fixture
def hub(theirs, monkeypatch):
    """The hub's client with a folder in the place of the network; the names that were fetched."""
    fetched = []

    def sibling(path):
        data = path.read_bytes()
        large = (
            {"sha256": hashlib.sha256(data).hexdigest()} if path.suffix == ".safetensors" else None
        )
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return SimpleNamespace(rfilename=path.name, lfs=large, blob_id=git)

    def info(self, name, files_metadata):
        return SimpleNamespace(sha="1234", siblings=[sibling(p) for p in sorted(theirs.iterdir())])

    def download(self, name, file, revision, local_dir):
        assert revision == "1234"
        local_dir.mkdir(exist_ok=True)
        shutil.copy(theirs / file, local_dir / file)
        fetched.append(file)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", download)
    return fetched


def test_a_model_is_downloaded_checked_and_becomes_a_run(hub, theirs, tmp_path, capsys):
    right = hashlib.sha256((theirs / "model.safetensors").read_bytes()).hexdigest()
    line = ["data", "model", "someone/small", f"--home={tmp_path}"]
    assert main([*line, f"--sha256={right}"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == "small"
    assert f"{right}  model.safetensors" in printed.err
    assert sorted(hub) == ["config.json", "merges.txt", "model.safetensors", "vocab.json"]
    assert main([*line, f"--sha256={'0' * 64}"]) == 2
    assert "No file of it has the sha256" in capsys.readouterr().err


def test_a_file_that_came_otherwise_is_refused(hub, tmp_path, monkeypatch):
    right = huggingface_hub.HfApi.hf_hub_download

    def spoiled(self, name, file, revision, local_dir):
        right(self, name, file, revision, local_dir)
        if file == "config.json":
            (local_dir / file).write_text("{}")

    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", spoiled)
    with pytest.raises(ConfigError, match=r"config\.json did not arrive as the hub has it"):
        fetch_model("someone/small", tmp_path / "small")


def test_without_the_extra_and_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"not be downloaded.*transformer-lab import FOLDER"):
        fetch_model("someone/small", tmp_path, endpoint="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="could not be downloaded"):
        fetch_model("no name at all", tmp_path, endpoint="http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install 'transformer-lab\[hub\]'"):
        fetch_model("someone/small", tmp_path)
