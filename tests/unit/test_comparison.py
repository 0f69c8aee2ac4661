"""Comparisons: what a question may be, that its lanes race fairly, and what is then said."""

import copy
import json
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from transformer_lab.cli import main
from transformer_lab.experiments import questions
from transformer_lab.experiments.comparing import compare, whole_seeds
from transformer_lab.experiments.comparison import comparison_from
from transformer_lab.experiments.comparison_result import Cell, Outcome
from transformer_lab.experiments.comparison_words import answer, ending, rows, tables, verdict
from transformer_lab.experiments.questions import find_question, load_questions, ready
from transformer_lab.experiments.transformers import Seen
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.model import parameter_breakdown
from transformer_lab.settings import ConfigError
from transformer_lab.training.batches import Batches
from transformer_lab.ui.compare.own import NOTHING, SLUG, STANDARD, asked_for, form_of
from transformer_lab.ui.results.parts import state
from waiting import PATIENCE, until

TINY = {
    "data.corpus": "python_docs",
    "model.layers": 1,
    "model.heads": 2,
    "model.embedding_dim": 16,
    "model.sequence_length": 16,
    "train.batch_size": 4,
    "train.evaluation_batches": 1,
    "train.threads": 1,
    "sample.prompt": "The ",
    "sample.length": 5,
}


def content(vary, **compare):
    return {"base": dict(TINY), "vary": vary, "compare": {"steps": 10, "seeds": 1} | compare}


def test_no_file_is_read_twice_to_list_the_questions(monkeypatch):
    read: list[Path] = []
    read_text = Path.read_text

    def counted(path: Path, **how: Any) -> str:
        read.append(path)
        return read_text(path, **how)

    monkeypatch.setattr(Path, "read_text", counted)
    questions._question.cache_clear()  # another test may have read them
    load_questions()
    assert len(read) == len(set(read))
    assert {path.stem for path in read} >= set(ready())


def test_every_ready_question_is_whole_in_both_presets():
    quick, thorough = load_questions(quick=True), load_questions(quick=False)
    assert list(quick) == list(thorough)
    assert len(quick) >= 15
    for one in (*quick.values(), *thorough.values()):
        assert one.look_for
        assert one.group
        assert len(one.guess.options) >= 3
        assert one.broken == (one.group == "Broken on purpose")
        assert one.seeds >= 3  # fewer never give a verdict
    for one in quick.values():
        assert all(setup.train.steps * one.per_step[name] <= 65_536
                   for name, setup in one.lanes.items())  # fmt: skip


def test_a_grid_has_a_lane_for_every_pair_and_the_base_is_the_recipes_own():
    one = comparison_from(content({"model.layers": [1, 2], "model.feedforward": ["gelu", "relu"]}))
    assert list(one.lanes) == [
        "Layers 1, Feed-forward GELU", "Layers 1, Feed-forward ReLU",
        "Layers 2, Feed-forward GELU", "Layers 2, Feed-forward ReLU",
    ]  # fmt: skip
    assert comparison_from(content({"model.layers": [2, 1]})).against == "1"
    assert comparison_from(content({"model": {"layers": [2, 4]}})).against == "2"


BAD = {
    "too many cells": ({"vary": {"model.layers": list(range(1, 26))}}, "vary", "25 lanes"),
    "too many pairs": (
        {"vary": {"model.layers": list(range(1, 6)), "train.seed": [1] * 5}}, "vary", "25 lanes"),
    "one lane": ({"vary": {"model.layers": [1]}}, "vary", "choose 2 to 24"),
    "a value twice": ({"vary": {"model.layers": [1, 1]}}, "vary", "stands there twice"),
    "equal lanes": ({"vary": {}, "lanes": {"a": {}, "b": {}}}, "lanes", "are the same"),
    "no list": ({"vary": {"model.layers": 2}}, "vary.model.layers", "give a list"),
    "no such setting": ({"vary": {"model.layer": [1, 2]}}, "model.layer", "did you mean"),
    "a bad value": ({"vary": {"model.layers": [1, 999]}}, "model.layers", "Lane “999”"),
    "lanes and a grid": ({"lanes": {"a": {}, "b": {}}}, "vary", "either"),
    "three settings": ({"vary": {"model.layers": [1], "model.heads": [1, 2], "model.bias": [True]}},
                       "vary", "one or two"),
    "no budget": ({"compare": {"seeds": 1}}, "compare.steps", "either steps or tokens"),
    "two budgets": ({"compare": {"steps": 1, "tokens": 64}}, "compare.steps", "either"),
    "no seconds": ({"compare": {"seconds": 0}}, "compare.seconds", "1 to 1,000,000"),
    "no time for a step": (
        {"compare": {"seconds": 1, "paces": {"1": 0.1, "2": 1.5}}}, "compare.seconds",
        "One step of “2” takes about 1.5 s here: choose 2 seconds or more"),
    "a pace that is missing": (
        {"compare": {"seconds": 1, "paces": {"1": 0.1}}}, "compare.paces", "of every lane"),
    "no pace": (
        {"compare": {"seconds": 1, "paces": {"1": 0.1, "2": "x"}}}, "compare.paces", "for “2”"),
    "too few tokens": ({"compare": {"tokens": 63}}, "compare.tokens", "at least 64"),
    "six seeds": ({"compare": {"steps": 9, "seeds": 6}}, "compare.seeds", "1 to 5"),
    "steps of other sizes": ({"vary": {"train.batch_size": [2, 4]}}, "compare.steps", "in tokens"),
    "its own setting": ({"vary": {"train.seed": [1, 2]}}, "vary.train.seed", "by the comparison"),
    "no such base": ({"compare": {"steps": 9, "against": "3"}}, "compare.against", "choose 1, 2"),
    "an unknown section": ({"budget": {}}, "budget", "no setting budget"),
    "an unknown key": ({"compare": {"step": 9}}, "compare.step", "did you mean steps"),
    "no section": ({"compare": 3}, "compare", "must be a section"),
    "no recipe": ({"base": {"recipe": "none"}}, "recipe", "no recipe 'none'"),
    "a guess without its lane": (
        {"guess": {"lane": "9", "options": []}}, "guess.lane", "choose 2"),
    "an outcome of no option": (
        {"guess": {"options": [{"words": "a", "when": ["1"]}, {"words": "b", "when": ["2"]}]}},
        "guess.options", "'unclear' stands in 0"),
    "a control that is no lane": (
        {"controls": {"2": "3"}}, "controls.2", "both must be lanes"),
    "its own control": ({"controls": {"2": "2"}}, "controls.2", "two different ones of 1, 2"),
    "options that are no tables": (
        {"guess": {"options": ["a", "b"]}}, "guess.options", "a list `when`"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_reported_in_a_sentence_at_its_key(name):
    change, key, words = BAD[name]
    with pytest.raises(ConfigError) as caught:
        comparison_from(content({"model.layers": [1, 2]}) | copy.deepcopy(change))
    assert caught.value.field == key
    assert words in str(caught.value)


def test_other_batches_and_lengths_read_the_same_stream_of_text():
    text = torch.arange(10_000)

    def read(size, length, steps):
        batches = Batches(text, size, length, seed=3, piece=32)
        return torch.cat([batches(step)[0].flatten() for step in range(1, steps + 1)])

    whole = read(4, 16, 8)
    assert torch.equal(read(8, 16, 4), whole)
    assert torch.equal(read(2, 32, 8), whole)
    assert torch.equal(read(1, 8, 64), whole)
    assert len(whole.unique()) > 400  # pieces from all over the text
    inputs, targets = Batches(text, 2, 16, seed=3, piece=32)(5)
    assert torch.equal(inputs + 1, targets)


def test_lanes_of_other_sizes_have_equal_tokens_and_are_judged_on_the_same_text():
    vary = {"train.batch_size": [2, 4], "model.sequence_length": [8, 16]}
    given = content(vary, tokens=700)
    given["compare"].pop("steps")
    one = comparison_from(given)
    learned = {setup.train.steps * one.per_step[name] for name, setup in one.lanes.items()}
    judged = {s.train.evaluation_batches * one.per_step[name] for name, s in one.lanes.items()}
    assert learned == {640}
    assert len(judged) == 1
    assert {setup.train.piece for setup in one.lanes.values()} == {16}
    with pytest.raises(ConfigError, match="a multiple of 8"):
        one.lanes["Batch Size 2, Sequence Length 8"].with_values({"train.piece": 12})


def test_a_budget_in_seconds_becomes_steps_by_the_pace_of_each_lane():
    given = content({"model.layers": [1, 2]}) | {"compare": {"seconds": "2", "seeds": 1}}
    one = comparison_from(given)
    assert (one.paced, one.seconds, one.budget) == (False, 2, "2 s of computing")
    paced = one.with_paces({"1": 0.1, "2": 0.25})
    assert {name: setup.train.steps for name, setup in paced.lanes.items()} == {"1": 20, "2": 8}
    assert paced.paced
    assert paced.asked == one.asked == one.content
    cells = [
        Cell(variant=name, seed=0, steps=[steps], losses=[2.0], seconds=[2.0], flops=10.0)
        for name, steps in (("1", 20), ("2", 8))
    ]
    found = Outcome(comparison=paced, cells=cells)
    assert found.ranked == ["1", "2"]
    assert "this computer takes 20 for “1”, 8 for “2” steps" in verdict(found)
    (curves, *_) = found.plots("flops")
    assert [series.x for series in curves.series] == [[20 * 64 * 10.0], [8 * 64 * 10.0]]
    assert curves.x_label == "FLOPs"


# --- what is said -----------------------------------------------------------------------------


def outcome(failed="", **losses):
    one = comparison_from(content({"model.layers": [1, 2, 3]}, seeds=3))
    cells = [
        Cell(variant=name[1:], seed=seed, parameters=9, steps=[10], losses=[loss], seconds=[1.0])
        for name, found in losses.items()
        for seed, loss in enumerate(found)
    ]
    if failed:
        cells += [Cell(variant=failed, seed=seed, failed="At step 3 it broke.") for seed in (0, 1)]
    return Outcome(comparison=one, cells=cells)


def test_the_verdict_is_paired_over_seeds_and_may_be_that_it_cannot_tell():
    found = outcome(
        _1=[2.0, 2.1, 2.3], _2=[1.8, 1.901, 2.102], _3=[2.02, 2.08, 2.31]
    )  # the seeds differ more than the lanes
    assert found.ranked[0] == "2"
    assert found.compared["2"].clear
    assert not found.compared["3"].clear
    assert "“2” against “1”: -0.199 (-0.201 to -0.197): better by 0.197 to 0.201 nats." in verdict(
        found
    )
    assert "Whether “3” differs from “1”: +0.003 (-0.048 to +0.055): cannot tell" in verdict(found)
    assert found.comparison.guess.options[answer(found)] == "2"
    close = outcome(_1=[2.0, 2.1, 2.3], _2=[2.01, 2.09, 2.3], _3=[2.0, 2.2, 2.2])
    assert close.comparison.guess.options[answer(close)] == "There is no clear difference"
    two = outcome(_1=[2.0, 2.0], _2=[1.0, 1.001])
    assert "cannot tell with 2 of at least 3 seeds" in verdict(two)


def test_a_lane_that_diverged_stays_visible_with_its_reason():
    found = outcome(failed="3", _1=[2.0, 2.1, 2.3], _2=[1.8, 1.901, 2.102])
    assert found.ranked == ["2", "1"]
    row = tables(found)[0].rows[-1]
    assert row[1] == "3"
    assert "seed 1 was ended: At step 3 it broke." in row[-1]
    assert "3, seed 1 and 2, was ended" in verdict(found)
    assert "3, seed 1 and 2, was ended" in found.plots()[0].note
    assert [line["lane"] for line in rows(found) if line["ended"]] == ["3", "3"]


@pytest.mark.parametrize(
    ("losses", "said"),
    [([1.8, 1.901, 2.102], "better"), ([2.2, 2.31, 2.5], "worse"), ([2.0, 2.15, 2.2], "unclear"),
     (None, "failed")],
)  # fmt: skip
def test_the_right_answer_is_computed_from_the_measurement(losses, said):
    given = content({"model.layers": [1, 2]}, seeds=3)
    options = [{"words": word, "when": [word]} for word in ("better", "unclear", "worse", "failed")]
    given["guess"] = {"lane": "2", "options": options}
    found = outcome(_1=[2.0, 2.1, 2.3], **({"_2": losses} if losses else {}))
    if losses is None:
        found.cells.append(Cell(variant="2", seed=0, failed="It broke."))
    found = Outcome(comparison=comparison_from(given), cells=found.cells)
    assert found.comparison.guess.options[answer(found)] == said


def test_a_lane_is_compared_with_its_own_control():
    given = content({"model.layers": [1, 2, 3]}, seeds=3) | {"controls": {"3": "2"}}
    losses = {"1": [2.0, 2.1, 2.3], "2": [1.5, 1.6, 1.801], "3": [1.6, 1.7, 1.9]}
    cells = [
        Cell(variant=lane, seed=seed, steps=[10], losses=[loss], seconds=[1.0])
        for lane, found in losses.items()
        for seed, loss in enumerate(found)
    ]
    found = Outcome(comparison=comparison_from(given), cells=cells)
    assert found.compared["3"].found.mean == pytest.approx(
        0.1, abs=1e-3
    )  # worse than 2, not than 1
    assert "“3” against “2”: +0.100 (+0.098 to +0.101): worse by 0.098 to 0.101 nats" in verdict(
        found
    )
    assert "“2” against “1”: -0.500 (-0.501 to -0.498): better by" in verdict(found)
    assert "its control" in found.plots()[1].title
    assert "(than “2”)" in tables(found)[0].rows[1][-1]


def test_every_variant_with_predictive_coding_has_a_control_as_large_that_is_without_it():
    asked = [one for one in load_questions().values() if one.group == "Predictive coding"]
    variants = 0
    for one in asked:
        for name, setup in one.lanes.items():
            model = setup.model
            settles = model.pc_steps > 0 and any(
                part.startswith("pc") for part in (model.architecture, model.feedforward,
                                                   model.positions))  # fmt: skip
            if not settles and setup.train.learning_rule == "backprop":
                continue
            variants += 1
            control = one.lanes[one.controls[name]]
            sizes = [sum(parameter_breakdown(each.model, 65).values()) for each in (setup, control)]
            assert sizes[0] == pytest.approx(sizes[1], rel=0.002), name
            assert control.train.learning_rule == "backprop"
            assert control.model.pc_steps == 0 or control.model.feedforward in (
                "gelu", "gelu_matched")  # fmt: skip
    assert variants == 7


ENDING = {word: f"It was {word}." for word in ("better", "unclear", "worse", "failed")}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"guess": None}, "ending"),
        ({"ending": ENDING | {"best": "x"}}, "ending.best"),
        ({"ending": {"better": "x"}}, "ending.unclear"),
        ({"compare": {"steps": 10, "audit": "yes"}}, "compare.audit"),
    ],
)
def test_an_ending_has_a_sentence_for_each_outcome_of_one_lane(change, key):
    options = [{"words": word, "when": [word]} for word in ENDING]
    whole = content({"model.layers": [1, 2]}, seeds=3) | {
        "guess": {"lane": "2", "options": options}, "ending": ENDING}  # fmt: skip
    assert comparison_from(whole).ending == ENDING
    assert "ending" not in comparison_from(content({"model.layers": [1, 2]})).ending
    wrong = {name: value for name, value in (whole | change).items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        comparison_from(wrong)
    assert caught.value.field == key


def test_the_ending_tells_the_curves_that_were_measured_and_what_they_mean():
    given = content({"model.layers": [1, 2]}, seeds=3)
    options = [{"words": word, "when": [word]} for word in ENDING]
    given |= {"guess": {"lane": "2", "options": options}, "ending": ENDING}
    cells = [
        Cell(variant=lane, seed=seed, steps=[5, 10], losses=[3.0, end + seed / 1000],
             seconds=[1.0, 2.0])
        for lane, end in (("1", 2.0), ("2", 0.5))
        for seed in range(3)
    ]  # fmt: skip
    cells[3].audited, cells[3].audit = "failed", "Information leaks."
    found = Outcome(comparison=comparison_from(given), cells=cells)
    said = ending(found)
    assert "“2” went from 3.000 nats after 5 steps to 0.501 after 10: -2.499." in said
    assert "“1” went from 3.000 nats after 5 steps to 2.001 after 10: -0.999." in said
    assert "It was better. The leak audit of “2”, seed 1: failed. Information leaks." in said
    assert ["2", "1", "failed", "Information leaks."] in tables(found)[-1].rows
    assert ending(outcome(_1=[2.0, 2.1, 2.3], _2=[1.8, 1.9, 2.1])) == ""


# --- in the lab -------------------------------------------------------------------------------


def test_the_model_without_a_mask_falls_impossibly_low_and_its_audit_says_so(lab):
    given = copy.deepcopy(dict(find_question("no_causal_mask", quick=True).content))
    given["base"] |= TINY | {"model.embedding_dim": 32, "model.layers": 2, "train.batch_size": 8}
    given["compare"] = {"steps": 120, "seeds": 1, "audit": True}
    del given["quick"]
    asked = lab.comparisons.start(comparison_from(given, "no_causal_mask"))
    assert asked.job.wait(PATIENCE)
    honest, broken = asked.outcome.cells
    assert broken.losses[-1] < 1 < honest.losses[-1]
    assert (honest.audited, broken.audited) == ("passed", "failed")
    assert "Information leaks: editing the future" in broken.audit
    run = next(run for run in lab.runs.all() if run.lane == "No causal mask")
    ((_, kept),) = lab.runs.open(run.id).events("audit")
    assert json.loads(kept)["sentence"] == broken.audit
    again = Lab(lab.home)
    assert again.comparisons.newest("no_causal_mask").outcome.cells == [honest, broken]
    again.close()


def test_lanes_race_on_the_worker_and_the_result_outlives_the_lab(lab):
    one = comparison_from(content({"train.learning_rate": [0.01, 0.02]}, seeds=2), "rates")
    cost = lab.comparisons.cost(one)
    assert 0 < cost.memory < cost.free
    asked = lab.comparisons.start(one)
    with pytest.raises(LabError, match="being compared"):
        lab.comparisons.start(one)
    assert asked.job.wait(PATIENCE)
    assert (asked.state, asked.key) == ("done", "rates-1"), asked.error
    cells = asked.outcome.cells
    assert [(cell.variant, cell.seed) for cell in cells] == [
        ("0.01", 0), ("0.02", 0), ("0.01", 1), ("0.02", 1)
    ]  # fmt: skip
    for cell in cells:
        assert cell.last == 10
        assert len(cell.losses) == 10
        assert cell.text
    assert cells[0].losses != cells[2].losses
    lab.runs.refresh()
    assert {run.race for run in lab.runs.all()} == {"rates-1.1", "rates-1.2"}
    again = Lab(lab.home)
    try:
        kept = again.comparisons.newest("rates")
        assert (kept.key, kept.state) == ("rates-1", "done")
        assert kept.outcome.cells == cells
        same = again.comparisons.start(one)
        assert same.job.wait(PATIENCE)
        assert same.key == "rates-2"
        assert [c.losses for c in same.outcome.cells] == [c.losses for c in cells]
        assert_another_process_sees(same.outcome, lab, same.key)
    finally:
        again.close()


def assert_another_process_sees(outcome, lab, name):
    """Its question is known from the first step on, its numbers as its runs have them."""
    lab.runs.refresh()
    assert lab.comparisons.measured(name) == outcome
    path = lab.home / "comparisons" / f"{name}.json"
    kept = json.loads(path.read_text()) | {"cells": []}  # as while the first seed is raced
    path.write_text(json.dumps(kept))
    told = lab.comparisons.measured(name)
    assert told.comparison == outcome.comparison
    assert [cell.losses for cell in told.cells] == [cell.losses for cell in outcome.cells]


def test_a_comparison_of_another_process_is_there_while_it_races_and_afterwards(lab):
    one = comparison_from(content({"model.layers": [1, 2]}, steps=1_000_000), "away")
    assert lab.comparisons.newest("away") is None
    other = Lab(lab.home)
    try:
        racing = other.comparisons.start(one)
        seen = until(
            lambda: (a := lab.comparisons.newest("away")) and a.elsewhere and a.outcome and a
        )
        assert (seen.key, seen.state, seen.busy) == ("away-1", "running", False)
        with pytest.raises(LabError, match="by another program"):
            lab.comparisons.start(one)
        other.comparisons.stop(racing.key)
        assert racing.job.wait(PATIENCE)
    finally:
        other.close()
    until(lambda: not lab.comparisons.newest("away").elsewhere)
    assert lab.comparisons.newest("away").state == "stopped"
    assert state(lab.comparisons.newest("away")) == (
        "away-1: stopped before its end, by another program."
    )


def test_lanes_have_equal_seconds_by_what_a_step_of_each_was_measured_to_take(lab):
    given = content({"model.layers": [1, 2]}) | {"compare": {"seconds": 1, "seeds": 1}}
    one = comparison_from(given, "timed")
    assert lab.comparisons.cost(one).seconds == 2
    asked = lab.comparisons.start(one)
    assert asked.job.wait(PATIENCE)
    assert (asked.state, asked.error) == ("done", "")
    steps = {name: setup.train.steps for name, setup in asked.comparison.lanes.items()}
    assert all(count > 1 for count in steps.values())
    assert {cell.variant: cell.last for cell in asked.outcome.cells} == steps
    shallow, deep = (cell.flops for cell in asked.outcome.cells)
    assert 0 < shallow < deep
    assert asked.comparison.asked == one.asked
    again = Lab(lab.home)
    kept = again.comparisons.newest("timed")
    assert (kept.outcome.cells, kept.comparison.lanes) == (
        asked.outcome.cells, asked.comparison.lanes)  # fmt: skip
    again.close()


def test_it_is_paused_stopped_and_gone_on_with_and_whole_seeds_stay(lab):
    endless = 1_000_000
    one = comparison_from(content({"model.layers": [1, 2]}, seeds=2, steps=endless), "long")

    def states():
        return [run.status.state for run in lab.trainings.racing("long-1.1")]

    asked = lab.comparisons.start(one)
    until(lambda: asked.outcome and all(cell.parameters for cell in asked.outcome.cells[:1]))
    until(lambda: states() == ["running"] * 2)
    lab.comparisons.pause(asked.key)
    until(lambda: states() == ["paused"] * 2)
    lab.comparisons.resume(asked.key)
    until(lambda: states() == ["running"] * 2)
    lab.comparisons.stop(asked.key)
    assert asked.job.wait(PATIENCE)
    assert asked.state == "stopped"
    assert "Not yet enough" in verdict(asked.outcome)
    until(lambda: all(run.ended for run in lab.trainings.racing("long-1.1")))
    lab.comparisons.delete("long-1")
    assert lab.comparisons.find("long-1") is None
    # As if it had been stopped in its second seed: the first is whole, in one lane by a failure.
    whole = [
        Cell(variant="1", seed=0, steps=[endless], losses=[2.0], seconds=[1.0]),
        Cell(variant="2", seed=0, failed="At step 3 it broke."),
        Cell(variant="1", seed=1, failed="it was stopped", stopped=True),
    ]
    before = Outcome(comparison=one, cells=whole)

    def racing(setups):
        yield {name: Seen(metrics=[], parameters=len(setups)) for name in setups}

    *_, last = compare(one, racing, whole_seeds(before))
    assert last.result.cells[:2] == whole[:2]
    assert [(c.variant, c.seed, c.parameters) for c in last.result.cells[2:]] == [
        ("1", 1, 2), ("2", 1, 2)
    ]  # fmt: skip


def test_a_lane_that_diverged_far_is_there_again_after_a_restart(tmp_path):
    one = comparison_from(content({"model.layers": [1, 2]}), "far")
    cells = [
        Cell(variant="1", seed=0, steps=[5, 10], losses=[2.0, 3e38], seconds=[1.0, 2.0]),
        Cell(variant="2", seed=0, steps=[5], losses=[1e35], seconds=[1.0], failed="It broke."),
    ]
    record = {"format": 1, "slug": "far", "quick": False, "content": one.content}
    folder = tmp_path / "comparisons"
    folder.mkdir()
    (folder / "far-1.json").write_text(json.dumps(record | {"cells": list(map(asdict, cells))}))
    lab = Lab(tmp_path)
    kept = lab.comparisons.newest("far")
    assert kept.outcome.cells == cells
    assert "It broke." in tables(kept.outcome)[0].rows[-1][-1]
    lab.close()


def test_a_file_that_was_changed_is_no_comparison(tmp_path):
    folder = tmp_path / "comparisons"
    folder.mkdir()
    for place, text in enumerate(("{", "[]", '{"format": 1}', "null")):
        (folder / f"bad-{place}.json").write_text(text)
    lab = Lab(tmp_path)
    assert lab.comparisons.newest() is None
    lab.close()


QUESTION = """
[base]
{base}
[lanes.whole]
[lanes.fast]
"train.learning_rate" = 0.1
[compare]
steps = 500
[quick]
steps = 5
seeds = 3
"""


def test_the_command_races_a_question_and_prints_its_summary(tmp_path, capsys):
    base = "\n".join(f'"{key}" = {json.dumps(value)}' for key, value in TINY.items())
    file = tmp_path / "fast.toml"
    file.write_text(QUESTION.format(base=base))
    assert tomllib.loads(file.read_text())
    home = ["--home", str(tmp_path / "home")]
    assert main(["compare", str(file), "--quick", "--seeds", "1", "--json", *home]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["lane"] for line in lines[:-1]} == {"whole", "fast"}
    summary = lines[-1]
    assert (summary["summary"], summary["budget"], summary["state"]) == (True, "5 steps", "done")
    assert {one["lane"] for one in summary["lanes"]} == {"whole", "fast"}
    assert "cannot tell with 1 of at least 3 seeds" in summary["verdict"]
    file.write_text(file.read_text().replace("0.1", "-3"))
    assert main(["compare", str(file), *home]) == 2
    assert "train.learning_rate" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no question 'nothing'"):
        find_question("nothing")


@pytest.mark.parametrize(
    ("setting", "values", "second", "more"),
    [
        ("model.layers", "2 1", NOTHING, ""),
        ("train.learning_rate", "1e-4; 0.1", "model.feedforward", "gelu, relu"),
        ("model.bias", "true,false", NOTHING, ""),
    ],
)
def test_a_question_made_by_hand_stands_in_its_controls_again(setting, values, second, more):
    given = replace(
        STANDARD, setting=setting, values=values, second=second, second_values=more, seeds="2"
    )
    one = asked_for(SLUG, given)
    timed = asked_for(SLUG, replace(given, budget="seconds", amount="9"))
    measured = timed.with_paces(dict.fromkeys(timed.lanes, 0.1))
    assert asked_for(SLUG, form_of(measured)).content == timed.content
    apart = asked_for(SLUG, replace(given, where="process"))
    assert asked_for(SLUG, form_of(apart)).content == apart.content != one.content
    again = asked_for(SLUG, form_of(one))
    assert (again.content, again.lanes) == (one.content, one.lanes)
    assert form_of(comparison_from(content({"model.layers": [1, 2]}), SLUG)) == STANDARD


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"values": ""}, "model.layers"),
        ({"values": "1, x"}, "model.layers"),
        ({"setting": None}, "vary"),
        ({"setting": "train.seed"}, "vary"),
        ({"second": "model.layers", "second_values": "1"}, "vary"),
        ({"second": ["model.heads"]}, "vary"),
        ({"amount": ""}, "compare.steps"),
        ({"amount": "0"}, "compare.steps"),
        ({"budget": "tokens", "amount": "5"}, "compare.tokens"),
        ({"budget": "seconds", "amount": "soon"}, "compare.seconds"),
        ({"seeds": None}, "compare.seeds"),
        ({"recipe": {}}, "recipe"),
    ],
)
def test_what_is_typed_wrong_is_reported_at_its_control(changes, key):
    with pytest.raises(ConfigError) as caught:
        asked_for(SLUG, replace(STANDARD, **changes))
    assert caught.value.field == key
