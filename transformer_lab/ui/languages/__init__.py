"""Other languages for the page's frame and for lessons: one file of words for each.

English is in the code, and is the key under which a language has its own words; what a language
does not have stays English. Lessons in a language are in a folder of its name in docs/lessons/.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dash.development.base_component import Component

ENGLISH = "en"
SPOKEN = ("children", "title", "label", "placeholder", "aria-label")  # properties that hold words


@cache
def languages() -> dict[str, dict[str, Any]]:
    """Every language but English by its code: its `name`, `direction` and `words`."""
    files = sorted(Path(__file__).parent.glob("*.toml"))
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in files}


def known(language: object) -> str:
    """A language the page has; English for anything else."""
    return language if isinstance(language, str) and language in languages() else ENGLISH


def say(language: str, english: str, **parts: object) -> str:
    """Words in a language, with `parts` in the place of their names in braces."""
    words: Mapping[str, str] = languages().get(language, {}).get("words", {})
    said = words.get(english, english)
    return said.format(**parts) if parts else said


@dataclass(frozen=True)
class Told:
    """A sentence with what is put in, which may be such sentences again; `put` says it."""

    english: str
    parts: Mapping[str, Any]


def told(english: str, **parts: Any) -> Told:
    """A sentence that the page will say in its language."""
    return Told(english, parts)


def put(component: Any, language: str) -> Any:
    """A component and all in it with its words in a language; the very same one comes back.

    What is `told` becomes words, by itself or in a list.
    """
    if isinstance(component, Told):
        parts = {name: put(part, language) for name, part in component.parts.items()}
        return say(language, component.english, **parts)
    if isinstance(component, list | tuple):
        return [put(one, language) for one in component]
    if language == ENGLISH:
        return component
    if isinstance(component, str):
        return say(language, component)
    if isinstance(component, Component):
        for prop in SPOKEN:
            if hasattr(component, prop):
                setattr(component, prop, put(getattr(component, prop), language))
    return component
