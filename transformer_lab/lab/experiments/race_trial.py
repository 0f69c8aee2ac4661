"""The race of PCN Experiments is a comparison: the same code races, pauses, keeps and folds it.

Here settings of the experiment become a question, and what was measured the experiment's result.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from transformer_lab.experiments.comparison import Comparison, comparison_from
from transformer_lab.experiments.comparison_lanes import OWN
from transformer_lab.experiments.experiment import Partial
from transformer_lab.experiments.transformer_variants import (
    STANDARD,
    VARIANTS,
    TransformerSettings,
)
from transformer_lab.experiments.transformers import EXPERIMENT
from transformer_lab.experiments.transformers_result import TransformerRace
from transformer_lab.lab.experiments.asked import Asked
from transformer_lab.lab.experiments.trial import Trial, TrialState
from transformer_lab.recipes import find_recipe
from transformer_lab.settings import ConfigError, from_mapping
from transformer_lab.text.corpora import Corpus

KEY = EXPERIMENT.key
SLUG = "pc-race"
RECIPE = "quick_start"


def question(settings: TransformerSettings, corpus: Corpus) -> Comparison:
    """The race with these settings, as a comparison. Raises ConfigError."""
    setups = {name: one.values() for name, one in settings.setups(corpus.name, 0).items()}
    standard = setups[STANDARD]
    content = {
        "about": {"title": EXPERIMENT.title},
        "base": {"recipe": RECIPE, **_changes(standard, find_recipe(RECIPE).setup.values())},
        "lanes": {name: _changes(values, standard) for name, values in setups.items()},
        "controls": {name: VARIANTS[name].controls[0] for name in settings.racers},
        "compare": {
            "steps": settings.training_steps,
            "seeds": settings.seeds,
            "against": STANDARD,
        },
        "experiment": {"settings": asdict(settings), "corpus": corpus.title},
    }
    return comparison_from(content, SLUG)


def _changes(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    return {k: value for k, value in values.items() if value != base[k] and k not in OWN}


def settings_of(asked: Asked) -> TransformerSettings | None:
    """The settings of a race; None where they cannot be read any more."""
    try:
        stored = asked.comparison.content["experiment"]["settings"]
        return from_mapping(TransformerSettings, stored)
    except (ConfigError, KeyError, TypeError):
        return None


class RaceTrial(Trial):
    """A race as an experiment under way, or one that was measured."""

    def __init__(self, asked: Asked, settings: TransformerSettings) -> None:
        super().__init__(KEY, settings)
        self.asked = asked
        self.id, self.job, self.version = asked.id, asked.job, asked.version
        self.stored, self.elsewhere, self.where = asked.stored, asked.elsewhere, asked.where
        self.paused, self.name = asked.paused, asked.key

    def _newest(self) -> Partial[Any] | None:
        found = self.asked.latest
        if found is None:
            return None
        corpus = str(self.asked.comparison.content["experiment"].get("corpus", ""))
        race = TransformerRace(
            settings=self.settings, corpus=corpus, lanes=list(found.result.cells)
        )
        return Partial(progress=found.progress, words=found.words, result=race)

    @property
    def state(self) -> TrialState:
        """As that of the comparison."""
        return self.asked.state

    @property
    def busy(self) -> bool:
        """Whether more may come."""
        return self.asked.busy

    @property
    def error(self) -> str:
        """Why it failed, as a sentence; empty when it did not."""
        return self.asked.error

    @property
    def seconds(self) -> float:
        """How long it has been measuring."""
        return self.asked.seconds
