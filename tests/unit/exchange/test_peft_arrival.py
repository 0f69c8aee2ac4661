"""PEFT adapters come in: on their base they compute what `peft` computes."""

import io
import json
import shutil

import pytest
import safetensors.torch
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from resumed import SETUP
from transformer_lab.exchange import ImportRefusedError, save_huggingface
from transformer_lab.exchange.peft import write_peft
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.adapters import changes_of
from transformer_lab.lab.training.finetuned import finetuning_setup
from transformer_lab.runs.checkpoint import load_adapter
from transformer_lab.training.finetune import FineTuning
from waiting import ended

GPT2 = {"model.positions": "learned", "model.feedforward": "gelu", "model.dropout": 0.0}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with a base that is built like GPT-2, and one of another width."""
    lab = Lab(tmp_path_factory.mktemp("home"))
    for name, changes in (("base", {}), ("wide", {"model.embedding_dim": 32})):
        lab.trainings.start(SETUP.with_values({"train.steps": 3, **GPT2, **changes}), name)
        assert ended(lab).state == "finished"
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def base(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    save_huggingface(lab.runs.open("base-1").folder, folder)
    return folder


def made(base, place, **change):
    """An adapter that `peft` made, with numbers in it."""
    torch.manual_seed(5)
    config = LoraConfig(**{"task_type": "CAUSAL_LM", "r": 3, "lora_alpha": 5, **change})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(place)
    return place


@pytest.mark.parametrize(
    "change",
    [
        {},  # c_attn alone: what peft takes for a GPT-2 by itself
        {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True},
        {"target_modules": ["c_fc"], "use_rslora": True},
        {"target_modules": ["c_attn", "c_fc"], "use_dora": True},
        {"target_modules": ["c_attn", "c_fc"], "rank_pattern": {"c_fc": 1},
         "alpha_pattern": {"c_fc": 9}},
    ],
    ids=str,
)  # fmt: skip
def test_an_adapter_that_peft_made_computes_the_same_here(lab, base, tmp_path, change):
    run_id = lab.runs.bring_in_path(made(base, tmp_path / "adapter", **change), "base-1")
    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "adapter")
    ).eval()
    snapshot = lab.models.snapshot(run_id)
    tokens = torch.randint(0, snapshot.tokenizer.vocabulary_size, (3, 16))
    with torch.no_grad():
        expected = theirs(tokens).logits
        with theirs.disable_adapter():
            assert not torch.allclose(theirs(tokens).logits, expected, atol=1e-2)
    torch.testing.assert_close(snapshot.model()(tokens), expected, atol=1e-5, rtol=1e-4)
    (summary,) = [one for one in lab.runs.all() if one.id == run_id]
    assert (summary.base, summary.state) == ("base-1", "finished")
    assert changes_of(lab.runs.open(run_id))[1]


def test_an_adapter_that_left_comes_back_as_it_was(lab):
    tuning = FineTuning().with_values({"lora.rank": 2, "lora.alpha": 7.0})
    setup = finetuning_setup(lab.runs.open("base-1"), "python_docs", tuning)
    leaving = {"finetune.unknown": "leave_out"}
    tuning = tuning.with_values(leaving)
    lab.trainings.finetune("base-1", None, setup.with_values({"train.steps": 3}), tuning)
    run = lab.runs.open(ended(lab).run_id)
    away = io.BytesIO()
    write_peft(run.folder, away)
    away.seek(0)
    again = lab.runs.open(lab.runs.bring_in(away, "away", "base-1"))
    before, after = (load_adapter(one.checkpoints()[-1]) for one in (run, again))
    assert again.manifest["finetune"]["settings"]["lora"]["rank"] == 2
    assert all(torch.equal(before[name], after[name]) for name in after)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', and must be 'LORA'"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"lora_alpha": "much"}, "lora_alpha .* must be a number"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_key(lab, base, tmp_path, values, match):
    place = made(base, tmp_path / "adapter")
    config = json.loads((place / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(config | values))
    with pytest.raises(ImportRefusedError, match=match):
        lab.runs.bring_in_path(place, "base-1")


def test_another_base_none_and_a_pickle_are_a_sentence_each(lab, base, tmp_path):
    place = made(base, tmp_path / "adapter")
    with pytest.raises(ImportRefusedError, match=r"made for another base: its blocks\.0"):
        lab.runs.bring_in_path(place, "wide-1")
    with pytest.raises(ImportRefusedError, match="choose that run as its base"):
        lab.runs.bring_in_path(place)
    with pytest.raises(ImportRefusedError, match="There is no run 'nobody-1'"):
        lab.runs.bring_in_path(place, "nobody-1")
    wide = made(base, tmp_path / "embedding", target_modules=["wte"])
    with pytest.raises(ImportRefusedError, match="only the matrices of GPT-2's blocks"):
        lab.runs.bring_in_path(wide, "base-1")
    high = made(base, tmp_path / "high", r=40)
    with pytest.raises(ImportRefusedError, match="Rank is 40"):
        lab.runs.bring_in_path(high, "base-1")
    weights = safetensors.torch.load_file(place / "adapter_model.safetensors")
    weights["base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"][0] = torch.inf
    safetensors.torch.save_file(weights, place / "adapter_model.safetensors")
    with pytest.raises(ImportRefusedError, match="not finite"):
        lab.runs.bring_in_path(place, "base-1")
    shutil.move(place / "adapter_model.safetensors", place / "adapter_model.bin")
    with pytest.raises(ImportRefusedError, match="could run code"):
        lab.runs.bring_in_path(place, "base-1")
