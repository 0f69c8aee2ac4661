"""Comparisons of fine-tunings: every lane begins as the same base, which is a run, on a new text.

[finetune] names the new text as `corpus`, and the base as `run` unless the lab is to choose one;
`step` and `setup` of the base are added once it is known. [base], [vary] and [lanes.NAME] may then
have settings of finetune and lora too, and none of the model, which is the base's.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transformer_lab.experiments.comparison_guess import known_only
from transformer_lab.experiments.comparison_lanes import OWN, Made
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.settings import ConfigError, shown
from transformer_lab.training.finetune import FINETUNE_SETTINGS, TRAINING, FineTuning

RATE = "train.learning_rate"
KNOWN = ("corpus", "run", "step", "setup")


@dataclass(frozen=True, kw_only=True)
class Base:
    """What all lanes begin as: a run at one of its steps. Both are not known yet without `run`.

    `known` says that its model is that of the lanes; before that they have the recipe's.
    """

    corpus: str
    run: str
    step: int
    known: bool


def base_from(content: Any, compare: Mapping[str, Any]) -> Base | None:
    """What is fine-tuned; None where nothing is. Raises ConfigError."""
    if content is None:
        return None
    if "seconds" in compare:  # the pace of a fine-tuning is not measured before it starts
        raise ConfigError("compare.seconds", "Fine-tunings have a budget in steps or tokens.")
    known_only("finetune", content, KNOWN)
    corpus, run, step = content.get("corpus"), content.get("run", ""), content.get("step", 0)
    if not isinstance(corpus, str) or not corpus:
        raise ConfigError("finetune.corpus", "finetune.corpus is the name of the new text.")
    if not isinstance(run, str):
        raise ConfigError("finetune.run", f"finetune.run is {shown(run)}: give the name of a run.")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ConfigError("finetune.step", f"finetune.step is {shown(step)}: give a step of it.")
    return Base(corpus=corpus, run=run, step=step, known="setup" in content)


def tuned_lane(content: Mapping[str, Any], recipe: Setup) -> Callable[[Mapping[str, Any]], Made]:
    """Makes a lane from what it changes. The learning rate follows the method unless it is said."""
    setup = setup_from(content["setup"]) if "setup" in content else recipe
    training = {key: value for key, value in TRAINING.items() if key not in OWN}
    setup = setup.with_values({**training, "data.corpus": content["corpus"]})

    def made(values: Mapping[str, Any]) -> Made:
        own = {key: value for key, value in values.items() if key in FINETUNE_SETTINGS}
        rest = {key: value for key, value in values.items() if key not in own}
        for key in rest:
            if key.startswith(("model.", "data.")):
                raise ConfigError(
                    key,
                    f"{key} is that of the base, which all fine-tunings begin as: leave it out.",
                )
        tuning = FineTuning().with_values(own)
        return setup.with_values({RATE: tuning.rate, **rest}), tuning

    return made


def by_rate(lanes: Mapping[str, Made]) -> Iterator[list[str]]:
    """Lanes that differ in nothing but the learning rate, by rising rate, three or more of them."""
    alike: dict[Any, list[str]] = {}
    for name, (setup, tuning) in lanes.items():
        rest = frozenset((k, str(v)) for k, v in setup.values().items() if k != RATE)
        alike.setdefault((rest, tuning), []).append(name)
    for names in alike.values():
        if len(names) > 2:
            yield sorted(names, key=lambda name: lanes[name][0].train.learning_rate)
