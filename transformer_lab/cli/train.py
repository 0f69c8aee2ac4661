"""transformer-lab train, resume and extend: trainings in a terminal; a page shows them live."""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformer_lab.cli.common import FAILED, INTERRUPTED, home_folder
from transformer_lab.cli.output import mention
from transformer_lab.cli.torchrun import follow_the_first, interrupted, joined
from transformer_lab.lab.elsewhere.processes import END_SECONDS
from transformer_lab.lab.elsewhere.said import RANK_LOST
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.queue import UNREADABLE, waiting_from
from transformer_lab.lab.training.finetuned import finetuning_setup
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.lab.training.steering import Steering
from transformer_lab.lab.training.views import SPEED_STEPS, live_threads, time_left
from transformer_lab.recipes import find_recipe
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import ConfigError
from transformer_lab.training.finetune import GROUPS, FineTuning
from transformer_lab.training.ranks import Together
from transformer_lab.ui.words import clock

FIRST_MODEL: dict[str, Any] = {  # what differs from Quick start: it is there in a few seconds
    "model.layers": 2,
    "model.embedding_dim": 64,
    "train.steps": 100,
}
FIRST_NOTES = "Trained on this computer when the lab was set up."


def train(arguments: argparse.Namespace) -> int:
    """Train in this terminal; a page on the same home shows it live, and can steer it."""
    if arguments.from_stdin:
        return _train_for_a_lab(arguments)
    recipe = find_recipe(arguments.recipe)
    setup = recipe.setup.with_values(changes_of(arguments))
    return _run(arguments, lambda lab: lab.trainings.start(setup, recipe.slug))


def _train_for_a_lab(arguments: argparse.Namespace) -> int:
    """Train what a lab, which started this process, has written to standard input."""
    try:
        begins = waiting_from(sys.stdin.buffer.readline())
    except UNREADABLE as error:
        raise ConfigError(
            "--from-stdin", f"What is to be trained cannot be read: {error}."
        ) from error
    arguments.json = True
    gone = _end_of_standard_input() if arguments.tied else threading.Event()
    return _run(arguments, lambda lab: lab.trainings.start_item(begins), for_a_lab=gone)


def _end_of_standard_input() -> threading.Event:
    """Set when whoever has started this is gone."""
    gone = threading.Event()

    def read() -> None:
        while os.read(0, 4096):  # not by sys.stdin, whose lock would be held when Python ends
            pass
        gone.set()

    threading.Thread(target=read, daemon=True).start()
    return gone


def _end_after(gone: threading.Event) -> None:
    """End this process where it waits for another one that nobody reaches any more."""
    gone.wait()
    time.sleep(END_SECONDS)
    os._exit(FAILED)


def first_model(arguments: argparse.Namespace) -> int:
    """Train a small model where there is no run yet, so that there is one to look into at once."""
    home = home_folder(arguments)
    if RunStore(home).list():
        mention("There are runs already; no first model is needed.")
        return 0
    recipe = find_recipe(arguments.recipe)
    setup = recipe.setup.with_values(FIRST_MODEL | changes_of(arguments))
    code = _run(arguments, lambda lab: lab.trainings.start(setup, recipe.slug))
    for summary in RunStore(home).list():
        RunStore(home).open(summary.id).describe(title="First model", notes=FIRST_NOTES)
    return code


def resume(arguments: argparse.Namespace) -> int:
    """Go on with a run that was stopped or cut off, exactly where its newest save left it."""
    return _run(arguments, lambda lab: lab.trainings.resume(lab.runs.open(arguments.name).id))


def extend(arguments: argparse.Namespace) -> int:
    """Train a run for more steps, as a new run that begins as it ended."""
    return _run(
        arguments,
        lambda lab: lab.trainings.extend(lab.runs.open(arguments.name).id, arguments.steps),
    )


def finetune(arguments: argparse.Namespace) -> int:
    """Let a trained model learn from another text, as a new run."""
    changes = changes_of(arguments)
    own = {key: changes.pop(key) for key in list(changes) if key.partition(".")[0] in GROUPS}
    tuning = FineTuning().with_values(own)
    step = None if arguments.moment is None else _whole_number("--moment", arguments.moment)

    def begin(lab: Lab) -> None:
        base = lab.runs.open(arguments.name)
        setup = finetuning_setup(base, changes["data.corpus"], tuning).with_values(changes)
        lab.trainings.finetune(base.id, step, setup, tuning)

    return _run(arguments, begin)


def _whole_number(option: str, given: str) -> int:
    if not given.isascii() or not given.isdigit():
        raise ConfigError(option, f"{given!r} is no step: write the number of one, as in 400.")
    return int(given)


def _run(
    arguments: argparse.Namespace,
    begin: Callable[[Lab], None],
    *,
    for_a_lab: threading.Event | None = None,
) -> int:
    """Train in this process; for a lab that has started it, until the event is set."""
    ranks = joined(getattr(arguments, "shard", None))  # of resume and extend
    if isinstance(ranks, Together) and for_a_lab:
        threading.Thread(target=_end_after, args=(for_a_lab,), daemon=True).start()
    if isinstance(ranks, Together) and ranks.rank:
        return follow_the_first(ranks)
    lab = Lab(home_folder(arguments), processes=False)  # this one is a process of its own
    lab.trainings.beside_others = for_a_lab is not None
    lab.trainings.ranks = ranks
    try:
        begin(lab)
        printer = (_ForALab if for_a_lab else _Printer)(as_json=arguments.json)
        code = _follow(lab, printer, for_a_lab or threading.Event(), as_json=arguments.json)
        return RANK_LOST if isinstance(ranks, Together) and ranks.line.ended else code
    except (LabError, RunNotFoundError) as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    finally:
        lab.close()
        ranks.end()


def changes_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that are given on the line, by key. Raises ConfigError."""
    changes: dict[str, str] = {}
    for item in arguments.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError("--set", f"{item!r} has no value: write --set model.layers=2.")
        changes[key.strip()] = value
    if arguments.corpus is not None:
        path = Path(arguments.corpus).expanduser()
        changes["data.corpus"] = str(path.resolve()) if path.is_file() else arguments.corpus
    if arguments.steps is not None:
        changes["train.steps"] = arguments.steps
    return changes


def _follow(lab: Lab, printer: "_Printer", closing: threading.Event, *, as_json: bool) -> int:
    """Print the steps of the run that has just been started, until it ends.

    Meanwhile do what other processes ask of it. When `closing` is set, save it to be resumed later.
    """
    run = lab.trainings.current
    assert run is not None
    asked, steering, stopping, room = signals(), None, False, _Room(lab)
    while not run.ended:
        time.sleep(0.1)
        if asked.is_set() and not stopping:
            stopping = True
            with contextlib.suppress(LabError):  # it has just ended
                lab.trainings.stop(interrupted(lab.trainings.ranks))
        if steering is None and run.made and run.active:
            steering = Steering(lab.trainings, run.status.run_id)
            printer.begins(run)
        printer.show(run)
        room.look(run, giving_up=stopping)
        if steering:
            steering.obey()
        if closing.is_set() or (steering and steering.closing):
            lab.trainings.close()
    if steering:
        steering.close()
    elif run.made and run.status.run_id:  # it was over between two looks
        printer.begins(run)
    printer.show(run)
    return _summary(lab, as_json=as_json, interrupted=stopping)


class _Room:
    """What is done when the end of a run cannot be saved."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._told = lab, False

    def look(self, run: LiveRun, *, giving_up: bool) -> None:
        """Wait until space is freed; without a terminal, write the run to another folder."""
        if not run.unsaved or run.ended:
            return
        someone = sys.stdin is not None and sys.stdin.isatty() and not giving_up
        if not self._told:
            self._told = True
            way = " Make room: it is tried again every few seconds; Ctrl-C gives up." * someone
            _say(f"{run.unsaved}{way}")
        if not someone:
            self._take_away(run.status.run_id)

    def _take_away(self, run_id: str) -> None:
        places = [Path.cwd(), *_temporary()]
        archive = self._lab.trainings.rescue(run_id, places)
        if archive:
            _say(f"All of {run_id} is in {archive}: transformer-lab import brings it in again.")
        else:
            _say(f"There was no room in {' or '.join(map(str, places))} either.")
        self._lab.trainings.abandon(run_id, archive)


def _temporary() -> list[Path]:
    """The folder for temporary files, if any has room."""
    with contextlib.suppress(OSError):
        return [Path(tempfile.gettempdir())]
    return []


def _say(words: str) -> None:
    print(f"transformer-lab: {words}", file=sys.stderr)


def signals() -> threading.Event:
    """Set by the first Ctrl-C or SIGTERM; a second one ends the program as usual."""
    asked = threading.Event()

    def note(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return asked


class _Printer:
    """Prints the steps that are new: all of them as JSON, for people every two seconds."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._cursor, self._printed, self._noted = 0, 0.0, 0

    def news(self, run: LiveRun) -> list[str]:
        """The notes of the run that were not printed yet."""
        notes = run.status.notes[self._noted :]
        self._noted += len(notes)
        return list(notes)

    def begins(self, run: LiveRun) -> None:
        """Which run it is, and what trains there."""
        assert run.made is not None
        words = f"{run.status.run_id}: {run.recipe}, {run.parameters:,} parameters, "
        if run.trained:
            words += f"{run.trained:,} of them learn, "
        words += f"{run.made.corpus.title}, {run.device.name}, {live_threads(run)}. "
        words += " ".join(self.news(run))
        if run.made.saved:
            words += f" It goes on after step {run.made.saved.progress.step:,}."
        mention(words.strip(), to=sys.stderr if self._as_json else sys.stdout)

    def show(self, run: LiveRun) -> None:
        if run.active or run.ended:
            for note in self.news(run):
                mention(note, to=sys.stderr if self._as_json else sys.stdout)
        if run.made is None:  # which steps are new is known once the save has been read
            return
        begun = run.made.saved.progress.step if run.made.saved else 0
        points, self._cursor = run.stream.since(self._cursor)
        for point in points:
            if point.step <= begun:
                continue
            if self._as_json:
                mention(json.dumps(_row(point)))
            elif point.validation_loss is not None or time.monotonic() - self._printed > 2:
                self._printed = time.monotonic()
                mention(_line(point, run))


class _ForALab(_Printer):
    """Prints only which run it is, for the lab that has started this process."""

    def begins(self, run: LiveRun) -> None:
        mention(json.dumps({"begins": run.status.run_id}))

    def show(self, run: LiveRun) -> None:
        pass


def _row(point: Any) -> dict[str, Any]:
    row = asdict(point)
    row["val_loss"] = row.pop("validation_loss")
    return row


def _line(point: Any, run: LiveRun) -> str:
    validation = f"  val {point.validation_loss:.3f}" if point.validation_loss is not None else ""
    left = time_left(run.stream.latest(SPEED_STEPS), run.setup, run.between)
    return (
        f"step {point.step:,} / {run.setup.train.steps:,}  loss {point.train_loss:.3f}{validation}"
        f"  lr {point.learning_rate:.2g}  {point.tokens_per_second:,.0f} tokens/s"
        f"  {point.seconds:.1f} s{'' if left is None else f', {clock(left)} left'}"
        f"  on {live_threads(run)}"
    )


def _summary(lab: Lab, *, as_json: bool, interrupted: bool) -> int:
    run = lab.trainings.current
    assert run is not None
    status = run.status
    if status.state == "failed" and status.field:
        raise ConfigError(status.field, status.reason)
    view = lab.runs.view(status.run_id)
    if as_json:
        summary = {
            "summary": True,
            "run": status.run_id,
            "state": status.state,
            "reason": status.reason,
            "step": status.step,
            "val_loss": view.validation_loss,
            "seconds": view.seconds,
            "corpus": run.made.corpus.name if run.made else "",
            "note": status.note,
            "parameters": run.parameters,
        }
        mention(json.dumps(summary))
    else:
        loss = (
            "" if view.validation_loss is None else f", validation loss {view.validation_loss:.3f}"
        )
        name = status.run_id or "The training"
        mention(f"{name} {status.state} after step {status.step:,}{loss}. {status.reason}")
        if status.run_id and status.state in ("stopped", "interrupted"):
            mention(f"Go on with it: transformer-lab resume {status.run_id}")
        if view.step:
            mention(f'Let it write: transformer-lab generate --run {status.run_id} --prompt "..."')
    if interrupted:
        return INTERRUPTED
    return FAILED if status.state == "failed" or run.unsaved else 0
