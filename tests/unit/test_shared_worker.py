"""One thread for the trainings of several people: whose turn it is."""

import threading
from types import SimpleNamespace

import pytest

from transformer_lab.lab.common import Common
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training import shared_worker
from transformer_lab.lab.training.shared_worker import SharedThread
from transformer_lab.recipes import Setup
from waiting import PATIENCE, until

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 12,
        "train.evaluate_every": 6,
        "train.evaluation_batches": 1,
        "train.threads": 1,
    }
)


class Lane:
    """A training whose steps take `cost` seconds of a clock that only they advance."""

    def __init__(self, school, name, cost, steps=10**9):
        self.school, self.name, self.cost, self.left = school, name, cost, steps
        self.error = None

    @property
    def active(self):
        return not self.ended

    @property
    def ended(self):
        return self.school.over or not self.left or self.error is not None

    def advance(self):
        self.left -= 1
        self.school.now += self.cost
        self.school.turns.append(self.name)
        if len(self.school.turns) >= self.school.most:
            self.school.enough.set()
            self.school.on.wait(PATIENCE)

    def fail(self, error):
        self.error = error


@pytest.fixture
def school(monkeypatch):
    """A thread whose clock is set by the steps; it stands still after `most` of them."""
    made = SimpleNamespace(over=False, now=0.0, turns=[], most=60, enough=threading.Event())
    made.on = threading.Event()
    monkeypatch.setattr(shared_worker, "time", SimpleNamespace(monotonic=lambda: made.now))
    made.thread = SharedThread()

    def person(*lanes):
        worker = made.thread.worker(lambda: None)
        worker.submit(lambda: [worker.add(lane) for lane in lanes])
        return worker

    made.person = person
    yield made
    made.over = True
    made.on.set()
    assert made.thread.close(PATIENCE)


def test_people_get_the_same_time_whatever_they_train(school):
    gate = threading.Event()
    school.thread.worker(lambda: None).submit(lambda: gate.wait(PATIENCE))
    school.person(*(Lane(school, "many", 1.0) for _ in range(5)))
    school.person(Lane(school, "one", 1.0))
    school.person(Lane(school, "slow", 4.0))
    gate.set()
    assert school.enough.wait(PATIENCE)
    seconds = [
        school.turns.count("many"),
        school.turns.count("one"),
        4 * school.turns.count("slow"),
    ]
    assert max(seconds) - min(seconds) <= 4.0


def test_who_comes_later_waits_for_nobodys_past_and_gets_no_more_for_it(school):
    school.most = 200
    long = school.person(Lane(school, "long", 1.0))
    assert school.enough.wait(PATIENCE)
    school.enough.clear()
    school.person(Lane(school, "new", 1.0))
    school.most = 220
    school.on.set()
    assert school.enough.wait(PATIENCE)
    later = school.turns[201:220]
    assert abs(later.count("new") - later.count("long")) <= 1
    assert long.trained >= 200


def test_models_of_one_person_take_turns(school):
    school.person(*(Lane(school, name, 1.0) for name in "abc"))
    assert school.enough.wait(PATIENCE)
    assert school.turns[:60] == [*"abc"] * 20


def test_who_is_held_takes_no_step_but_does_what_is_asked(school):
    held = school.thread.worker(lambda: None)
    held.hold(True)
    held.submit(lambda: held.add(Lane(school, "held", 1.0)))
    school.person(Lane(school, "other", 1.0))
    assert school.enough.wait(PATIENCE)
    assert set(school.turns) == {"other"}
    asked = threading.Event()
    held.submit(asked.set)
    school.most += 100
    school.on.set()
    assert asked.wait(PATIENCE)
    held.hold(False)
    until(lambda: "held" in school.turns)


def test_a_failing_training_and_a_person_who_leaves_concern_nobody_else(school):
    school.on.set()  # it never stands still
    bad = Lane(school, "bad", 1.0)
    bad.advance = lambda: 1 / 0
    leaves = school.person(bad)
    other = school.person(Lane(school, "other", 1.0))
    until(lambda: bad.error is not None)
    assert isinstance(bad.error, ZeroDivisionError)
    assert leaves.close(PATIENCE)
    assert school.enough.wait(PATIENCE)
    assert not other.held


def test_a_training_beside_others_computes_what_it_computes_alone(tmp_path):
    def losses(lab):
        lab.trainings.start(SETUP)
        return lambda: (
            until(lambda: lab.trainings.current.ended)
            and [point.train_loss for point in lab.trainings.current.stream.since()[0]]
        )

    alone = Lab(tmp_path / "alone")
    expected = losses(alone)()
    alone.close()
    others = threading.enumerate()
    common = Common()
    labs = [Lab(tmp_path / str(n), common=common) for n in range(3)]
    assert [found() for found in [losses(lab) for lab in labs]] == [expected] * 3
    assert all(lab.trainings.worker.trained > 0 for lab in labs)
    begun = [one.name for one in threading.enumerate() if one not in others]
    assert begun.count("worker") == 1
    for lab in labs:
        lab.close()
    assert common.thread.close(PATIENCE)
