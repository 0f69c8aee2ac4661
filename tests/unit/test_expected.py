"""What earlier runs lead to expect of a run: the band, its words, and what comes with the lab."""

import pytest

from transformer_lab.experiments.expected import band, fingerprint, shipped
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Setup, load_recipes
from waiting import until

COURSES = [{10: 3.0, 20: 2.0}, {10: 3.1, 20: 2.1}, {10: 2.9, 20: 1.9}]
TINY = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 10,
        "train.evaluate_every": 5,
        "train.evaluation_batches": 1,
        "train.threads": 1,
    }
)


def test_a_band_is_the_prediction_interval_of_students_t():
    found = band(COURSES)
    reach = 9.9248 * 0.1 * (1 + 1 / 3) ** 0.5  # the 99.5 % quantile for two degrees of freedom
    assert found.runs == 3
    assert found.at(20) == pytest.approx((2.0 - reach, 2.0 + reach), abs=1e-3)
    assert found.at(15)[0] == pytest.approx(2.5 - reach, abs=1e-3)
    assert found.at(21) is None
    assert found.at(9) is None


def test_two_runs_are_too_few_to_expect_anything():
    assert band(COURSES[:2]) is None
    assert band([]) is None


def test_the_sentence_says_whether_a_loss_is_usual_and_by_what():
    found = band(COURSES)
    assert found.verdict(20, 2.05).startswith("Yes: by 3 earlier runs")
    assert found.verdict(20, 4.0).startswith("Higher than normal")
    assert found.verdict(20, 0.5).startswith("Lower, so better, than normal")
    assert "end at step 20" in found.verdict(30, 2.0)
    assert "begin at step 10" in found.verdict(5, 2.0)


def test_only_what_changes_more_than_chance_makes_another_kind_of_run():
    same = TINY.with_values({"train.seed": 7, "train.threads": 2, "sample.temperature": 1.0})
    assert fingerprint(same, "text") == fingerprint(TINY, "text")
    for key, value in (("train.learning_rate", 1e-3), ("train.steps", 11), ("model.layers", 2)):
        assert fingerprint(TINY.with_values({key: value}), "text") != fingerprint(TINY, "text")
    assert fingerprint(TINY, "other") != fingerprint(TINY, "text")


def test_what_comes_with_the_lab_is_of_its_recipes_as_they_are():
    assert shipped()
    for known in shipped().values():
        recipe = load_recipes()[known.recipe]
        remade = f"{known.recipe} has changed: run python docs/make_expected.py {known.recipe}"
        assert fingerprint(recipe.setup, known.text) == known.fingerprint, remade
        assert len(known.courses) >= 3
        assert known.reached <= known.steps == recipe.setup.train.steps


def test_runs_of_the_learners_own_are_added_and_one_of_each_seed_counts(tmp_path):
    lab = Lab(tmp_path)
    try:
        for seed in (1, 2, 2, 3, 4):
            assert lab.runs.expected(lab.runs.view()) is None  # so far there are too few
            lab.trainings.start(TINY.with_values({"train.seed": seed}))
            until(lambda: lab.trainings.current.ended)
        lab.runs.refresh()
        view = lab.runs.view()
        found = lab.runs.expected(view)
        assert found.runs == 3
        assert found.steps == (5, 10)
        assert "at step 10" in found.verdict(10, view.validation_loss)
    finally:
        lab.close()
