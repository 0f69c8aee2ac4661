"""The glossary: the field's terms, defined once in `glossary.toml`, for help, docs and lessons.

`python -m transformer_lab.glossary` writes docs/glossary.md from it.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("glossary.toml")
DOCUMENT = SOURCE.parent.parent / "docs" / "glossary.md"


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term: its meaning in a sentence, and the settings in whose help it stands."""

    key: str
    term: str
    meaning: str
    settings: tuple[str, ...] = ()


@cache
def terms() -> dict[str, Term]:
    """All terms by key, in the order of the file."""
    content = tomllib.loads(SOURCE.read_text(encoding="utf-8"))
    return {
        key: Term(
            key=key,
            term=entry["term"],
            meaning=entry["meaning"],
            settings=tuple(entry.get("settings", ())),
        )
        for key, entry in content.items()
    }


def meaning_of(setting: str) -> str:
    """What the glossary says of a setting, by its dotted name; empty when it is no term."""
    found = [each for each in terms().values() if setting in each.settings]
    return " ".join(f"{each.term}: {each.meaning}" for each in found)


def as_markdown() -> str:
    """The glossary as a page of the documentation, in the order of the alphabet."""
    lines = ["# Glossary", "", "Written from `transformer_lab/glossary.toml`.", ""]
    for each in sorted(terms().values(), key=lambda term: term.term.lower()):
        lines.append(f"**{each.term}**: {each.meaning}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    DOCUMENT.write_text(as_markdown(), encoding="utf-8")
