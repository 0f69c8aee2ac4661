"""Prompts that a model can read and that resemble its training text."""

from dataclasses import replace

from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.split import parts
from transformer_lab.text.tasks import TASKS, Problem, held_out
from transformer_lab.text.tokenizers import Tokenizer

LONGEST = 24  # characters of a prompt that is taken from a text
LINES = 200  # of a text, in which one is looked for that the model can read


def with_prompt(setup: Setup, corpus: Corpus, tokenizer: Tokenizer) -> Setup:
    """The setup with a prompt for this text: its own, unless that was a recipe's for another."""
    candidate = setup.sample.prompt
    fits = _meant_for(candidate, corpus) and not tokenizer.unknown(candidate)
    beginnings = [candidate] if fits else []
    beginnings += [f"\n{problem.question}" for problem in problems(corpus, setup)[:1]]
    beginnings += _beginnings(parts(corpus, setup.data.validation_share)[1])
    prompt = readable(tokenizer, *beginnings, candidate)
    return replace(setup, sample=replace(setup.sample, prompt=prompt))


def problems(corpus: Corpus, setup: Setup) -> list[Problem]:
    """Held-out problems of a task; none for any other text."""
    if corpus.name not in TASKS:
        return []
    return held_out(*parts(corpus, setup.data.validation_share))


def readable(tokenizer: Tokenizer, *candidates: str) -> str:
    """The first prompt that the tokenizer can read, else the beginning of one, else a token.

    Empty when there is nothing that it can read.
    """
    for candidate in candidates:
        if candidate and not tokenizer.unknown(candidate):
            return candidate
    for candidate in candidates:
        words = candidate.split(" ")
        while words and tokenizer.unknown(" ".join(words)):
            words.pop()
        if any(words):
            return " ".join(words)
    tokens = (tokenizer.decode([token]) for token in range(tokenizer.vocabulary_size))
    own = [token for token in tokens if token and not tokenizer.unknown(token)]
    return next((token for token in own if token.strip()), "".join(own[:1]))


def _meant_for(prompt: str, corpus: Corpus) -> bool:
    """Whether a prompt is a person's own, or a recipe's for this text, or stands in it."""
    texts = {
        recipe.setup.data.corpus
        for recipe in load_recipes().values()
        if recipe.setup.sample.prompt == prompt
    }
    return not texts or corpus.name in texts or prompt in corpus.text


def _beginnings(text: str) -> list[str]:
    """How the lines of a text begin, each with a few whole words; the first may lack its own."""
    found = []
    for line in text[: LINES * 100].splitlines()[1:LINES] or [text[:LINES]]:
        words = line.strip()[: LONGEST + 1]
        cut = words if len(words) <= LONGEST else words[: words.rfind(" ") if " " in words else -1]
        found += [cut] if cut else []
    return found
