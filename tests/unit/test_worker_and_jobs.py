"""Threads: one that trains, a few that do interactive work."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from transformer_lab.lab import jobs as jobs_module
from transformer_lab.lab.jobs import Jobs, Turns
from transformer_lab.lab.training.worker import Worker
from waiting import PATIENCE, until


class Lane:
    """Counts its steps; fails or ends where it is told to."""

    def __init__(self, steps, fails_at=None):
        self.steps, self.fails_at = steps, fails_at
        self.taken, self.threads, self.error = 0, set(), None

    @property
    def active(self):
        return not self.ended

    @property
    def ended(self):
        return self.taken >= self.steps or self.error is not None

    def advance(self):
        self.threads.add(threading.get_ident())
        if self.taken == self.fails_at:
            raise ValueError("by hand")
        self.taken += 1

    def fail(self, error):
        self.error = error


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    assert worker.close(PATIENCE)


@pytest.fixture
def jobs():
    jobs = Jobs(2)
    yield jobs
    jobs.close()


def asked(worker):
    done = threading.Event()
    worker.submit(done.set)
    return done.wait(PATIENCE)


def test_two_lanes_take_turns_on_one_thread(worker):
    lanes = [Lane(50), Lane(50)]
    for lane in lanes:
        worker.submit(lambda lane=lane: worker.add(lane))
    until(lambda: all(lane.ended for lane in lanes))
    assert lanes[0].threads == lanes[1].threads
    assert threading.get_ident() not in lanes[0].threads


def test_a_failing_lane_ends_alone(worker):
    good, bad = Lane(100), Lane(100, fails_at=3)
    worker.submit(lambda: (worker.add(good), worker.add(bad)))
    until(lambda: good.ended and bad.ended)
    assert good.taken == 100
    assert str(bad.error) == "by hand"
    assert bad.taken == 3


def test_failing_work_leaves_the_thread_alive(worker):
    worker.submit(lambda: 1 / 0)
    assert asked(worker)


def test_work_asked_for_by_many_is_done_on_one_thread_in_order(worker):
    seen = []
    callers = [
        threading.Thread(
            target=lambda: [
                worker.submit(lambda: seen.append(threading.get_ident())) for _ in range(50)
            ]
        )
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert asked(worker)
    assert len(seen) == 400
    assert len(set(seen)) == 1


def test_closing_finishes_what_was_asked():
    worker, seen = Worker(), []
    for number in range(10):
        worker.submit(lambda number=number: seen.append(number))
    assert worker.close(PATIENCE)
    assert seen == list(range(10))


def test_a_job_is_read_with_a_cursor_that_takes_nothing_away(jobs):
    job = jobs.start("Counting", iter(range(5)))
    assert job.wait(PATIENCE)
    assert job.since() == ([0, 1, 2, 3, 4], 5)
    assert job.since(3) == ([3, 4], 5)
    assert job.since(5) == ([], 5)
    assert jobs.find(job.id) is job
    assert jobs.find("unknown") is None


def test_a_stopped_job_keeps_what_it_has_and_closes_its_work(jobs):
    closed = threading.Event()

    def endless():
        try:
            while True:
                time.sleep(0.001)
                yield 1
        finally:
            closed.set()

    job = jobs.start("Endless", endless())
    until(lambda: job.since()[1] > 3)
    job.stop()
    assert job.wait(PATIENCE)
    assert closed.is_set()
    assert job.stopped
    assert job.since()[1] > 3


def test_a_failing_job_ends_with_a_sentence(jobs):
    def failing():
        yield 1
        raise ValueError("by hand")

    job = jobs.start("Something", failing())
    assert job.wait(PATIENCE)
    assert job.error == "Something failed: by hand"
    assert job.since() == ([1], 1)


def test_a_question_is_answered_or_raises_what_its_work_raises(jobs):
    assert jobs.ask(lambda: 6 * 7) == 42
    with pytest.raises(ZeroDivisionError):
        jobs.ask(lambda: 1 / 0)
    rest = threading.Event()
    with pytest.raises(TimeoutError):
        jobs.ask(rest.wait, timeout=0.01)
    rest.set()


def test_questions_do_not_wait_behind_long_jobs_and_compute_on_one_thread(jobs):
    rest = threading.Event()
    held = [jobs.start("Long", iter(lambda: rest.wait(PATIENCE), True)) for _ in range(4)]
    assert jobs.ask(torch.get_num_threads, timeout=PATIENCE) == 1
    assert not any(job.done for job in held)
    rest.set()
    assert all(job.wait(PATIENCE) for job in held)


def test_jobs_compute_on_one_thread_and_leave_others_theirs(jobs):
    before = torch.get_num_threads()

    def threads():
        yield torch.get_num_threads()

    job = jobs.start("Threads", threads())
    assert job.wait(PATIENCE)
    assert job.since()[0] == [1]
    assert torch.get_num_threads() == before


def test_a_short_job_is_done_while_many_long_ones_are_not(jobs):
    rest = threading.Event()

    def long():
        while not rest.wait(0.01):
            yield threading.get_ident()

    held = [jobs.start("Long", long()) for _ in range(8)]  # for two places
    until(lambda: all(job.since()[1] for job in held))  # they take turns
    for _ in range(3):
        assert jobs.start("Short", iter(range(3))).wait(PATIENCE)
    assert not any(job.done for job in held)
    before = [job.since()[1] for job in held]
    until(lambda: all(job.since()[1] > so_far for job, so_far in zip(held, before, strict=True)))
    rest.set()
    assert all(job.wait(PATIENCE) for job in held)
    assert all(len(set(job.since()[0])) == 1 for job in held)  # each stays on its thread


def test_as_many_jobs_compute_at_once_as_there_are_places(jobs):
    lock, now, most = threading.Lock(), 0, 0
    two = threading.Barrier(2)

    def counted():
        nonlocal now, most
        for item in range(5):
            with lock:
                now, most = now + 1, max(most, now + 1)
            if item == 0:
                two.wait(PATIENCE)
            with lock:
                now -= 1
            yield None

    assert all(job.wait(PATIENCE) for job in [jobs.start("Counted", counted()) for _ in range(6)])
    assert most == 2


def test_a_job_is_stopped_while_it_waits_for_its_turn(jobs):
    rest = threading.Event()
    held = [jobs.start("Long", iter(lambda: rest.wait(PATIENCE), True)) for _ in range(2)]
    waiting = jobs.start("Waiting", iter(range(3)))
    waiting.stop()
    assert waiting.wait(PATIENCE)
    assert not any(job.done for job in held)
    rest.set()
    assert all(job.wait(PATIENCE) for job in held)
    assert jobs.start("After", iter(range(3))).wait(PATIENCE)  # no place was lost


def test_six_long_jobs_of_one_person_do_not_make_another_wait():
    """Whatever a turn of theirs takes: here it does not end at all."""
    turns = Turns(2, each=1)
    one, other = Jobs(turns=turns), Jobs(turns=turns)
    rest = threading.Event()
    long = [one.start("Long", (rest.wait(PATIENCE) for _ in range(2))) for _ in range(6)]
    assert other.start("Five tokens", iter(range(5))).wait(PATIENCE)
    assert not any(job.done for job in long)
    assert other.find(long[0].id) is None
    rest.set()
    assert all(job.wait(PATIENCE) for job in long)
    for jobs in (one, other):
        jobs.close()


def test_people_have_the_same_number_of_turns_however_many_jobs_they_have(monkeypatch):
    now, order, rest, enough = [0.0], [], threading.Event(), threading.Event()
    monkeypatch.setattr(jobs_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    turns = Turns(1)
    one, other = Jobs(turns=turns), Jobs(turns=turns)
    begin = threading.Event()

    def counted(name):
        begin.wait(PATIENCE)
        while not rest.is_set():
            now[0] += 1.0  # each turn is one item
            order.append(name)
            if len(order) == 40:
                enough.set()
                rest.wait(PATIENCE)
            yield None

    held = [one.start("Many", counted("many")) for _ in range(6)]
    held.append(other.start("One", counted("one")))
    until(lambda: len(turns._waiting) == 6)  # the seventh computes
    begin.set()
    assert enough.wait(PATIENCE)
    rest.set()
    assert all(job.wait(PATIENCE) for job in held)
    assert abs(order[:40].count("one") - 20) <= 1
    for jobs in (one, other):
        jobs.close()
