"""The labs of a class: one for each person, with a home of its own below the teacher's.

What is one person's is in no object of another's: a run, a job or a text of somebody else cannot
be named, whatever a page sends.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transformer_lab.lab.classroom.people import People, Person
from transformer_lab.lab.lab import Lab

IDLE = 900.0  # seconds without a request after which a lab with nothing to do is closed
FOLDER = "people"


class ClassroomFullError(RuntimeError):
    """As many people are here as may be; the message says the way out."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many may have a name here, and how many of them may be here at once."""

    people: int = 60
    here: int = 40


@dataclass
class Room:
    """The lab of a person while it is open, and when it was asked for last."""

    lab: Lab | None = None
    asked: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Classroom:
    """Everything of a class, in the home of the teacher's lab. Any thread may ask it.

    `lab` is the teacher's. Raises ConfigError where the people cannot be read.
    """

    def __init__(self, lab: Lab, limits: Limits | None = None) -> None:
        self.teacher = lab
        self.limits = limits or Limits()
        self.people = People(lab.home / FOLDER, self.limits.people)
        self._rooms: dict[str, Room] = {}
        self._lock = threading.Lock()
        self._closed = False

    def home_of(self, person: Person) -> Path:
        """Where everything of a person is."""
        return self.people.folder / person.id

    def lab_of(self, person: Person) -> Lab:
        """A person's lab, opened when it is not. Raises ClassroomFullError and ConfigError."""
        with self._lock:
            room = self._rooms.setdefault(person.id, Room())
        with room.lock:
            room.asked = time.monotonic()
            if room.lab is None:
                self._make_room()
                room.lab = self._open(person)
            return room.lab

    def opened(self, person: Person) -> Lab | None:
        """A person's lab if it is open."""
        room = self._rooms.get(person.id)
        return room.lab if room else None

    def seconds_idle(self, person: Person) -> float | None:
        """How long a person has asked for nothing; None for one who is not here."""
        room = self._rooms.get(person.id)
        return time.monotonic() - room.asked if room and room.lab else None

    def _open(self, person: Person) -> Lab:
        if self._closed:
            raise ClassroomFullError("The lab is being closed.")
        home = self.home_of(person)
        home.mkdir(mode=0o700, exist_ok=True)
        lab = Lab(home, processes=False)  # a process would take its turn without being asked
        lab.texts.paths_allowed = False
        return lab

    def _make_room(self) -> None:
        """Close labs that have nothing to do. Raises ClassroomFullError where none can be."""
        self.close_idle()
        if sum(room.lab is not None for room in self._rooms.values()) >= self.limits.here:
            raise ClassroomFullError(
                f"{self.limits.here} people are here, which is all this computer takes at once: "
                "try again in a few minutes, or ask your teacher to start the lab with more "
                "(--people-here)."
            )

    def close_idle(self, idle: float = IDLE) -> None:
        """Close each lab that was not asked for so long, and where nothing trains or waits."""
        for room in [*self._rooms.values()]:
            self._close_room(room, lambda room: _rests(room, idle))

    def _close_room(self, room: Room, may: Callable[[Room], bool]) -> None:
        if not room.lock.acquire(blocking=False):  # it is being opened, or asked for
            return
        try:
            if room.lab is not None and may(room):
                lab, room.lab = room.lab, None
                lab.close()
        finally:
            room.lock.release()

    def close(self) -> None:
        """Save what the people train, and close their labs."""
        self._closed = True
        for room in [*self._rooms.values()]:
            with room.lock:
                if room.lab is not None:
                    room.lab.close()
                    room.lab = None


def _rests(room: Room, idle: float) -> bool:
    assert room.lab is not None
    if time.monotonic() - room.asked < idle:
        return False
    training = [run for run in room.lab.trainings.busy() if run.status.state != "paused"]
    return not training and not room.lab.jobs.busy
