"""What the teacher sends to everybody: a few words, and a view of the lab."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from transformer_lab.settings import ConfigError

LONGEST = 200  # characters of the words
LONGEST_ADDRESS = 8_000
THEIRS = {"run": "run", "model": "model", "moment": "moment"}  # what only the teacher's lab has
USUAL = "Your teacher sends you to a view of the lab."


@dataclass(frozen=True, kw_only=True)
class Notice:
    """`query` is the view as an address has it, without the question mark."""

    number: int
    words: str
    query: str


def query_of(address: str) -> str:
    """The view that an address of the lab shows, as its query. Raises ConfigError.

    Nothing else of the address is used, so that it leads nowhere but to a page of the lab.
    """
    parts = parse_qsl(urlsplit(address[:LONGEST_ADDRESS].strip()).query, keep_blank_values=True)
    if not parts:
        raise ConfigError(
            "address",
            "This names no view of the lab, for nothing stands behind a question mark: open what "
            "you want to send, and copy the link to it (at the top right).",
        )
    named = next((name for name, _ in parts if name in THEIRS), "")
    if named:
        raise ConfigError(
            "address",
            f"This address names a {THEIRS[named]} of yours ({named}=...), which nobody else has: "
            "leave that part out, or share the run.",
        )
    return urlencode(parts)


def checked_words(words: str) -> str:
    """What is said with it, or the usual sentence. Raises ConfigError."""
    plain = " ".join(words.split())
    if len(plain) > LONGEST:
        raise ConfigError("words", f"This has {len(plain)} characters: {LONGEST} fit.")
    return plain or USUAL
