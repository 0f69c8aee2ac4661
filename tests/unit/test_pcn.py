"""Predictive coding: the gradients, the settling, the learning rules and their theorems."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from transformer_lab.pcn import (
    ACTIVATIONS,
    LABEL,
    PCN_LEARNING_RULES,
    Activation,
    backpropagation,
    classify,
    discriminative,
    energy,
    generative,
    learn,
    predict,
    settle,
    settled,
)
from transformer_lab.pcn.energy import value_gradient
from transformer_lab.pcn.learning import gradients_at

IMAGES, CLASSES, BATCH = 6, 4, 5
by_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
by_kind = pytest.mark.parametrize("kind", ["generative", "discriminative"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def double(network):
    return replace(network, weights=[weight.double() for weight in network.weights])


def make(kind, activation="tanh", precision=0.7, depth=3):
    """A small network in double precision, its weights drawn at random."""
    unit = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    if kind == "generative":
        widths = (IMAGES, *[7] * (depth - 1), 5)
        network = generative(widths, CLASSES, generator(1), precision=precision, activation=unit)
    else:
        widths = (IMAGES, *[7] * (depth - 1), CLASSES)
        network = discriminative(widths, generator(1), precision=precision, activation=unit)
    return double(network)


def pictures(count=BATCH):
    draw = generator(2)
    images = torch.rand(count, IMAGES, generator=draw, dtype=torch.float64)
    classes = torch.randint(CLASSES, (count,), generator=draw)
    return images, F.one_hot(classes, CLASSES).double()


def stirred(network, label):
    """Values with an error on every link, as a feed-forward start would not have them."""
    values = network.start(pictures()[0], label, generator(3))
    draw = generator(4)
    return {
        node: value + 0.3 * torch.randn(value.shape, generator=draw, dtype=value.dtype)
        for node, value in values.items()
    }


def disagreement(network, values):
    """The largest difference of the gradients written by hand from automatic differentiation."""
    leaves = {node: value.clone().requires_grad_() for node, value in values.items()}
    weights = [weight.clone().requires_grad_() for weight in network.weights]
    total = energy(network.links, predict(network.links, weights, leaves)).sum()
    total.backward()
    predictions = predict(network.links, network.weights, values)
    pairs = [
        (value_gradient(node, network.links, network.weights, predictions), leaves[node].grad)
        for node in network.free
    ]
    # the library's gradient of a weight is a mean over the batch
    pairs += [
        (BATCH * ours, torch.zeros_like(ours) if weight.grad is None else weight.grad)
        for ours, weight in zip(gradients_at(network, predictions, values), weights, strict=True)
    ]
    return max((ours - right).abs().max().item() for ours, right in pairs)


@by_kind
@by_activation
@pytest.mark.parametrize("known", [True, False], ids=["label", "no label"])
def test_the_gradients_are_those_of_the_energy(kind, activation, known):
    network = make(kind, activation)
    links = [replace(link, precision=0.5 + place) for place, link in enumerate(network.links)]
    network = replace(network, links=tuple(links))
    values = stirred(network, pictures()[1] if known else None)
    assert disagreement(network, values) < 1e-12


@by_kind
def test_a_sign_error_in_a_gradient_is_caught(kind):
    wrong = Activation(torch.tanh, lambda mean: mean.square() - 1)
    network = make(kind, wrong)
    assert disagreement(network, stirred(network, pictures()[1])) > 1e-2


@by_kind
@by_activation
def test_small_steps_never_raise_the_energy(kind, activation):
    network = make(kind, activation)
    start = stirred(network, pictures()[1])
    states = list(settle(network, start, steps=100, step_size=0.01, shrink=False))
    for before, after in pairwise(states):
        assert (after.energy <= before.energy * (1 + 1e-12)).all()
    assert (states[-1].energy < 0.9 * states[0].energy).all()


@by_kind
def test_a_step_that_is_too_large_raises_the_energy_unless_it_is_refused(kind):
    network = make(kind, "linear", precision=3.0)
    start = stirred(network, pictures()[1])
    taken = list(settle(network, start, steps=50, step_size=1.0, shrink=False))
    assert (taken[-1].energy > 10 * taken[0].energy).all()
    shrunk = list(settle(network, start, steps=50, step_size=1.0))
    assert shrunk[-1].refused > 0
    for before, after in pairwise(shrunk):
        assert (after.energy <= before.energy * (1 + 1e-12)).all()
    assert (shrunk[-1].energy < shrunk[0].energy).all()


@by_kind
def test_steps_in_the_wrong_direction_are_all_refused(kind):
    network = make(kind)
    start = stirred(network, pictures()[1])
    uphill = settled(network, start, steps=3, step_size=-0.05)
    assert uphill.refused == 3 * BATCH
    assert all(torch.equal(uphill.values[node], start[node]) for node in start)
    *_, taken = settle(network, start, steps=3, step_size=-0.05, shrink=False)
    assert (
        taken.energy > energy(network.links, predict(network.links, network.weights, start))
    ).all()


def test_energy_that_is_not_a_number_is_refused():
    network = make("generative", "linear")
    start = stirred(network, pictures()[1])
    end = settled(network, start, steps=5, step_size=1e300)
    assert end.refused == 5 * BATCH
    assert torch.isfinite(end.energy).all()


@by_kind
def test_no_example_hears_of_its_neighbours(kind):
    network = make(kind, "linear", precision=3.0)
    start = stirred(network, pictures()[1])
    together = settled(network, start, steps=20, step_size=0.4)
    assert together.refused > 0  # step sizes, too, are each example's own
    for row in range(BATCH):
        one = {node: value[row : row + 1] for node, value in start.items()}
        alone = settled(network, one, steps=20, step_size=0.4)
        for node in network.free:
            torch.testing.assert_close(alone.values[node][0], together.values[node][row])


@by_kind
def test_clamped_nodes_never_move(kind):
    network = make(kind)
    start = stirred(network, pictures()[1])
    end = settled(network, start, steps=10, step_size=0.05)
    for node in start:
        assert torch.equal(end.values[node], start[node]) == (node not in network.free)
    assert {network.image, LABEL}.isdisjoint(network.free)


@by_kind
def test_after_no_step_a_clamped_label_has_changed_nothing(kind):
    network = make(kind)
    images, label = pictures()
    says = [
        network.readout(settled(network, start, steps=0, step_size=0.1).predictions)
        for start in (
            network.start(images, label, generator(5)),
            network.start(images, None, generator(5)),
        )
    ]
    assert torch.equal(*says)


def test_without_its_label_a_discriminative_network_rests_at_its_feed_forward_pass():
    network = make("discriminative")
    images, _ = pictures()
    start = network.start(images, None)
    end = settled(network, start, steps=25, step_size=0.3)
    assert torch.equal(network.readout(end.predictions), classify(network, images))
    assert end.energy.abs().max() == 0


def test_after_no_step_only_the_last_layer_learns_and_as_in_backpropagation():
    network = make("discriminative", depth=4)
    images, label = pictures()
    *hidden, last = PCN_LEARNING_RULES["settling"](network, images, label, 0, 0.1).weights
    right = backpropagation(network, images, label, 0, 0.0).weights
    assert all(not gradient.any() for gradient in hidden)
    torch.testing.assert_close(last, right[-1])


@by_activation
@pytest.mark.parametrize("rule", ["zero_divergence", "fixed_prediction"])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_exact_rules_are_backpropagation(rule, depth, activation):
    network = make("discriminative", activation, precision=0.3, depth=depth)
    images, label = pictures()
    ours = PCN_LEARNING_RULES[rule](network, images, label, 0, 0.0).weights
    right = backpropagation(network, images, label, 0, 0.0).weights
    for one, other in zip(ours, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_the_error_moves_down_one_layer_a_step_and_arrives_as_backpropagations():
    network = make("discriminative", depth=4)
    images, label = pictures()
    right = backpropagation(network, images, label, 0, 0.0).weights
    for state in settle(network, network.start(images, label), steps=3, step_size=0.1):
        gradients = gradients_at(network, state.predictions, state.values)
        arrived = 3 - state.step
        assert all(not gradient.any() for gradient in gradients[:arrived])
        cosine = F.cosine_similarity(gradients[arrived].flatten(), right[arrived].flatten(), dim=0)
        assert cosine.item() == pytest.approx(1, abs=1e-12)


def lowest_cosine(ours, theirs):
    return min(
        F.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()
        for one, other in zip(ours, theirs, strict=True)
    )


def test_the_less_the_label_weighs_the_nearer_predictive_coding_is_to_backpropagation():
    images, label = pictures()
    found = []
    for precision in (1.0, 0.1, 0.01, 0.001):
        network = make("discriminative", precision=precision)
        ours = PCN_LEARNING_RULES["settling"](network, images, label, 300, 0.1).weights
        right = backpropagation(network, images, label, 0, 0.0).weights
        found.append(lowest_cosine(ours, right))
    assert found == sorted(found)
    assert found[0] < 0.99
    assert found[-1] > 0.9999


def test_small_errors_settle_as_backpropagation_would_carry_them():
    """At any precision: but it starts from the settled error of the output, which is smaller."""
    network = make("discriminative", precision=1.0)
    images, label = pictures()
    says = classify(network, images)
    found = []
    for share in (1.0, 0.1, 0.01, 0.001):
        wanted = says + share * (label - says)
        end = settled(network, network.start(images, wanted), steps=300, step_size=0.1)
        ours = gradients_at(network, end.predictions, end.values)
        right = backpropagation(network, images, says + end.predictions[-1].error, 0, 0.0).weights
        found.append(lowest_cosine(ours, right))
    assert found == sorted(found)
    assert found[0] < 0.99
    assert found[-1] > 0.99999


def test_the_settled_output_error_is_what_the_hidden_layers_could_not_take_up():
    """eps_L = (I + pi sum_l J_l J_l^T)^-1 (y - y_hat), J_l = dy_hat/dz_l, for small errors."""
    network = make("discriminative", precision=0.7)
    images, label = pictures(1)
    start = network.start(images, None)
    missed = 1e-4 * (label - classify(network, images))
    rooms = torch.zeros(CLASSES, CLASSES, dtype=torch.float64)
    for layer in range(1, len(network.links)):

        def upwards(value, layer=layer):
            for link, weight in zip(network.links[layer:], network.weights[layer:], strict=True):
                value = link.activation.function(value @ weight.T)
            return value

        slope = torch.autograd.functional.jacobian(upwards, start[f"z{layer}"][0])
        rooms += slope @ slope.T
    wanted = network.start(images, classify(network, images) + missed)
    end = settled(network, wanted, steps=2000, step_size=0.1)
    expected = torch.linalg.solve(torch.eye(CLASSES).double() + 0.7 * rooms, missed[0])
    torch.testing.assert_close(end.predictions[-1].error[0], expected, rtol=1e-3, atol=1e-8)


def test_the_readout_leaks_towards_the_label_as_the_formula_says():
    """y_hat(T) - y = (1 - eta pi s^2)^T (y_hat(0) - y) along each singular direction s of W_out,
    for top latents that nothing else pulls at."""
    network = make("generative", precision=0.7)
    network.weights[-2] = torch.zeros_like(network.weights[-2])
    images, label = pictures()
    start = network.start(images, label, generator(5))
    directions, sizes, _ = torch.linalg.svd(network.weights[-1], full_matrices=False)
    first = (start["x3"] @ network.weights[-1].T - label) @ directions
    for state in settle(network, start, steps=40, step_size=0.05):
        missed = (network.readout(state.predictions) - label) @ directions
        factor = (1 - 0.05 * 0.7 * sizes.square()) ** state.step
        torch.testing.assert_close(missed, factor * first)


@by_kind
def test_learning_lowers_the_energy_and_moves_no_value(kind):
    network = make(kind, "relu")
    values = stirred(network, pictures()[1])
    kept = {node: value.clone() for node, value in values.items()}
    steps = list(learn(network, values, steps=50, step_size=0.02))
    levels = [one.energy for one in steps]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] < 0.9 * levels[0]
    assert all(torch.equal(values[node], kept[node]) for node in values)


def test_a_step_of_learning_is_one_step_down_the_gradient():
    network = make("generative")
    values = stirred(network, pictures()[1])
    before = [weight.clone() for weight in network.weights]
    slopes = gradients_at(network, predict(network.links, network.weights, values), values)
    list(learn(network, values, steps=1, step_size=0.01))
    for weight, old, slope in zip(network.weights, before, slopes, strict=True):
        torch.testing.assert_close(weight, old - 0.01 * slope)


@pytest.mark.parametrize("step_size", [1e4, -0.01])
def test_learning_refuses_steps_that_raise_the_energy(step_size):
    network = make("generative", "linear")
    values = stirred(network, pictures()[1])
    steps = list(learn(network, values, steps=20, step_size=step_size))
    assert steps[-1].refused > 0
    assert steps[-1].energy <= steps[0].energy


def test_a_label_of_no_weight_leaves_the_latents_alone():
    network = make("generative", precision=0.0)
    images, label = pictures()
    told = settled(network, network.start(images, label, generator(5)), steps=30, step_size=0.05)
    not_told = settled(network, network.start(images, None, generator(5)), steps=30, step_size=0.05)
    for node in network.free:
        assert torch.equal(told.values[node], not_told.values[node])


def test_copies_learn_apart():
    network = make("generative")
    twin = network.copy()
    list(learn(twin, stirred(twin, pictures()[1]), steps=3, step_size=0.01))
    assert all(
        not torch.equal(one, other)
        for one, other in zip(network.weights, twin.weights, strict=True)
    )


def test_torchs_own_generator_is_never_drawn_from():
    before = torch.get_rng_state()
    network = make("generative")
    list(learn(network, stirred(network, pictures()[1]), steps=2, step_size=0.01))
    backpropagation(make("discriminative"), *pictures(), 0, 0.0)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="generator"):
        network.start(pictures()[0], None)
