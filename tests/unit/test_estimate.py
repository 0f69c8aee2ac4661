"""What a training will cost, told before it starts."""

import re
import time
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from transformer_lab.lab import estimate as cost
from transformer_lab.lab.lab import Lab
from transformer_lab.model import ModelConfig, build_model
from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.settings import ConfigError
from transformer_lab.training import LiveSettings
from transformer_lab.training.learning_rules import LEARNING_RULES

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


def test_the_time_is_measured_while_nothing_trains(tmp_path):
    lab = Lab(tmp_path)
    try:
        lab.wait(30)
        first = lab.estimate(SMALL, 100)
        assert first.seconds > 0
        assert not first.measured
        lab.wait(30)
        second = lab.estimate(SMALL, 100)
        assert second.measured
        steps = SMALL.train.steps
        assert second.seconds == pytest.approx(
            second.step_seconds * (steps + SMALL.train.evaluation_batches / 3)
        )
    finally:
        lab.close()


def test_what_a_run_really_took_replaces_the_guess(tmp_path):
    lab = Lab(tmp_path)
    try:
        lab.wait(30)
        lab.start(SMALL)
        deadline = time.monotonic() + 60
        while not lab.current.ended and time.monotonic() < deadline:
            time.sleep(0.02)
        assert lab.estimate(SMALL, 100).measured
    finally:
        lab.close()


def test_a_probe_is_not_made_of_what_would_take_long():
    setup = load_recipes()["best_quality"].setup
    expected = cost.estimate(setup, 65, "cpu", speed=1e10)
    assert expected.long
    assert cost.probe(setup, 65, expected) is None
