"""Leads each request to the page of the person who asks: the teacher's, a learner's, or the front.

Every learner has an application of their own over a lab of their own. What a request may name is
what that application knows, and that is nothing of anybody else's.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from dash import Dash
from flask import Request, Response
from werkzeug.exceptions import HTTPException

from transformer_lab.lab.classroom.classroom import Classroom, ClassroomFullError
from transformer_lab.lab.classroom.people import Person
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.ui.classroom import pages
from transformer_lab.ui.classroom.front import BODIES as FRONT_BODIES
from transformer_lab.ui.classroom.front import create_front, keep_private
from transformer_lab.ui.classroom.gates import Cookies, LearnerGate, Tokens
from transformer_lab.ui.classroom.learner import LearnerVisit
from transformer_lab.ui.classroom.teacher import TeacherVisit
from transformer_lab.ui.server import BODIES, create_app
from transformer_lab.ui.web.access import NAME, Access
from transformer_lab.ui.web.guard import LOOPBACK, Environ, Guard

MOST_ASKING = 8  # requests of one learner at a time; a browser sends six
TOO_MANY = "You ask for more at once than a page does: close some of its windows."


class Door:
    """A WSGI application for a class, and the guard that a server asks about a request's headers.

    `teacher` and `learners` are their tokens; the rest is as for `create_app`.
    """

    def __init__(
        self,
        classroom: Classroom,
        *,
        teacher: str,
        learners: str,
        allowed_hosts: Sequence[str] = (),
        base_path: str = "",
        trust_proxy: bool = False,
    ) -> None:
        self.classroom = classroom
        self._options: dict[str, Any] = {
            "allowed_hosts": allowed_hosts,
            "base_path": base_path,
            "trust_proxy": trust_proxy,
        }
        self._cookies = Cookies(classroom.people)
        self._tokens = Tokens(Access(teacher), Access(learners))
        self._guard = Guard([*LOOPBACK, *allowed_hosts], base_path, trust_proxy, FRONT_BODIES)
        self.front = create_front(classroom.people, self._tokens, self._guard)
        visit = TeacherVisit(classroom, self._tokens.teacher)
        self.teacher = self._made(classroom.teacher, visit)
        self._learners: dict[str, tuple[Lab, Dash]] = {}
        self._lock = threading.Lock()
        self._asking: Counter[str] = Counter()  # requests of each learner that are being answered
        self.extensions = {"guard": self}  # where a server looks for it

    def _made(self, lab: Lab, visit: TeacherVisit | LearnerVisit) -> Dash:
        app = create_app(lab, visit=visit, **self._options)
        keep_private(app.server)
        return app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        role = self._role(Request(self._guard.settled(environ)))
        if not isinstance(role, Person):
            served = self.teacher.server if role == "teacher" else self.front
            return served(environ, start_response)
        with self._lock:
            self._asking[role.id] += 1
            too_many = self._asking[role.id] > MOST_ASKING
        try:
            if too_many:
                answer = Response(TOO_MANY, 429, {"Cache-Control": "no-store"})
                return answer(environ, start_response)
            return self._serve(role, environ, start_response)
        finally:
            with self._lock:
                self._asking[role.id] -= 1

    def _serve(
        self, person: Person, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a learner from their own page."""
        try:
            application = self.page_of(person).server
        except (ClassroomFullError, ConfigError) as error:
            page = pages.told("Not now", str(error), self._guard.base_path)
            answer = Response(page, 503, {"Cache-Control": "no-store"}, mimetype="text/html")
            return answer(environ, start_response)
        return application(environ, start_response)

    def _role(self, asked: Request) -> Person | str:
        """As whom a request comes: a person, "teacher" or "front"."""
        if asked.path in FRONT_BODIES or NAME in asked.args:
            return "front"
        if self._tokens.teacher.signed(asked):
            return "teacher"
        return self._cookies.person(asked) or "front"

    def page_of(self, person: Person) -> Dash:
        """A learner's own application. Raises ClassroomFullError and ConfigError."""
        lab, base = self.classroom.lab_of(person), self._guard.base_path
        with self._lock:
            made = self._learners.get(person.id)
            if made is None or made[0] is not lab:  # it was closed meanwhile
                self._forget_closed()
                visit = LearnerVisit(self.classroom, person, self._gate(person), base)
                made = self._learners[person.id] = lab, self._made(lab, visit)
        return made[1]

    def _forget_closed(self) -> None:
        """Drop the pages of labs that were closed."""
        people = {one.id: one for one in self.classroom.people.all()}
        self._learners = {
            name: (lab, page)
            for name, (lab, page) in self._learners.items()
            if name in people and self.classroom.opened(people[name]) is lab
        }

    def _gate(self, person: Person) -> LearnerGate:
        return LearnerGate(self._cookies, person, self.classroom)

    def refusal(self, environ: Environ) -> HTTPException | None:
        """Why a request with these headers is refused, if it is; no lab is opened for that."""
        role = self._role(Request(self._guard.settled(environ)))
        if role == "front":
            return self._guard.refusal(environ)
        gate = self._gate(role) if isinstance(role, Person) else self._tokens.teacher
        return replace(self._guard, bodies=BODIES, access=gate).refusal(environ)
