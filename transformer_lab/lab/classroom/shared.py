"""Runs that people of a class share: copies, which nobody changes and everybody may copy again.

A copy is a run's archive (weights, curves and samples, without the state of its training). Whoever
takes it gets a run of their own; the shared copy and the run it was made of stay as they are.
"""

import json
import secrets
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from transformer_lab.exchange import ExportRefusedError
from transformer_lab.exchange.forms import FORMS
from transformer_lab.lab.classroom.people import UNREADABLE
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.runs.files import write_json
from transformer_lab.runs.run import DamagedRunError, RunNotFoundError
from transformer_lab.settings import ConfigError

TEACHER = "teacher"  # who shares, besides the ids of people
FORM = "weights.zip"
MOST_EACH = 10  # runs of one person


@dataclass(frozen=True, kw_only=True)
class SharedRun:
    """What is known of one: whose it is, and what their run was when it was shared."""

    id: str
    owner: str
    by: str
    run: str
    title: str
    corpus: str
    step: int
    loss: float | None
    nbytes: int
    when: float


class Shared:
    """All shared runs, in a folder. Any thread may ask it. Raises ConfigError if it is spoiled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = folder / "shared.json"
        self._lock = threading.Lock()
        self._runs: list[SharedRun] = []
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if self._index.exists():
                stored = json.loads(self._index.read_text(encoding="utf-8"))
                self._runs = [SharedRun(**one) for one in stored["runs"]]
        except UNREADABLE as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                "classroom", f"{self._index} cannot be used ({why}): mend it, or move it away."
            ) from error

    def all(self) -> list[SharedRun]:
        """Every shared run, the newest first."""
        return self._runs[::-1]

    def find(self, shared_id: str) -> SharedRun | None:
        """One by its id."""
        return next((one for one in self._runs if one.id == shared_id), None)

    def bytes_of(self, owner: str) -> int:
        """What the copies that somebody shares take."""
        return sum(one.nbytes for one in self._runs if one.owner == owner)

    def share(self, lab: Lab, run_id: str, owner: str, by: str) -> SharedRun:
        """Put a copy of a run, as it is now, where everybody sees it. Raises LabError."""
        if sum(one.owner == owner for one in self._runs) >= MOST_EACH:
            raise LabError(f"You share {MOST_EACH} runs, which is all one can: take one back.")
        found = next((run for run in lab.runs.all() if run.id == run_id), None)
        if found is None:
            raise LabError("Choose one of your runs to share.")
        shared_id = secrets.token_hex(8)
        place = self._place(shared_id)
        try:
            with place.open("xb") as stream:
                FORMS[FORM](lab.runs.open(run_id).folder, stream)
            made = SharedRun(
                id=shared_id,
                owner=owner,
                by=by,
                run=run_id,
                title=found.name,
                corpus=found.corpus,
                step=found.step,
                loss=found.validation_loss,
                nbytes=place.stat().st_size,
                when=time.time(),
            )
            with self._lock:
                self._keep([*self._runs, made])
        except (ExportRefusedError, ConfigError, DamagedRunError, RunNotFoundError) as error:
            place.unlink(missing_ok=True)
            raise LabError(str(error)) from error
        except OSError as error:
            place.unlink(missing_ok=True)
            raise LabError(f"{run_id} could not be shared: {error.strerror}.") from error
        return made

    def take(self, lab: Lab, shared_id: str) -> str:
        """Copy a shared run into a lab; its id there. Raises LabError and ImportRefusedError."""
        found = self.find(shared_id)
        if found is None:
            raise LabError("This run is no longer shared: choose another one.")
        try:
            with self._place(found.id).open("rb") as stream:
                return lab.runs.bring_in(stream, found.run)
        except OSError as error:
            raise LabError(f"{found.title} could not be copied: {error.strerror}.") from error

    def take_back(self, shared_id: str, owner: str) -> SharedRun:
        """Show a run to nobody any longer; copies stay. Raises LabError, also for another's."""
        found = self.find(shared_id)
        if found is None:
            raise LabError("This run is no longer shared.")
        if owner not in (found.owner, TEACHER):
            raise LabError(f"Only {found.by} and the teacher can take this run back.")
        try:
            with self._lock:
                self._keep([one for one in self._runs if one.id != found.id])
            self._place(found.id).unlink(missing_ok=True)
        except OSError as error:
            raise LabError(f"That could not be written: {error.strerror}.") from error
        return found

    def _keep(self, runs: list[SharedRun]) -> None:
        write_json(self._index, {"format": 1, "runs": [asdict(one) for one in runs]})
        self._runs = runs

    def _place(self, shared_id: str) -> Path:
        """Where a copy is; for ids that are in the index only."""
        return self._folder / f"{shared_id}.zip"
