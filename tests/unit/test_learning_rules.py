"""Predictive coding as a learning rule: local, stable, honest, and near backpropagation."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from sampling import sampled
from transformer_lab.model import ModelConfig, build_model
from transformer_lab.model.architectures import ARCHITECTURES
from transformer_lab.settings import ConfigError
from transformer_lab.training import LiveSettings, TrainConfig, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.compiling import compiles
from transformer_lab.training.learning_rules import (
    LEARNING_RULES,
    PredictiveCoding,
    energy,
    forward_pass,
    settle,
    settle_errors,
)
from transformer_lab.training.optimizers import OPTIMIZERS

# The reference's own small run; its embeddings are large enough for norms not to amplify.
SMALL = {
    "layers": 2,
    "heads": 2,
    "embedding_dim": 32,
    "sequence_length": 16,
    "dropout": 0.0,
    "feedforward": "gelu",
    "embedding_deviation": 0.7,
}
TOKENS = torch.tensor([ord(c) % 32 for c in "to be or not to be, that is the question. " * 40])
PC = {"learning_rule": "pc", "batch_size": 8}


def small_model(double=False, **changes):
    model = build_model(ModelConfig(**SMALL | changes), 32, seed=1)
    return model.double() if double else model


def a_batch(size=8):
    return Batches(TOKENS, size, 16, seed=1)(1)


def gradients(model, rule, **config):
    """The gradient of each block, and of all before and after them, as one vector each."""
    model.zero_grad()
    config = TrainConfig(learning_rule=rule, **config)
    loss = LEARNING_RULES[rule](model, config, LiveSettings())(*a_batch())
    loss.backward()
    found = {}
    for name, parameter in model.named_parameters():
        part = ".".join(name.split(".")[: 2 if name.startswith("blocks") else 1])
        found.setdefault(part, []).append(parameter.grad.flatten())
    return {part: torch.cat(vectors) for part, vectors in found.items()}, loss


def cosine(one, other):
    return (one @ other / (one.norm() * other.norm())).item()


def test_as_steps_get_small_the_gradient_is_backpropagations_up_to_the_length_of_theory():
    model = small_model(double=True, layers=3)
    true, _ = gradients(model, "backprop")
    steps, size = 5, 1e-4
    found, _ = gradients(model, "pc", pc_learning_steps=steps, pc_learning_step_size=size)
    for part, distance in [("blocks.2", 1), ("blocks.1", 2), ("blocks.0", 3), ("embedding", 3)]:
        assert cosine(found[part], true[part]) > 0.999
        length = (found[part].norm() / true[part].norm()).item()
        assert length == pytest.approx(math.comb(steps, distance) * size**distance, rel=0.02)
    torch.testing.assert_close(found["head"], true["head"], rtol=0.01, atol=1e-5)


def test_the_error_travels_one_block_a_step_and_arrives_exactly():
    model = small_model(double=True, layers=3)
    true, _ = gradients(model, "backprop")
    early, _ = gradients(model, "pc", pc_learning_steps=2, pc_learning_step_size=0.05)
    assert early["blocks.0"].abs().max() == 0
    assert early["embedding"].abs().max() == 0
    arrived, _ = gradients(model, "pc", pc_learning_steps=3, pc_learning_step_size=0.05)
    torch.testing.assert_close(arrived["blocks.0"], true["blocks.0"] * 0.05**3)


def test_at_the_references_settings_every_part_points_where_backpropagation_does():
    model = small_model()
    true, _ = gradients(model, "backprop")
    found, _ = gradients(model, "pc", pc_learning_steps=10, pc_learning_step_size=0.05)
    assert found.keys() == true.keys()
    assert min(cosine(found[part], true[part]) for part in true) > 0.98
    short = small_model(embedding_deviation=0.02)  # where norms amplify, it does not
    true, _ = gradients(short, "backprop")
    found, _ = gradients(short, "pc", pc_learning_steps=10, pc_learning_step_size=0.05)
    assert min(cosine(found[part], true[part]) for part in true) < 0.9


def test_a_blocks_gradient_is_that_of_its_own_term_alone():
    model = small_model(double=True)
    embedded = model.embed(a_batch()[0]).detach()
    generator = torch.Generator().manual_seed(1)
    latents = [
        z.detach() + torch.randn(z.shape, generator=generator, dtype=z.dtype)
        for z in forward_pass(model, embedded)
    ]
    model.zero_grad()
    energy(model, embedded, latents, a_batch()[1]).sum().backward()
    found = [parameter.grad.clone() for parameter in model.blocks[0].parameters()]
    own = 0.5 * (latents[0] - model.blocks[0](embedded, model.positions, None)).square().sum()
    expected = torch.autograd.grad(own, list(model.blocks[0].parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("deviation", "size"), [(0.7, 0.05), (0.02, 1.0)])
def test_settling_never_raises_the_energy_of_a_sequence_nor_diverges(architecture, deviation, size):
    model = small_model(
        architecture=architecture, embedding_deviation=deviation, feedforward="relu"
    )
    inputs, targets = a_batch()
    embedded = model.embed(inputs).detach()
    start = forward_pass(model, embedded)
    states = list(settle(model, embedded, start, targets, steps=12, step_size=size))
    settled, energies = states[-1], torch.stack([state.energy for state in states])
    assert len(states) == 13
    assert (energies.diff(dim=0) <= 0).all()
    assert (energies[-1] < energies[0]).all()
    assert (settled.step_size <= size).all()
    last = energy(model, embedded, settled.latents, targets)
    torch.testing.assert_close(last.detach(), energies[-1])


def test_without_targets_in_sight_nothing_moves():
    model = small_model()
    embedded = model.embed(a_batch()[0]).detach()
    start = forward_pass(model, embedded)
    *_, settled = settle(model, embedded, start, None, steps=5, step_size=0.1)
    assert all(map(torch.equal, settled.latents, start))
    assert settled.energy.abs().max() == 0


def test_the_reported_loss_is_that_of_the_forward_pass_before_settling():
    model = small_model()
    inputs, targets = a_batch()
    _, loss = gradients(model, "pc", pc_learning_steps=40)
    expected = model.loss(inputs, targets).item()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    embedded = model.embed(inputs).detach()
    *_, settled = settle(
        model, embedded, forward_pass(model, embedded), targets, steps=40, step_size=0.05
    )
    scores = model.score(settled.latents[-1]).flatten(0, 1)
    assert F.cross_entropy(scores, targets.flatten()) < expected - 0.01


def test_dropout_is_the_same_at_every_step_and_repeats():
    model = small_model(dropout=0.3).train()
    inputs, targets = a_batch()
    embedded = model.embed(inputs).detach()
    start = forward_pass(model, embedded, seed=7)
    *_, settled = settle(model, embedded, start, None, steps=3, step_size=0.05, seed=7)
    assert settled.energy.abs().max() == 0  # other masks would leave other predictions
    other = next(settle(model, embedded, start, None, steps=0, step_size=0.05, seed=8))
    assert other.energy.min() > 0
    rule = PredictiveCoding(model, TrainConfig(**PC), LiveSettings())
    losses = []
    for seed in (3, 3, 4):
        model.zero_grad()
        torch.manual_seed(seed)
        loss = rule(inputs, targets)
        loss.backward()
        losses.append((loss.item(), model.blocks[0].norm_1.weight.grad.sum().item()))
    assert losses[0] == losses[1] != losses[2]


def training(config, model=None, live=None):
    model = model or small_model()
    batches = Batches(TOKENS, config.batch_size, 16, config.seed)
    return train(model, OPTIMIZERS[config.optimizer](model, config), batches, batches, config, live)


@pytest.mark.parametrize(
    ("rule", "optimizer"), sampled(itertools.product(LEARNING_RULES, OPTIMIZERS), 4)
)
def test_every_rule_learns_real_text(rule, optimizer):
    config = TrainConfig(
        steps=60, batch_size=8, learning_rate=0.01, learning_rule=rule, optimizer=optimizer
    )
    *_, last = steps = list(training(config))
    assert steps[0].train_loss == pytest.approx(math.log(32), rel=0.05)
    assert last.validation_loss < steps[0].train_loss - 0.5


def test_a_batch_in_parts_teaches_the_same_as_the_batch_whole():
    whole, parts = small_model(), small_model()
    list(training(TrainConfig(steps=4, **PC), whole))
    list(training(TrainConfig(steps=4, micro_batch=3, **PC), parts))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_two_interleaved_trainings_equal_the_same_two_alone():
    first, second = (TrainConfig(steps=4, seed=seed, **PC) for seed in (1, 2))
    models = [{"dropout": 0.2}, {"dropout": 0.1}]

    def run(config, changes):
        return training(config, small_model(**changes))

    alone = [
        [m.train_loss for m in run(config, changes)]
        for config, changes in zip((first, second), models, strict=True)
    ]
    both = list(zip(run(first, models[0]), run(second, models[1]), strict=True))
    assert [m.train_loss for m, _ in both] == alone[0]
    assert [m.train_loss for _, m in both] == alone[1]


def test_steps_that_are_too_long_are_halved_and_reported():
    live = LiveSettings()
    model = small_model(embedding_deviation=0.02)
    config = TrainConfig(steps=3, pc_learning_step_size=1.0, pc_learning_steps=20, **PC)
    assert all(math.isfinite(m.train_loss) for m in training(config, model, live))
    assert len(live.notes) == 1
    assert "PC Learning Step Size 1 raised the energy" in live.notes[0]
    quiet = LiveSettings()
    list(training(TrainConfig(steps=1, **PC), live=quiet))
    assert quiet.notes == []


def test_only_backpropagation_is_compiled():
    with pytest.raises(ConfigError, match="only backpropagation can be compiled") as caught:
        TrainConfig(learning_rule="pc", compile="on")
    assert caught.value.field == "train.compile"
    long = TrainConfig(steps=5000)
    assert compiles(long, torch.device("cuda"))
    assert not compiles(replace(long, learning_rule="pc"), torch.device("cuda"))


def test_errors_that_settle_lower_the_same_energy_and_reach_every_block_at_once():
    config = ModelConfig(
        layers=3, heads=2, embedding_dim=16, sequence_length=8, dropout=0.0, feedforward="gelu"
    )
    model = build_model(config, 12, seed=1).double()
    inputs, targets = torch.randint(12, (2, 4, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedded = model.embed(inputs)
        begin = forward_pass(model, embedded)
    states = list(settle_errors(model, embedded, begin, targets, steps=5, step_size=0.01))
    for before, after in itertools.pairwise(states):
        assert bool((after.energy <= before.energy).all())
        torch.testing.assert_close(energy(model, embedded, after.latents, targets), after.energy)
    learning = energy(model, embedded, states[1].latents, targets).sum()
    learning.backward()
    for block in model.blocks:
        assert any(bool(weight.grad.abs().max() > 1e-6) for weight in block.parameters())
