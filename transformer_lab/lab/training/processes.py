"""Trainings in processes of their own: each is a `transformer-lab train` that the lab starts.

A crash of one takes nothing else along, and several compute at once, one on each GPU. What a
process trains is seen as any run of a terminal is: in the run's folder. It is steered by requests
(`runs/control.py`), and one that was killed leaves a sentence in its run.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout

from transformer_lab.lab.training.queue import Waiting
from transformer_lab.packaged import SOURCE
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.control import OWNER_ONLY, Action, UnreachableError, ask
from transformer_lab.runs.database import UNFINISHED, RunWriter
from transformer_lab.runs.events import event_value
from transformer_lab.runs.run import Run, step_of

LOOK_SECONDS = 0.1  # between two looks for the run of a process that has just been started
END_SECONDS = 60.0  # in which all processes may save and end when the lab is closed
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass
class Child:
    """A training in a process of its own.

    `gpu` is the one GPU it may use, as CUDA_VISIBLE_DEVICES names it, or "". `run_id` is "" until
    its folder is there; `reason` says why it ended before that, if it did; `item` is what it is in
    the queue, until it is taken out of there, or "".
    """

    begins: Waiting
    item: str
    gpu: str
    process: subprocess.Popen[bytes]
    log: Path
    watcher: threading.Thread | None = None
    run_id: str = ""
    reason: str = ""
    ended: bool = False
    stopping: bool = False

    @property
    def setup(self) -> Setup:
        """What it trains with."""
        return setup_from(self.begins.setup)


class Processes:
    """The processes that a lab has started; `changed` is called, on a thread of its own, when one
    has its run and when it has ended."""

    def __init__(self, home: Path, changed: Callable[[Child], None]) -> None:
        self._home = home
        self._changed = changed
        self._children: list[Child] = []
        self._lock = threading.Lock()

    def busy(self) -> list[Child]:
        """Those that have not ended, oldest first."""
        return [child for child in self._children if not child.ended]

    def waited(self) -> set[str]:
        """What the queue still holds of those that were started from it."""
        return {child.item for child in self._children} - {""}

    def free_gpu(self, taken: Iterable[str] = ()) -> str:
        """A GPU that no process computes on, besides those taken; "" when there is none."""
        used = {child.gpu for child in self.busy() if not child.stopping} | {*taken}
        return next((gpu for gpu in gpus() if gpu not in used), "")

    def start(self, begins: Waiting, *, item: str = "", gpu: str = "") -> Child:
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
        child = Child(begins, item, gpu, process, log)
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and the log says why
            assert process.stdin is not None
            with process.stdin as taken:
                taken.write(json.dumps(asdict(begins)).encode())
        with self._lock:
            kept = [one for one in self._children if one.item or not one.ended]
            self._children = [*kept, child]
        child.watcher = threading.Thread(target=self._watch, args=(child,), daemon=True)
        child.watcher.start()
        return child

    def ask(self, child: Child, do: Action) -> None:
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

    def _watch(self, child: Child) -> None:
        """Find out which run a process trains, and how it ended."""
        while child.process.poll() is None:
            if child.run_id:
                child.process.wait()
            elif found := _reported(child.log):
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

    def _conclude(self, child: Child) -> None:
        """Say why a process has ended, where that is not said yet."""
        child.run_id = child.run_id or _reported(child.log)
        if child.run_id:
            _explain(Run(self._home / "runs" / child.run_id), child.process.returncode)
        else:
            child.reason = _why(child)
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


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _reported(log: Path) -> str:
    """The id of the run that a process says it trains; "" as long as it has none."""
    for line in _lines(log):
        with contextlib.suppress(ValueError):
            said: Any = json.loads(line)
            if isinstance(said, dict) and isinstance(said.get("begins"), str):
                return said["begins"]
    return ""


def _why(child: Child) -> str:
    """Why a process ended before it had a run, in a sentence."""
    code = child.process.returncode
    if child.stopping:
        return "It was stopped before its first step."
    if code < 0:
        return f"{_killed(code)} before its first step. {_MEMORY.get(-code, '')}".strip()
    said = [line for line in _lines(child.log) if line.strip() and not line.startswith("{")]
    last = said[-1].strip() if said else f"exit code {code}"
    if last.startswith(MARK):
        return last.removeprefix(MARK).partition(": ")[2] or last.removeprefix(MARK)
    return f"Its process ended before its first step ({last})."


MARK = "transformer-lab: "  # before what the command line says of an error: its setting, a sentence
_MEMORY = {9: "The system does that to a program when memory runs out."}


def _killed(code: int) -> str:
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"Its process was killed ({name})"


def _explain(run: Run, code: int) -> None:
    """Say in a run why its process ended in the middle of it, if it did."""
    with contextlib.suppress(OSError, LookupError, sqlite3.Error, Timeout):
        last = run.last_event("state")
        if last is None or event_value("state", last[1]).state not in UNFINISHED:
            return
        latest, points = run.latest(), run.resume_points()
        step = latest[-1].step if latest else 0
        how = _killed(code) if code < 0 else f"Its process broke off (exit code {code})"
        saved = (
            f"Resume goes on after step {step_of(points[0]):,}, its newest save."
            if points
            else "It had not been saved: Resume begins it again, with the same seed."
        )
        memory = f"{_MEMORY.get(-code, '')} ".lstrip()
        with contextlib.closing(RunWriter(run.folder)) as writer:
            when = f"after step {step:,}" if step else "before its first step"
            reason = f"{how} {when}. {memory}Nothing else was harmed. {saved}"
            writer.state("interrupted", step, reason)
