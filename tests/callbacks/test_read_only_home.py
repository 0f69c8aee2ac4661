"""A home that can only be read: a disc, a share, another person's folder. It is shown."""

import contextlib
import ctypes
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import pytest

from transformer_lab.cli import main
from transformer_lab.exchange import ImportRefusedError
from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Setup
from transformer_lab.runs.run import Run
from transformer_lab.settings import ConfigError
from transformer_lab.ui.server import TABS
from waiting import PATIENCE

CAP_DAC_OVERRIDE = 1
TINY = {
    "data.corpus": "python_docs",
    "model.layers": 1,
    "model.heads": 2,
    "model.embedding_dim": 16,
    "model.sequence_length": 16,
    "train.batch_size": 4,
    "train.steps": 40,
    "train.evaluate_every": 20,
    "train.evaluation_batches": 1,
    "train.threads": 1,
}


@contextlib.contextmanager
def only_readable(home):
    """Take all permissions to write, and from root the right to write without one."""
    modes = {path: path.stat().st_mode for path in [home, *home.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode) & ~0o222)
    given = bound_by_permissions()
    try:
        with pytest.raises(PermissionError):
            (home / "new").touch()
        yield
    finally:
        given()
        for path, mode in modes.items():
            with contextlib.suppress(FileNotFoundError):  # a log that sqlite has tidied up
                path.chmod(stat.S_IMODE(mode))


def bound_by_permissions():
    """Make this thread, and those it starts, heed permissions; gives what undoes it."""
    if os.geteuid() != 0:
        return lambda: None
    libc, header, data = (
        ctypes.CDLL(None, use_errno=True),
        (ctypes.c_uint * 2)(0x20080522, 0),
        (
            ctypes.c_uint * 6  # effective, permitted, inheritable; then those beyond the 32nd
        )(),
    )
    assert libc.capget(header, data) == 0
    before = data[0]
    data[0] = before & ~(1 << CAP_DAC_OVERRIDE)
    assert libc.capset(header, data) == 0

    def restore():
        data[0] = before
        assert libc.capset(header, data) == 0

    return restore


@pytest.fixture(scope="module")
def home():
    """A home with one run that ended and one that was killed, with steps in sqlite's log."""
    home = Path(tempfile.mkdtemp())
    home.chmod(0o755)
    lab = Lab(home)
    lab.trainings.start(Setup().with_values({**TINY, "sample.prompt": "The "}), "trained")
    while not lab.trainings.current.ended:
        time.sleep(0.01)
    archive = home / "taken.zip"
    lab.close()
    assert main(["export", "latest", "--home", str(home), "--out", str(archive)]) == 0
    whole = home / "runs" / "trained-1"
    killed = home / "runs" / "killed-1"
    shutil.copytree(whole, killed)
    Run(killed).add_event("note", 1, "in the log only")
    with Run(killed).reading() as database:  # as long as it is read, the log stays
        Run(killed).add_event("note", 2, "in the log only")
        shutil.copytree(killed, home / "runs" / "shared-1")
        for name in ("metrics.sqlite", "metrics.sqlite-wal"):
            shutil.copy(killed / name, home / name)
        database.execute("SELECT 1")
    for name in ("metrics.sqlite", "metrics.sqlite-wal"):
        shutil.move(home / name, killed / name)
    assert (killed / "metrics.sqlite-wal").stat().st_size
    (home / "queue.json").write_text("{")
    yield home
    shutil.rmtree(home)


@pytest.fixture
def lab(home):
    with only_readable(home):
        lab = Lab(home)
        try:
            yield lab
        finally:
            lab.close()


def test_runs_are_listed_and_read_to_the_last_event(home):
    with only_readable(home):
        lab = Lab(home)
        names = {run.id: run.step for run in lab.runs.all()}
        notes = {name: len(Run(home / "runs" / name).events("note")) for name in names}
        lab.close()
    assert names == {"trained-1": 40, "killed-1": 40, "shared-1": 40}
    assert notes == {"trained-1": 0, "killed-1": 2, "shared-1": 2}


def test_a_model_writes_is_looked_into_and_audited(lab, caplog):
    job, snapshot = lab.models.generate("trained-1", SampleConfig(prompt="The ", length=5))
    assert job.wait(PATIENCE)
    assert (snapshot.step, job.error) == (40, None)
    opened = lab.inspector.read("trained-1", None, "The quick").open
    assert lab.inspector.attention(opened).tiles.size
    _, audit = lab.models.audit("trained-1")
    assert audit.wait(PATIENCE)
    assert audit.since()[0][-1].outcome
    assert not audit.error
    assert "verdict is not kept" in caplog.text


def test_a_run_leaves_in_every_form(home, tmp_path, capsys):
    with only_readable(home):
        for form in ("run.zip", "metrics.csv", "generate.py"):
            for run in ("trained-1", "killed-1"):
                out = tmp_path / f"{run}-{form}"
                line = ["export", run, "--as", form, "--out", str(out), "--home", str(home)]
                assert main(line) == 0, capsys.readouterr().err
                assert out.stat().st_size


def test_whatever_would_be_written_is_refused_with_the_way_out(lab, home):
    refused = r"cannot be written to .*--home"
    setup = Setup().with_values(TINY)
    for start in (lab.trainings.start, lab.trainings.initialize, lab.trainings.start_over):
        with pytest.raises(ConfigError, match=refused):
            start(setup)
    with pytest.raises(ConfigError, match=refused):
        lab.trainings.extend("trained-1", "3")
    with (home / "taken.zip").open("rb") as file, pytest.raises(ImportRefusedError, match=refused):
        lab.runs.bring_in(file, "again")
    assert lab.runs.all()


def test_the_page_opens_every_tab_and_answers_every_request_in_a_sentence(page):
    for tab in TABS:
        page.values["tabs", "active_tab"] = tab.TITLE
        page.react("tabs.active_tab")
        page.tick()
    page.click("start")
    assert "cannot be written to" in page.text("message")
    page.click("enqueue")
    assert "could not be written" in page.text("message")
    page.values["runs-picked", "data"] = ["trained-1"]
    page.values["tabs", "active_tab"] = "Runs"
    page.react("runs-picked.data")
    page.values["run-delete", "n_clicks"] = 1
    page.fire("runs-message.children", "run-delete.n_clicks")
    assert "could not be deleted" in page.text("runs-message")
    page.values["at-once", "value"] = "2"
    page.react("at-once.value")
    assert "could not be written" in page.text("queue-head")
    assert not page.text("trouble")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["runs"], 0, "trained-1"),
        (["generate", "--run", "trained-1", "--prompt", "The ", "--length", "3"], 0, "The "),
        (["train", "--steps", "2"], 2, "cannot be written to"),
        (["data", "add", __file__], 2, "could not be kept"),
        (["data", "list"], 0, "python_docs"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_commands_read_or_say_in_one_line_why_not(home, capsys, command, code, words):
    with only_readable(home):
        assert main([*command, "--home", str(home)]) == code
    out, err = capsys.readouterr()
    assert words in out + err
    assert len(err.splitlines()) <= 1
