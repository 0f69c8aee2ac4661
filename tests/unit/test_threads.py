"""How many CPU threads a training computes on: measured, recorded, kept, lowered."""

import itertools
import json
import shutil
import time

import pytest

from transformer_lab.lab.cost import threads
from transformer_lab.lab.cost.threads import StepComparison, ThreadChoice
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.views import stored_threads
from transformer_lab.recipes import Setup
from transformer_lab.training import Change, LiveSettings

COUNTS = [1, 2, 4, 8, 16]
# Large enough that its sums round by the number of threads.
SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 32,
        "model.sequence_length": 64,
        "train.batch_size": 64,
        "train.steps": 8,
        "train.evaluate_every": 4,
        "train.evaluation_batches": 1,
        "train.save_every": 4,
        "train.save_minutes": 0,
        "sample.length": 5,
        "sample.prompt": "The ",
    }
)


def ended(lab):
    deadline = time.monotonic() + 60
    while not lab.trainings.current.ended:
        assert time.monotonic() < deadline, "it did not end in time"
        time.sleep(0.005)
    assert lab.trainings.current.status.state in ("finished", "stopped"), (
        lab.trainings.current.status.reason
    )
    return lab.runs.open(lab.trainings.current.status.run_id)


class Computer:
    """Seconds that a step and a short product take on each count, as other programs come and go."""

    def __init__(self, step, product=None):
        self.step, self.product = step, product or step
        self.slowest = 0.0

    def timing(self, count):
        return self.product[count] / 1000

    def train(self, choice, steps, begin=1):
        """Seconds that so many steps take."""
        total = 0.0
        for number in range(begin, begin + steps):
            seconds = self.step[choice.count]
            self.slowest = max(self.slowest, seconds)
            choice.took(number, seconds)
            total += seconds
        return total


QUIET = {1: 0.8, 2: 0.4, 4: 0.2, 8: 0.1, 16: 0.06}
SMALL = {1: 0.002, 2: 0.002, 4: 0.003, 8: 0.004, 16: 0.006}
CROWDED = {1: 0.8, 2: 0.4, 4: 0.21, 8: 0.1, 16: 5.0}  # one more thread than there are free cores
FULL = {1: 0.3, 2: 9.0, 4: 12.0, 8: 14.0, 16: 20.0}


@pytest.mark.parametrize(
    ("step", "best"),
    [(QUIET, 16), (SMALL, 1), (CROWDED, 8), (FULL, 1)],
    ids=["quiet", "small", "crowded", "full"],
)
def test_the_fastest_count_is_found_and_the_search_costs_little(step, best):
    computer = Computer(step)
    choice = ThreadChoice(COUNTS, computer.timing)
    seconds = computer.train(choice, 120)
    assert choice.count == best
    assert seconds <= 1.3 * 120 * step[best]


def test_a_count_that_is_hopeless_for_a_short_product_computes_no_step():
    computer = Computer(FULL)
    choice = ThreadChoice(COUNTS, computer.timing)
    computer.train(choice, 20)
    assert computer.slowest == FULL[1]


def test_one_slow_moment_of_the_fastest_count_does_not_exclude_it():
    comparison = StepComparison([2, 1])
    for seconds in itertools.chain([0.12, 0.05, 0.05], itertools.repeat(0.05)):
        if comparison.done:
            break
        comparison.took(seconds if comparison.count == 2 else 2 * seconds)
    assert comparison.count == 2


def test_a_pace_that_collapses_lowers_the_number_with_a_note():
    computer = Computer(QUIET)
    choice = ThreadChoice(COUNTS, computer.timing)
    computer.train(choice, 100)
    assert (choice.count, choice.notes) == (16, [])
    computer.step = computer.product = FULL
    computer.train(choice, 5, begin=101)
    assert choice.count == 1
    (note,) = choice.notes
    assert "slow at step 101" in note
    assert "on 1 instead of 16 CPU threads" in note


def test_steps_that_are_slow_on_any_number_change_nothing():
    computer = Computer(QUIET)
    choice = ThreadChoice(COUNTS, computer.timing)
    computer.train(choice, 100)
    computer.step = computer.product = {count: 20 * s for count, s in QUIET.items()}
    computer.train(choice, 100)
    assert (choice.count, choice.notes) == (16, [])


def test_more_threads_are_tried_again_when_the_computer_may_be_free():
    computer = Computer(FULL)
    choice = ThreadChoice(COUNTS, computer.timing)
    computer.train(choice, 100)
    assert choice.count == 1
    computer.step = computer.product = QUIET
    computer.train(choice, 200)
    assert choice.count == 16
    assert "on 16 instead of 1" in choice.notes[-1]


def test_candidates_are_powers_of_two_and_the_cores(monkeypatch):
    for cores, counts in ((1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])):
        monkeypatch.setattr(threads, "physical_cores", lambda cores=cores: cores)
        assert threads.candidates() == counts


def test_recorded_threads_are_made_again_at_their_step():
    live = LiveSettings(threads=2, replay=[Change(3, "threads", 1.0)])
    live.before(3)
    assert live.threads == 2
    live.before(4)
    assert live.threads == 1


class ChangingChoice(ThreadChoice):
    """Other programs come and go: another count every two steps."""

    def __init__(self, counts, timing, current=None, usual=None):
        super().__init__([2], timing, current or 2, usual)

    def took(self, step, seconds):
        self.count = 1 if step % 4 in (2, 3) else 2


def numbers(run):
    return [(p.step, p.train_loss, p.gradient_norm, p.validation_loss) for p in run.since()[0]]


def test_every_change_is_recorded_and_made_again_when_resumed(lab, monkeypatch):
    monkeypatch.setattr(threads, "physical_cores", lambda: 2)
    monkeypatch.setattr(threads, "ThreadChoice", ChangingChoice)
    lab.trainings.start(SETUP, "whole")
    whole = ended(lab)
    assert whole.manifest["threads"] == 2
    assert whole.events("threads")[:3] == [(2, "1"), (4, "2"), (6, "1")]
    expected = numbers(whole)
    with whole.reading() as database, database:
        database.execute("UPDATE events SET detail = replace(detail, 'finished', 'interrupted')")
    for folder in whole.checkpoints():
        if not folder.name.endswith("4"):
            shutil.rmtree(folder)

    monkeypatch.undo()  # what is taken again is so whatever this computer is like by now
    lab.trainings.resume(whole.id)
    again = ended(lab)
    assert numbers(again) == expected
    assert again.events("threads")[:3] == [(2, "1"), (4, "2"), (6, "1")]
    lab.trainings.start(SETUP.with_values({"train.threads": 1}), "control")
    assert numbers(ended(lab)) != expected  # or the comparison would see nothing


def test_what_was_measured_is_recorded_said_and_kept_on_resume(lab, monkeypatch):
    monkeypatch.setattr(threads, "physical_cores", lambda: 2)
    advance = LiveRun.advance

    def until_measured(self):
        advance(self)
        if (
            self.active
            and self.writer.folder
            and lab.runs.open(self.status.run_id).events(threads.MEASURED)
        ):
            self.stop()

    monkeypatch.setattr(LiveRun, "advance", until_measured)
    lab.trainings.start(SETUP.with_values({"train.steps": 1000}), "measured")
    run = ended(lab)
    monkeypatch.setattr(LiveRun, "advance", advance)
    facts = json.loads(run.events(threads.MEASURED)[0][1])
    assert facts["threads"] in (1, 2)
    words = stored_threads(run)
    assert words.startswith(f"{facts['threads']} of ")
    assert words.endswith("threads, measured")
    assert lab.runs.view(run.id).threads == words

    def at_once(self):
        advance(self)
        self.stop()

    monkeypatch.setattr(LiveRun, "advance", at_once)
    lab.trainings.resume(run.id)
    run = ended(lab)
    assert lab.trainings.current.threads == facts["threads"] == run.threads()


@pytest.mark.parametrize("changes", [{"train.threads": 1}, {"train.deterministic": True}])
def test_a_number_that_was_asked_for_and_a_repeatable_run_are_never_measured(
    lab, monkeypatch, changes
):
    monkeypatch.setattr(threads, "physical_cores", lambda: 2)
    monkeypatch.setattr(threads, "ThreadChoice", None)
    lab.trainings.start(SETUP.with_values(changes), "fixed")
    run = ended(lab)
    assert run.manifest["threads"] == run.threads() == changes.get("train.threads", 2)
    assert run.events("threads") == run.events(threads.MEASURED) == []
    assert not stored_threads(run).endswith("measured")


def test_a_run_from_a_computer_with_more_cores_is_measured_anew(lab, monkeypatch):
    monkeypatch.setattr(threads, "physical_cores", lambda: 2)
    monkeypatch.setattr(threads, "ThreadChoice", ChangingChoice)
    stop = LiveRun.advance

    def after_three(self):
        stop(self)
        if self.status.step == 3:
            self.stop()

    monkeypatch.setattr(LiveRun, "advance", after_three)
    lab.trainings.start(SETUP, "elsewhere")
    run = ended(lab)
    monkeypatch.undo()
    path = run.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threads": 64}))
    with run.reading() as database, database:
        database.execute("DELETE FROM events WHERE kind = 'threads'")
    monkeypatch.setattr(threads, "physical_cores", lambda: 1)
    lab.trainings.resume(run.id)
    assert ended(lab).threads() == 1


CHANGED_AFTER_INITIALIZE = {
    "train.threads": 2,
    "train.batch_size": 5,
    "train.micro_batch": 2,
    "train.steps": 4,
    "train.optimizer": "muon",
    "train.learning_rate": 0.003,
    "train.weight_decay": 0.2,
    "train.gradient_clip": 0.1,
    "train.schedule": "linear",
    "train.evaluate_every": 2,
    "train.evaluation_batches": 2,
    "train.precision": "bfloat16",
    "train.deterministic": True,
    "sample.length": 6,
}


def test_what_is_set_after_initialize_is_what_start_trains_with_and_records(lab):
    lab.trainings.initialize(SETUP.with_values({"train.threads": 1}), "late")
    lab.trainings.wait(60)
    ready = lab.trainings.current
    setup = SETUP.with_values(CHANGED_AFTER_INITIALIZE)
    lab.trainings.start(setup, "late")
    late = ended(lab)
    assert lab.trainings.current is ready
    assert lab.trainings.current.threads == late.manifest["threads"] == 2
    lab.trainings.start(setup, "direct")
    direct = ended(lab)
    assert numbers(late) == numbers(direct)
    differing = ("id", "created", "order", "recipe", "environment")
    one, other = (
        {key: value for key, value in run.manifest.items() if key not in differing}
        for run in (late, direct)
    )
    assert one == other
