"""The Hugging Face folder of a run: opened by transformers, it is the same model and tokenizer."""

import io
import json
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as TheirTokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel

from transformer_lab.exchange import (
    ExportRefusedError,
    save_huggingface,
    why_not,
    write_huggingface,
)
from transformer_lab.exchange.hf_tokenizers import byte_letters, tokenizer_files
from transformer_lab.generation import SampleConfig, write
from transformer_lab.model import ModelConfig
from transformer_lab.settings import settings_of
from transformer_lab.text.tokenizers import TOKENIZERS, tokenizer_from_json

SETTINGS = settings_of(ModelConfig)
CHANGES = [
    {},
    *[{setting.key: name} for setting in SETTINGS for name in setting.choices or ()],
    *[{setting.key: not setting.default} for setting in SETTINGS if setting.kind is bool],
    {"model.smear": 2},
    {"model.feedforward_multiple": 3, "model.tied_head": True, "model.bias": False},
    {"model.positions": "sinusoidal", "model.feedforward": "gelu", "model.heads": 4},
]
STRANGE = (
    "It's they'll DON'T  x\u00a0y\t\t\n\n \r\n 3½² \uff11\uff12 Ünïcödé e\u0301 漢字 🎉🎉 "
    "\u2003\x85\x1c_a_b __ ?!..."
)

# Libraries know different versions of Unicode, so a character that some do not have yet is not cut
# alike by all.
ASSIGNED = st.characters(exclude_categories=("Cs", "Cn"))


def fits(change):
    return not why_not(ModelConfig(**{key.partition(".")[2]: one for key, one in change.items()}))


@pytest.mark.parametrize("change", list(filter(fits, CHANGES)), ids=str)
def test_transformers_computes_the_same_logits(make_run, tmp_path, change):
    run = make_run(tmp_path, steps=3, checkpoints=("step",), **change)
    save_huggingface(run.folder, tmp_path / "away")
    model, told = AutoModelForCausalLM.from_pretrained(tmp_path / "away", output_loading_info=True)
    assert isinstance(model, GPT2LMHeadModel)
    assert not any(told.values()), told
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, run.tokenizer.vocabulary_size, (3, 16), generator=generator)
    with torch.no_grad():
        theirs = model.eval()(tokens).logits
    assert run.model(tokens).std() > 0.1
    torch.testing.assert_close(theirs, run.model(tokens), atol=1e-5, rtol=0)


def test_most_variants_of_a_gpt2_can_leave_and_the_others_are_given_the_reason():
    can = [str(change) for change in CHANGES if fits(change)]
    for change in ("gelu", "relu_squared", "sinusoidal", "tied_head", "'model.bias': False"):
        assert any(change in one for one in can)
    for change in ("rotary", "rms_norm", "post", "qk_norm", "smear"):
        assert not any(change in one for one in can)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"positions": "rotary"}, "Positions is Rotary, and must be Learned or Sinusoidal"),
        ({"norm": "rms_norm"}, "Normalization is RMSNorm, and must be LayerNorm"),
        ({"norm_place": "post"}, "Norm Position is Post-norm, and must be Pre-norm"),
        ({"qk_norm": True}, "QK-norm is on, and must be off"),
        ({"smear": 2}, "Smear is 2, and must be 0"),
        ({"ngrams": 2}, "N-grams is 2, and must be 1"),
        ({"causal": False}, "Causal Mask is off, and must be on"),
    ],
)
def test_each_reason_names_the_setting_its_value_and_what_it_must_be(changes, reason):
    (told,) = why_not(ModelConfig(**changes))
    assert told.startswith(reason)


def test_every_reason_is_reported_at_once(make_run, tmp_path):
    changes = {"norm": "rms_norm", "norm_place": "post", "qk_norm": True}
    run = make_run(tmp_path, **{f"model.{name}": value for name, value in changes.items()})
    with pytest.raises(ExportRefusedError) as error:
        save_huggingface(run.folder, tmp_path / "away")
    assert str(error.value) == " ".join(why_not(ModelConfig(**changes)))
    assert len(why_not(ModelConfig(**changes))) == 3
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_autotokenizer_gives_the_same_ids_and_text(make_run, tmp_path, text, kind):
    run = make_run(tmp_path, steps=3, checkpoints=("step",), **{"data.tokenizer": kind})
    save_huggingface(run.folder, tmp_path / "away")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "away")
    known = text if kind == "characters" else text + STRANGE
    ids = theirs(known, verbose=False)["input_ids"]
    assert ids == run.tokenizer.encode(known).tolist()
    assert theirs.decode(ids) == run.tokenizer.decode(ids)
    assert len(theirs) == run.tokenizer.vocabulary_size


def test_a_character_that_was_never_seen_is_an_error_there_too(make_run, tmp_path):
    run = make_run(tmp_path, steps=3)
    save_huggingface(run.folder, tmp_path / "away")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "away")
    with pytest.raises(Exception, match="WordLevel error"):
        theirs("漢")


@pytest.fixture(scope="module")
def pairs():
    """Each learned kind of tokenizer, as ours and as theirs."""
    sample = f"the cat's hat, the other thing aaaaaaa aaa abababab 1234 123 {STRANGE}\n" * 9
    ours = {kind: TOKENIZERS[kind].learn(sample, 330) for kind in TOKENIZERS if kind != "gpt2"}
    files = {kind: tokenizer_files(one.to_json(), 16) for kind, one in ours.items()}
    return {
        kind: (ours[kind], TheirTokenizer.from_str(json.dumps(files[kind]["tokenizer.json"])))
        for kind in ours
    }


@given(st.text(ASSIGNED) | st.text(STRANGE + "abethc '"), st.lists(st.integers(0, 255)))
@settings(max_examples=100, deadline=None)
def test_any_text_and_any_tokens_come_out_the_same(pairs, text, tokens):
    for kind, (ours, theirs) in pairs.items():
        readable = ours.known(text) if kind == "characters" else text
        assert theirs.encode(readable).ids == ours.encode(readable).tolist()
        some = [token % ours.vocabulary_size for token in tokens]
        assert theirs.decode(some) == ours.decode(some)


def test_bytes_have_gpt2s_letters():
    letters = byte_letters()
    assert [letters[ord(sign)] for sign in " \n!a"] == ["Ġ", "Ċ", "!", "a"]
    assert len(set(letters)) == 256


def test_byte_pairs_that_were_never_joined_are_reported(make_run, tmp_path):
    pieces = [f"{byte:02x}" for byte in range(256)] + ["616263"]  # abc, without ab or bc
    stored = {"kind": "bpe", "pieces": pieces}
    tokenizer_from_json(stored)
    (reason,) = why_not(ModelConfig(), stored)
    assert "two older ones" in reason
    (reason,) = why_not(ModelConfig(), {"kind": "runes"})
    assert "runes" in reason


def test_a_folder_leaves_as_a_zip_and_writes_the_same_text(make_run, tmp_path):
    changes = {"sample.temperature": 0.0, "model.sequence_length": 48}
    run = make_run(tmp_path, **changes)
    stream = io.BytesIO()
    write_huggingface(run.folder, stream, checkpoint="best-00000012")
    with zipfile.ZipFile(stream) as archive:
        archive.extractall(tmp_path / "away")
    folder = tmp_path / "away" / run.id
    assert "best-00000012" in (folder / "README.md").read_text(encoding="utf-8")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("The ", return_tensors="pt")
    written = tokenizer.decode(model.generate(**prompt, pad_token_id=0)[0])
    sample = SampleConfig(prompt="The ", length=44, temperature=0.0)
    assert written == "The " + "".join(write(run.model, run.tokenizer, sample))


def test_how_it_draws_comes_along(make_run, tmp_path):
    run = make_run(tmp_path, **{"sample.temperature": 0.7, "sample.top_p": 0.9})
    save_huggingface(run.folder, tmp_path / "away")
    told = AutoModelForCausalLM.from_pretrained(tmp_path / "away").generation_config
    assert (told.do_sample, told.temperature, told.top_k, told.top_p) == (True, 0.7, 0, 0.9)
    assert told.max_length == 16


def test_weights_that_are_not_there_cannot_leave(make_run, tmp_path):
    run = make_run(tmp_path, checkpoints=())
    with pytest.raises(ExportRefusedError, match="no weights yet"):
        save_huggingface(run.folder, tmp_path / "away")
    with pytest.raises(ExportRefusedError, match="step-00000099"):
        save_huggingface(run.folder, tmp_path / "away", checkpoint="step-00000099")
