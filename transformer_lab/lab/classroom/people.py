"""Who is in a classroom: names, the keys of their cookies, and codes for those let in again.

A name is never part of a path: the folder of a person is called by a random id.
"""

import contextlib
import hashlib
import hmac
import json
import secrets
import threading
import time
import unicodedata
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from transformer_lab.runs.files import write_json
from transformer_lab.settings import ConfigError

LONGEST = 40  # characters of a name
BESIDES = " .-'\u2019"  # what a name may have besides letters and digits
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # of a code: none looks like another
CODE_LENGTH = 8
CODE_SECONDS = 600.0  # for which a code can be used
CODE_TRIES = 5
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Person:
    """A learner. `key` is what makes a cookie theirs: with a new one, older cookies end."""

    id: str
    name: str
    key: str = field(repr=False)
    since: float


@dataclass
class Code:
    """What lets a person in again from another browser, once."""

    digest: bytes
    ends: float
    tries: int = 0


class People:
    """All people of a classroom, `most` of them. Any thread may ask and change it.

    They are kept in `folder`, which only its owner may read. Raises ConfigError where that is not
    possible, or what is there cannot be read.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder = folder
        self.most = most
        self._path = folder / "people.json"
        self._lock = threading.RLock()
        self._codes: dict[str, Code] = {}
        self._people: dict[str, Person] = {}
        self.secret = secrets.token_urlsafe(32)  # by which cookies are signed
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._read()
        except UNREADABLE as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                "classroom",
                f"{self._path} cannot be used ({why}): mend it, or move it away and everybody "
                "begins anew.",
            ) from error

    def _read(self) -> None:
        if not self._path.exists():
            return self._write()
        stored = json.loads(self._path.read_text(encoding="utf-8"))
        people = [Person(**one) for one in stored["people"]]
        if len(stored["secret"]) < len(self.secret):
            raise ValueError("its secret is too short")
        self.secret = str(stored["secret"])
        self._people = {one.id: one for one in people}
        return None

    def _write(self) -> None:
        people = [asdict(one) for one in self._people.values()]
        write_json(self._path, {"format": 1, "secret": self.secret, "people": people})

    def all(self) -> list[Person]:
        """Everybody, by name."""
        with self._lock:
            return sorted(self._people.values(), key=lambda one: one.name.casefold())

    def find(self, person_id: str) -> Person | None:
        """A person by their id."""
        return self._people.get(person_id)

    def holding(self, person_id: str, key: str) -> Person | None:
        """The person of that id, if the key is theirs."""
        person = self._people.get(person_id)
        right = hmac.compare_digest(key.encode(), (person.key if person else "").encode())
        return person if person and right else None

    def enter(self, given: str, code: str = "") -> Person:
        """Somebody says their name: a new person, or with a code one who was here before.

        Raises ConfigError for "name" or "code".
        """
        name = checked_name(given)
        with self._lock:
            known = next((one for one in self._people.values() if _same(one.name, name)), None)
            if known and code:
                self._use_code(known, code)
                return self._keep(replace(known, key=secrets.token_urlsafe(24)))
            if known:
                raise ConfigError(
                    "name",
                    f"{known.name} is here already. If that is you, ask your teacher to let you in "
                    "again, which gives you a code; otherwise take another name.",
                )
            if code:
                raise ConfigError(
                    "code", f"Nobody here is called {name} yet: leave the code empty to begin."
                )
            if len(self._people) >= self.most:
                raise ConfigError(
                    "name",
                    f"There are {self.most} people already, which is all this classroom takes: "
                    "ask your teacher to start it with more (--people).",
                )
            key = secrets.token_urlsafe(24)
            person = Person(id=secrets.token_hex(8), name=name, key=key, since=time.time())
            return self._keep(person)

    def _keep(self, person: Person) -> Person:
        before = dict(self._people)
        self._people[person.id] = person
        try:
            self._write()
        except OSError as error:
            self._people = before
            raise ConfigError("name", f"That could not be written: {error.strerror}.") from error
        return person

    def let_in(self, person_id: str) -> str:
        """A code with which that person comes in again, once, within ten minutes; "" for nobody."""
        code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
        with self._lock:
            if person_id not in self._people:
                return ""
            self._codes[person_id] = Code(_digest(code), time.monotonic() + CODE_SECONDS)
        return code

    def remove(self, person_id: str) -> None:
        """Have a person no longer be one of the class: their cookie ends, their name is free.

        Raises ConfigError where that cannot be written.
        """
        with self._lock:
            before = dict(self._people)
            self._people.pop(person_id, None)
            self._codes.pop(person_id, None)
            try:
                self._write()
            except OSError as error:
                self._people = before
                raise ConfigError(
                    "name", f"That could not be written: {error.strerror}."
                ) from error

    def _use_code(self, person: Person, given: str) -> None:
        code = self._codes.get(person.id)
        if code and (time.monotonic() > code.ends or code.tries >= CODE_TRIES):
            code = None
        if code:
            code.tries += 1
        right = hmac.compare_digest(_digest(given), code.digest if code else b"")
        if not right:
            raise ConfigError(
                "code",
                f"This is not the code that lets {person.name} in now: ask your teacher for a new "
                "one.",
            )
        with contextlib.suppress(KeyError):
            del self._codes[person.id]


def checked_name(given: str) -> str:
    """A name as it is shown. Raises ConfigError for one that is none."""
    name = " ".join(unicodedata.normalize("NFKC", given[: 10 * LONGEST]).split())
    if not _letters(name):
        raise ConfigError("name", "Write your name: it needs a letter or a digit.")
    if len(name) > LONGEST:
        raise ConfigError("name", f"This name has {len(name)} characters: {LONGEST} fit.")
    odd = next((one for one in name if not (_counts(one) or one in BESIDES)), "")
    if odd:
        raise ConfigError(
            "name", "A name may have letters, digits, spaces, and . - ' only: leave the rest out."
        )
    return name


def _counts(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LM" or unicodedata.category(letter) == "Nd"


def _letters(name: str) -> str:
    """What tells a name from others: J. O'Neil and jo neil are one."""
    return "".join(one for one in name.casefold() if one.isalnum())


def _same(one: str, other: str) -> bool:
    return _letters(one) == _letters(other)


def _digest(code: str) -> bytes:
    written = "".join(code.lower().split()).replace("-", "")
    return hashlib.sha256(written.encode(errors="replace")).digest()
