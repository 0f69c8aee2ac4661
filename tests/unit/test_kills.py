"""What a crash, a full disk or a spoiled file may cost: never the last save that was promised."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from transformer_lab.lab.lab import Lab
from transformer_lab.runs.checkpoint import CheckpointError, load_training, save_checkpoint
from transformer_lab.runs.store import RunStore

sys.path.insert(0, str(Path(__file__).parent))
from kill_loop import SETUP

LOOP = Path(__file__).with_name("kill_loop.py")


def killed(home, kills):
    line = [sys.executable, str(LOOP), str(home), str(kills), "7"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def check_kills(home, kills):
    seen = killed(home / "killed", kills)
    furthest = seen["step"]
    assert (seen["lost"], seen["gaps"]) == (0, 0), seen
    assert seen["mid_save"] >= kills / 4, seen
    steps = SETUP.with_values({"train.steps": furthest, "train.save_every": 0})
    lab = Lab(home / "whole")
    try:
        lab.trainings.start(steps.with_values({"train.schedule": "constant"}), "whole")
        while not lab.trainings.current.ended:
            time.sleep(0.05)
        whole = lab.trainings.current.stream.since()[0]
    finally:
        lab.close()
    (run,) = RunStore(home / "killed").all()
    return whole, run.since()[0][:furthest]


def test_eight_kills_cost_no_save_and_change_no_number(tmp_path):
    whole, cut = check_kills(tmp_path, 8)
    assert [p.train_loss for p in cut] == [p.train_loss for p in whole]


@pytest.mark.slow
def test_two_hundred_kills_cost_no_save_and_change_no_number(tmp_path):
    whole, cut = check_kills(tmp_path, 200)
    assert [p.train_loss for p in cut] == [p.train_loss for p in whole]


def command(home, *arguments, limit=None):
    """The command line in a process that may write no file larger than `limit` bytes."""

    def limited():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    settings = [f"--set={k}={v}" for k, v in SETUP.with_values(FEW).values().items()]
    settings = settings if arguments[0] == "train" else []
    line = [sys.executable, "-m", "transformer_lab.cli", *arguments, "--home", str(home), *settings]
    return subprocess.Popen(
        line,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=home,
        preexec_fn=limited,
    )


FEW = {"train.steps": 30, "train.save_every": 10, "train.evaluate_every": 10}


def test_a_disk_that_takes_no_save_lets_training_go_on_but_no_run_finish(tmp_path):
    with command(tmp_path, "train", "--json", limit=1_000_000) as process:  # metrics fit, saves not
        out, errors = process.communicate()
    summary = json.loads(out.splitlines()[-1])
    assert (process.returncode, summary["state"], summary["step"]) == (1, "interrupted", 30)
    assert "step 30 could not be saved: File too large (nothing of this run is saved)" in errors
    assert "could not be saved" in summary["reason"]
    assert "There was no room in" in errors
    assert "Traceback" not in errors
    (run,) = RunStore(tmp_path).all()
    assert len(run.since()[0]) == 30
    assert run.checkpoints() == []
    assert not list((run.folder / "checkpoints").iterdir())
    notes = [detail for _, detail in run.events("note")]
    assert len(notes) >= 3


def test_a_save_that_fails_leaves_the_one_before_and_the_run_can_be_resumed_from_it(tmp_path):
    with command(tmp_path, "train", "--json") as process:
        for line in process.stdout:
            if json.loads(line).get("step", 0) >= 12:
                process.send_signal(signal.SIGKILL)
                break
    store = RunStore(tmp_path)
    (run,) = store.all()
    before = run.checkpoints()[0]
    with command(tmp_path, "resume", run.id, "--json", limit=1_000_000) as process:
        out, _ = process.communicate()
    summary = json.loads(out.splitlines()[-1])
    assert (summary["state"], summary["step"]) == ("interrupted", 30)
    assert "(step 10 stays saved)" in summary["reason"]
    assert before in run.checkpoints()
    assert load_training(before)[1]["step"] == 10


def test_what_a_crash_left_is_swept_and_marked_at_the_next_start(tmp_path):
    with command(tmp_path, "train", "--json") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    (run,) = RunStore(tmp_path).all()
    (run.folder / "checkpoints" / ".staging-half").mkdir(parents=True, exist_ok=True)
    recorded = [json.loads(detail)["state"] for _, detail in run.events("state")]
    assert recorded == ["running"]
    lab = Lab(tmp_path)
    try:
        recorded = [json.loads(detail)["state"] for _, detail in run.events("state")]
        assert recorded == ["running", "interrupted"]
        assert [summary.id for summary in lab.trainings.interrupted()] == [run.id]
        assert not list((run.folder / "checkpoints").glob(".staging-*"))
    finally:
        lab.close()


def test_a_checkpoint_half_of_which_could_be_written_is_not_there(tmp_path):
    code = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from transformer_lab.runs.checkpoint import save_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "weights = {'w': torch.zeros(100_000)}\n"
        "try:\n"
        "    save_checkpoint(Path(sys.argv[1]) / 'step-00000001', weights, {}, {})\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_weights_are_whole_or_refused(tmp_path):
    folder = tmp_path / "step-00000001"
    save_checkpoint(folder, {"w": torch.ones(3)}, {}, {"step": 1}, optimizer={}, progress={})
    assert load_training(folder) == ({}, {})
    (folder / "progress.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"progress\.json is damaged"):
        load_training(folder)
