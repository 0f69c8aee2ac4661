"""Exact resume: a training that was cut off ends as if it had never been, bit for bit."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from resumed import (
    SETUP,
    crash_back_to,
    curve,
    forget_the_end,
    numbers,
    rewrite,
    uninterrupted,
    weights,
    without_memory,
)
from sampling import sampled
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training import saves
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.model import GPT
from transformer_lab.runs.checkpoint import (
    CheckpointError,
    load_training,
)
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.training import Change, LiveSettings
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS
from transformer_lab.training.schedule import SCHEDULES
from waiting import ended, until


@contextlib.contextmanager
def after_step(monkeypatch, step, act):
    """Do something with a training, on its own thread, right after a step."""
    advance = LiveRun.advance

    def acting(self):
        advance(self)
        if self.status.step == step and self.active:
            act(self)

    with monkeypatch.context() as patched:
        patched.setattr(LiveRun, "advance", acting)
        yield


def cut_off(lab, setup, monkeypatch, at):
    """A run that is stopped right after a step."""
    with after_step(monkeypatch, at, LiveRun.stop):
        lab.trainings.start(setup, "cut")
        status = ended(lab)
    assert (status.state, status.step) == ("stopped", at)
    return status.run_id


def same_weights(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


PAIRS = [
    *({"train.optimizer": name} for name in OPTIMIZERS),
    *({"train.schedule": name} for name in SCHEDULES),
    *({"data.tokenizer": t, "train.optimizer": "muon"} for t in TOKENIZERS if t != "gpt2"),
    *({"model.dropout": d, "train.optimizer": o} for d in (0.0, 0.5) for o in OPTIMIZERS),
    {"train.micro_batch": 3, "train.gradient_clip": 0.0},
    {"train.precision": "bfloat16"},
    {"model.positions": "rotary", "model.qk_norm": True, "model.smear": 2, "model.zero_init": True},
    {"model.norm": "rms_norm", "model.norm_place": "post", "model.tied_head": True},
    {"model.ngrams": 2, "train.optimizer": "muon"},
    {"train.keep_best": True, "train.deterministic": True},
    {"train.learning_rule": "pc", "model.dropout": 0.1},
    {"model.feedforward": "pc", "train.optimizer": "muon"},
    {"model.architecture": "pc_dual", "model.positions": "pc"},
    {"model.causal": False, "model.dropout": 0.5},
]


@pytest.mark.parametrize("changes", sampled(PAIRS, 9), ids=lambda c: "-".join(map(str, c.values())))
def test_a_run_stopped_and_resumed_equals_one_that_never_was(lab, monkeypatch, changes):
    setup = SETUP.with_values(changes)
    whole = uninterrupted(lab, setup)
    again = cut_off(lab, setup, monkeypatch, at=5)
    lab.trainings.resume(again)
    assert ended(lab).state == "finished"
    assert curve(lab, again) == curve(lab, whole)
    assert same_weights(weights(lab, whole), weights(lab, again))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_stopped_while_a_device_runs_ahead_is_saved_as_what_it_is(
    lab, monkeypatch, optimizer
):
    setup = SETUP.with_values({"train.optimizer": optimizer, "train.evaluate_every": 6})
    whole = uninterrupted(lab, setup)
    computed = Batches.__call__

    def stopping(self, step):
        if step == 5 and self.seed:
            lab.trainings.current.live.stop = True
            lab.trainings.stop()
        return computed(self, step)

    with monkeypatch.context() as patched:
        patched.setattr("transformer_lab.training.ahead.runs_ahead", lambda device: True)
        patched.setattr("transformer_lab.training.ahead.READ_SECONDS", 60.0)
        patched.setattr(Batches, "__call__", stopping)
        lab.trainings.start(setup, "ahead")
        status = ended(lab)
    assert (status.state, status.step) == ("stopped", 4)
    lab.trainings.resume(status.run_id)
    assert ended(lab).state == "finished"
    assert curve(lab, status.run_id) == curve(lab, whole)
    assert same_weights(weights(lab, whole), weights(lab, status.run_id))


def test_an_evaluation_that_stopping_cut_short_is_made_up_for(lab, monkeypatch):
    setup = SETUP.with_values({"train.keep_best": True})
    whole = uninterrupted(lab, setup)
    with monkeypatch.context() as short:
        short.setattr("transformer_lab.training.trainer.evaluate", lambda *_, **__: None)
        again = cut_off(lab, setup, monkeypatch, at=3)
    assert lab.runs.open(again).evaluated() == []
    lab.trainings.resume(again)
    assert ended(lab).state == "finished"
    assert curve(lab, again) == curve(lab, whole)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_after_the_last_save_are_taken_again_and_come_out_the_same(lab, optimizer):
    setup = SETUP.with_values({"train.optimizer": optimizer})
    whole = uninterrupted(lab, setup)
    again = uninterrupted(lab, setup)
    crash_back_to(lab, again, 8)
    forget_the_end(lab, again)
    lab.trainings.resume(again)
    assert ended(lab).state == "finished"
    assert curve(lab, again) == curve(lab, whole)
    run = lab.runs.open(again)
    facts = json.loads(run.events("resumed")[0][1])
    assert facts["steps_taken_again"] == 4
    assert run.attempts() == 1


def test_without_any_save_a_run_begins_again_and_comes_out_the_same(lab):
    whole = uninterrupted(lab, SETUP)
    again = uninterrupted(lab, SETUP)
    saves.shutil.rmtree(lab.runs.open(again).folder / "checkpoints")
    forget_the_end(lab, again)
    lab.trainings.resume(again)
    assert ended(lab).state == "finished"
    assert lab.runs.open(again).checkpoints()  # it has really trained again
    assert curve(lab, again) == curve(lab, whole)


def at_another_step(folder):
    tensors, progress = load_training(folder)
    rewrite(folder, tensors, progress | {"step": progress["step"] - 1})


@pytest.mark.parametrize("control", [without_memory, at_another_step], ids=lambda c: c.__name__)
def test_the_comparison_sees_what_a_careless_resume_would_lose(lab, control):
    whole = uninterrupted(lab, SETUP)
    again = uninterrupted(lab, SETUP)
    crash_back_to(lab, again, 8)
    forget_the_end(lab, again)
    control(lab.runs.open(again).checkpoints()[-1])
    lab.trainings.resume(again)
    assert ended(lab).state == "finished"
    assert curve(lab, again) != curve(lab, whole)


def test_the_comparison_sees_dropout_that_is_not_seeded_by_step(lab, monkeypatch):
    whole = uninterrupted(lab, SETUP)
    again = uninterrupted(lab, SETUP)
    crash_back_to(lab, again, 8)
    forget_the_end(lab, again)
    seeds = itertools.count(1)
    monkeypatch.setattr(
        "transformer_lab.training.trainer.dropout_seed", lambda *wanted: next(seeds)
    )
    lab.trainings.resume(again)
    assert ended(lab).state == "finished"
    assert curve(lab, again) != curve(lab, whole)


def with_rate(rate):
    return lambda run: run.set_learning_rate(rate)


@pytest.mark.parametrize("saved_at", [None, 8, 12], ids=["never", "before", "after"])
def test_a_learning_rate_changed_by_hand_is_changed_again(lab, monkeypatch, saved_at):
    """Whether the newest save was before the change, after it, or there is none."""
    setup = SETUP.with_values({"train.steps": 16, "train.schedule": "constant"})
    with after_step(monkeypatch, 9, with_rate(0.002)):
        run_id = uninterrupted(lab, setup)
    expected = curve(lab, run_id)
    assert [rate for _, _, _, rate, _ in expected] == [0.01] * 9 + [0.002] * 7
    if saved_at is None:
        saves.shutil.rmtree(lab.runs.open(run_id).folder / "checkpoints")
    else:
        for folder in lab.runs.open(run_id).checkpoints():
            saves.shutil.rmtree(folder)
        again = uninterrupted_until(lab, monkeypatch, setup, saved_at)
        kept = lab.runs.open(again).checkpoints()[-1]
        kept.rename(lab.runs.open(run_id).folder / "checkpoints" / kept.name)
    forget_the_end(lab, run_id)
    lab.trainings.resume(run_id)
    assert ended(lab).state == "finished"
    assert curve(lab, run_id) == expected


def uninterrupted_until(lab, monkeypatch, setup, step):
    """The same training, changed by hand in the same way, stopped at a step."""
    with after_step(monkeypatch, 9, with_rate(0.002)), after_step(monkeypatch, step, LiveRun.stop):
        lab.trainings.start(setup, "partly")
        return ended(lab).run_id


def test_a_change_made_after_resuming_replaces_those_recorded_for_later(lab, monkeypatch):
    setup = SETUP.with_values({"train.steps": 16, "train.schedule": "constant"})
    with after_step(monkeypatch, 12, with_rate(0.002)):
        run_id = uninterrupted(lab, setup)
    saves.shutil.rmtree(lab.runs.open(run_id).folder / "checkpoints")
    forget_the_end(lab, run_id)
    with after_step(monkeypatch, 2, with_rate(0.005)):
        lab.trainings.resume(run_id)
        assert ended(lab).state == "finished"
    assert lab.runs.open(run_id).since()[0][-1].learning_rate == 0.005
    assert [value for _, value in lab.runs.open(run_id).events("learning_rate")] == ["0.005"]


def test_memory_that_ran_out_halves_the_batch_again_at_the_same_step(lab, monkeypatch):
    computed, calls = GPT.loss, []

    def cramped(self, tokens, targets):
        if self.training:
            calls.append(len(tokens))
            if len(calls) > 6 and len(tokens) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return computed(self, tokens, targets)

    monkeypatch.setattr(GPT, "loss", cramped)
    whole = uninterrupted_with_notes(lab, SETUP)
    expected = curve(lab, whole)
    monkeypatch.undo()
    run = lab.runs.open(whole)
    assert run.events("micro_batch") == [(6, "2")]
    saves.shutil.rmtree(run.folder / "checkpoints")
    forget_the_end(lab, whole)
    lab.trainings.resume(whole)
    assert ended(lab).state == "finished"
    assert run.checkpoints()  # it has really trained again
    assert curve(lab, whole) == expected


def uninterrupted_with_notes(lab, setup):
    lab.trainings.start(setup, "whole")
    assert ended(lab).state == "finished"
    return lab.trainings.current.status.run_id


def test_recorded_changes_are_made_at_their_step():
    live = LiveSettings(replay=[Change(3, "learning_rate", 0.5), Change(5, "micro_batch", 2)])
    live.before(3)
    assert live.learning_rate is None
    live.before(4)
    assert (live.learning_rate, live.micro_batch) == (0.5, 0)
    live.before(9)
    assert (live.micro_batch, live.replay) == (2, [])


@pytest.mark.parametrize(
    "damage", ["weights.safetensors", "optimizer.safetensors", "progress.json"]
)
def test_a_damaged_save_is_named_set_aside_and_the_one_before_used(lab, damage):
    whole = uninterrupted(lab, SETUP)
    again = uninterrupted(lab, SETUP)
    run = lab.runs.open(again)
    spoiled = run.checkpoints()[-1]
    data = bytearray((spoiled / damage).read_bytes())
    data[-1] ^= 1
    (spoiled / damage).write_bytes(data)
    forget_the_end(lab, again)
    lab.trainings.resume(again)
    status = ended(lab)
    assert status.state == "finished"
    assert damage in status.note
    assert "The save before it was used" in status.note
    assert curve(lab, again) == curve(lab, whole)
    assert (run.folder / "checkpoints" / f"damaged-1-{spoiled.name}").is_dir()


def test_the_best_weights_outlive_a_crash(lab):
    text = b"ab" * 900 + b"cd" * 100  # what is learned at the beginning is wrong at the end
    entry = lab.texts.library.add(text, "changing.txt", "pasted")
    changes = {"data.corpus": entry.id, "train.keep_best": True, "sample.prompt": "ab"}
    setup = SETUP.with_values(changes | {"train.warmup_share": 0})
    whole, again = uninterrupted_with_notes(lab, setup), uninterrupted_with_notes(lab, setup)
    best = lab.runs.open(whole).best_checkpoints()[0].name
    assert best == "best-00000003"
    crash_back_to(lab, again, 8)
    forget_the_end(lab, again)
    lab.trainings.resume(again)
    assert ended(lab).state == "finished"
    assert lab.runs.open(again).best_checkpoints()[0].name == best
    assert lab.models.snapshot(again).step == 3


def test_a_text_that_changed_refuses_the_resume_and_leaves_the_run_as_it_was(lab, tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("It was the best of times, it was the worst of times.\n" * 40)
    setup = SETUP.with_values({"data.corpus": str(book), "sample.prompt": "It "})
    run_id = uninterrupted(lab, setup)
    crash_back_to(lab, run_id, 8)
    forget_the_end(lab, run_id)
    before = book.read_text()
    book.write_text("Call me Ishmael. Some years ago - never mind how long precisely.\n" * 40)
    lab.trainings.resume(run_id)
    status = ended(lab)
    assert (status.state, status.field) == ("failed", "data.corpus")
    assert "no longer the text this run began with" in status.reason
    assert lab.runs.open(run_id).state()[0] == "interrupted"
    assert not lab.runs.open(run_id).is_held()
    book.write_text(before)
    lab.trainings.resume(run_id)
    assert ended(lab).state == "finished"


def test_a_moment_that_is_kept_is_never_swept_away(lab, monkeypatch):
    setup = SETUP.with_values({"train.steps": 40, "train.save_every": 2})
    with after_step(monkeypatch, 3, LiveRun.keep):
        run = lab.runs.open(uninterrupted(lab, setup))
    assert [folder.name for folder in run.kept_checkpoints()] == ["kept-00000003"]
    assert load_training(run.kept_checkpoints()[0])[1]["step"] == 3
    assert len(run.checkpoints()) == 2


def test_saves_come_by_steps_and_by_the_clock(lab):
    saver = saves.Saves(Run(lab.home), SETUP.train, lambda words: None)
    assert [step for step in range(1, 9) if saver.due(step)] == [4, 5, 6, 7, 8]
    saver.started_at(4)
    assert not saver.due(5)
    assert saver.due(9)  # a GPU may be past the very step
    clocked = replace(SETUP.train, save_every=0, save_minutes=0.001)
    saver = saves.Saves(Run(lab.home), clocked, lambda words: None)
    assert not saver.due(1)
    until(lambda: saver.due(1))


@pytest.mark.parametrize("ending", ["stop", "pause", "close"])
def test_the_last_step_is_saved_whatever_ends_a_training(tmp_path, ending):
    lab = Lab(tmp_path)
    setup = SETUP.with_values({"train.steps": 100_000, "train.save_every": 0})
    lab.trainings.start(setup)
    until(lambda: lab.trainings.current.status.step > 3)
    run_id = lab.trainings.current.status.run_id
    if ending != "close":
        getattr(lab.trainings, ending)()
        until(lambda: lab.trainings.current.status.state in ("stopped", "paused"))
        assert lab.runs.open(run_id).checkpoints()
    lab.close()
    run = RunStore(tmp_path).open(run_id)
    newest = run.checkpoints()[-1]
    assert int(newest.name[5:]) == run.latest()[-1].step
    assert load_training(newest)[1]["step"] == run.latest()[-1].step


def test_a_closed_lab_offers_its_run_to_the_next_one(tmp_path):
    lab = Lab(tmp_path)
    lab.trainings.start(SETUP.with_values({"train.steps": 100_000}))
    until(lambda: lab.trainings.current.status.step > 3)
    lab.close()
    lab = Lab(tmp_path)
    try:
        (offered,) = lab.trainings.interrupted()
        assert (offered.state, offered.reason) == ("interrupted", "The lab was closed.")
        lab.trainings.resume(offered.id)
        until(lambda: lab.trainings.current.status.step > offered.step)
        assert lab.trainings.interrupted() == []
        with pytest.raises(LabError, match="is running"):
            lab.trainings.resume(offered.id)
        lab.trainings.stop()
        ended(lab)
    finally:
        lab.close()


# --- in processes of their own ------------------------------------------------------------------


def command(home, *arguments):
    line = [sys.executable, "-m", "transformer_lab.cli", *arguments, "--home", str(home)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True)


# What each optimizer remembers is tested above; processes of their own take seconds to start.
SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS if name != "muon"]


def train_command(home, setup):
    settings = [f"--set={key}={value}" for key, value in setup.values().items()]
    return command(home, "train", "--json", *settings)


@pytest.mark.parametrize("optimizer", ["muon", *SLOWLY])
def test_a_killed_process_is_resumed_in_another_and_ends_the_same(tmp_path, optimizer):
    setup = SETUP.with_values({"train.optimizer": optimizer, "train.steps": 100})
    with train_command(tmp_path / "whole", setup) as whole:
        whole.communicate()
    with train_command(tmp_path / "cut", setup) as process:
        for line in process.stdout:
            if json.loads(line).get("step", 0) >= 42:
                process.send_signal(signal.SIGKILL)
                break
    store = RunStore(tmp_path / "cut")
    run_id = store.open("latest").id
    if store.open(run_id).state()[0] != "finished":
        assert store.open(run_id).state()[0] == "interrupted"
        with command(tmp_path / "cut", "resume", run_id, "--json") as resumed:
            resumed.communicate()
        assert resumed.returncode == 0
    one = RunStore(tmp_path / "whole").open("latest").since()[0]
    other = store.open(run_id).since()[0]
    assert numbers(one) == numbers(other)
    assert len(other) == 100


def test_an_error_in_reading_names_the_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="step-00000001"):
        saves.read_save(tmp_path / "step-00000001")
