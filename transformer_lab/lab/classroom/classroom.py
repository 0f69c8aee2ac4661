"""The labs of a class: one for each person, with a home of its own below the teacher's.

What is one person's is in no object of another's: a run, a job or a text of somebody else cannot
be named, whatever a page sends.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transformer_lab.lab.classroom.notices import Notice, checked_words, query_of
from transformer_lab.lab.classroom.people import People, Person
from transformer_lab.lab.classroom.quota import (
    Quota,
    Used,
    bytes_in,
    too_many_bytes,
    too_many_runs,
    too_much_training,
)
from transformer_lab.lab.classroom.shared import Shared
from transformer_lab.lab.common import Common
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training.shared_worker import SharingWorker

log = logging.getLogger(__name__)
IDLE = 900.0  # seconds without a request after which a lab with nothing to do is closed
LOOK = 2.0  # seconds after which it is looked again who has reached a limit
FOLDER, SHARED, REMOVED = "people", "shared", "removed"


class ClassroomFullError(RuntimeError):
    """As many people are here as may be; the message says the way out."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many may have a name here, how many of them may be here at once, and what each may."""

    people: int = 60
    here: int = 40
    quota: Quota = field(default_factory=Quota)


@dataclass
class Room:
    """The lab of a person while it is open, when it was asked for last, and what it has used.

    `before` are the seconds of training that count besides those of the lab that is open.
    """

    lab: Lab | None = None
    asked: float = 0.0
    nbytes: int = 0
    before: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Classroom:
    """Everything of a class, in the home of the teacher's lab. Any thread may ask it.

    `lab` is the teacher's, made with the same `common`. Raises ConfigError where the people cannot
    be read.
    """

    def __init__(self, lab: Lab, common: Common, limits: Limits | None = None) -> None:
        self.teacher = lab
        self.common = common
        self.limits = limits or Limits()
        self.people = People(lab.home / FOLDER, self.limits.people)
        self.shared = Shared(self.people.folder / SHARED)
        self._rooms: dict[str, Room] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.held = False  # whether no training of a learner goes on
        self.notice: Notice | None = None
        self._sent = 0
        self._ends = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="classroom", daemon=True)
        self._keeper.start()

    def home_of(self, person: Person) -> Path:
        """Where everything of a person is."""
        return self.people.folder / person.id

    def lab_of(self, person: Person) -> Lab:
        """A person's lab, opened when it is not. Raises ClassroomFullError and ConfigError."""
        with self._lock:
            if self.people.find(person.id) is None:
                raise ClassroomFullError(f"{person.name} is not in this class any more.")
            room = self._rooms.setdefault(person.id, Room())
        with room.lock:
            room.asked = time.monotonic()
            if room.lab is None:
                self._make_room()
                room.lab = self._open(person, room)
            return room.lab

    def opened(self, person: Person) -> Lab | None:
        """A person's lab if it is open."""
        room = self._rooms.get(person.id)
        return room.lab if room else None

    def seconds_idle(self, person: Person) -> float | None:
        """How long a person has asked for nothing; None for one who is not here."""
        room = self._rooms.get(person.id)
        return time.monotonic() - room.asked if room and room.lab else None

    def used(self, person: Person) -> Used:
        """What a person has, as far as that is known while their lab is closed."""
        room = self._rooms.get(person.id)
        return _used(room) if room else Used()

    def hold(self, held: bool) -> None:
        """Have all trainings of learners rest between two steps, or go on."""
        self.held = held
        for room in [*self._rooms.values()]:
            _hold(room.lab, held)

    def send(self, words: str, address: str) -> Notice:
        """Show everybody a few words, with a link to the view of an address. Raises ConfigError."""
        said, query = checked_words(words), query_of(address)
        with self._lock:
            self._sent = max(self._sent + 1, int(1000 * time.time()))  # unlike any before
            made = self.notice = Notice(number=self._sent, words=said, query=query)
        return made

    def take_back(self) -> None:
        """Show nobody any longer what was sent."""
        self.notice = None

    def remove(self, person: Person) -> None:
        """Have a person leave the class: what trains is saved, and their workspace set aside.

        Raises ConfigError where that cannot be written.
        """
        self.people.remove(person.id)
        room = self._rooms.pop(person.id, None)
        if room is not None:
            with room.lock:
                if room.lab is not None:
                    _shut(room)
        home, aside = self.home_of(person), self.people.folder / REMOVED
        if home.is_dir():
            aside.mkdir(exist_ok=True)
            home.rename(aside / person.id)

    def more_time(self) -> None:
        """Let everybody train as long again."""
        for room in [*self._rooms.values()]:
            room.before = -_trained(room.lab)

    def refuses(self, person: Person, nbytes: int, *, run: bool) -> str:
        """Why a person may not send so many bytes, as a run or a text; "" where they may."""
        used, quota = self.used(person), self.limits.quota
        return (too_many_runs(used, quota) if run else "") or too_many_bytes(used, quota, nbytes)

    def _permit(self, room: Room) -> None:
        """Raise LabError where a person may not train."""
        used, quota = _used(room), self.limits.quota
        for words in (too_many_runs(used, quota), _stops(used, quota)):
            if words:
                raise LabError(words)

    def _keep(self) -> None:
        """Look now and then who has reached a limit, and whose lab can be closed."""
        while not self._ends.wait(LOOK):
            for person_id, room in [*self._rooms.items()]:
                try:
                    self.look(person_id, room)
                except Exception:
                    log.exception("a workspace could not be looked at")
            self.close_idle()

    def look(self, person_id: str, room: Room) -> None:
        """Measure what a person has, and end what trains beyond it."""
        lab, quota = room.lab, self.limits.quota
        if lab is None:
            return
        home = self.people.folder / person_id
        room.nbytes = bytes_in(home) + self.shared.bytes_of(person_id)
        _empty_trash(home, quota.nbytes - room.nbytes)
        words = _stops(_used(room), quota)
        for run in lab.trainings.busy() if words else ():
            if run.status.state != "paused":
                lab.trainings.stop(words, run.status.run_id or None)

    def _open(self, person: Person, room: Room) -> Lab:
        if self._closed:
            raise ClassroomFullError("The lab is being closed.")
        home = self.home_of(person)
        home.mkdir(mode=0o700, exist_ok=True)
        room.nbytes = bytes_in(home) + self.shared.bytes_of(person.id)
        # A process would take its turn without being asked.
        lab = Lab(home, processes=False, common=self.common)
        lab.texts.paths_allowed = False
        _hold(lab, self.held)
        lab.trainings.permit = lambda: self._permit(room)
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
                _shut(room)
        finally:
            room.lock.release()

    def close(self) -> None:
        """Save what the people train, and close their labs."""
        self._closed = True
        self._ends.set()
        self._keeper.join()
        for room in [*self._rooms.values()]:
            with room.lock:
                if room.lab is not None:
                    _shut(room)


def _rests(room: Room, idle: float) -> bool:
    assert room.lab is not None
    if time.monotonic() - room.asked < idle:
        return False
    training = [run for run in room.lab.trainings.busy() if run.status.state != "paused"]
    return not training and not room.lab.jobs.busy


def _shut(room: Room) -> None:
    assert room.lab is not None
    room.before += _trained(room.lab)
    lab, room.lab = room.lab, None
    lab.close()


def _used(room: Room) -> Used:
    runs = len(room.lab.runs.all()) if room.lab else 0
    return Used(runs=runs, nbytes=room.nbytes, seconds=room.before + _trained(room.lab))


def _hold(lab: Lab | None, held: bool) -> None:
    worker = lab.trainings.worker if lab else None
    if isinstance(worker, SharingWorker):
        worker.hold(held)


def _trained(lab: Lab | None) -> float:
    worker = lab.trainings.worker if lab else None
    return worker.trained if isinstance(worker, SharingWorker) else 0.0


def _stops(used: Used, quota: Quota) -> str:
    """Why nothing more may train, be it under way; "" where it may."""
    return too_many_bytes(used, quota) or too_much_training(used, quota)


def _empty_trash(home: Path, room: int) -> None:
    """Remove deleted runs for good where they take the room that is left."""
    trash = home / "trash"
    if trash.is_dir() and bytes_in(trash) > max(0, room):
        shutil.rmtree(trash, ignore_errors=True)
