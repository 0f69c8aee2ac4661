"""The experiments with predictive coding: what they offer, and that their results are real."""

import csv
import dataclasses
import inspect
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sampling import sampled
from transformer_lab.experiments import evaluator, leak_microscope, report, statistics
from transformer_lab.experiments.alignment_result import AlignmentSettings
from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.depth_result import DepthSettings
from transformer_lab.experiments.discriminative import build as build_discriminative
from transformer_lab.experiments.evaluator import infer_label, leak_source
from transformer_lab.experiments.experiment import source_of
from transformer_lab.experiments.generative import build as build_generative
from transformer_lab.experiments.gradient_result import GradientSettings
from transformer_lab.experiments.language_model_result import LanguageModelLeakSettings
from transformer_lab.experiments.latents import probe
from transformer_lab.experiments.latents_result import LatentSettings
from transformer_lab.experiments.leak_result import (
    EVALUATIONS,
    HONEST,
    NETWORKS,
    NOISE,
    RANDOM,
    TRIED,
    TRUE,
    LeakSettings,
)
from transformer_lab.experiments.pictures import (
    digits,
    one_hot,
)
from transformer_lab.experiments.race_result import RaceSettings
from transformer_lab.experiments.transformer_variants import TransformerSettings
from transformer_lab.experiments.width_result import WidthSettings
from transformer_lab.pcn import classify
from transformer_lab.settings import ConfigError, checked, settings_of

QUICK = {
    "leak": LeakSettings(seeds=1, epochs=1, training_pictures=500, test_pictures=200),
    "race": RaceSettings(seeds=1, epochs=6, steps=5),
    "gradients": GradientSettings(seeds=1, steps=60, epochs=1),
    "language_model": LanguageModelLeakSettings(
        seeds=1, steps=20, training_steps=40, precision=10.0
    ),
    "transformers": TransformerSettings(seeds=1, training_steps=10, width=16, pc_learning=False),
    "latents": LatentSettings(seeds=1, epochs=1),
    "depth": DepthSettings(seeds=1, layers=6, width=16, epochs=1, steps=8),
    "width": WidthSettings(seeds=1, steps=40, layers=6, widest=128),
    "alignment": AlignmentSettings(seeds=1, steps=100),
}
DOCS = Path(__file__).parents[2] / "docs"
by_key = pytest.mark.parametrize("key", EXPERIMENTS)
by_some = pytest.mark.parametrize("key", sampled(EXPERIMENTS, 3))


@pytest.fixture(scope="module")
def partials():
    """Every partial result of each experiment, run once at quick settings."""
    found = {}

    def of(key):
        if key not in found:
            found[key] = list(EXPERIMENTS[key].run(QUICK[key], ()))
        return found[key]

    return of


@pytest.fixture
def result(partials):
    return lambda key: partials(key)[-1].result


@by_key
def test_an_experiment_explains_itself(key):
    experiment = EXPERIMENTS[key]
    assert experiment.key == key
    assert experiment.question.endswith("?")
    assert experiment.prediction.prompt.rstrip(" ?.()") != ""
    assert len(set(experiment.prediction.options)) >= 3
    for equation in experiment.equations:
        assert "def " in source_of(equation.function)
        assert equation.latex
        assert equation.source


@by_key
def test_an_experiments_settings_explain_themselves(key):
    for setting in settings_of(EXPERIMENTS[key].settings):
        assert setting.group.startswith("pcn_")
        assert setting.label
        assert setting.help.endswith(".")
        assert checked(setting, setting.default) == setting.default


def test_every_experiment_has_settings_of_its_own():
    groups = [experiment.settings.GROUP for experiment in EXPERIMENTS.values()]
    assert len(set(groups)) == len(groups)
    for experiment in EXPERIMENTS.values():
        with pytest.raises(ConfigError, match="choose a number from"):
            experiment.settings(steps=10**9)


def values(part):
    """How many plain values there are in nested lists and dicts."""
    if isinstance(part, dict):
        return sum(map(values, part.values()))
    return sum(map(values, part)) if isinstance(part, list | tuple) else 1


@by_key
def test_a_run_moves_on_and_never_changes_what_it_has_said(key, partials):
    found = partials(key)
    progress = [partial.progress for partial in found]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0.0, 1.0)
    assert all(partial.words for partial in found)
    sizes = [values(dataclasses.asdict(partial.result)) for partial in found]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 2


@by_key
def test_plots_hold_together(key, partials):
    for partial in partials(key):
        for plot in partial.plots():
            assert plot.title
            assert plot.series or plot.pictures
            for series in plot.series:
                assert len(series.x) == len(series.y) > 0
                assert all(math.isfinite(value) for value in series.y)
                assert len(series.low) == len(series.high)
                assert len(series.low) in (0, len(series.y))
                for low, mean, high in zip(
                    series.low, series.y, series.high, strict=bool(series.low)
                ):
                    assert low <= mean + 1e-9 <= high + 2e-9
            if plot.pictures:
                assert len(plot.pictures) % plot.columns == 0
    json.dumps([dataclasses.asdict(plot) for plot in partials(key)[-1].plots()])


@by_key
def test_the_beginning_says_that_it_is_too_early_and_the_end_answers(key, partials):
    experiment = EXPERIMENTS[key]
    first, last = partials(key)[0].result, partials(key)[-1].result
    assert experiment.answer(first) is None
    assert experiment.verdict(first).startswith("Not yet enough")
    assert experiment.answer(last) in range(len(experiment.prediction.options))
    assert experiment.verdict(last).endswith(".")
    assert any(character.isdigit() for character in experiment.verdict(last))


@by_key
def test_rows_and_tables_are_rectangular(key, result):
    experiment = EXPERIMENTS[key]
    rows = experiment.rows(result(key))
    assert len(rows) > 10
    assert len({tuple(row) for row in rows}) == 1
    for table in experiment.tables(result(key)):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}


@by_some
def test_a_run_that_is_stopped_keeps_what_it_has(key):
    run = EXPERIMENTS[key].run(EXPERIMENTS[key].settings(), ())
    *_, last = itertools.islice(run, 3)
    run.close()
    assert last.progress < 1
    assert isinstance(EXPERIMENTS[key].verdict(last.result), str)
    assert last.plots() == last.result.plots()


@by_some
def test_the_same_settings_give_the_same_result_and_leave_torchs_generator_alone(key):
    short = {
        "leak": LeakSettings(
            seeds=1, epochs=1, steps=5, learning_steps=5, training_pictures=100, test_pictures=50
        ),
        "race": RaceSettings(seeds=1, epochs=1, steps=2),
        "gradients": GradientSettings(seeds=1, steps=5, epochs=0),
        "language_model": LanguageModelLeakSettings(seeds=1, steps=2, training_steps=2, longest=16),
        "transformers": TransformerSettings(
            seeds=1, training_steps=10, width=16, pc_learning=False
        ),
        "latents": LatentSettings(seeds=1, epochs=1, steps=5, learning_steps=5),
        "depth": DepthSettings(seeds=1, layers=3, width=8, epochs=1, steps=2),
        "width": WidthSettings(seeds=1, steps=4, layers=4, widest=32),
        "alignment": AlignmentSettings(seeds=1, steps=4),
    }[key]
    before = torch.get_rng_state()
    one, other = ([*EXPERIMENTS[key].run(short, ())][-1].result for _ in range(2))
    measured, again = (EXPERIMENTS[key].rows(result) for result in (one, other))
    for row in measured + again:
        row.pop("seconds", None)  # the one thing that may differ
    assert measured == again
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("key", ["leak", "gradients", "width", "alignment", "latents"])
def test_more_seeds_add_to_what_is_there_and_give_what_all_at_once_would(key):
    short = {
        "leak": LeakSettings(
            epochs=1, steps=3, learning_steps=3, training_pictures=60, test_pictures=40
        ),
        "gradients": GradientSettings(steps=3, epochs=0, width=8),
        "width": WidthSettings(steps=4, layers=4, widest=32),
        "alignment": AlignmentSettings(steps=4),
        "latents": LatentSettings(epochs=1, steps=3, learning_steps=3),
    }[key]
    one, two = (dataclasses.replace(short, seeds=seeds) for seeds in (1, 2))
    experiment = EXPERIMENTS[key]
    *_, first = experiment.run(one, ())
    *_, added = experiment.run(two, (), first)
    *_, whole = experiment.run(two, ())
    assert experiment.rows(added.result) == experiment.rows(whole.result)
    assert (
        experiment.rows(first.result)
        == experiment.rows(added.result)[: len(experiment.rows(first.result))]
    )


# The leak microscope


def at(result, network, evaluation):
    return result.at(network, evaluation, result.settings.steps).mean


@pytest.mark.parametrize("network", NETWORKS)
def test_the_leaking_evaluation_accepts_every_network_on_anything(network, result):
    for evaluation in (TRUE, RANDOM, NOISE):
        assert at(result("leak"), network, evaluation) > 90


def test_the_honest_evaluation_finds_classes_where_they_can_be_found(result):
    guess = statistics.chance(200, 10, level=0.9999)
    assert at(result("leak"), "discriminative", HONEST) > 60
    assert guess.low <= at(result("leak"), "discriminative_shuffled", HONEST) <= guess.high
    for network in NETWORKS:  # fair, whatever the probe finds: it is told no label
        assert at(result("leak"), network, TRIED) < 40


@pytest.mark.parametrize("network", ["untrained", "shuffled"])
def test_the_honest_evaluation_finds_chance_where_there_is_nothing_to_see(network, result):
    guess = statistics.chance(200, 10, level=0.9999)
    assert guess.low <= at(result("leak"), network, HONEST) <= guess.high


def test_after_no_step_the_leaking_evaluation_is_at_chance_too(result):
    guess = statistics.chance(200, 10, level=0.9999)
    for curve in result("leak").curves:
        if curve.network in NETWORKS:
            assert guess.low <= curve.accuracy[0] <= guess.high


def test_the_latents_settle_alike_and_only_the_labels_energy_differs(result):
    curves = {
        curve.evaluation: curve for curve in result("leak").curves if curve.network == "trained"
    }
    told, honest = curves[TRUE], curves[HONEST]
    steps = result("leak").settings.steps
    assert told.latent_energy[0] > 100
    assert told.latent_energy[steps] < told.latent_energy[0] / 20
    assert honest.latent_energy[steps] == pytest.approx(told.latent_energy[steps], rel=0.25)
    assert told.supervised_energy[steps] < told.supervised_energy[0] / 5
    assert honest.supervised_energy[steps] > 2 * told.supervised_energy[steps]


def test_a_label_that_is_unplugged_does_not_leak():
    settings = LeakSettings(seeds=1, epochs=0, precision=0.0, steps=20, test_pictures=200)
    run = EXPERIMENTS["leak"].run(settings, ())
    last = [*run][-1].result
    guess = statistics.chance(200, 10, level=0.9999)
    assert guess.low <= at(last, "untrained", NOISE) <= guess.high
    assert EXPERIMENTS["leak"].verdict(last).startswith("No clear leak")
    assert EXPERIMENTS["leak"].answer(last) == 0


def test_energies_never_rise_in_any_curve(result):
    for curve in result("leak").curves:
        if curve.evaluation == TRIED:  # its label's energy is that of the right label
            continue
        told = curve.evaluation != HONEST
        total = [
            latent + told * label
            for latent, label in zip(curve.latent_energy, curve.supervised_energy, strict=True)
        ]
        for before, after in itertools.pairwise(total):
            assert after <= before * (1 + 1e-4)


def test_noise_shows_nothing_and_random_labels_know_nothing():
    pictures = digits()
    sets = leak_microscope.test_sets(pictures, torch.Generator().manual_seed(0))
    true = sets[TRUE][1].argmax(1)
    assert torch.equal(true, pictures.test_classes)
    guess = statistics.chance(450, 10, level=0.9999)
    for evaluation in (RANDOM, NOISE):
        agrees = 100 * (sets[evaluation][1].argmax(1) == true).float().mean().item()
        assert guess.low <= agrees <= guess.high
    assert torch.equal(sets[RANDOM][0], pictures.test)
    noise = sets[NOISE][0]
    assert noise.shape == pictures.test.shape
    both = torch.stack([noise.flatten(), pictures.test.flatten()])
    assert abs(torch.corrcoef(both)[0, 1].item()) < 0.03


def test_the_two_evaluations_differ_in_one_argument():
    network = build_generative(64, 10, LeakSettings(), seed=0)
    pictures = digits(test=20)
    label = one_hot(pictures.test_classes, 10)

    def says(label):
        *_, (readout, _) = infer_label(
            network,
            pictures.test,
            label,
            steps=30,
            step_size=0.05,
            generator=torch.Generator().manual_seed(1),
        )
        return readout

    assert torch.equal(says(None), says(None))
    assert not torch.equal(says(label), says(None))
    assert not torch.equal(says(label), says(label.roll(1, dims=1)))


def test_the_lines_that_leak_are_shown_from_the_code_that_runs():
    shown = leak_source()
    assert inspect.getsource(evaluator.infer_label) in shown
    assert "values[LABEL] = label" in shown
    assert EXPERIMENTS["leak"].source is leak_source


def test_one_feed_forward_pass_is_the_honest_evaluation_of_a_discriminative_network():
    network = build_discriminative(64, 32, 10, precision=1.0, seed=0)
    images = digits(test=20).test
    for readout, _ in infer_label(
        network, images, None, steps=3, step_size=0.1, generator=torch.Generator()
    ):
        assert torch.equal(readout, classify(network, images))


# Predictive coding against backpropagation


def race_holds(found):
    ours, theirs = (
        statistics.spread(found.finals(name)).mean
        for name in ("predictive_coding", "backpropagation")
    )
    assert min(ours, theirs) > 85
    assert abs(ours - theirs) < 3
    for name in ("predictive_coding_shuffled", "backpropagation_shuffled"):
        assert statistics.spread(found.finals(name)).mean < 25
    for race in found.races:
        assert race.accuracy["predictive_coding"][0] == race.accuracy["backpropagation"][0]
        for line in race.leaked.values():
            assert line[0] < 20
            assert line[-1] > 95


def test_predictive_coding_classifies_about_as_well_as_backpropagation(result):
    race_holds(result("race"))
    assert EXPERIMENTS["race"].answer(result("race")) == 1
    assert EXPERIMENTS["race"].verdict(result("race")).startswith("Judged by one feed-forward pass")


@pytest.mark.parametrize("rule", ["zero_divergence", "fixed_prediction"])
def test_the_exact_rules_learn_what_backpropagation_learns(rule):
    run = EXPERIMENTS["race"].run(RaceSettings(seeds=1, epochs=2, rule=rule), ())
    race = [*run][-1].result.races[0]
    ours, theirs = race.accuracy["predictive_coding"], race.accuracy["backpropagation"]
    assert ours == pytest.approx(theirs, abs=0.5)  # rounding may turn a picture or two


# The gradients


def test_the_error_reaches_one_layer_a_step_and_then_departs(result):
    found = result("gradients")
    for moment in ("initial", "trained"):
        for layer, arrival in ((0, 2), (1, 1), (2, 0)):
            cosines = [found.cosine(moment, layer, step)[0] for step in range(61)]
            assert cosines[:arrival] == [0.0] * arrival
            assert cosines[arrival] == pytest.approx(1, abs=1e-4)
            assert 0.8 < cosines[-1] < 0.999
    assert EXPERIMENTS["gradients"].answer(found) == 1  # one seed cannot tell


def test_an_error_far_below_rounding_still_has_backpropagations_direction():
    tiny = {"steps": 3, "step_size": 0.001, "precision": 0.001}
    settings = GradientSettings(**tiny, width=16, epochs=0, seeds=1)
    *_, last = EXPERIMENTS["gradients"].run(settings, ())
    initial = last.result.agreements[0]
    assert [line[-1] for line in initial.cosines] == pytest.approx([1.0] * 3, abs=1e-6)


def test_the_energy_of_the_compared_networks_only_falls(result):
    for agreement in result("gradients").agreements:
        for before, after in itertools.pairwise(agreement.energy):
            assert after <= before * (1 + 1e-5)


def test_exact_rules_agree_to_rounding_and_a_light_label_nearly(result):
    initial, trained, shuffled = result("gradients").agreements
    for agreement in (initial, trained, shuffled):
        assert set(agreement.exact) == {"zero_divergence", "fixed_prediction"}
        assert max(agreement.exact.values()) < 1e-5
    for line in initial.by_precision:
        assert line[0] < 0.99 < line[-1]


def test_a_step_size_that_is_too_large_is_reported():
    settings = GradientSettings(seeds=1, steps=5, epochs=0, step_size=1.0, precision=10.0)
    last = [*EXPERIMENTS["gradients"].run(settings, ())][-1]
    assert sum(agreement.refused for agreement in last.result.agreements) > 0
    assert any("refused and halved" in plot.note for plot in last.plots())


# The latents


def test_what_can_be_read_from_the_latents(result):
    found = result("latents")
    guess = statistics.chance(450, 10, level=0.9999)
    trained, untrained = (found.accuracy(name, "all").mean for name in ("trained", "untrained"))
    assert trained > untrained + 10
    assert untrained > 30
    assert trained <= found.accuracy("trained", "pixels").mean + 2
    for network in NETWORKS:
        assert guess.low <= found.accuracy(network, "all_shuffled").mean <= guess.high
    assert guess.low <= found.accuracy("untrained", "readout").mean <= guess.high


def test_a_trained_network_draws_better_pictures_than_an_untrained_one(result):
    found = result("latents")
    assert found.missed("trained", "x1").mean < found.missed("trained", "mean").mean
    assert found.missed("trained", "x1").mean < found.missed("untrained", "x1").mean / 2
    drawn = [plot for plot in found.plots() if plot.kind == "image"]
    assert len(drawn[0].pictures) == 5 * drawn[0].columns
    for picture in drawn[0].pictures:
        assert np.shape(picture.pixels) == (8, 8)


def test_the_probe_is_ridge_regression():
    draw = torch.Generator().manual_seed(0)
    known, label, unknown = (
        torch.randn(*shape, generator=draw) for shape in ((50, 4), (50, 3), (6, 4))
    )
    from_rows = torch.cat([known - known.mean(0), math.sqrt(2.5) * torch.eye(4)])
    targets = torch.cat([label - label.mean(0), torch.zeros(4, 3)])
    weights = torch.linalg.lstsq(from_rows, targets).solution
    expected = (unknown - known.mean(0)) @ weights + label.mean(0)
    torch.testing.assert_close(probe(known, label, unknown, 2.5).float(), expected)


# The report


def test_the_report_holds_the_measured_tables(tmp_path, result):
    (tmp_path / report.SUMMARY).write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    said = []
    written = report.write_report(
        tmp_path,
        tell=said.append,
        experiments={"gradients": EXPERIMENTS["gradients"]},
        settings=QUICK,
    )
    assert {path.name for path in written} == {"gradients.csv", report.RESULTS, report.SUMMARY}
    text = (tmp_path / report.RESULTS).read_text()
    verdict = EXPERIMENTS["gradients"].verdict(result("gradients"))
    for table in EXPERIMENTS["gradients"].tables(result("gradients")):
        for row in table.rows:
            assert report.line(row) in text
    assert verdict in text
    assert any(verdict in words for words in said)
    summary = (tmp_path / report.SUMMARY).read_text()
    assert summary.startswith("before\n")
    assert summary.endswith("after\n")
    assert verdict in summary
    assert "old" not in summary
    kept = report.read_csv(tmp_path / report.TABLES / report.VERDICTS)
    assert len(kept) == len(result("gradients").compared())
    with (tmp_path / report.TABLES / "gradients.csv").open() as file:
        rows = [*csv.DictReader(file)]
    expected = EXPERIMENTS["gradients"].rows(result("gradients"))
    assert len(rows) == len(expected)
    assert float(rows[40]["energy"]) == pytest.approx(expected[40]["energy"], rel=1e-5)


def test_the_summary_in_the_documentation_holds_the_results_beside_it():
    results = (DOCS / report.RESULTS).read_text(encoding="utf-8")
    summary = (DOCS / report.SUMMARY).read_text(encoding="utf-8")
    inside = summary.partition(report.BEGIN)[2].partition(report.END)[0]
    _, _, body = results.partition("\n## ")
    assert inside.strip() == report.deeper(f"## {body}").strip()
    for key, experiment in EXPERIMENTS.items():
        assert f"### {experiment.title}" in inside
        assert (DOCS / report.TABLES / f"{key}.csv").is_file()


# At full size


@pytest.mark.slow
def test_the_presets_show_what_the_reference_measured():
    found = {key: [*one.run(one.settings(), ())][-1].result for key, one in EXPERIMENTS.items()}
    guess = statistics.chance(450, 10, level=0.9999)
    leak = found["leak"]
    for network in NETWORKS:
        for evaluation in EVALUATIONS:
            score = at(leak, network, evaluation)
            if evaluation in (HONEST, TRIED):
                assert guess.low - 2 <= score <= guess.high + 8
            else:
                assert score > 95
    race_holds(found["race"])
    latents = found["latents"]
    assert latents.accuracy("trained", "all").mean > 80
    assert 45 < latents.accuracy("untrained", "all").mean < 75
    assert found["transformers"].identical() == [True] * 3
    assert all(not lane.failed for lane in found["transformers"].lanes)
