"""A GPT-2 from elsewhere, as transformers wrote it: as a run it computes the same logits."""

import io
import json
import shutil
import struct
import zipfile

import pytest
import safetensors.torch
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from transformer_lab.cli import main
from transformer_lab.exchange import (
    ImportRefusedError,
    bring_in,
    bring_in_folder,
    read_manifest,
    save_huggingface,
    write_archive,
    write_huggingface,
)
from transformer_lab.exchange.hf_tokenizers import byte_letters
from transformer_lab.generation import SampleConfig, write
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.finetuned import finetuning_setup
from transformer_lab.model import model_from_weights
from transformer_lab.recipes import setup_from
from transformer_lab.runs.checkpoint import load_checkpoint
from transformer_lab.runs.files import stored_tokenizer
from transformer_lab.text.bpe import gpt2_ranks
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.training.finetune import FineTuning
from waiting import ended

SHAPE = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}
END = "<|endoftext|>"
STRANGE = "It's they'll  x\u00a0y\t\n\n 3½² Ünïcödé 漢字 🎉 \u2003\x85_a_b __ ?!..."


def model_of(size, **changes):
    torch.manual_seed(4)
    made = GPT2LMHeadModel(GPT2Config(vocab_size=size, **SHAPE | changes)).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(0.0, 0.3)
    return made


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, text):
    """A small GPT-2 with byte pairs of its own, the end of text its first token; and its files."""
    folder = tmp_path_factory.mktemp("elsewhere") / "small"
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator([text], vocab_size=400, special_tokens=[END], show_progress=False)
    folder.mkdir()
    learned.save_model(str(folder))
    model = model_of(400)
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture
def folder(theirs, tmp_path):
    """The same, to be spoiled."""
    return shutil.copytree(theirs[1], tmp_path / "small")


def changed(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


def came(folder, home):
    runs = home / "runs"
    runs.mkdir(exist_ok=True)
    bring_in_folder(folder, runs, "came-1")
    return runs / "came-1"


def refused(folder, home, match):
    with pytest.raises(ImportRefusedError, match=match) as error:
        came(folder, home)
    assert str(error.value).endswith(".")
    assert list((home / "runs").iterdir()) == []


def opened(run):
    """Model and tokenizer of a run that came."""
    weights, stored, _ = load_checkpoint(run / "checkpoints" / "step-00000000")
    tokenizer, setup = stored_tokenizer(stored), read_manifest(run)["setup"]
    return model_from_weights(
        setup_from(setup).model, tokenizer.vocabulary_size, weights
    ), tokenizer


def same_logits(run, model, ids):
    """For the same text: `ids` gives their id of each of our tokens."""
    ours, tokenizer = opened(run)
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, tokenizer.vocabulary_size, (3, 16), generator=generator)
    rows = torch.tensor(ids)
    with torch.no_grad():
        expected = model(rows[tokens]).logits[..., rows]
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(tokens), expected, atol=1e-5, rtol=1e-5)


def ids_of(tokenizer, folder):
    """Their id of each of our tokens, by its bytes."""
    vocab, letters = json.loads((folder / "vocab.json").read_text()), byte_letters()
    pieces = [tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary_size)]
    return [vocab["".join(letters[value] for value in piece)] for piece in pieces]


def test_it_computes_the_same_logits_and_cuts_text_alike(theirs, tmp_path, text):
    model, folder = theirs
    run = came(folder, tmp_path)
    _, tokenizer = opened(run)
    ids = ids_of(tokenizer, folder)
    assert tokenizer.vocabulary_size == 399  # without the end of text, their token 0
    same_logits(run, model, ids)
    fast = GPT2TokenizerFast.from_pretrained(folder)
    for sample in (text[:3000], STRANGE):
        assert [ids[token] for token in tokenizer.encode(sample)] == fast(sample)["input_ids"]


@pytest.mark.parametrize(
    "changes",
    [
        {"activation_function": "relu", "n_inner": 48},
        {"activation_function": "gelu"},
        {"tie_word_embeddings": False},
        {"n_layer": 1, "n_head": 4},
    ],
    ids=str,
)
def test_each_shape_of_a_gpt2_computes_the_same(theirs, folder, tmp_path, changes):
    model = model_of(400, **changes)
    model.save_pretrained(folder)
    run = came(folder, tmp_path)
    same_logits(run, model, ids_of(opened(run)[1], folder))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_and_the_masks_of_older_files_are_read(theirs, folder, tmp_path, kind):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    halves = {name.removeprefix("transformer."): one.to(kind) for name, one in weights.items()}
    halves["h.0.attn.bias"] = torch.ones(1, 1, 24, 24, dtype=torch.bool)
    safetensors.torch.save_file(halves, folder / "model.safetensors")
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    same_logits(run := came(folder, tmp_path), model, ids_of(opened(run)[1], folder))


def test_tokenizer_json_of_theirs_is_read_too(theirs, folder, tmp_path):
    GPT2TokenizerFast.from_pretrained(folder).save_pretrained(folder)
    assert (folder / "tokenizer.json").exists()
    run = came(folder, tmp_path)
    same_logits(run, theirs[0], ids_of(opened(run)[1], theirs[1]))


def test_gpt2s_own_vocabulary_is_known(tmp_path):
    letters = byte_letters()
    pieces = sorted(gpt2_ranks(), key=gpt2_ranks().get)
    names = ["".join(letters[value] for value in piece) for piece in pieces]
    tokenizer = TOKENIZERS["gpt2"].learn("", 0)
    merges = [f"{names[merge.left]} {names[merge.right]}" for merge in tokenizer.merges()]
    folder = tmp_path / "gpt2"
    folder.mkdir()
    vocab = {name: token for token, name in enumerate([*names, END])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    model = model_of(50_257, n_layer=1)
    model.save_pretrained(folder)
    run = came(folder, tmp_path)
    assert read_manifest(run)["tokenizer"]["kind"] == "gpt2"
    same_logits(run, model, list(range(50_256)))


@pytest.mark.parametrize("kind", sorted(set(TOKENIZERS) - {"gpt2"}))  # which is above
def test_what_the_lab_exported_comes_back_with_every_tokenizer(make_run, tmp_path, kind):
    run = make_run(tmp_path / "home", steps=3, checkpoints=("step",), **{"data.tokenizer": kind})
    save_huggingface(run.folder, tmp_path / "away")
    model, tokenizer = opened(came(tmp_path / "away", tmp_path))
    assert tokenizer.to_json() == run.tokenizer.to_json()
    tokens = torch.randint(0, tokenizer.vocabulary_size, (2, 16))
    torch.testing.assert_close(model(tokens), run.model(tokens), atol=1e-5, rtol=1e-5)


# --- as a run ------------------------------------------------------------------------------------


def test_a_zip_becomes_a_run_that_writes_and_is_fine_tuned_and_leaves_again(theirs, tmp_path):
    lab = Lab(tmp_path / "home")
    try:
        run_id = lab.runs.bring_in(zipped(theirs[1]), "small")
        (summary,) = lab.runs.all()
        assert (summary.id, summary.state, summary.step) == ("small", "finished", 0)
        note = lab.runs.open(run_id).last_event("note")
        assert END in note[1]
        snapshot = lab.models.snapshot(run_id)
        sample = SampleConfig(prompt="The ", length=8)
        pieces = list(write(snapshot.model(), snapshot.tokenizer, sample))
        assert len(pieces) in (8, 9)  # the last is what was left of a character's bytes
        tuning = FineTuning().with_values({"lora.rank": 2})
        setup = finetuning_setup(lab.runs.open(run_id), "python_docs", tuning)
        setup = setup.with_values({"train.steps": 2, "train.batch_size": 2})
        lab.trainings.finetune(run_id, None, setup, tuning)
        status = ended(lab)
        assert status.state == "finished", status.reason
        assert "learned from is not known" in status.note
        away = io.BytesIO()
        write_archive(lab.runs.open(run_id).folder, away)
        away.seek(0)
        assert lab.runs.bring_in(away, "again") == "again"
        write_huggingface(lab.runs.open(run_id).folder, io.BytesIO())
    finally:
        lab.close()


def test_on_the_command_line_a_folder_is_imported_by_its_path(theirs, tmp_path, capsys):
    home = f"--home={tmp_path / 'home'}"
    assert main(["import", str(theirs[1]), home]) == 0
    assert capsys.readouterr().out == "small\n"
    assert main(["import", str(tmp_path), home]) == 1
    assert "no Hugging Face folder" in capsys.readouterr().err


def test_a_path_is_refused_while_others_may_visit(theirs, tmp_path):
    lab = Lab(tmp_path / "home")
    try:
        lab.texts.paths_allowed = False
        with pytest.raises(ImportRefusedError, match="--allow-paths"):
            lab.runs.bring_in_path(theirs[1])
    finally:
        lab.close()


# --- what is refused -----------------------------------------------------------------------------


def zipped(folder, names=None):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in folder.iterdir():
            if names is None or path.name in names:
                archive.write(path, f"model/{path.name}")
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"model_type": "llama"}, "only gpt2 can be brought in"),
        ({"activation_function": "silu"}, "activation_function is 'silu', and must be one of"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-6, and must be 1e-5"),
        ({"scale_attn_by_inverse_layer_idx": True}, "must be False"),
        ({"n_inner": 50}, "must be a multiple of n_embd"),
        ({"n_head": 3}, "does not divide Embedding Dimension"),
        ({"n_layer": "two"}, "Layers"),
        ({"n_embd": 32}, "does not fit config.json: transformer.wte.weight"),
        ({"n_layer": 3}, "is missing"),
        ({"n_layer": 1}, "which no GPT-2 has"),
        ({"vocab_size": 300}, "they do not belong together"),
    ],
    ids=str,
)
def test_another_model_is_refused_with_the_key_of_its_config(folder, tmp_path, values, match):
    refused(changed(folder, **values), tmp_path, match)


def test_pickles_are_refused_and_never_opened(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, tmp_path, "could run code when it is opened")
    with pytest.raises(ImportRefusedError, match="could run code"):
        bring_in(zipped(folder), tmp_path / "runs", "came-1")


def test_weights_in_parts_and_no_weights_say_so(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    refused(folder, tmp_path, "model.safetensors is missing")
    (folder / "model.safetensors.index.json").write_text("{}")
    refused(folder, tmp_path, "does not say which files")


def test_weights_in_parts_compute_the_same_and_a_missing_part_is_named(theirs, folder, tmp_path):
    (folder / "model.safetensors").unlink()
    theirs[0].save_pretrained(folder, max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    parts = sorted(folder.glob("model-*.safetensors"))
    assert index.exists()
    assert len(parts) > 2
    bring_in_folder(folder, tmp_path / "runs", "came-2")
    bring_in(zipped(folder), tmp_path / "runs", "came-3")
    whole = tmp_path / "whole"
    bring_in_folder(theirs[1], whole, "came-1")
    (expected, *_), *found = (
        load_checkpoint(place / "checkpoints" / "step-00000000")
        for place in (whole / "came-1", tmp_path / "runs/came-2", tmp_path / "runs/came-3")
    )
    for weights, *_ in found:
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    shutil.copy(parts[0], parts[1])
    other = tmp_path / "other"
    other.mkdir()
    refused(folder, other, "stands in two parts|is missing")
    parts[1].unlink()
    refused(folder, other, f"names '{parts[1].name}', which is not there")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda vocab, merges: (vocab, merges[::-1]), "cannot be followed"),
        (
            lambda vocab, merges: ({k: v for k, v in vocab.items() if k != "Ġ"}, merges),
            "the byte 32",
        ),
        (lambda vocab, merges: ({**vocab, "a": vocab["b"]}, merges), "two tokens of one id"),
        (lambda vocab, merges: ({**vocab, "a": "1"}, merges), "no number"),
        (lambda vocab, merges: (vocab, [*merges, "a"]), "cannot be followed"),
        (lambda vocab, merges: ([], merges), "must be a JSON object"),
    ],
)
def test_another_vocabulary_is_refused(folder, tmp_path, spoil, match):
    vocab = json.loads((folder / "vocab.json").read_text())
    merges = (folder / "merges.txt").read_text().splitlines()[1:]
    vocab, merges = spoil(vocab, merges)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("\n".join(merges))
    refused(folder, tmp_path, match)


def test_a_vocabulary_of_word_pieces_and_none_at_all_are_refused(folder, tmp_path):
    (folder / "merges.txt").unlink()
    refused(folder, tmp_path, "neither tokenizer.json nor vocab.json")
    pieces = {"model": {"type": "WordPiece", "vocab": {"a": 0}}, "pre_tokenizer": {"type": "Bert"}}
    (folder / "tokenizer.json").write_text(json.dumps(pieces))
    refused(folder, tmp_path, "'WordPiece'")


def test_weights_longer_than_the_model_are_refused_before_they_are_unpacked(folder, tmp_path):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["transformer.h.0.attn.bias"] = torch.zeros(1000, 1000)
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    refused(folder, tmp_path, "longer than the tensors")


def test_numbers_that_are_not_finite_and_a_cut_off_file_are_refused(folder, tmp_path):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["transformer.ln_f.weight"][0] = torch.nan
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    refused(folder, tmp_path, "not finite: transformer.ln_f.weight")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(folder, tmp_path, "is damaged")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 10**9) + b"{}")
    refused(folder, tmp_path, "is damaged")
