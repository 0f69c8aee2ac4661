"""Command-line arguments in any order: positional ones before, between or after options."""

import argparse
from collections import deque
from collections.abc import Sequence
from typing import Any


class Command(argparse.ArgumentParser):
    """A command whose names may stand before, between and after its options.

    The value of an option may begin with a dash, unless it is itself an option of the command.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As in argparse, with the arguments brought into the order that argparse accepts."""
        return super().parse_known_args(self._in_order(deque(args or ())), namespace)

    def _in_order(self, given: deque[str]) -> list[str]:
        options: list[str] = []
        names: list[str] = []
        while given:
            word = given.popleft()
            if word == "--":
                names += [word, *given]
                break
            if not word.startswith("-") or word == "-":
                names.append(word)
            elif given and self._takes_value(word) and not self._meant(given[0].split("=")[0]):
                options.append(f"{word}={given.popleft()}")
            else:
                options.append(word)
        return options + names

    def _takes_value(self, word: str) -> bool:
        return any(action.nargs is None for action in self._meant(word))

    def _meant(self, word: str) -> list[argparse.Action]:
        """The option of that name, or those that may be meant by its beginning."""
        options = {name: action for action in self._actions for name in action.option_strings}
        if word in options:
            return [options[word]]
        short = not word.startswith("--") or word == "--"
        return [] if short else [options[name] for name in options if name.startswith(word)]
