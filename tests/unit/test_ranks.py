"""Several processes that train one model take the steps of one alone, and end together."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from transformer_lab.cli import main
from transformer_lab.cli.torchrun import joined
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Setup
from transformer_lab.runs.run import step_of
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.training import TrainConfig
from transformer_lab.training.ranks import ALONE, Together
from transformer_lab.training.sharded import Sharded
from transformer_lab.training.shards import splits_on
from waiting import until

sys.path.insert(0, str(Path(__file__).parent))
import rank_steps

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "model.dropout": 0.0,
        "train.batch_size": 6,
        "train.steps": 12,
        "train.evaluate_every": 6,
        "train.evaluation_batches": 2,
        "train.threads": 1,
        "train.save_every": 5,
        "sample.length": 5,
        "sample.prompt": "The ",
    }
)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes on gloo found, by rank."""
    place = tmp_path_factory.mktemp("ranks") / "found"
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, rank_steps.__file__, str(rank), "2", str(place)],
            env=os.environ | where | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    assert [process.wait() for process in started] == [0, 0]
    return [json.loads(place.with_suffix(f".{rank}").read_text()) for rank in range(2)]


def near(name):
    return 1e-6 if rank_steps.CASES[name]["dtype"] == "float32" else 1e-12


@pytest.mark.parametrize("name", rank_steps.CASES)
def test_two_processes_take_the_steps_of_one(found, name):
    alone = rank_steps.steps(name, ALONE)
    first, second = (rank[name] for rank in found)
    assert first["losses"] == second["losses"] == pytest.approx(alone["losses"], rel=near(name))
    assert first["looked"] == pytest.approx(alone["looked"], rel=near(name))
    for what in ("weights", "memory"):
        pairs = zip(first[what], alone[what], strict=True)
        # Where a gradient is all but 0, its rounding alone tells AdamW where to step.
        assert max(abs(a - b) for a, b in pairs) < (1e-12 if near(name) == 1e-12 else 1e-4)
    if name not in rank_steps.SPLIT:
        assert first["weights"] == second["weights"]  # bit for bit, on every rank


@pytest.mark.parametrize("name", rank_steps.SPLIT)
def test_of_a_split_model_each_process_holds_its_part_alone(found, name):
    if name not in rank_steps.CASES:  # this PyTorch does not split models on a CPU
        return
    alone = rank_steps.steps(name, ALONE)
    for rank in found:
        for what in ("held", "within", "remembered"):
            # Of 31 rows one has 16, and of what is a single number both have it.
            assert 0.45 < rank[name][what] / alone[what] < 0.55
    assert sum(rank[name]["held"] for rank in found) == alone["held"]


def test_one_that_stops_in_the_middle_of_a_step_takes_it_back_everywhere(found):
    assert [rank["stopped"] for rank in found] == [rank_steps.STOPPED_IN - 1] * 2


def test_what_the_first_sends_arrives_as_it_was(found):
    kinds = ["torch.int32", "torch.float32", "torch.float32"]
    assert found[1]["sent"] == [{"said": "begin"}, True, kinds]


def test_what_several_processes_cannot_do_is_one_sentence(tmp_path, monkeypatch, capsys):
    several = object.__new__(Together)
    several.count = 4
    with pytest.raises(ConfigError, match=r"is 3, but 4 processes share each batch: choose at le"):
        several.check(TrainConfig(batch_size=3), "cpu")
    monkeypatch.setenv("WORLD_SIZE", "some")
    assert main(["train", "--home", str(tmp_path)]) == 2
    assert "start this by torchrun" in capsys.readouterr().err
    monkeypatch.delenv("WORLD_SIZE")
    assert joined() is ALONE


REFUSED = {
    "learns by backpropagation only: turn Shard off": ({"learning_rule": "pc"}, "cuda"),
    "is not compiled: choose auto or off": ({"compile": "on"}, "cuda"),
    "does not split models on this device (mps)": ({}, "mps"),
    "4 processes share each batch": ({"batch_size": 3}, "cuda"),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_a_split_model_cannot_do_is_one_sentence(sentence):
    several = object.__new__(Sharded)
    several.count = 4
    values, device = REFUSED[sentence]
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        several.check(TrainConfig(**values), device)


def test_one_process_alone_has_the_whole_model_and_says_so(tmp_path):
    lab = Lab(tmp_path)
    try:
        lab.trainings.start(SETUP.with_values({"train.shard": True, "train.steps": 2}))
        until(lambda: lab.trainings.current.ended)
        assert lab.trainings.current.status.state == "finished"
        assert any("Shard is on, but one process" in n for n in lab.trainings.current.status.notes)
    finally:
        lab.close()


def torchrun(home, count, *arguments):
    """The command line in several processes."""
    values = SETUP.values()
    settings = [f"--set={k}={v}" for k, v in values.items()] if arguments[0] == "train" else []
    line = [
        sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}",
        f"--master-port={free_port()}", "-m", "transformer_lab.cli", arguments[0], *settings,
        *arguments[1:], "--home", str(home),
    ]  # fmt: skip
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds in 8 steps, and 4 more."""
    lab = Lab(tmp_path_factory.mktemp("one"))
    try:
        lab.trainings.start(SETUP.with_values({"train.steps": 8}))
        until(lambda: lab.trainings.current.ended)
        lab.trainings.extend(lab.trainings.current.status.run_id, 4)
        until(lambda: lab.trainings.current.ended)
        yield lab.trainings.current.stream.since()[0]
    finally:
        lab.close()


WAYS = {  # how many processes train 8 steps, and how many 4 more, with which options
    "whole": ((2, []), (3, [])),
    "split, then whole": ((2, ["--set=train.shard=true"]), (3, ["--no-shard"])),
    "whole, then split": ((2, []), (3, ["--shard"])),
    "split, then alone": ((3, ["--set=train.shard=true"]), (1, [])),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_run_of_several_processes_is_that_of_one_and_goes_on_with_any_number(
    tmp_path, alone, way
):
    (first, options), (second, others) = WAYS[way]
    if "split" in way and not splits_on("cpu"):
        return
    with torchrun(tmp_path, first, "train", "--steps=8", *options) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    (run,) = RunStore(tmp_path).all()
    assert run.state()[0] == "finished"
    notes = " ".join(note for _, note in run.events("note"))
    assert f"{first} processes train it together" in notes
    assert ("its part of the model" in notes) == bool(options)
    assert said.count("step 8 / 8") == 1  # only the first prints
    with torchrun(tmp_path, second, "extend", run.id, "--steps=4", *others) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    together = RunStore(tmp_path).open("latest").since()[0]
    assert [p.step for p in together] == list(range(1, 13))
    assert [p.train_loss for p in together] == pytest.approx(
        [p.train_loss for p in alone], rel=1e-6
    )
    looked = [p.validation_loss for p in alone if p.validation_loss]
    assert [p.validation_loss for p in together if p.validation_loss] == pytest.approx(looked)
    assert len(RunStore(tmp_path).open("latest").samples()) > 0


def ranks_of(process):
    """The processes that torchrun has started, by rank."""
    found = psutil.Process(process.pid).children(recursive=True)
    return {int(one.environ()["RANK"]): one for one in found if "RANK" in one.environ()}


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_with_a_sentence_and_a_save_to_go_on_from(tmp_path):
    with torchrun(tmp_path, 2, "train", "--steps=1000000") as process:
        until(lambda: [run for run in RunStore(tmp_path).all() if len(run.latest(30)) == 30])
        ranks_of(process)[1].send_signal(signal.SIGKILL)
        said, _ = process.communicate()
    assert process.returncode == 1
    (run,) = RunStore(tmp_path).all()
    state, reason = run.state()
    assert state in ("failed", "stopped"), said
    assert "of the 2 processes that train this model has ended" in reason
    step = run.latest()[-1].step
    assert run.resume_points()[0].name == f"step-{step:08d}"
    with torchrun(tmp_path, 3, "resume", run.id) as process:
        until(lambda: run.latest()[-1].step > step + 20)
        first = ranks_of(process)[0]
        first.send_signal(signal.SIGKILL)  # and the others end, though nobody tells them
        process.communicate()
    assert run.state()[0] == "interrupted"
    lab = Lab(tmp_path)
    try:
        lab.trainings.resume(run.id)
        until(lambda: lab.trainings.current.active and run.latest()[-1].step > step)
    finally:
        lab.close()


@pytest.mark.slow
def test_a_killed_rank_of_a_split_model_ends_the_run_with_its_newest_save(tmp_path):
    if not splits_on("cpu"):
        return
    line = ["train", "--steps=1000000", "--set=train.shard=true", "--set=train.save_minutes=0"]
    with torchrun(tmp_path, 2, *line) as process:
        until(lambda: [run for run in RunStore(tmp_path).all() if len(run.latest(30)) == 30])
        ranks_of(process)[1].send_signal(signal.SIGKILL)
        said, _ = process.communicate()
    assert process.returncode == 1
    (run,) = RunStore(tmp_path).all()
    state, reason = run.state()
    assert state == "failed", said
    assert "of the 2 processes that train this model has ended" in reason
    saved = max(map(step_of, run.resume_points()))
    assert saved % 5 == 0  # there was no last one
    assert reason.endswith(f"Step {saved:,} stays saved.")
    with torchrun(tmp_path, 3, "resume", run.id) as process:
        until(lambda: run.latest()[-1].step > saved + 40)
        process.send_signal(signal.SIGTERM)  # each gives its part to the last save
        said, _ = process.communicate()
    assert run.state()[0] == "stopped", said
    assert max(map(step_of, run.resume_points())) == run.latest()[-1].step


@pytest.mark.slow
def test_what_cannot_begin_says_why_and_ends_every_process(tmp_path):
    with torchrun(tmp_path, 2, "train", "--set=train.batch_size=1") as process:
        said, _ = process.communicate()
    assert process.returncode == 1
    assert "Batch Size is 1, but 2 processes share each batch" in said
    assert "SIGABRT" not in said
