"""Trainings in processes of their own: each is a `transformer-lab train` that the lab starts.

A crash of one takes nothing else along, and several compute at once, one on each GPU. What a
process trains is seen as any run of a terminal is: in the run's folder. It is steered by requests
(`runs/control.py`), and one that was killed leaves a sentence in its run.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from transformer_lab.lab.elsewhere.children import Child, Children, explain
from transformer_lab.lab.elsewhere.said import lines_of, run_in, why_none
from transformer_lab.lab.queue import Waiting
from transformer_lab.packaged import SOURCE
from transformer_lab.runs.control import OWNER_ONLY, Action, UnreachableError, ask
from transformer_lab.runs.run import Run

LOOK_SECONDS = 0.1  # between two looks for the run of a process that has just been started
END_SECONDS = 60.0  # in which all processes may save and end when the lab is closed
VISIBLE = "CUDA_VISIBLE_DEVICES"
STOPPED = "It was stopped before its first step."


@dataclass(kw_only=True)
class Process(Child):
    """A training in a process of its own.

    `gpu` is the one GPU it may use, as CUDA_VISIBLE_DEVICES names it, or "".
    """

    gpu: str
    process: subprocess.Popen[bytes]
    log: Path
    watcher: threading.Thread | None = None


class Processes(Children[Process]):
    """The processes that a lab has started; `changed` is called, on a thread of its own, when one
    has its run and when it has ended."""

    def __init__(self, home: Path, changed: Callable[[Child], None]) -> None:
        super().__init__()
        self._home = home
        self._changed = changed

    def free_gpu(self, taken: Iterable[str] = ()) -> str:
        """A GPU that no process computes on, besides those taken; "" when there is none."""
        used = {child.gpu for child in self.busy() if not child.stopping} | {*taken}
        return next((gpu for gpu in gpus() if gpu not in used), "")

    def start(self, begins: Waiting, *, item: str = "", gpu: str = "") -> Process:
        """Start a process that trains this. Raises OSError."""
        log = self._home / f".{uuid.uuid4().hex}"  # swept as half-written, should the lab be killed
        with os.fdopen(
            os.open(log, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY), "wb"
        ) as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "transformer_lab.cli", "train", "--from-stdin",
                 "--home", str(self._home.resolve())],
                env=_environment(gpu), stdin=subprocess.PIPE, stdout=output, stderr=output,
                start_new_session=True,  # Ctrl-C is for the lab, which then ends this one in order
            )  # fmt: skip
        child = Process(begins=begins, item=item, gpu=gpu, process=process, log=log)
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and the log says why
            assert process.stdin is not None
            with process.stdin as taken:
                taken.write(json.dumps(asdict(begins)).encode())
        self._add(child)
        child.watcher = threading.Thread(target=self._watch, args=(child,), daemon=True)
        child.watcher.start()
        return child

    def ask(self, child: Process, do: Action) -> None:
        """Have a process end, now that it may not have a run yet."""
        child.stopping = True
        try:
            ask(self._home / "runs" / child.run_id, do)
        except UnreachableError:
            child.process.terminate()  # as Ctrl-C does: it saves what there is

    def close(self) -> None:
        """Have all save what they have done, to be resumed later, and wait for them."""
        busy = self.busy()
        for child in busy:
            self.ask(child, "close")
        for child in busy:
            try:
                child.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()
            if child.watcher:
                child.watcher.join(END_SECONDS)

    def _watch(self, child: Process) -> None:
        """Find out which run a process trains, and how it ended."""
        while child.process.poll() is None:
            if child.run_id:
                child.process.wait()
            elif found := run_in(lines_of(child.log)):
                child.run_id = found
                self._changed(child)
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(LOOK_SECONDS)
        try:
            self._conclude(child)
        finally:
            child.ended = True
            self._changed(child)

    def _conclude(self, child: Process) -> None:
        """Say why a process has ended, where that is not said yet."""
        child.run_id = child.run_id or run_in(lines_of(child.log))
        if child.run_id:
            run, raced = Run(self._home / "runs" / child.run_id), bool(child.begins.race)
            explain(run, child.process.returncode, raced=raced)
        else:
            child.reason = STOPPED if child.stopping else _why(child)
        child.log.unlink(missing_ok=True)


def gpus() -> list[str]:
    """The NVIDIA GPUs this process may use, by the names that CUDA_VISIBLE_DEVICES knows."""
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(number) for number in range(count)]


def _environment(gpu: str) -> dict[str, str]:
    """The lab's, with the one GPU, and the package where the lab itself has it from."""
    made = {**os.environ, "PYTHONPATH": os.pathsep.join(_places())}
    return made | {VISIBLE: gpu} if gpu else made


def _places() -> list[str]:
    before = os.environ.get("PYTHONPATH", "")
    return [str(SOURCE), *(before.split(os.pathsep) if before else [])]


def _why(child: Process) -> str:
    return why_none(child.process.returncode, lines_of(child.log))
