"""As whom a request comes: the teacher's token, the class's, and the cookie of each learner."""

import hashlib
from dataclasses import dataclass

from flask import Request, Response
from itsdangerous import BadSignature, Signer
from werkzeug.exceptions import abort

from transformer_lab.lab.classroom.classroom import Classroom
from transformer_lab.lab.classroom.people import People, Person
from transformer_lab.ui.web import downloads, upload
from transformer_lab.ui.web.access import Access

STRANGER = "Open the link that your teacher gave you: it ends in ?token=..."
SENT = (upload.PATH, downloads.BRING_IN)
DAYS = 30 * 86_400  # seconds for which a browser keeps a learner's cookie


@dataclass(frozen=True)
class Cookies:
    """The signed cookie that leads a learner to their workspace."""

    people: People

    @property
    def name(self) -> str:
        """Another one for another classroom: labs on other ports share cookies."""
        return f"lab-person-{hashlib.sha256(self.people.secret.encode()).hexdigest()[:12]}"

    @property
    def _signer(self) -> Signer:
        return Signer(self.people.secret, salt=__name__, digest_method=hashlib.sha256)

    def person(self, asked: Request) -> Person | None:
        """Whose cookie a request brings; None for none, a forged one, and one that has ended."""
        try:
            value = self._signer.unsign(asked.cookies.get(self.name, "")).decode()
        except (BadSignature, UnicodeError):
            return None
        return self.people.holding(*value.split(":", 1)) if ":" in value else None

    def put(self, answer: Response, person: Person, asked: Request, base_path: str) -> None:
        """Have the browser keep whose workspace this is."""
        answer.set_cookie(
            self.name,
            self._signer.sign(f"{person.id}:{person.key}").decode(),
            max_age=DAYS,
            httponly=True,
            samesite="Lax",
            secure=asked.is_secure,
            path=f"{base_path}/",
        )

    def take(self, answer: Response, base_path: str) -> None:
        """Have the browser forget it."""
        answer.delete_cookie(self.name, path=f"{base_path}/", httponly=True, samesite="Lax")


@dataclass(frozen=True)
class LearnerGate:
    """Guards one learner's page: the cookie must be theirs, whoever led the request here."""

    cookies: Cookies
    person: Person
    classroom: Classroom

    def check(self, asked: Request, base_path: str) -> None:
        """Raise 401 for anybody else, and 413 for a file beyond what they may have."""
        del base_path
        person = self.cookies.person(asked)
        if person is None or person.id != self.person.id:
            abort(401, STRANGER)
        if asked.method == "POST" and asked.path in SENT:
            run = asked.path == downloads.BRING_IN
            words = self.classroom.refuses(person, asked.content_length or 0, run=run)
            if words:
                abort(413, words)


@dataclass(frozen=True)
class Tokens:
    """The links of the teacher and of the class."""

    teacher: Access
    learners: Access

    def welcome(self, asked: Request, base_path: str, given: str) -> None:
        """Raise the redirection that brings the cookie of the token that was given, if it is one.

        Both are compared, whichever it is: the time that takes tells nothing.
        """
        teacher, learners = self.teacher.same(given), self.learners.same(given)
        if asked.method == "GET" and not asked.content_length and (teacher or learners):
            (self.teacher if teacher else self.learners).welcome(asked, base_path)
