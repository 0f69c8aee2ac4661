"""An adapter taken away for PEFT: on its base it computes the same logits as the lab."""

import io
import json
import zipfile

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from resumed import SETUP
from transformer_lab.exchange.errors import ExportRefusedError
from transformer_lab.exchange.peft import save_peft, write_peft
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.finetuned import finetuning_setup
from transformer_lab.training.finetune import FineTuning
from waiting import ended

NEW_TEXT = "the quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with a base that is built like GPT-2."""
    lab = Lab(tmp_path_factory.mktemp("home"))
    lab.texts.add(NEW_TEXT.encode(), "foxes", "a test")
    gpt2 = {"model.positions": "learned", "model.feedforward": "gelu", "model.dropout": 0.0}
    lab.texts.add((NEW_TEXT + "\u0416\u0419").encode(), "foreign", "a test")
    for name, tied in (("base", False), ("tied", True)):
        setup = SETUP.with_values({"train.steps": 3, **gpt2, "model.tied_head": tied})
        lab.trainings.start(setup, name)
        assert ended(lab).state == "finished"
    yield lab
    lab.close()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"lora.variant": "rslora"},
        {"lora.variant": "dora", "lora.matrices": "single", "lora.single": "query, down"},
        {"lora.matrices": "feedforward"},
        {"lora.matrices": "single", "lora.single": "key, value"},
        {"finetune.unknown": "extend"},
        {"finetune.unknown": "extend", "tied": True},
    ],
    ids=str,
)
def test_peft_computes_the_same_logits(lab, tmp_path, change):
    change = dict(change)
    base = "tied-1" if change.pop("tied", False) else "base-1"
    tuning = FineTuning().with_values({"lora.rank": 2, "lora.alpha": 7.0, **change})
    text = "foreign" if "finetune.unknown" in change else "foxes"
    setup = finetuning_setup(lab.runs.open(base), text, tuning)
    lab.trainings.finetune(base, None, setup.with_values({"train.steps": 3}), tuning)
    status = ended(lab)
    assert status.state == "finished", status.reason
    run_id = status.run_id
    save_peft(lab.runs.open(run_id).folder, tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    snapshot = lab.models.snapshot(run_id)
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, snapshot.tokenizer.vocabulary_size, (3, 16), generator=generator)
    with torch.no_grad():
        theirs, ours = model(tokens).logits, snapshot.model()(tokens)
        with model.disable_adapter():
            before = model(tokens).logits
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(before, ours, atol=1e-3)


def test_a_run_without_an_adapter_says_so(lab):
    with pytest.raises(ExportRefusedError, match="only a run that was fine-tuned by LoRA"):
        write_peft(lab.runs.open("base-1").folder, io.BytesIO())


def test_the_zip_has_both_folders(lab):
    run = next(lab.runs.open(one.id) for one in lab.runs.all() if one.base)
    stream = io.BytesIO()
    write_peft(run.folder, stream)
    with zipfile.ZipFile(stream) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
        config = archive.read(f"{run.id}-adapter/adapter/adapter_config.json")
    assert {"adapter/adapter_model.safetensors", "base/config.json", "README.md"} <= names
    assert json.loads(config)["peft_type"] == "LORA"
