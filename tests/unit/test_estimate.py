"""What a training will cost, told before it starts."""

import re
import threading
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from transformer_lab.lab.cost import estimate as cost
from transformer_lab.lab.cost import step_time
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.views import time_left
from transformer_lab.lab.training.worker import Worker
from transformer_lab.model import ModelConfig, build_model, products
from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.settings import ConfigError
from transformer_lab.training import LiveSettings, StepMetrics
from transformer_lab.training.learning_rules import LEARNING_RULES
from waiting import PATIENCE, until

SMALL = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.embedding_dim": 32,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 10,
    }
)


class Products(TorchDispatchMode):
    """Counts as FlopCounterMode does, which cannot follow gradients taken inside of a loss."""

    flops = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **kwargs or {})
        if count := flop_registry.get(operation.overloadpacket):
            self.flops += count(*args, **kwargs or {}, out_val=found)
        return found


@pytest.fixture
def _counted(monkeypatch):
    """Torch counts the products of its own library only."""
    monkeypatch.setattr(products, "wider", lambda: False)


@pytest.mark.usefixtures("_counted")
def test_the_flops_are_those_torch_counts():
    setup = SMALL.with_values({"model.dropout": 0.0, "model.sequence_length": 8})
    model = build_model(setup.model, 50, seed=1)
    tokens = torch.zeros(4, 8, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model.loss(tokens, tokens).backward()
    counted = cost.flops_per_step(setup, 50)
    # Torch counts all of attention, we only what lies before each token; and the gradient of the
    # first embedding, a product for torch's formula, is a look-up.
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.06)


@pytest.mark.parametrize(
    "changes",
    [
        {"model.feedforward": "pc"},
        {"model.feedforward": "gelu_matched", "model.tied_head": True},
        {"model.positions": "pc", "model.pc_steps": 20},
        {"model.architecture": "pc_alternating", "model.layers": 2},
        {"model.architecture": "pc_hierarchical"},
        {"model.architecture": "pc_dual"},
        {"train.learning_rule": "pc"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("_counted")
def test_the_flops_of_predictive_coding_are_those_torch_counts(changes):
    setup = SMALL.with_values({"model.dropout": 0.0, "train.batch_size": 64} | changes)
    model = build_model(setup.model, 50, seed=1)
    tokens = torch.zeros(64, 16, dtype=torch.int64)
    loss_of = LEARNING_RULES[setup.train.learning_rule](model, setup.train, LiveSettings())
    with Products() as counter:
        loss_of(tokens, tokens).backward()
    # Not counted by us: the bound on the step size, and that some first gradients are not needed.
    assert cost.flops_per_step(setup, 50) == pytest.approx(counter.flops, rel=0.15)


@pytest.mark.parametrize(
    "bigger",
    [
        {"layers": 8},
        {"embedding_dim": 256},
        {"sequence_length": 512},
        {"dropout": 0.1},
        {"feedforward_multiple": 8},
        {"feedforward": "pc"},
        {"architecture": "pc_dual"},
    ],
)
def test_a_bigger_model_needs_more_memory(bigger):
    small = ModelConfig(dropout=0.0)
    needed = [cost.peak_memory(model, 65, 10**6, 8) for model in (small, replace(small, **bigger))]
    assert needed[0] < needed[1]


def test_on_a_cpu_as_much_is_computed_at_once_as_is_fast_and_fits():
    setup = load_recipes()["tiny_shakespeare"].setup
    assert cost.choose_micro_batch(setup, 65, "cpu", 8e9) == 16
    assert cost.choose_micro_batch(setup, 65, "cuda", 0) == 64
    assert cost.choose_micro_batch(setup, 65, "cpu", 0.4e9) < 16
    asked = setup.with_values({"train.micro_batch": 32})
    assert cost.choose_micro_batch(asked, 65, "cpu", 8e9) == 32


def test_settling_that_is_learned_through_is_done_a_few_sequences_at_a_time():
    setup = load_recipes()["tiny_shakespeare"].setup.with_values({"model.dropout": 0.0})
    settling = setup.with_values({"model.feedforward": "pc", "model.pc_steps": 16})
    learning = setup.with_values({"train.learning_rule": "pc"})
    whole, few, some = (
        cost.choose_micro_batch(one, 65, "cpu", 1e9) for one in (setup, settling, learning)
    )
    assert few < some <= whole
    alternating = settling.with_values(
        {"model.architecture": "pc_alternating", "model.feedforward": "relu"}
    )
    with pytest.raises(ConfigError, match="Even one sequence needs about"):
        cost.choose_micro_batch(alternating, 65, "cpu", 0.1e9)


def test_what_cannot_fit_is_refused_with_a_way_that_does():
    setup = load_recipes()["best_quality"].setup.with_values({"model.sequence_length": 4096})
    with pytest.raises(ConfigError, match="Even one sequence needs about") as caught:
        cost.choose_micro_batch(setup, 65, "cpu", 1.2e9)
    assert caught.value.field == "model.sequence_length"
    ways = dict(
        re.findall(r"(Sequence Length|Layers|Embedding Dimension) to ([\d,]+)", str(caught.value))
    )
    assert "Sequence Length" in ways
    names = {"Sequence Length": "sequence_length", "Layers": "layers"}
    for label, value in ways.items():
        name = names.get(label, "embedding_dim")
        smaller = setup.with_values({f"model.{name}": value})
        assert cost.choose_micro_batch(smaller, 65, "cpu", 1.2e9) >= 1


def let_it_measure(lab):
    for _ in range(2):  # the computer is timed, and then the model
        assert lab.trainings.wait(PATIENCE)


def test_the_time_is_measured_while_nothing_trains(lab):
    first = lab.costs.estimate(SMALL, 100)
    assert (first.seconds, first.measured) == (None, False)
    let_it_measure(lab)
    second = lab.costs.estimate(SMALL, 100)
    assert second.measured
    train = SMALL.train
    least = second.step_seconds * (train.steps + train.evaluation_batches / 3)
    assert least < second.seconds < 1.1 * least + 1  # samples and saves


def test_a_lab_that_closes_measures_no_more(tmp_path, monkeypatch):
    lab, closes, measured = Lab(tmp_path), threading.Event(), []
    close = Worker.close
    monkeypatch.setattr(Worker, "close", lambda worker: (closes.set(), close(worker)))
    monkeypatch.setattr(
        "transformer_lab.lab.training.pace.measured_speed", lambda: measured.append(1)
    )
    lab.trainings.submit(lambda: closes.wait(PATIENCE))
    lab.costs.estimate(SMALL, 100)
    lab.close()
    assert closes.is_set()
    assert measured == []


def test_what_a_run_really_took_replaces_the_guess(lab):
    lab.trainings.start(SMALL)
    until(lambda: lab.trainings.current.ended)
    assert lab.costs.estimate(SMALL, 100).measured


def test_what_would_take_long_is_not_made_only_to_time_it():
    setup = load_recipes()["best_quality"].setup.with_values({"model.sequence_length": 1024})
    expected = cost.estimate(setup, 65, "cpu", speed=SPEED)
    assert expected.long
    assert step_time.probe(setup, 65, expected.micro_batch, expected.flops) is None


# As a quiet laptop: calling the operations of a layer takes half a millisecond.
SPEED = step_time.Speed(flops=1e11, step=1e-3, layer=5e-4)
TINY = SMALL.with_values({"train.steps": 10_000, "train.evaluate_every": 100})


def test_tiny_steps_are_never_guessed_to_take_no_time():
    expected = cost.estimate(TINY, 100, "cpu", speed=SPEED)
    assert expected.step_seconds >= 1.5e-3
    assert expected.seconds > 10_000 * 1.5e-3
    deeper = replace(TINY, model=replace(TINY.model, layers=8))
    assert cost.estimate(deeper, 100, "cpu", speed=SPEED).step_seconds >= 5e-3


def test_the_smallest_step_is_really_timed():
    speed = step_time.measured_speed()
    assert speed.flops > 0
    assert speed.step + speed.layer > 1e-5  # hundreds of operations


@pytest.mark.parametrize(
    "more",
    [
        {"train.evaluate_every": 10},
        {"train.evaluation_batches": 100},
        {"train.save_every": 10},
        {"sample.length": 1000},
        {"train.steps": 20_000},
    ],
    ids=str,
)
def test_evaluations_samples_and_saves_count(more):
    less = TINY.with_values({"sample.length": 1, "train.evaluation_batches": 1})
    plain, longer = (
        cost.estimate(setup, 100, "cpu", speed=SPEED).seconds
        for setup in (less, less.with_values(more))
    )
    assert longer > plain


def test_one_loaded_moment_does_not_make_a_long_training_of_a_short_one(lab, monkeypatch):
    real = step_time.fastest_step
    monkeypatch.setattr(step_time, "fastest_step", lambda *few: 100 * real(*few))
    monkeypatch.setattr("transformer_lab.lab.training.pace.APART", 0.0)
    lab.costs.estimate(SMALL, 100)
    let_it_measure(lab)
    busy = lab.costs.estimate(SMALL, 100).step_seconds
    monkeypatch.setattr(step_time, "fastest_step", real)
    until(lambda: lab.costs.estimate(SMALL, 100).step_seconds < busy)  # it measures while at rest


def curve(seconds, first=1, evaluations=()):
    """Steps that take so long, of which some are followed by an evaluation that takes a second."""
    points, spent = [], 0.0
    tokens = SMALL.train.batch_size * SMALL.model.sequence_length
    for step, took in enumerate(seconds, start=first):
        spent += took + (step in evaluations)
        loss = 1.0 if step in evaluations else None
        points.append(StepMetrics(step, 2.0, 0.1, 1.0, tokens / took, spent, loss))
    return points


LEFT = SMALL.with_values({"train.steps": 100, "train.evaluate_every": 10})


def test_the_time_left_is_corrected_after_the_first_steps():
    assert time_left(curve([5.0]), LEFT) is None
    assert time_left(curve([5.0, 0.1]), LEFT) is None
    assert 9.7 < time_left(curve([5.0, 0.1, 0.1]), LEFT) < 15
    assert time_left(curve([0.1], first=100), LEFT) == 0


def test_one_step_that_took_an_hour_does_not_make_hours_of_the_time_left():
    steady = [0.1] * 49
    usual = time_left(curve([*steady, 0.1]), LEFT)
    assert time_left(curve([*steady, 3600.0]), LEFT) == pytest.approx(usual)


def test_the_time_left_counts_evaluations_to_come_and_what_passes_between_steps():
    points = curve([0.1] * 50, evaluations=(10, 20, 30, 40, 50))
    assert time_left(points, LEFT) == pytest.approx(50 * 0.1 + 5)
    assert time_left(points, LEFT, between=0.3) == pytest.approx(50 * 0.3 + 5)
