"""Two ways for a deep chain to settle on the same energy: by its states, or by its errors (ePC).

    states   z_l <- z_l - eta dE/dz_l                    dE/dz_l = eps_l - back_l(eps_{l+1})
    errors   e_l <- e_l - eta dE/de_l, z_l = f_l(z_{l-1}) + e_l
             E(e) = 1/2 sum_{l<L} |e_l|^2 + 1/2 |y - y_hat(e)|^2     dE/de_l = e_l - delta_l(e)

Both begin at the forward pass, where no hidden error is left. A state feels only its neighbours:
the error moves down one layer a step, and each passage leaves about eta of it, so that layer l
receives about eta^(L-l) of it at first. An error is felt by the output at once, and so all layers
learn from the first step on. The price: delta_l(e), what the output sends back to layer l, *is*
backpropagation, through a network in which errors are added; ePC is no local rule.

Where both have settled they are at the same place: e_l = eps_l. Source: arXiv:2505.20137, of which
the abstract was read; the equations are derived here, and tested against automatic differentiation.
A step that would raise the energy of an example is refused and halved, as in `inference.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.pcn.chain import (
    Chain,
    carried_back,
    forward,
    predicted,
    readout,
    state_gradient,
    weight_gradients,
)
from transformer_lab.pcn.inference import tolerance


@dataclass(frozen=True, kw_only=True)
class ChainState:
    """A chain after some steps: hidden values and their errors (H, B, N), missed (B, C), E (B,).

    `refused` counts the steps of single examples that were not taken.
    """

    step: int
    hidden: Tensor
    errors: Tensor
    missed: Tensor
    energy: Tensor
    slope: Tensor
    refused: int = 0


def energy_of(errors: Tensor, missed: Tensor) -> Tensor:
    """E = 1/2 sum_l |eps_l|^2 + 1/2 |y - y_hat|^2 of every example: -> (B,)"""
    return 0.5 * (errors.square().sum((0, 2)) + missed.square().sum(1))


def by_states(chain: Chain, images: Tensor, label: Tensor, hidden: Tensor) -> ChainState:
    """The energy where the states are, and its slope along them"""
    errors = hidden - predicted(chain, images, hidden)
    missed = label - readout(chain, hidden)
    return ChainState(
        step=0,
        hidden=hidden,
        errors=errors,
        missed=missed,
        energy=energy_of(errors, missed),
        slope=state_gradient(chain, hidden, errors, missed),
    )


def by_errors(chain: Chain, images: Tensor, label: Tensor, errors: Tensor) -> ChainState:
    """The energy where the errors are, and its slope along them"""
    hidden = forward(chain, images, errors)
    missed = label - readout(chain, hidden)
    return ChainState(
        step=0,
        hidden=hidden,
        errors=errors,
        missed=missed,
        energy=energy_of(errors, missed),
        slope=errors - carried_back(chain, hidden, missed),
    )


def settle_states(
    chain: Chain, images: Tensor, label: Tensor, *, steps: int, step_size: float
) -> Iterator[ChainState]:
    """State-based predictive coding: yield it after 0, 1, ... `steps` steps"""

    def look(hidden: Tensor) -> ChainState:
        return by_states(chain, images, label, hidden)

    return _settle(forward(chain, images), look, steps, step_size)


def settle_errors(
    chain: Chain, images: Tensor, label: Tensor, *, steps: int, step_size: float
) -> Iterator[ChainState]:
    """Error-based predictive coding (ePC): yield it after 0, 1, ... `steps` steps"""

    def look(errors: Tensor) -> ChainState:
        return by_errors(chain, images, label, errors)

    return _settle(torch.zeros_like(forward(chain, images)), look, steps, step_size)


def _settle(
    begin: Tensor, look: Callable[[Tensor], ChainState], steps: int, step_size: float
) -> Iterator[ChainState]:
    """Walk downhill from (H, B, N); each example keeps a step size of its own."""
    at, state, refused = begin, look(begin), 0
    sizes = torch.full_like(state.energy, step_size)[:, None]  # (B, 1)
    yield state
    for step in range(1, steps + 1):
        moved = at - sizes * state.slope
        after = look(moved)
        worse = ~(after.energy <= state.energy + tolerance(state.energy))
        if bool(worse.any()):
            moved = torch.where(worse[:, None], at, moved)
            after = look(moved)
            sizes = torch.where(worse[:, None], sizes / 2, sizes)
            refused += int(worse.sum())
        at = moved
        state = ChainState(**{**vars(after), "step": step, "refused": refused})
        yield state


SETTLING = {"states": settle_states, "errors": settle_errors}


def chain_gradients(
    chain: Chain, images: Tensor, label: Tensor, *, how: str, steps: int, step_size: float
) -> list[Tensor]:
    """Predictive coding's gradient after settling by `states` or `errors`: as `Chain.weights`"""
    *_, state = SETTLING[how](chain, images, label, steps=steps, step_size=step_size)
    return weight_gradients(chain, images, state.hidden, state.errors, state.missed)


def arriving_errors(chain: Chain, images: Tensor, label: Tensor) -> ChainState:
    """Z-IL: settle with steps of 1, and keep the error of each layer as it first arrives

    It is backpropagation's, exactly. As in Song et al. 2020; proved by a test.
    """
    hidden = forward(chain, images)
    state = begin = by_states(chain, images, label, hidden)
    found = torch.zeros_like(hidden)
    for place in range(chain.hidden - 1, -1, -1):
        state = by_states(chain, images, label, state.hidden - state.slope)
        found[place] = state.errors[place]
    return ChainState(**{**vars(begin), "errors": found})
