"""The lab: trainings from Start to the last save, and what is left of them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
import torch

from small import ENDLESS, SETUP, TINY
from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training import sampling
from transformer_lab.lab.training.worker import Worker
from transformer_lab.model import GPT, ModelConfig, build_model
from transformer_lab.runs.run import Run, RunNotFoundError
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.training import TrainConfig, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS
from waiting import PATIENCE, ended, until


def steps(lab):
    return lab.trainings.current.status.step


def test_a_training_has_every_step_on_disk(lab):
    lab.trainings.start(SETUP, "my recipe")
    status = ended(lab)
    assert (status.state, status.step) == ("finished", 30)
    run = RunStore(lab.home).open(status.run_id)
    points, cursor = run.since()
    assert points == lab.trainings.current.stream.since()[0]
    assert [point.step for point in points] == list(range(1, 31))
    assert run.since(cursor) == ([], cursor)
    assert [p.step for p in points if p.validation_loss is not None] == [10, 20, 30]
    assert run.id == "my-recipe-1"
    manifest = json.loads((run.folder / "run.json").read_text())
    assert manifest["setup"] == SETUP.to_mapping()
    assert manifest["corpus"]["name"] == "python_docs"
    until(lambda: run.latest_sample() is not None)


def test_start_takes_the_initialized_model(lab):
    lab.trainings.initialize(SETUP)
    until(lambda: lab.trainings.current.status.state == "ready")
    first = lab.trainings.current
    lab.trainings.start(SETUP.with_values({"train.steps": 5}))
    assert ended(lab).state == "finished"
    assert lab.trainings.current is first
    assert steps(lab) == 5


def test_the_untrained_model_writes_once_it_is_initialized_and_that_is_its_first_sample(lab):
    lab.trainings.initialize(SETUP)
    until(lambda: lab.runs.view().sample is not None and lab.runs.view().state == "ready")
    first = lab.runs.view().sample
    assert (first.step, first.prompt, len(first.text)) == (0, "The ", 10)
    assert not list(lab.runs.store.folder.glob("*"))  # nothing is stored of it before the start
    lab.trainings.start(SETUP)
    run = lab.runs.open(ended(lab).run_id)
    until(lambda: run.samples())
    assert run.samples()[0] == first


def test_a_first_sample_that_comes_after_the_start_is_kept_with_its_run(lab, monkeypatch):
    begun = threading.Event()
    write = sampling.write

    def slow(*given):
        begun.wait(PATIENCE)
        yield from write(*given)

    monkeypatch.setattr(sampling, "write", slow)
    lab.trainings.initialize(SETUP)
    until(lambda: lab.trainings.current.status.state == "ready")
    lab.trainings.start(SETUP)
    run = lab.runs.open(ended(lab).run_id)  # the training has not waited for it
    begun.set()
    until(lambda: [sample for sample in run.samples() if sample.step == 0])
    until(lambda: lab.runs.view().sample and lab.runs.view().sample.step == 30)


def test_pause_rests_and_resume_goes_on(lab):
    lab.trainings.start(ENDLESS)
    until(lambda: steps(lab) > 3)
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    rested = steps(lab)
    for _ in range(20):  # rounds of the worker, in each of which a run that trains takes a step
        turn = threading.Event()
        lab.trainings.submit(turn.set)
        assert turn.wait(PATIENCE)
    assert steps(lab) == rested
    assert lab.runs.open(lab.trainings.current.status.run_id).checkpoints()
    lab.trainings.resume()
    until(lambda: steps(lab) > rested)
    lab.trainings.stop()
    assert ended(lab).state == "stopped"


def test_a_second_start_is_refused_and_says_what_runs(lab):
    lab.trainings.start(ENDLESS, "first")
    until(lambda: steps(lab) > 0)
    for attempt in (lab.trainings.start, lab.trainings.initialize):
        with pytest.raises(LabError, match="first-1 is running"):
            attempt(SETUP)
    assert lab.trainings.current.status.state == "running"


def test_starting_over_keeps_the_old_run_and_begins_a_new_one(lab):
    lab.trainings.start(ENDLESS, "one")
    until(lambda: steps(lab) > 0)
    lab.trainings.start_over(SETUP, "one")
    assert ended(lab).run_id == "one-2"
    assert {run.id: run.state for run in lab.runs.store.list()} == {
        "one-1": "stopped",
        "one-2": "finished",
    }


def test_a_new_learning_rate_takes_effect_and_is_recorded(lab):
    lab.trainings.start(ENDLESS.with_values({"train.schedule": "constant"}))
    until(lambda: steps(lab) > 2)
    assert lab.trainings.set_learning_rate("1e-5") == 1e-5
    until(lambda: lab.trainings.current.stream.latest()[-1].learning_rate == 1e-5)
    lab.trainings.stop()
    run = lab.runs.open(ended(lab).run_id)
    assert run.events("learning_rate")[0][1] == "1e-05"
    with pytest.raises(LabError, match="Nothing here is"):
        lab.trainings.set_learning_rate(1e-3)


def test_closing_the_lab_saves_what_runs(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(ENDLESS)
    until(lambda: steps(lab) > 2)
    lab.close()
    run = RunStore(tmp_path).open("latest")
    assert run.state() == ("interrupted", "The lab was closed.")
    assert len(run.checkpoints()) == 1


def test_a_new_lab_writes_with_an_old_run(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(SETUP)
    name = ended(lab).run_id
    lab.close()
    lab = Lab(tmp_path)
    try:
        config = SampleConfig(prompt="The ", length=40, seed=3)
        texts = []
        for _ in range(2):
            job, snapshot = lab.models.generate(name, config)
            assert job.wait(PATIENCE)
            texts.append("".join(job.since()[0]))
        assert len(texts[0]) == 40
        assert texts[0] == texts[1]
        assert (snapshot.run_id, snapshot.step) == (name, 30)
        with pytest.raises(UnknownTextError):
            lab.models.generate(name, SampleConfig(prompt="\x07"))
        assert lab.models.without_unknown(name, SampleConfig(prompt="a\x07b")).prompt == "ab"
        with pytest.raises(ConfigError, match="Prompt is empty"):
            lab.models.generate(name, SampleConfig(prompt=""))
    finally:
        lab.close()


def test_a_damaged_save_is_passed_over_for_the_one_before(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(ENDLESS)
    until(lambda: steps(lab) > 2)
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    lab.trainings.resume()
    first = steps(lab)
    until(lambda: steps(lab) > first)
    lab.trainings.stop()
    name = ended(lab).run_id
    lab.close()
    older, newest = RunStore(tmp_path).open(name).checkpoints()
    weights = bytearray((newest / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (newest / "weights.safetensors").write_bytes(weights)
    assert read_again(tmp_path, name).step == int(older.name.split("-")[1])
    (older / "meta.json").unlink()
    with pytest.raises(LabError, match=r"damaged.*not a whole checkpoint"):
        read_again(tmp_path, name)


def read_again(home, name):
    lab = Lab(home)
    try:
        return lab.models.snapshot(name)
    finally:
        lab.close()


def test_the_best_weights_are_kept_and_written_with_when_asked(lab):
    text = b"ab" * 900 + b"cd" * 100  # what is learned at the beginning is wrong at the end
    entry = lab.texts.library.add(text, "changing.txt", "pasted")
    lab.trainings.start(
        SETUP.with_values(
            {
                "data.corpus": entry.id,
                "sample.prompt": "ab",
                "train.keep_best": True,
                "train.learning_rate": 0.01,
                "train.warmup_share": 0,
            }
        )
    )
    status = ended(lab)
    points = lab.runs.open(status.run_id).since()[0]
    losses = [point.validation_loss for point in points if point.validation_loss]
    assert losses[0] == min(losses)
    assert lab.models.snapshot(status.run_id).step == 10
    assert "step 10" in status.note
    assert read_again(lab.home, status.run_id).step == 10


def test_a_loss_of_exactly_nothing_is_a_loss(lab):
    entry = lab.texts.library.add(b"a" * 2000, "one letter.txt", "pasted")
    lab.trainings.start(SETUP.with_values({"data.corpus": entry.id, "sample.prompt": "a"}))
    ended(lab)
    lab.runs.refresh()
    (found,) = lab.runs.all()
    assert (lab.trainings.current.validation_loss, found.best_loss, found.bits_per_byte) == (
        0,
        0,
        0,
    )
    lab.trainings.extend(
        found.id, "5"
    )  # in which no loss is lower, so the best weights stay those of step 10
    until(lambda: lab.trainings.current.status.run_id != found.id and lab.trainings.current.ended)
    assert lab.runs.open(lab.trainings.current.status.run_id).checkpoint("best-00000010")


def test_a_full_disk_gives_a_note_and_training_goes_on(lab, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    lab.trainings.start(ENDLESS)
    until(lambda: steps(lab) > 2)
    monkeypatch.setattr("transformer_lab.lab.training.saves.save_checkpoint", full)
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    assert "could not be saved: No space left on device" in lab.trainings.current.status.note
    monkeypatch.undo()
    lab.trainings.resume()
    lab.trainings.stop()
    assert ended(lab).state == "stopped"
    assert lab.runs.open(lab.trainings.current.status.run_id).checkpoints()


def test_a_loss_that_is_no_number_fails_the_run_and_keeps_the_weights(lab, monkeypatch):
    computed, calls = GPT.loss, []

    def spoiled(self, tokens, targets):
        calls.append(1)
        return computed(self, tokens, targets) * (float("nan") if len(calls) == 8 else 1.0)

    monkeypatch.setattr(GPT, "loss", spoiled)
    lab.trainings.start(SETUP.with_values({"train.evaluate_every": 1000}))
    status = ended(lab)
    assert (status.state, status.step) == ("failed", 7)
    assert "step 8 the loss was no longer a finite number" in status.reason
    assert "try" in status.reason
    weights = lab.models.snapshot(status.run_id).weights
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    monkeypatch.undo()
    lab.trainings.start(SETUP)  # the worker lives
    assert ended(lab).state == "finished"


def test_an_error_while_preparing_fails_the_run_not_the_lab(lab, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("by hand")

    with monkeypatch.context() as broke:
        broke.setattr("transformer_lab.lab.training.preparing.build_model", broken)
        lab.trainings.start(SETUP)
        assert ended(lab).reason == "ZeroDivisionError: by hand"
    lab.trainings.start(SETUP)
    assert ended(lab).state == "finished"


def test_a_cache_that_cannot_be_written_costs_only_time(lab, monkeypatch):
    def full(*args, **options):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(lab.texts._cache._cache, "set", full)
    monkeypatch.setattr(lab.texts._cache._cache, "get", full)
    lab.trainings.start(SETUP)
    assert ended(lab).state == "finished"
    assert lab.texts.overlap("python_docs", 0.1) > 0


def test_an_error_in_a_step_fails_the_run_not_the_lab(lab, monkeypatch):
    def broken(self, tokens, targets):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(GPT, "loss", broken)
    lab.trainings.start(SETUP)
    assert ended(lab).reason == "ZeroDivisionError: by hand"
    monkeypatch.undo()
    lab.trainings.start(SETUP)
    assert ended(lab).state == "finished"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model.sequence_length": 4096, "data.validation_share": 0.01}, "model.sequence_length"),
        ({"data.corpus": "/nowhere/book.txt"}, "data.corpus"),
        ({"train.device": "cuda"}, "train.device"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_happens(lab, change, field, tmp_path):
    (tmp_path / "short.txt").write_text("A short text, of which a part is held back. " * 9)
    setup = SETUP.with_values({"data.corpus": str(tmp_path / "short.txt"), **change})
    if torch.cuda.is_available() and "train.device" in change:
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError) as caught:
        lab.trainings.start(setup)
    assert caught.value.field == field
    assert lab.trainings.current is None


def test_a_home_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--home") as caught:
        Lab(tmp_path / "file" / "home")
    assert caught.value.field == "home"


def command(home, *extra):
    """A training in a process of its own."""
    settings = [f"--set={key}={value}" for key, value in TINY.items() if key != "train.steps"]
    line = [sys.executable, "-m", "transformer_lab.cli", "train", "--home", str(home), *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*line, *extra], env=environment, stdout=subprocess.DEVNULL)


def test_a_run_of_another_process_is_followed_and_when_killed_called_interrupted(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(SETUP)
    own = ended(lab).run_id
    assert lab.runs.view().run_id == own
    process = command(tmp_path, "--steps", "1000000")
    try:
        until(lambda: lab.trainings.elsewhere() is not None)
        name = lab.trainings.elsewhere().id
        until(lambda: len(lab.runs.since(name)[0]) > 5)
        seen, cursor = lab.runs.since(name)
        until(lambda: len(lab.runs.since(name, cursor)[0]) > 0)
        assert lab.runs.since(name, cursor)[0][0].step == seen[-1].step + 1
        assert lab.runs.view().run_id == name
        assert not lab.runs.view().here
        until(lambda: lab.trainings.remote(name))
        lab.trainings.pause(name)
        until(lambda: lab.runs.open(name).state()[0] == "paused")
        lab.trainings.resume(name)
        until(lambda: lab.runs.open(name).state()[0] == "running")
        with pytest.raises(LabError, match="another program"):
            lab.trainings.start(SETUP)
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: lab.trainings.elsewhere() is None)
        assert lab.runs.open(name).state()[0] == "interrupted"
        assert [p.step for p in lab.runs.since(name)[0]][: len(seen)] == [p.step for p in seen]
        lab.trainings.start(SETUP)
        assert ended(lab).state == "finished"
    finally:
        process.kill()
        lab.close()


@pytest.mark.parametrize("name", ["../secret", "", "No Such", "latest"])
def test_a_run_that_is_not_there_is_reported_to_be_missing(lab, name):
    with pytest.raises(RunNotFoundError):
        lab.runs.open(name)


def test_spoiled_run_folders_break_no_other(lab):
    lab.trainings.start(SETUP)
    good = ended(lab).run_id
    for name, content in (("bad-json-1", "{"), ("bad-json-2", "[]"), ("no-database-1", "{}")):
        (lab.runs.store.folder / name).mkdir()
        (lab.runs.store.folder / name / "run.json").write_text(content)
    states = {run.id: run.state for run in lab.runs.store.list()}
    damaged = dict.fromkeys(("bad-json-1", "bad-json-2", "no-database-1"), "damaged")
    assert states == damaged | {good: "finished"}


class Training:
    """A training as a lane of the worker."""

    def __init__(self, seed):
        config = TrainConfig(steps=12, batch_size=4, seed=seed)
        shape = ModelConfig(layers=1, heads=2, embedding_dim=16, sequence_length=16, dropout=0.1)
        tokens = torch.tensor([ord(c) % 32 for c in "to be or not to be, that is it. " * 40])
        self.model = build_model(shape, 32, seed=seed)
        batches = Batches(tokens, 4, 16, seed)
        optimizer = OPTIMIZERS["adamw"](self.model, config)
        self.steps = train(self.model, optimizer, batches, batches, config)
        self.losses, self.ended, self.error = [], False, None

    @property
    def active(self):
        return not self.ended

    def advance(self):
        for metrics in self.steps:
            self.losses.append(metrics.train_loss)
            return
        self.ended = True

    def fail(self, error):
        self.error, self.ended = error, True


def trained(*seeds):
    """Trainings with these seeds, advanced in turn by one worker."""
    trainings, worker = [Training(seed) for seed in seeds], Worker()
    worker.submit(lambda: [worker.add(training) for training in trainings])
    until(lambda: all(training.ended for training in trainings))
    assert worker.close(10)
    assert [training.error for training in trainings] == [None] * len(seeds)
    return trainings


def test_two_trainings_in_turn_equal_the_same_two_alone_bit_for_bit():
    together = trained(1, 2)
    alone = [*trained(1), *trained(2)]
    for one, other in zip(together, alone, strict=True):
        assert one.losses == other.losses
        for name, weight in one.model.state_dict().items():
            assert torch.equal(weight, other.model.state_dict()[name])
    assert together[0].losses != together[1].losses


def test_a_lab_closed_while_it_prepares_leaves_no_run_unfinished(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(ENDLESS)
    lab.close()
    assert [run.state for run in RunStore(tmp_path).list()] in ([], ["interrupted"])


def test_a_run_that_cannot_record_its_end_waits_until_it_can(tmp_path, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(
        "sqlite3.connect", lambda path, **options: connect(path, **options | {"timeout": 0.01})
    )
    lab = Lab(tmp_path)
    lab.trainings.start(ENDLESS)
    until(lambda: lab.trainings.current.status.step > 3)
    folder = RunStore(tmp_path).folder / lab.trainings.current.status.run_id
    blocker = connect(folder / "metrics.sqlite", isolation_level=None, timeout=10)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        lab.trainings.stop()
        until(lambda: lab.trainings.current.unsaved)
        assert lab.trainings.current.status.state == "paused"
        assert "locked" in lab.trainings.current.status.reason
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    lab.trainings.stop()
    assert ended(lab).state == "stopped"
    assert Run(folder).state()[0] == "stopped"
    lab.close()
