"""The guess that a question asks for, and what each outcome means where that is said."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformer_lab.experiments.experiment import Question
from transformer_lab.settings import ConfigError, unknown_key

MOST_OPTIONS = 25
UNCLEAR, BETTER, WORSE, FAILED = "unclear", "better", "worse", "failed"
OUTCOMES = (BETTER, UNCLEAR, WORSE, FAILED)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What is asked first. An option is right when the measurement says one of its `when`.

    With a `lane` they are how that lane does against the base: better, unclear, worse or failed.
    Without, they are names of lanes, the best of which is sought, or unclear.
    """

    prompt: str
    options: tuple[str, ...]
    when: tuple[tuple[str, ...], ...]
    lane: str = ""

    @property
    def question(self) -> Question:
        """As experiments have it."""
        return Question(prompt=self.prompt, options=self.options)

    def right(self, outcome: str) -> int | None:
        """The option that holds an outcome."""
        return next((place for place, when in enumerate(self.when) if outcome in when), None)


def guess_from(content: Any, lanes: Collection[str], against: str) -> Guess:
    """What is asked; where nothing is said, which lane is the best."""
    if content is None:
        names = tuple(lanes)
        return Guess(
            prompt="Which has the lowest validation loss in the end?",
            options=(*names, "There is no clear difference"),
            when=(*((name,) for name in names), (UNCLEAR,)),
        )
    known_only("guess", content, ("question", "lane", "options"))
    lane = str(content.get("lane", ""))
    if lane and (lane not in lanes or lane == against):
        others = ", ".join(name for name in lanes if name != against)
        raise ConfigError("guess.lane", f"There is no lane {lane!r} to guess: choose {others}.")
    options = content.get("options")
    if not isinstance(options, list) or not 2 <= len(options) <= MOST_OPTIONS:
        raise ConfigError("guess.options", f"guess.options are 2 to {MOST_OPTIONS} tables.")
    known = list(OUTCOMES) if lane else [*lanes, UNCLEAR]
    pairs = [_option(one, known) for one in options]
    said = [outcome for _, when in pairs for outcome in when]
    for outcome in known:
        if said.count(outcome) != 1:
            raise ConfigError(
                "guess.options",
                f"{outcome!r} stands in {said.count(outcome)} options of the guess: every outcome "
                f"belongs to exactly one ({', '.join(known)}).",
            )
    return Guess(
        prompt=str(content.get("question", "Which is best?")),
        options=tuple(words for words, _ in pairs),
        when=tuple(when for _, when in pairs),
        lane=lane,
    )


def ending_from(content: Mapping[str, Any], guess: Guess) -> dict[str, str]:
    """What every outcome of the lane that is guessed means, where that is said."""
    if not content:
        return {}
    if not guess.lane:
        raise ConfigError("ending", "An [ending] is of one lane: name it as guess.lane.")
    known_only("ending", content, OUTCOMES)
    for outcome in OUTCOMES:
        if not isinstance(content.get(outcome), str):
            raise ConfigError(f"ending.{outcome}", f"ending.{outcome} must be a sentence.")
    return {outcome: " ".join(content[outcome].split()) for outcome in OUTCOMES}


def _option(one: Any, known: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    when = one.get("when") if isinstance(one, Mapping) else None
    if not isinstance(when, list) or not isinstance(one.get("words"), str):
        raise ConfigError("guess.options", "An option of the guess has words and a list `when`.")
    for outcome in when:
        if outcome not in known:
            raise ConfigError(
                "guess.options", f"There is no outcome {outcome!r}: choose {', '.join(known)}."
            )
    return one["words"], tuple(when)


def known_only(group: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ConfigError, with a guess at what was meant, for a key that is none of those."""
    for key in values:
        if key not in known:
            raise unknown_key(group, str(key), known)
