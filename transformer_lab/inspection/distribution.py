"""One step of writing, looked at: what the model held likely, and what was left to draw from.

Shapes: V vocabulary.
"""

from dataclasses import dataclass

from torch import Tensor

from transformer_lab.generation import SampleConfig, entropy, shaped


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A token that could have come: its share for the model, and its share in what is drawn from.

    `chance` is after temperature, top-k and top-p; 0 means that the token was cut off.
    """

    token: int
    probability: float
    chance: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Distribution:
    """What a step could write. Entropies and surprise are in nats.

    `probabilities` are the model's own (temperature 1, nothing cut), `chances` those that are drawn
    from, (V,) each. `alternatives` are the likeliest tokens for the model, `kept` those that remain
    after the cut, likeliest first; `choices` counts all that remain. `surprise` is -ln of the
    model's own probability of the chosen token, None when none was named.
    """

    probabilities: Tensor
    chances: Tensor
    alternatives: tuple[Alternative, ...]
    kept: tuple[Alternative, ...]
    choices: int
    entropy: float
    entropy_drawn: float
    surprise: float | None


def distribution(
    logits: Tensor, config: SampleConfig, token: int | None = None, count: int = 10
) -> Distribution:
    """Take apart the (V,) logits of a step, as stored, float16 or float32.

    Chances come from the very function that writing draws with.
    """
    logits = logits.detach().float().cpu()
    probabilities = logits.softmax(0)
    chances = shaped(logits, config)
    choices = int(chances.count_nonzero())
    surprise = None if token is None else float(-logits.log_softmax(0)[token])
    return Distribution(
        probabilities=probabilities,
        chances=chances,
        alternatives=_likeliest(probabilities, probabilities, chances, count),
        kept=_likeliest(chances, probabilities, chances, min(count, choices)),
        choices=choices,
        entropy=entropy(probabilities),
        entropy_drawn=entropy(chances),
        surprise=surprise,
    )


def _likeliest(
    order: Tensor, probabilities: Tensor, chances: Tensor, count: int
) -> tuple[Alternative, ...]:
    tokens = order.topk(min(count, len(order))).indices
    rows = zip(
        tokens.tolist(), probabilities[tokens].tolist(), chances[tokens].tolist(), strict=True
    )
    return tuple(
        Alternative(token=token, probability=probability, chance=chance)
        for token, probability, chance in rows
    )
