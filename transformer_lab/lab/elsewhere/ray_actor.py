"""The Ray actor of a training: it runs `transformer-lab train` on a computer of the cluster.

Only JSON, and files in a .zip, go in and out.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import ray
from ray.util import get_node_ip_address

from transformer_lab.lab.elsewhere.said import lines_of, run_in
from transformer_lab.lab.elsewhere.transfer import packed, unpack, unpack_files
from transformer_lab.packaged import SOURCE
from transformer_lab.runs.control import CONTROL, Action, UnreachableError, ask
from transformer_lab.runs.held import LOCK, is_held

LOOK_SECONDS = 1.0  # that an answer waits for the end of a training
# Names a folder of a computer in which it is to train, though it may see the lab's home.
SCRATCH = "TRANSFORMER_LAB_SCRATCH"
LAST = 5  # lines that go back to the lab


class TrainingActor:
    """One training. When this dies, with its computer or because the lab has gone, the training
    notices that its standard input is closed, saves and ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._begins, self._home, self._run = "", "", ""
        self._place: dict[str, str] = {}
        self._log = Path()

    def where(self, mark: str) -> str:
        """What the lab has to know of this computer: whether it sees the file `mark`, too."""
        facts = {
            "node": ray.get_runtime_context().get_node_id(),
            "name": socket.gethostname(),
            "shared": Path(mark).is_file() and not os.environ.get(SCRATCH),
            "version": version("transformer-lab"),
            "address": (address := get_node_ip_address()),
            "port": free_port(address),
        }
        return json.dumps(facts)

    def begin(self, begins: str, home: str, place: str) -> str:
        """Train what `begins` says, as soon as nobody else trains that run.

        `place` are the variables of one of several processes. `home` is "" for all but the first.
        """
        self._begins, self._home, self._place = begins, home, json.loads(place)
        return self.look()

    def begin_away(self, begins: str, run: bytes, texts: bytes, place: str) -> str:
        """The same in a home of its own, with the run that it begins from, if any, and its texts.

        What becomes of it is fetched by `news`.
        """
        self._home = tempfile.mkdtemp(prefix="transformer-lab-", dir=os.environ.get(SCRATCH))
        unpack_files(texts, Path(self._home))
        if run:
            folder = Path(self._home) / "runs" / json.loads(begins)["run"]
            folder.mkdir(parents=True)
            unpack(run, folder)
        self._begins, self._place = begins, json.loads(place)
        return self.look()

    def news(self, known: str, last: bool) -> bytes:
        """What there is of the run besides what is known, as a .zip; then, `last`, it is gone."""
        data = packed(Path(self._home) / "runs" / self._run, json.loads(known))
        if last:
            shutil.rmtree(self._home, ignore_errors=True)
        return data

    def ask(self, do: Action, value: float) -> None:
        """Have the training here do what the lab was asked for."""
        with contextlib.suppress(UnreachableError):
            ask(Path(self._home) / "runs" / self._run, do, value)

    def look(self) -> str:
        """Which run it is, "" before there is one; with which code it ended; its last lines."""
        if self._process is None and not self._begins:  # it is not to start any more
            return json.dumps({"run": "", "code": 0, "lines": []})
        if self._process is None:
            self._start_when_free()
        if self._process is None:
            time.sleep(LOOK_SECONDS)
            return json.dumps({"run": "", "code": None, "lines": []})
        try:
            code = self._process.wait(LOOK_SECONDS if self._run else LOOK_SECONDS / 5)
        except subprocess.TimeoutExpired:
            code = None
        lines = [] if self._run and code is None else lines_of(self._log)
        self._run = self._run or run_in(lines)
        if code is not None:
            self._log.unlink(missing_ok=True)
        return json.dumps({"run": self._run, "code": code, "lines": lines[-LAST:]})

    def stop(self) -> str:
        """Have the training save and end."""
        if self._process:
            self._process.terminate()
        self._begins = self._begins if self._process else ""
        return self.look()

    def let_go(self) -> str:
        """Have the training save and end, to be resumed later, because the lab is gone."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
        self._begins = self._begins if self._process else ""
        return self.look()

    def _start_when_free(self) -> None:
        wanted = json.loads(self._begins)
        if wanted["kind"] == "resume" and self._home:
            folder = Path(self._home) / "runs" / wanted["run"]
            if is_held(folder / LOCK):
                return  # what trained it on a computer that is lost has not ended yet
            (folder / CONTROL).unlink(missing_ok=True)  # nobody reads it any more
        file, name = tempfile.mkstemp(prefix="transformer-lab-")
        self._log = Path(name)
        before = os.environ.get("PYTHONPATH")
        places = os.pathsep.join([str(SOURCE), *([before] if before else [])])
        with os.fdopen(file, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "transformer_lab.cli", "train", "--from-stdin",
                 "--tied", "--home", self._home],
                env={**os.environ, **self._place, "PYTHONPATH": places}, stdin=subprocess.PIPE,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._begins}\n".encode())
        self._process.stdin.flush()  # it stays open as long as this actor lives


def free_port(address: str) -> int:
    """A port of this computer at which nobody listens."""
    with socket.socket() as one:
        one.bind((address, 0))
        return int(one.getsockname()[1])
