"""Deep chains: hand-made gradients are the true ones, and known limits hold."""

import pytest
import torch

from transformer_lab.experiments.deep_networks import signals
from transformer_lab.experiments.depth_result import DepthSettings, DepthTrial
from transformer_lab.experiments.gradient_agreement import cosine
from transformer_lab.experiments.pictures import digits
from transformer_lab.experiments.target_alignment import RATE, after_one_step
from transformer_lab.pcn.chain import (
    PARAMETERIZATIONS,
    Chain,
    by_layer,
    chain_backpropagation,
    forward,
    new_chain,
    readout,
    weight_gradients,
)
from transformer_lab.pcn.depth import (
    SETTLING,
    arriving_errors,
    by_errors,
    by_states,
    chain_gradients,
    energy_of,
)
from transformer_lab.pcn.energy import ACTIVATIONS

every_kind = pytest.mark.parametrize("kind", PARAMETERIZATIONS)
every_activation = pytest.mark.parametrize("activation", ["linear", "tanh"])
SHAPE = {"pixels": 5, "width": 6, "classes": 3}


def made(kind, layers=5, activation="tanh", width=6):
    generator = torch.Generator().manual_seed(layers)
    chain = new_chain(
        **SHAPE | {"width": width, "layers": layers},
        generator=generator,
        parameterization=kind,
        activation=ACTIVATIONS[activation],
    ).copy(torch.float64)
    images = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    label = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    return chain, images, label


def free(chain):
    weights = [weight.clone().requires_grad_() for weight in chain.weights]
    return Chain(weights=weights, scales=chain.scales, skip=chain.skip, activation=chain.activation)


@every_kind
@every_activation
@pytest.mark.parametrize("layers", [2, 3, 7])
def test_backpropagation_by_hand_is_that_of_automatic_differentiation(kind, activation, layers):
    chain, images, label = made(kind, layers, activation)
    learning = free(chain)
    says = readout(learning, forward(learning, images))
    loss = 0.5 * (label - says).square().sum(1).mean()
    right = torch.autograd.grad(loss, learning.weights, materialize_grads=True)
    torch.testing.assert_close(chain_backpropagation(chain, images, label), list(right))


@every_kind
@every_activation
@pytest.mark.parametrize("look", [by_states, by_errors])
def test_slopes_of_the_energy_are_those_of_automatic_differentiation(kind, activation, look):
    chain, images, label = made(kind, 5, activation)
    at = torch.randn(4, 4, 6, dtype=torch.float64).requires_grad_()
    state = look(chain, images, label, at)
    (right,) = torch.autograd.grad(state.energy.sum(), at, retain_graph=True)
    torch.testing.assert_close(state.slope, right)
    learning = free(chain)
    # Learning holds the states where they are, whoever found them.
    held = by_states(learning, images, label, state.hidden.detach())
    right = torch.autograd.grad(held.energy.mean(), learning.weights)
    ours = weight_gradients(chain, images, held.hidden, held.errors, held.missed)
    torch.testing.assert_close(ours, list(right))


@every_kind
def test_states_and_errors_settle_at_the_same_place(kind):
    chain, images, label = made(kind, 4)
    ends = []
    for settle in SETTLING.values():
        *_, end = settle(chain, images, label, steps=1200, step_size=0.3)
        ends.append(end)
    torch.testing.assert_close(ends[0].hidden, ends[1].hidden, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ends[0].energy, ends[1].energy)


@every_kind
@pytest.mark.parametrize("how", SETTLING)
@pytest.mark.parametrize("step_size", [0.1, 1.0, 30.0])
def test_energy_never_rises_whatever_the_step_size(kind, how, step_size):
    chain, images, label = made(kind)
    before = None
    for state in SETTLING[how](chain, images, label, steps=30, step_size=step_size):
        assert before is None or bool((state.energy <= before + 1e-9).all())
        torch.testing.assert_close(state.energy, energy_of(state.errors, state.missed))
        before = state.energy


@every_kind
@every_activation
def test_errors_that_have_just_arrived_are_backpropagations(kind, activation):
    chain, images, label = made(kind, 6, activation)
    state = arriving_errors(chain, images, label)
    ours = weight_gradients(chain, images, state.hidden, state.errors, state.missed)
    torch.testing.assert_close(ours, chain_backpropagation(chain, images, label))


@every_kind
def test_the_first_step_of_errors_points_as_backpropagation_and_that_of_states_reaches_one_layer(
    kind,
):
    chain, images, label = made(kind, 5)
    right = by_layer(chain_backpropagation(chain, images, label))
    errors, states = (
        by_layer(chain_gradients(chain, images, label, how=how, steps=1, step_size=1e-4))
        for how in ("errors", "states")
    )
    for ours, theirs in zip(errors, right, strict=True):
        assert cosine(ours, theirs) == pytest.approx(1, abs=1e-5)
    assert [bool(one.abs().max() > 1e-12) for one in states] == [False] * 3 + [True] * 2


def test_mupc_comes_to_backpropagation_as_it_gets_wide():
    found = []
    for width in (4, 64):
        chain, images, label = made("mupc", 4, width=width)
        ours = chain_gradients(chain, images, label, how="states", steps=800, step_size=0.2)
        right = chain_backpropagation(chain, images, label)
        found.append(min(map(cosine, by_layer(ours), by_layer(right))))
    assert found[1] > max(0.97, found[0])


def test_the_signal_of_states_fades_with_depth_and_that_of_errors_does_not():
    settings = DepthSettings(layers=12, width=16, steps=12)
    trial = DepthTrial(seed=0)
    list(signals(settings, digits(), trial))
    of = {(one.kind, one.rule, one.layers): one.length for one in trial.signals}
    assert of["standard", "states", 12] < 1e-6 < 1e-3 < of["standard", "errors", 12]
    assert of["standard", "states", 12] < of["standard", "states", 3] / 1e4


@every_kind
def test_one_step_on_one_picture_is_what_changing_the_weights_gives(kind):
    chain, images, label = made(kind, 4, "linear")
    *_, state = SETTLING["states"](chain, images, label, steps=5, step_size=0.1)
    ours = after_one_step(chain, images, state)
    for place in range(len(images)):
        one = slice(place, place + 1)
        gradients = weight_gradients(
            chain, images[one], state.hidden[:, one], state.errors[:, one], state.missed[one]
        )
        moved = chain.copy()
        for weight, gradient in zip(moved.weights, gradients, strict=True):
            weight -= RATE * gradient
        torch.testing.assert_close(ours[one], readout(moved, forward(moved, images[one])))
