"""What may be changed of a run at any time: about.json."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformer_lab.runs.files import AboutRecord, write_json
from transformer_lab.runs.record import RecordError, mended, parsed
from transformer_lab.text.library import printable

ABOUT = "about.json"
LONGEST_TITLE, LONGEST_NOTES = 80, 10_000


@dataclass(frozen=True)
class About:
    """What may be changed of a run at any time: a title of the learner's, notes, and a pin.

    `race_title` is what the learner calls the comparison it is a lane of.
    """

    title: str = ""
    notes: str = ""
    pinned: bool = False
    race_title: str = ""


def read_about(folder: Path) -> About:
    """That of the run in `folder`; empty where it cannot be read."""
    try:
        stored = parsed((folder / ABOUT).read_bytes(), ABOUT)
    except (OSError, RecordError):
        return About()
    known = mended(AboutRecord, stored, ABOUT)
    return About(known.title, known.notes, known.pinned, known.race_title)


def write_about(folder: Path, about: About) -> About:
    """Keep it, titles and notes cut to their length; what was kept. Raises OSError."""
    about = replace(
        about,
        title=_title(about.title),
        notes=about.notes[:LONGEST_NOTES],
        race_title=_title(about.race_title),
    )
    write_json(folder / ABOUT, asdict(about))
    return about


def _title(words: str) -> str:
    """A title as it is kept: one printable line, not too long."""
    return printable(" ".join(words.split()))[:LONGEST_TITLE]
