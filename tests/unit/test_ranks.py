"""Several processes that train one model take the steps of one alone, and end together."""

import json
import os
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
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.training.ranks import ALONE, Together
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


@pytest.mark.parametrize("name", rank_steps.CASES)
def test_two_processes_take_the_steps_of_one(found, name):
    case = rank_steps.CASES[name]
    losses, weights = rank_steps.steps(case, ALONE)
    near = 1e-6 if case["dtype"] == "float32" else 1e-12
    for rank in found:
        assert rank[name][0] == pytest.approx(losses, rel=near, abs=0)
        furthest = max(abs(a - b) for a, b in zip(rank[name][1], weights, strict=True))
        # Where a gradient is all but 0, its rounding alone tells AdamW where to step.
        assert furthest < (near if case["dtype"] == "float64" else 1e-4)
    assert found[0][name] == found[1][name]  # bit for bit: every rank has the same weights


def test_one_that_stops_in_the_middle_of_a_step_takes_it_back_everywhere(found):
    assert [rank["stopped"] for rank in found] == [rank_steps.STOPPED_IN - 1] * 2


def test_what_the_first_sends_arrives_as_it_was(found):
    kinds = ["torch.int32", "torch.float32", "torch.float32"]
    assert found[1]["sent"] == [{"said": "begin"}, True, kinds]


def test_what_several_processes_cannot_do_is_one_sentence(tmp_path, monkeypatch, capsys):
    line = ["train", "--home", str(tmp_path)]
    assert main([*line, "--set", "train.shard=true"]) == 2
    assert "train.shard: A model is not split over several processes" in capsys.readouterr().err
    several = object.__new__(Together)
    several.count = 4
    with pytest.raises(ConfigError, match=r"is 3, but 4 processes share each batch: choose at le"):
        several.check(3)
    monkeypatch.setenv("WORLD_SIZE", "some")
    assert main(line) == 2
    assert "start this by torchrun" in capsys.readouterr().err
    monkeypatch.delenv("WORLD_SIZE")
    assert joined() is ALONE


def torchrun(home, count, *arguments):
    """The command line in several processes."""
    values = SETUP.values()
    settings = [f"--set={k}={v}" for k, v in values.items()] if arguments[0] == "train" else []
    line = [
        sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}",
        f"--master-port={free_port()}", "-m", "transformer_lab.cli", *arguments, "--home",
        str(home), *settings,
    ]  # fmt: skip
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one_and_goes_on_with_any_number(tmp_path):
    with torchrun(tmp_path / "two", 2, "train", "--steps=8") as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    (run,) = RunStore(tmp_path / "two").all()
    assert run.state()[0] == "finished"
    assert "2 processes train it together" in run.events("note")[0][1]
    assert said.count("step 8 / 8") == 1  # only the first prints
    with torchrun(tmp_path / "two", 3, "extend", run.id, "--steps=4") as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    more = RunStore(tmp_path / "two").open("latest")
    lab = Lab(tmp_path / "one")
    try:
        lab.trainings.start(SETUP.with_values({"train.steps": 8}))
        until(lambda: lab.trainings.current.ended)
        lab.trainings.extend(lab.trainings.current.status.run_id, 4)
        until(lambda: lab.trainings.current.ended)
        alone = lab.trainings.current.stream.since()[0]
    finally:
        lab.close()
    together = more.since()[0]
    assert [p.step for p in together] == list(range(1, 13))
    assert [p.train_loss for p in together] == pytest.approx(
        [p.train_loss for p in alone], rel=1e-6
    )
    looked = [p.validation_loss for p in alone if p.validation_loss]
    assert [p.validation_loss for p in together if p.validation_loss] == pytest.approx(looked)


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
