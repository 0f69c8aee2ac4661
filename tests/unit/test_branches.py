"""Runs that go on from others: extensions and branches."""

import pytest

from resumed import SETUP, crash_back_to, curve, forget_the_end, uninterrupted, without_memory
from transformer_lab.lab.lab import LabError
from transformer_lab.settings import ConfigError
from waiting import ended


def test_a_finished_run_is_extended_not_resumed(lab):
    first = uninterrupted(lab, SETUP)
    with pytest.raises(LabError, match="train it for more steps"):
        lab.trainings.resume(first)
    with pytest.raises(ConfigError, match="Steps is 'many'"):
        lab.trainings.extend(first, "many")
    lab.trainings.extend(first, "6")
    status = ended(lab)
    assert (status.run_id, status.state, status.step) == (f"{first}-more-1", "finished", 18)
    longer = lab.runs.open(status.run_id)
    assert curve(lab, first) == curve(lab, status.run_id)[:12]
    (seam,) = longer.seams
    assert (seam.run, seam.step, seam.kind) == (first, 12, "extended")
    assert lab.runs.view().seams == (seam,)
    assert [p.step for p in longer.since()[0]] == list(range(1, 19))
    assert lab.runs.open(first).steps == 12


def test_the_schedule_of_an_extension_runs_over_the_added_steps(lab):
    setup = SETUP.with_values({"train.schedule": "linear"})
    first = uninterrupted(lab, setup)
    lab.trainings.extend(first, 10)
    added = lab.runs.open(ended(lab).run_id).since(12)[0]
    assert added[0].learning_rate == 0.01
    assert added[-1].learning_rate == pytest.approx(0.001)


def test_an_extension_goes_on_with_the_optimizers_memory_and_is_itself_resumed_exactly(lab):
    first = uninterrupted(lab, SETUP)
    lab.trainings.extend(first, 8)
    whole = ended(lab).run_id
    lab.trainings.extend(first, 8)
    again = ended(lab).run_id
    assert curve(lab, whole) == curve(lab, again)
    crash_back_to(lab, again, 16)
    forget_the_end(lab, again)
    lab.trainings.resume(again)
    assert ended(lab).state == "finished"
    assert curve(lab, whole) == curve(lab, again)
    without_memory(lab.runs.open(first).checkpoints()[-1])
    lab.trainings.extend(first, 8)
    assert curve(lab, ended(lab).run_id)[12:] != curve(lab, whole)[12:]


def test_a_branch_takes_other_settings_from_any_checkpoint(lab):
    first = uninterrupted(lab, SETUP)
    names = [folder.name for folder in lab.runs.open(first).checkpoints()]
    assert names == ["step-00000008", "step-00000012"]
    changed = SETUP.with_values(
        {"train.steps": 5, "train.optimizer": "muon", "model.dropout": 0.0, "train.seed": 7}
    )
    lab.trainings.branch(first, names[0], changed)
    status = ended(lab)
    assert (status.run_id, status.step) == (f"{first}-branch-1", 13)
    assert "without a memory" in status.note
    assert curve(lab, status.run_id)[:8] == curve(lab, first)[:8]
    assert curve(lab, status.run_id)[8:12] != curve(lab, first)[8:]
    with pytest.raises(ConfigError, match="Of the model only Dropout can change") as caught:
        lab.trainings.branch(first, names[0], SETUP.with_values({"model.layers": 2}))
    assert caught.value.field == "model.layers"


def test_every_note_of_a_beginning_is_recorded(lab, tmp_path):
    text = tmp_path / "play.txt"
    text.write_text("The king is here. The queen is there.\n" * 100)
    setup = SETUP.with_values({"data.corpus": str(text), "train.steps": 2})
    first = uninterrupted(lab, setup)
    text.write_text("The queen is here. The king is there.\n" * 100)
    other = "sgd" if setup.train.optimizer != "sgd" else "adamw"
    step = lab.runs.open(first).checkpoints()[-1].name
    lab.trainings.branch(first, step, setup.with_values({"train.optimizer": other}))
    noted = [words for _, words in lab.runs.open(ended(lab).run_id).events("note")]
    assert [words for words in noted if "has changed since" in words]
    assert [words for words in noted if "without a memory" in words]
    assert len({*noted}) == len(noted)


def test_a_branch_onto_another_text_keeps_the_tokens_the_model_knows(lab):
    first = uninterrupted(lab, SETUP)
    english = lab.texts.library.add(b"This is a plain text of plain letters. " * 40, "e", "pasted")
    russian = lab.texts.library.add("Это совсем другие буквы. ".encode() * 80, "r", "pasted")
    checkpoint = lab.runs.open(first).checkpoints()[-1].name
    lab.trainings.branch(first, checkpoint, SETUP.with_values({"data.corpus": english.id}))
    status = ended(lab)
    assert status.state == "finished"
    child = lab.runs.open(status.run_id)
    assert child.manifest["tokenizer"] == lab.runs.open(first).manifest["tokenizer"]
    assert child.manifest["corpus"]["sha256"] == english.sha256
    lab.trainings.branch(first, checkpoint, SETUP.with_values({"data.corpus": russian.id}))
    status = ended(lab)
    assert (status.state, status.field) == ("failed", "data.corpus")
    assert "no tokens for" in status.reason
