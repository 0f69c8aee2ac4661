"""A storm of commands: whatever three clients ask for at once, what trains is what is listed.

STORM_SEED=12345 draws the commands of an earlier storm again.
"""

import contextlib
import json
import os
import random
import threading
import time
from collections import Counter

import pytest

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training import preparing
from transformer_lab.lab.training.continuing import LabError, branching, extension
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.recipes import Setup
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError

TINY = {
    "data.corpus": "python_docs",
    "model.layers": 1,
    "model.heads": 1,
    "model.embedding_dim": 8,
    "model.sequence_length": 8,
    "train.batch_size": 2,
    "train.evaluate_every": 1_000_000,
    "train.evaluation_batches": 1,
    "train.threads": 1,
    "sample.length": 2,
    "sample.prompt": "The ",
}
SHORT = Setup().with_values(TINY | {"train.steps": 4})
ENDLESS = Setup().with_values(TINY | {"train.steps": 1_000_000})
REFUSALS = (LabError, ConfigError, RunNotFoundError)


def until(condition, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Client:
    """Asks a lab for what its generator draws, and counts what came of it."""

    def __init__(self, lab, number, seed):
        self.lab, self.number = lab, number
        self.draw = random.Random(f"{seed} {number}")
        self.done, self.refused = Counter(), Counter()
        self.queued, self.errors = [], []

    def ask(self, count):
        for turn in range(count):
            command = self.draw.choice(COMMANDS)
            try:
                command(self, f"c{self.number}t{turn}")
                self.done[command.__name__] += 1
            except REFUSALS:
                self.refused[command.__name__] += 1
            except Exception as error:  # noqa: BLE001 - it is told at the end
                self.errors.append((command.__name__, repr(error)))
            time.sleep(self.draw.choice((0, 0, 0.002, 0.02)))

    def setup(self):
        return self.draw.choice((SHORT, ENDLESS))

    def any_run(self):
        ids = sorted(run.id for run in self.lab.runs.store.all())
        return self.draw.choice(ids) if ids else "none-1"

    def named(self):
        """A run, or none: what buttons mean then."""
        return self.draw.choice((None, self.any_run()))


def initialize(client, name):
    client.lab.trainings.initialize(client.setup(), name)


def start(client, name):
    client.lab.trainings.start(client.setup(), name)


def start_over(client, name):
    client.lab.trainings.start_over(client.setup(), name)


def pause(client, name):
    client.lab.trainings.pause(client.named())


def resume(client, name):
    client.lab.trainings.resume(client.named())


def toggle(client, name):
    client.lab.trainings.pause_or_resume(client.named())


def stop(client, name):
    client.lab.trainings.stop(run_id=client.named())


def keep(client, name):
    client.lab.trainings.keep(client.named())


def rate(client, name):
    client.lab.trainings.set_learning_rate(client.draw.choice((1e-3, 1e-4)), client.named())


def extend(client, name):
    client.lab.trainings.extend(client.any_run(), 3)


def branch(client, name):
    parent = client.any_run()
    point = client.lab.runs.open(parent).resume_points()
    if point:
        client.lab.trainings.branch(parent, point[0].name, client.setup(), name)


def enqueue(client, name):
    client.lab.trainings.enqueue(SHORT, name)
    client.queued.append(name)


def enqueue_more(client, name):
    item = extension(client.lab.runs.store, client.any_run(), 2)
    client.lab.trainings.add_to_queue(item)


def enqueue_branch(client, name):
    parent = client.any_run()
    point = client.lab.runs.open(parent).resume_points()
    if point:
        item = branching(client.lab.runs.store, parent, point[0].name, SHORT, name)
        client.lab.trainings.add_to_queue(item)
        client.queued.append(name)


def run_queue(client, name):
    client.lab.trainings.run_queue()


def at_once(client, name):
    client.lab.trainings.set_at_once(client.draw.choice((1, 1, 2, 3)))


def delete(client, name):
    client.lab.runs.delete(client.any_run())


def race(client, name):
    client.lab.trainings.stop_race(client.lab.trainings.race("race", {"a": ENDLESS, "b": SHORT}))


def look(client, name):
    client.lab.runs.view()
    client.lab.runs.all()
    client.lab.trainings.has_room()
    client.lab.trainings.interrupted()


COMMANDS = [
    *(initialize, start, start, start, start_over, start_over, pause, resume, toggle, toggle, stop),
    *(stop, keep, rate, extend, extend, branch, enqueue, enqueue, enqueue_more, enqueue_branch),
    *(run_queue, at_once, delete, race, look, look),
]


def storm(home, monkeypatch, seed, commands):
    """What came of three clients that asked for so many commands each."""
    made, pace, prepare = [], random.Random(seed), LiveRun.prepare

    def slowly(owner, name):
        """Let others come between the steps of a beginning, as they do with large models."""
        work = getattr(owner, name)

        def slow(*args):
            time.sleep(pace.choice((0, 0.01, 0.05)))
            return work(*args)

        slowed.setattr(owner, name, slow)

    def noted(run, *args):
        made.append(run)
        prepare(run, *args)

    with monkeypatch.context() as slowed:
        slowly(preparing, "build_model")
        slowly(RunStore, "create")
        slowly(LiveRun, "_go_on")
        slowed.setattr(LiveRun, "prepare", noted)
        lab = Lab(home)
        try:
            clients = [Client(lab, number, seed) for number in range(3)]
            threads = [threading.Thread(target=one.ask, args=(commands,)) for one in clients]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [error for one in clients for error in one.errors] == []
            what_trains_is_what_is_listed(lab, made)
            nothing_queued_is_lost(lab, clients)
            everything_can_be_stopped(lab, made)
        finally:
            lab.close()
    return counts(clients, made)


def what_trains_is_what_is_listed(lab, made):
    for item in lab.trainings.queue.list():  # so that nothing begins while it is looked at
        lab.trainings.queue.set_problem(item.id, "The storm is over.")
    assert lab.trainings.wait(120)
    until(lambda: all(rests(run) for run in made), "a training neither goes on nor ends")
    assert lab.trainings.wait(120)
    listed = {id(run) for run in lab.trainings._lanes}
    unlisted = [run.status for run in made if run.busy and id(run) not in listed]
    assert unlisted == [], "these train, and no page can stop them"
    busy = {run.status.run_id: run for run in made if run.busy}
    assert {run.id for run in lab.runs.store.all() if run.is_held()} == {*busy}
    lab.runs.refresh()
    states = {run.id: run.state for run in lab.runs.all() if run.state in ("running", "paused")}
    assert states == {run_id: run.status.state for run_id, run in busy.items()}
    assert lab.trainings.elsewhere() is None
    for run_id, run in busy.items():
        assert lab.trainings.live(run_id) is run
        assert lab.runs.view(run_id).here


def rests(run):
    """Whether it stays as it is while nobody asks anything of it."""
    endless = run.setup.train.steps == ENDLESS.train.steps
    return not run.busy or run.status.state == "paused" or (run.active and endless)


def nothing_queued_is_lost(lab, clients):
    made = [json.loads(path.read_text()) for path in lab.home.glob("*/*/run.json")]
    began = [run["recipe"] for run in made if kind(run.get("seams", [])) != "extended"]
    waits = [item.recipe for item in lab.trainings.queue.list() if item.kind != "extended"]
    for name in [name for one in clients for name in one.queued]:
        assert began.count(name) + waits.count(name) == 1, name


def kind(seams):
    """How a run left its parent; one that was extended has its parent's recipe."""
    return seams[-1]["kind"] if seams else "new"


def everything_can_be_stopped(lab, made):
    def stopped():
        with contextlib.suppress(LabError):
            lab.trainings.stop("Enough.")
        return not any(run.busy for run in made)

    until(stopped, "a training cannot be stopped")
    assert lab.trainings.wait(120)
    assert [run.id for run in lab.runs.store.all() if run.is_held()] == []
    assert not any(run.active for run in made)
    lab.runs.refresh()
    assert {run.state for run in lab.runs.all()} <= {
        "finished",
        "stopped",
        "failed",
        "interrupted",
    }


def counts(clients, made):
    done = sum(one.done.total() for one in clients)
    refused = sum(one.refused.total() for one in clients)
    ends = Counter(run.status.state for run in made)
    return {"done": done, "refused": refused, "trainings": len(made), **ends}


def new_seed():
    return int(os.environ.get("STORM_SEED", random.SystemRandom().randrange(10**6)))


def test_in_a_storm_of_commands_what_trains_is_listed_and_can_be_stopped(tmp_path, monkeypatch):
    seed = new_seed()
    print(f"STORM_SEED={seed}")  # noqa: T201
    seen = storm(tmp_path, monkeypatch, seed, 30)
    print(seen)  # noqa: T201
    assert seen["done"] > 0


@pytest.mark.slow
def test_in_long_storms_too(tmp_path, monkeypatch, capsys):
    first = new_seed()
    for seed in range(first, first + 10):
        print(f"STORM_SEED={seed}")  # noqa: T201
        seen = storm(tmp_path / str(seed), monkeypatch, seed, 200)
        with capsys.disabled():
            print(f"\nstorm {seed}: {seen}")  # noqa: T201
