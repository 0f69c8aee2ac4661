"""What is done with characters of a new text for which a model that is there has no tokens."""

from dataclasses import dataclass, replace

from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import Corpus
from transformer_lab.text.tokenizers import CharacterTokenizer, Tokenizer

WAYS = {
    "refuse": "Say which, and do not begin",
    "leave_out": "Leave them out of the text",
    "replace": "Replace each by a character that the base knows",
    "extend": "Give each a token: the embedding grows",
}
MOST_ADDED = 5_000  # characters


@dataclass(frozen=True)
class Unknown:
    """One of `WAYS`, and the character that takes their place where they are replaced."""

    way: str = "refuse"
    instead: str = ""

    def applied(self, corpus: Corpus, tokenizer: Tokenizer) -> tuple[Corpus, Tokenizer]:
        """The text and the tokenizer to use; the text keeps the sum of what it was made from.

        Raises ConfigError.
        """
        if self.way == "leave_out":
            return replace(corpus, text=tokenizer.known(corpus.text)), tokenizer
        if self.way == "replace":
            self.check_replacement(tokenizer)
            return replace(corpus, text=tokenizer.known(corpus.text, self.instead)), tokenizer
        if self.way == "extend" and isinstance(tokenizer, CharacterTokenizer):
            added = added_characters(corpus.text, tokenizer)
            return corpus, tokenizer.with_characters(added)
        return corpus, tokenizer

    def check_replacement(self, tokenizer: Tokenizer) -> None:
        """Refuse a character that the model does not know either. Raises ConfigError."""
        if self.way == "replace" and tokenizer.unknown(self.instead):
            raise ConfigError(
                "finetune.replacement",
                f"The base does not know {self.instead!r} either: replace unknown characters by "
                "one that it knows.",
            )


def added_characters(text: str, tokenizer: Tokenizer) -> str:
    """The characters of a text that get a token each, in their order. Raises ConfigError."""
    if not isinstance(tokenizer, CharacterTokenizer):
        return ""
    added = "".join(sorted(tokenizer.unknown("".join(set(text)))))
    if len(added) > MOST_ADDED:
        raise ConfigError(
            "finetune.unknown",
            f"The new text has {len(added):,} characters that the base does not know; at most "
            f"{MOST_ADDED:,} can get a token: leave them out, or choose another text.",
        )
    return added
