"""Trainings on a Ray cluster: each is a `transformer-lab train` on a computer that Ray chooses.

What one of them trains is seen and steered as any run of another process is: in the run's folder.
Where a computer does not see the lab's home, `proxy.py` has that folder there, and what is
learned is transferred (`transfer.py`). A training whose computer is lost goes on at another from
its newest save. `ray_driver.py` is the other end of what is said here.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from transformer_lab.lab.elsewhere.children import (
    RACE_IT,
    RESUME_IT,
    Child,
    Children,
    broken_off,
    explain,
)
from transformer_lab.lab.elsewhere.needs import Computer, Needs, names_of, needs_of
from transformer_lab.lab.elsewhere.processes import END_SECONDS, STOPPED
from transformer_lab.lab.elsewhere.said import why_none
from transformer_lab.lab.queue import Waiting
from transformer_lab.packaged import SOURCE
from transformer_lab.recipes import Setup
from transformer_lab.runs.control import OWNER_ONLY, Action, UnreachableError, ask
from transformer_lab.runs.database import UNFINISHED
from transformer_lab.runs.run import Run
from transformer_lab.settings import ConfigError

log = logging.getLogger(__name__)
PART_SECONDS = 10.0  # in which the connection ends
MOST_LOSSES = 5  # computers that a training may lose before it is given up
GOES_ON = (
    "It goes on at another computer after step {step}, its newest save.",
    "It had not been saved: it begins again at another computer, with the same seed.",
)
OR_BEFORE = (*UNFINISHED, "interrupted")  # states of a run that has ended now, or a loss before
DISCONNECTED = "The connection to the cluster ended"


@dataclass(kw_only=True)
class Sent(Child):
    """A training on the cluster.

    `job` is what the driver calls it, `node` the id of its computer, "" while it waits for one, and
    `nodes` those of all its workers; `losses` counts the computers that it has lost.
    """

    job: str
    needs: Needs
    texts: Mapping[str, str]
    node: str = ""
    nodes: list[str] = field(default_factory=list)
    losses: int = 0


class Cluster(Children[Sent]):
    """The trainings that a lab has on a cluster; `changed` is called, on a thread of its own,
    whenever one has a computer, has its run, or has ended."""

    def __init__(self, home: Path, address: str, changed: Callable[[Child], None]) -> None:
        """Connect to the cluster at `address`. Raises ConfigError."""
        super().__init__()
        self._home, self._changed = home.resolve(), changed
        self.address = address
        self.computers: list[Computer] = []
        self._names: dict[str, str] = {}
        self._closing, self._heard = False, threading.Condition()
        self.problem = ""  # why nothing can be trained there any more
        self._mark = self._home / f".{uuid.uuid4().hex}"  # by which a computer knows this home
        os.close(os.open(self._mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY))
        places = [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._driver = subprocess.Popen(
            [sys.executable, "-P", "-m", "transformer_lab.lab.elsewhere.ray_driver", address,
             str(self._home), str(self._mark)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the lab, which then ends this one in order
        )  # fmt: skip
        self._reader: threading.Thread | None = None
        assert self._driver.stdout is not None
        first = self._driver.stdout.readline()
        said = json.loads(first) if first else {"problem": f"{DISCONNECTED} at once."}
        if "problem" in said:
            self._part()
            raise ConfigError("ray", said["problem"])
        self._take_in(said)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, begins: Waiting, setup: Setup, item: str, texts: Mapping[str, str]) -> Sent:
        """Have this trained there; `item` is what it is in the queue, `texts` are the files that a
        computer needs which does not see the home: their paths here, by their names in a home."""
        needs = needs_of(setup, self.computers)
        child = Sent(begins=begins, item=item, job="", needs=needs, texts=texts)
        self._add(child)
        self._send(child)
        return child

    def has_room(self) -> bool:
        """Whether one more is to be sent: none waits there that could have a computer."""
        waiting = [child for child in self.busy() if not child.node]
        return not self.problem and not any(map(self._fits, waiting))

    def _fits(self, child: Sent) -> bool:
        return child.needs.fit(self.computers)

    def why_waiting(self, child: Sent) -> str:
        """Why one that was sent has no computer yet, in a sentence."""
        if self._fits(child):
            who = "a computer of the cluster has" if child.needs.workers == 1 else "the cluster has"
            return f"It waits until {who} {child.needs} free."
        if child.needs.workers > 1:
            return (
                f"It asks for {child.needs}, and the cluster has less: let more computers join, or "
                "remove it, and choose fewer Workers or Threads."
            )
        return (
            f"It asks for {child.needs}, and no computer of the cluster has as much: let one join "
            "that has, or remove it, and choose fewer Threads or another Device."
        )

    def ask(self, child: Sent, do: Action) -> None:
        """Have a training end; one that waits for a computer, too."""
        child.stopping = True
        run = Run(self._home / "runs" / child.run_id)
        if child.run_id and run.is_held():  # else what was killed may have left its control file
            with contextlib.suppress(UnreachableError):
                ask(run.folder, do)
                return
        self._tell(do="stop", job=child.job)

    def close(self) -> None:
        """Have all save what they have done, to be resumed later, and part from the cluster."""
        self._closing = True
        for child in self.busy():
            self.ask(child, "close")
        with self._heard:
            self._heard.wait_for(lambda: not self.busy(), END_SECONDS)
        self._part()

    def _part(self) -> None:
        """End the connection, and with it whatever has not ended yet."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        with contextlib.suppress(OSError):
            self._driver.stdin.close()
        try:
            self._driver.wait(PART_SECONDS)
        except subprocess.TimeoutExpired:  # the cluster does not answer
            self._driver.kill()
            self._driver.wait()
        if self._reader:
            self._reader.join(END_SECONDS)
        self._driver.stdout.close()
        self._mark.unlink(missing_ok=True)

    # --- what the driver says -----------------------------------------------------------------

    def _send(self, child: Sent) -> None:
        child.job, child.node, child.nodes = uuid.uuid4().hex, "", []
        needs = asdict(child.needs)
        begins, texts = asdict(child.begins), dict(child.texts)
        self._tell(do="start", job=child.job, begins=begins, texts=texts, **needs)

    def _tell(self, **what: Any) -> None:
        assert self._driver.stdin is not None
        with self._lock, contextlib.suppress(OSError, ValueError):  # it has ended: see `_read`
            self._driver.stdin.write(json.dumps(what) + "\n")
            self._driver.stdin.flush()

    def _read(self) -> None:
        """Take in what the driver says until it ends."""
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            try:
                self._take_in(json.loads(line))
            except Exception:
                log.exception("the cluster said %s", line)
        if not self._closing:
            self.problem = f"{DISCONNECTED}: nothing can be sent there until the lab starts anew."
        for child in self.busy():
            self._break_off(child, DISCONNECTED)
            self._end(child, self.problem)

    def _take_in(self, said: dict[str, Any]) -> None:
        if "computers" in said:
            self.computers = [Computer(**node) for node in said["computers"]]
            self._names |= names_of(self.computers)
            return
        child = next((child for child in self.busy() if child.job == said["job"]), None)
        if child is None:
            return
        if "lost" in said:
            self._lost(child, said["lost"], several=said["several"])
        elif "ended" in said:
            self._conclude(child, said)
        else:
            child.node = said.get("node", child.node)
            child.nodes = said.get("nodes", child.nodes)
            child.run_id = said.get("run", child.run_id)
            self._changed(child)

    def name_of(self, node: str) -> str:
        """What to call a computer, also one that is lost."""
        return self._names.get(node, "of it")

    def _lost(self, child: Sent, node: str, *, several: bool) -> None:
        """Have a training go on at another computer, unless it was over, or loses too many.

        One of `several` workers may have lost only its process; it then says that it failed.
        """
        child.losses += 1
        name = self.name_of(node)
        states = (*OR_BEFORE, "failed") if several else OR_BEFORE
        again = not (child.stopping or self._closing) and child.losses <= MOST_LOSSES
        if child.run_id:
            how = f"The computer {name} was lost"
            if several:
                how = f"One of its {child.needs.workers} workers was lost, or computer {name}"
            self._break_off(child, how, states, GOES_ON if again else None)
            state, _ = Run(self._home / "runs" / child.run_id).state()
            again = again and state in states  # or it saves itself just now
            child.begins = replace(child.begins, kind="resume", run=child.run_id)
        if again:
            self._send(child)
            if child.stopping:  # that was asked of what is lost
                self._tell(do="stop", job=child.job)
            self._changed(child)
        else:
            self._end(child, f"The computer {name} was lost before its first step.")

    def _conclude(self, child: Sent, said: dict[str, Any]) -> None:
        """Say why a training has ended, where that is not said yet."""
        code, problem = said.get("code"), said.get("problem", "")
        if child.run_id and code is not None:
            # After a loss it may not even have begun again.
            states = OR_BEFORE if child.losses and code else UNFINISHED
            run, raced = Run(self._home / "runs" / child.run_id), bool(child.begins.race)
            explain(run, code, states, raced=raced)
        elif child.run_id and child.stopping:  # it had lost its computer
            self._break_off(child, "It was taken off the cluster", OR_BEFORE)
        elif child.run_id and problem:
            self._break_off(child, f"Its place on the cluster broke off ({problem})")
        why = problem or (STOPPED if code is None else why_none(code, said["lines"]))
        self._end(child, STOPPED if child.stopping else why)

    def _break_off(
        self,
        child: Sent,
        how: str,
        states: Sequence[str] = UNFINISHED,
        goes_on: tuple[str, str] | None = None,
    ) -> None:
        if child.run_id:
            then = goes_on or (RACE_IT if child.begins.race else RESUME_IT)
            broken_off(Run(self._home / "runs" / child.run_id), how, "", *then, states)

    def _end(self, child: Sent, reason: str) -> None:
        child.reason = "" if child.run_id else reason
        child.ended = True
        with self._heard:
            self._heard.notify_all()
        self._changed(child)
