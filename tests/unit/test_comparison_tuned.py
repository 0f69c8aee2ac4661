"""A comparison of fine-tunings: all lanes begin as one run, and differ in what of it learns."""

import json

import pytest

from resumed import SETUP
from test_resume import ended
from transformer_lab.experiments.comparison import comparison_from
from transformer_lab.experiments.comparison_words import tables
from transformer_lab.experiments.questions import find_question
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from waiting import PATIENCE

NEW_TEXT = "the quick brown fox jumps over the lazy dog. " * 60
RATES = [0.001, 0.003, 0.01]
METHODS = {
    "Full": {"finetune.method": "full"},
    "LoRA": {"lora.rank": 2},
    "LoRA, attention": {"lora.rank": 2, "lora.matrices": "attention"},
}


def content(lanes=None, **compare):
    return {
        "finetune": {"corpus": "foxes"},
        "base": {"sample.length": 1, "train.evaluation_batches": 1, "train.threads": 1},
        "lanes": METHODS if lanes is None else lanes,
        "compare": {"steps": 4, "seeds": 1} | compare,
    }


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.texts.add(NEW_TEXT.encode(), "foxes", "a test")
    yield lab
    lab.close()


def trained_base(lab):
    lab.trainings.start(SETUP.with_values({"train.steps": 4, "sample.length": 1}), "base")
    assert ended(lab).state == "finished"
    return lab.runs.open("base-1")


def test_without_a_run_to_fine_tune_it_says_what_to_train(lab):
    with pytest.raises(ConfigError, match="train Quick start on the Train tab") as caught:
        lab.comparisons.check(find_question("fine_tuning"))
    assert caught.value.field == "finetune.run"


def test_lanes_begin_as_the_newest_run_and_are_told_by_what_learns(lab):
    trained_base(lab)
    asked = lab.comparisons.start(comparison_from(content(), "tuned"))
    assert asked.job.wait(PATIENCE)
    assert (asked.state, asked.error) == ("done", "")
    lab.runs.refresh()
    runs = {run.lane: lab.runs.open(run.id) for run in lab.runs.all() if run.race}
    first = {}
    for name, run in runs.items():
        about = run.manifest["finetune"]
        assert (about["run"], about["step"]) == ("base-1", 4)
        first[name] = json.loads(run.events("both_losses")[0][1])["new"]
    assert len(set(first.values())) == 1  # before the first step all are the base
    sizes = {cell.variant: cell.parameters for cell in asked.outcome.cells}
    assert sizes == {name: run.manifest["finetune"]["trained"] for name, run in runs.items()}
    assert sizes["LoRA, attention"] < sizes["LoRA"] < sizes["Full"]
    assert "trained parameters" in tables(asked.outcome)[0].columns
    rates = {name: setup.train.learning_rate for name, setup in asked.comparison.lanes.items()}
    assert rates["LoRA"] == pytest.approx(10 * rates["Full"])
    again = Lab(lab.home)
    kept = again.comparisons.newest("tuned")
    again.close()
    assert kept.outcome.cells == asked.outcome.cells
    assert kept.comparison.base == asked.comparison.base


def test_the_loss_over_the_learning_rate_has_a_line_for_each_method(lab):
    trained_base(lab)
    lanes = {
        f"{name} at {rate}": changes | {"train.learning_rate": rate}
        for name, changes in list(METHODS.items())[:2]
        for rate in RATES
    }
    asked = lab.comparisons.start(comparison_from(content(lanes, steps=2), "rates"))
    assert asked.job.wait(PATIENCE)
    plot = next(one for one in asked.outcome.plots() if "over the learning rate" in one.title)
    assert [(line.name, line.x) for line in plot.series] == [("Full", RATES), ("LoRA", RATES)]
    assert plot.x_log
    last = {cell.variant: cell.losses[-1] for cell in asked.outcome.cells}
    assert plot.series[0].y == [last[f"Full at {rate}"] for rate in RATES]


BAD = {
    "the model": (content({"a": {"model.layers": 1}, "b": {}}), "model.layers", "of the base"),
    "no text": (content() | {"finetune": {}}, "finetune.corpus", "new text"),
    "a base that is gone": (
        content() | {"finetune": {"corpus": "foxes", "run": "gone-1"}}, "finetune.run", "gone-1"),
    "a rank above the width": (content({"a": {"lora.rank": 999}, "b": {}}), "lora.rank", "“a”"),
    "a time": (
        content() | {"compare": {"seconds": 5}}, "compare.seconds", "steps or tokens"),
}  # fmt: skip


def test_what_cannot_be_fine_tuned_is_said_in_a_sentence_at_its_key(lab):
    trained_base(lab)
    for given, key, words in BAD.values():
        with pytest.raises(ConfigError, match=words) as caught:
            lab.comparisons.start(comparison_from(given, "bad"))
        assert caught.value.field == key
