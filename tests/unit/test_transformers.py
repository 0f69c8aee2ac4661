"""The race of transformers: its controls, what it concludes, and that the lab races the same."""

import itertools
import math
from dataclasses import replace

import pytest

from transformer_lab.experiments import transformers
from transformer_lab.experiments.transformer_variants import (
    CHOSEN,
    IDENTITY,
    MATCHED,
    STANDARD,
    VARIANTS,
    TransformerSettings,
)
from transformer_lab.experiments.transformers import EXPERIMENT, run
from transformer_lab.experiments.transformers_result import Lane, TransformerRace
from transformer_lab.lab.experiments.race_trial import SLUG as NAME
from transformer_lab.lab.experiments.transformer_race import free_name
from transformer_lab.lab.lab import Lab
from transformer_lab.model.weights import parameter_breakdown
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import corpus_folders
from transformer_lab.training import NonFiniteLossError
from waiting import PATIENCE, until

SMALL = {"training_steps": 10, "width": 16, "seeds": 1}
EVERYBODY = TransformerSettings(**SMALL, **dict.fromkeys(CHOSEN, True))


@pytest.fixture(scope="module")
def everybody(tmp_path_factory):
    """Every variant, raced to the end on this thread, on the text a lab would take."""
    *_, last = run(EVERYBODY, corpus_folders(tmp_path_factory.mktemp("home")))
    return last.result


def curve(lane):
    return lane.steps, lane.losses


def test_everyone_comes_to_the_end_with_a_loss_a_size_and_a_text(everybody):
    assert [lane.variant for lane in everybody.lanes] == EVERYBODY.variants == list(VARIANTS)
    for lane in everybody.lanes:
        assert lane.last == 10
        assert len(lane.losses) == len(lane.seconds) == 10
        assert 1 < lane.losses[-1] < lane.losses[0]
        assert lane.parameters > 1000
        assert lane.text
        assert not lane.failed


def test_without_settling_it_is_the_standard_model_bit_for_bit(everybody):
    identity, standard = everybody.of(IDENTITY)[0], everybody.of(STANDARD)[0]
    assert curve(identity) == curve(standard)
    assert identity.text == standard.text
    assert everybody.identical() == [True]
    for variant in CHOSEN:
        assert everybody.of(variant)[0].losses != standard.losses


def test_the_control_is_as_large_as_what_it_controls(everybody):
    ours, theirs = (everybody.of(name)[0].parameters for name in ("pc_ffn", MATCHED))
    assert theirs == pytest.approx(ours, rel=0.005)
    assert ours > everybody.of(STANDARD)[0].parameters


def test_every_variant_stands_beside_itself_without_settling_and_one_as_large():
    settings = TransformerSettings(**dict.fromkeys(CHOSEN, True))  # at the width of the page
    setups = settings.setups("python_docs", 0)
    for name in CHOSEN:
        large, still, *_ = VARIANTS[name].controls
        ours, theirs = (
            sum(parameter_breakdown(setups[one].model, 64).values()) for one in (name, large)
        )
        assert theirs == pytest.approx(ours, rel=0.1)  # a feed-forward grows in whole steps
        values = setups[still].values()
        assert 0 in (values["model.pc_steps"], values["train.pc_learning_steps"])


def test_everyone_has_the_same_batches_and_budget():
    setups = EVERYBODY.setups("python_docs", seed=0)
    common = {name: setup.values() for name, setup in setups.items()}
    for name in common:
        differing = {key for key in common[name] if common[name][key] != common[STANDARD][key]}
        if VARIANTS[name].as_large:
            sizes = {"model.layers", "model.feedforward_multiple", "model.feedforward"}
            assert differing <= sizes
            continue
        assert differing == set(VARIANTS[name].changes) - {
            key for key, value in VARIANTS[name].changes.items() if common[STANDARD][key] == value
        }
    other = EVERYBODY.setups("python_docs", seed=1)
    assert {setup.train.seed for setup in setups.values()} == {1}
    assert {setup.train.seed for setup in other.values()} == {2}


def lanes(**losses):
    """A race with these last losses, one for each seed."""
    return TransformerRace(
        settings=TransformerSettings(training_steps=10, pc_learning=False),
        corpus="a text",
        lanes=[
            Lane(variant=name, seed=seed, parameters=1, steps=[10], losses=[loss], seconds=[1.0])
            for name, found in losses.items()
            for seed, loss in enumerate(found)
        ],
    )


@pytest.mark.parametrize(
    ("ours", "answer", "words"),
    [
        ([1.8, 1.81, 1.82], 0, "better by 0."),
        ([2.2, 2.21, 2.22], 2, "worse by 0."),
        ([2.01, 2.02, 1.99], 1, "cannot tell: 3 seeds show differences above"),
        ([1.8, 1.81], 1, "cannot tell with 2 of at least 3 seeds"),  # two seeds never suffice
    ],
)
def test_the_verdict_follows_from_the_numbers(ours, answer, words):
    control = [2.0, 2.01, 2.015][: len(ours)]
    found = lanes(standard=control, pc_ffn_t0=control, pc_ffn_as_large=control, pc_ffn=ours)
    assert EXPERIMENT.answer(found) == answer
    assert words in EXPERIMENT.verdict(found)


def test_a_race_whose_check_fails_is_not_believed():
    three = [2.0, 2.1, 2.2]
    found = lanes(standard=three, pc_ffn_t0=[2.0, 2.1, 2.3], pc_ffn_as_large=three, pc_ffn=three)
    assert EXPERIMENT.verdict(found).startswith("Do not believe this race")


def test_who_diverges_is_named_and_has_no_result(monkeypatch):
    whole = transformers.training

    def training(model, setup, encoded):
        steps = whole(model, setup, encoded)
        yield from itertools.islice(steps, 5 if setup.model.feedforward == "gelu_matched" else None)
        if setup.model.feedforward == "gelu_matched":
            raise NonFiniteLossError(6, math.nan, 1.0)

    monkeypatch.setattr(transformers, "training", training)
    *_, last = run(TransformerSettings(**SMALL, pc_learning=False))
    failed = [lane.variant for lane in last.result.lanes if lane.failed]
    assert failed == [MATCHED]
    assert MATCHED not in [name for name in VARIANTS if last.result.ended(name)]
    assert EXPERIMENT.answer(last.result) is None
    assert "At step 6 the loss was no longer a finite number" in last.plots()[0].note


def test_what_cannot_race_says_so_at_its_setting():
    with pytest.raises(ConfigError, match="choose 48 or 52") as caught:
        TransformerSettings(width=50)
    assert caught.value.field == "pcn_transformers.width"
    with pytest.raises(ConfigError, match="no variant to compare"):
        TransformerSettings(**dict.fromkeys(CHOSEN, False))


def test_the_lab_races_the_same_and_keeps_the_runs(lab, everybody):
    settings = TransformerSettings(**SMALL, pc_learning=False)
    trial = lab.trials.start("transformers", settings)
    assert trial.job.wait(PATIENCE)
    assert trial.state == "done", trial.error
    lab.runs.refresh()
    runs = {run.lane: run for run in lab.runs.all()}
    assert set(runs) == set(settings.variants)
    assert {run.race for run in runs.values()} == {f"{NAME}-1.1"}
    assert {run.comparison for run in runs.values()} == {f"{NAME}-1"}  # one row in Runs
    assert free_name(NAME, {f"{NAME}-1", f"{NAME}-9", "other-30"}) == f"{NAME}-10"
    assert {run.state for run in runs.values()} == {"finished"}
    # Sums round by the number of threads, which is a lane's here and a test's there.
    for ours in trial.latest.result.lanes:
        (theirs,) = everybody.of(ours.variant)
        assert ours.steps == theirs.steps
        assert ours.losses == pytest.approx(theirs.losses, rel=1e-3)
    assert lab.models.writers()[runs["pc_ffn"].id].endswith("(pc_ffn) · finished")
    assert trial.latest.result.identical() == [True]
    assert all(lane.text for lane in trial.latest.result.lanes)
    again = Lab(lab.home)  # the same is there after a restart, with its settings
    kept = again.trials.find("transformers")
    assert (kept.state, kept.settings, again.trials.newest().key) == (
        "done", settings, "transformers")  # fmt: skip
    assert kept.latest.result == trial.latest.result
    assert again.trials.kept_seeds("transformers", replace(settings, seeds=2)) == 1
    assert again.comparisons.newest() is None  # it is no question of Compare
    told = again.comparisons.measured(f"{NAME}-1").comparison  # in Runs, with its controls
    assert told.control_of("pc_ffn") == MATCHED
    again.close()


def test_it_is_paused_and_goes_on_and_stop_keeps_what_was_measured(lab):
    long = replace(EVERYBODY, training_steps=5000)
    trial = lab.trials.start("transformers", long)

    def states():
        return {run.status.state for run in lab.trainings.racing(f"{NAME}-1.1")}

    until(lambda: trial.latest and trial.latest.progress > 0)
    lab.trials.pause_or_resume("transformers")
    until(lambda: states() == {"paused"})
    assert lab.trials.find("transformers").paused
    lab.trials.pause_or_resume("transformers")
    until(lambda: states() == {"running"})
    lab.trials.stop("transformers")
    assert trial.job.wait(PATIENCE)
    assert lab.trainings.wait(PATIENCE)
    assert trial.state == "stopped"
    assert EXPERIMENT.verdict(trial.latest.result).startswith("Not yet enough")
    assert states() == {"stopped"}


def test_it_waits_while_something_else_is_training(lab):
    busy = EVERYBODY.setups("python_docs", 0)[STANDARD].with_values({"train.steps": 100_000})
    lab.trainings.start(busy, "busy")
    trial = lab.trials.start("transformers", TransformerSettings(**SMALL, pc_learning=False))
    until(lambda: trial.latest and "waiting" in trial.latest.words)
    assert trial.latest.words == "waiting until nothing else is training"
    lab.trainings.stop()
    assert trial.job.wait(PATIENCE)
    assert trial.state == "done", trial.error


def test_its_time_is_known_beforehand(lab):
    lab.trials.cost("transformers", TransformerSettings(seeds=1))
    assert lab.trainings.wait(PATIENCE)  # the speed of this computer is measured first

    def seconds(**changes):
        return lab.trials.cost("transformers", TransformerSettings(**changes)).seconds

    one, three, more = seconds(seeds=1), seconds(seeds=3), seconds(seeds=1, dual_stream=True)
    assert 0 < one < more
    assert three == pytest.approx(3 * one, rel=0.5)  # it may have learned more in between
    assert lab.trials.cost("leak", EVERYBODY) is None
    assert lab.trials.cost("transformers", EVERYBODY).memory > 0  # of all lanes together


def test_every_lane_computes_on_as_many_threads_so_that_equal_ones_stay_equal():
    assert {setup.train.threads for setup in EVERYBODY.setups("python_docs", 1).values()} == {1}
