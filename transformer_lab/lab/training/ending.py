"""How a training ends: saved, or kept in memory until the disk takes it."""

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from transformer_lab.exchange import ExportRefusedError
from transformer_lab.lab.training.recorded import RecordedRun
from transformer_lab.lab.training.rescue import packed, rescued
from transformer_lab.lab.training.saves import Saves
from transformer_lab.runs.database import RunWriter, State
from transformer_lab.training import NonFiniteLossError
from transformer_lab.training.micro_batches import OutOfMemoryError
from transformer_lab.training.ranks import RankLostError

RETRY_SECONDS = 5.0  # between two tries to save what a full disk did not take
KEPT_IN_MEMORY = (
    "Nothing is lost as long as the lab runs: make room on the disk, and it is saved by itself, or "
    "when you press Stop. Or take the whole run away (Runs tab). Deleting it gives it up."
)


class EndingRun(RecordedRun):
    """A training that can end: stopped, failed, finished, or given up before its first step."""

    def stop(self, reason: str = "", state: State = "stopped") -> None:
        """End early; the weights are saved. As `interrupted` it ends for good, saved or not."""
        if self.ended:
            return
        self.move("stopping")
        last_try = state == "interrupted"
        if self._ending:
            self._finish(last_try=last_try)
        else:
            self._end(state, reason, last_try=last_try)

    def fail(self, error: Exception) -> None:
        """The training raised: keep the last good weights and say why."""
        if self.ended:  # it was the ending itself that raised
            return
        known = isinstance(error, NonFiniteLossError | RankLostError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        if isinstance(error, OutOfMemoryError) and not self.live.halves:
            reason = str(error)
        elif isinstance(error, MemoryError) or "not enough memory" in reason:
            reason = (
                "There was not enough memory for even one sequence: halve Sequence Length, "
                "Layers or Embedding Dimension."
            )
        self._end("failed", reason)

    def _give_up(self, state: State, reason: str, *, field: str = "") -> None:
        """End before the first step; what is on disk stays as it was."""
        if self._writer is not None:
            self._writer.state(state, self.status.step, reason)
        self._let_go(state, reason, field)

    def _end(
        self,
        state: State,
        reason: str = "",
        *,
        validation_loss: float | None = None,
        last_try: bool = False,
    ) -> None:
        """Save, record the state, release the folder: every end of a training comes here."""
        if self._steps is None:
            self._give_up(state, reason)
            return
        self._ending = state, reason
        try:
            self._steps.close()
            self._copy_last(validation_loss)
        except BaseException:
            self._let_go(state, reason)
            raise
        if self.ranks.lost:
            state = "failed" if state == "stopped" else state
            self._ending = state, f"{reason} {self._saves.stays().capitalize()} saved."
        self._finish(last_try=last_try)

    def _copy_last(self, validation_loss: float | None) -> None:
        """Publish the last weights, unless parts of them are out of reach."""
        with contextlib.suppress(RankLostError):
            if not self.ranks.lost:
                self.publish(announce=False)
                self._saves.remember_best(self.snapshot, validation_loss)
                self._saves.remember_moment(self.snapshot, last=True)

    def _finish(self, *, last_try: bool = False) -> None:
        """Write the end to disk. Where that is full, it stays in memory and is tried again."""
        assert self._ending is not None
        state, reason = self._ending
        try:
            self.unsaved = self._unwritten(state, reason)
        except BaseException:
            self._let_go(state, reason)
            raise
        self._tried = time.monotonic()
        if self.unsaved and not last_try:
            self.move("paused")
            self.update(reason=f"{self.unsaved} {KEPT_IN_MEMORY}")
            return
        if self.unsaved:
            state = "failed" if state == "failed" else "interrupted"
            reason = f"{reason} {self.unsaved}".strip()
            self.writer.state(state, self.status.step, reason)
        self._let_go(state, reason)
        self._on_snapshot(self, True)

    def try_again(self) -> None:
        """Try again to write an end that could not be written, every few seconds."""
        if self._ending and not self.ended and time.monotonic() - self._tried > RETRY_SECONDS:
            self._finish()

    def abandon(self, kept_in: Path | None = None) -> None:
        """Give up saving the end; `kept_in` names a copy of the run elsewhere."""
        if self._ending and not self.ended:
            self._kept_in = kept_in
            self._finish(last_try=True)

    def rescue(self, folders: Sequence[Path]) -> Path | None:
        """Write the whole run to a .zip in the first of the folders that has room for it."""
        if not self._ending or self.made is None:
            return None
        for folder in folders:
            try:
                with rescued(self.writer, folder) as copy:
                    saves = Saves(copy, self.setup.train, lambda problem: None, self.ranks)
                    saves.best, saves.best_loss = self._saves.best, self._saves.best_loss
                    tokenizer = self.made.encoded.tokenizer
                    progress = self._progress()
                    if saves.save(self.made.model, self._optimizer, tokenizer, progress):
                        return packed(copy, folder)
            except (OSError, sqlite3.Error, ExportRefusedError):
                continue
        return None

    def _unwritten(self, state: State, reason: str) -> str:
        """Write everything; returns a sentence when that fails, else ""."""
        with contextlib.suppress(RankLostError):  # then an earlier save is the last
            if not self.ranks.lost and not self.save():
                return self._saves.problem
        self._prefer_best()
        return self.writer.flush() or self.writer.state(state, self.status.step, reason)

    def _let_go(self, state: State, reason: str, field: str = "") -> None:
        """Release the folder, so that the run can be resumed or deleted; set the final state."""
        self._ending, problem = None, ""
        try:
            if self._writer is not None:
                problem = self._close_writer(self._writer)
        finally:
            self.origin.release()
            self.move("stopping")
            self.move(state, reason=f"{reason} {problem}".strip(), field=field)

    def _close_writer(self, writer: RunWriter) -> str:
        """Release the folder; returns a sentence when not everything was written, else ""."""
        if self._kept_in:
            writer.discard()
        return writer.close() or (f"All of it is in {self._kept_in}." if self._kept_in else "")

    def _prefer_best(self) -> None:
        """With `keep_best`, publish the best weights from now on."""
        best, loss = self._saves.best, self._saves.best_loss
        if best and self.setup.train.keep_best and best.step != self.status.step:
            self._note(
                f"It writes with the weights of step {best.step:,}, where the validation loss was "
                f"lowest ({loss:.3f})."
            )
            self.snapshot = best
