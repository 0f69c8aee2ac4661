"""Trainings that wait for their turn, or for a computer of a cluster."""

import contextlib
import logging

from transformer_lab.lab.queue import UNREADABLE, QueueFullError, Waiting
from transformer_lab.lab.training.continuing import LabError, NoRoomError, resumption
from transformer_lab.lab.training.starting import Starting
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.settings import ConfigError

log = logging.getLogger(__name__)


class Queued(Starting):
    """What is started now or when its turn comes; what is for the cluster is sent from the queue,
    so that its order holds there too."""

    def start(self, setup: Setup, recipe: str = "custom", item: str = "") -> None:
        self.check_place(setup)
        if self.for_cluster(setup):
            self.enqueue(setup, recipe)
        else:
            super().start(setup, recipe, item)

    def start_item(self, item: Waiting) -> None:
        """Start what could also wait, now. Raises LabError, RunNotFoundError and ConfigError."""
        if not item.race and self.for_cluster(setup_from(item.setup)):
            self.add_to_queue(item)
        else:
            super().start_item(item)

    def resume(self, run_id: str | None = None, item: str = "") -> None:
        if run_id and self.cluster and not self._chosen(run_id, "paused"):
            begins = resumption(self.store, run_id)
            if self.for_cluster(setup_from(begins.setup)):
                self._refuse_if_busy(run_id)
                self.add_to_queue(begins)
                return
        super().resume(run_id, item)

    def enqueue(self, setup: Setup, recipe: str = "custom") -> None:
        """Train this when its turn comes. Raises ConfigError and LabError."""
        self.check_place(setup)
        if self.cluster:  # its computers are others: the rest is checked there
            self.texts.facts(setup)
        else:
            self.check(setup)
        self.add_to_queue(Waiting(kind="new", recipe=recipe, setup=setup.to_mapping()))

    def add_to_queue(self, item: Waiting) -> None:
        """Train this when its turn comes, which may be now. Raises LabError."""
        try:
            self.queue.add(item)
        except QueueFullError as error:
            raise LabError(str(error)) from None
        except OSError as error:
            raise LabError(f"The queue could not be written: {error.strerror}.") from error
        self._worker.submit(self._dispatch)

    def remove_from_queue(self, item_id: str) -> None:
        """Train this no more; nor where it waits for a computer of a cluster. Raises OSError."""
        self.queue.remove(item_id)
        for child in self.sent():
            if child.item == item_id and self.cluster:
                self.cluster.ask(child, "stop")

    def run_queue(self) -> None:
        """Let the waiting trainings start, those found on disk too."""
        self.queue.release()
        self._worker.submit(self._dispatch)

    def set_at_once(self, count: int) -> None:
        """How many trainings may run at the same time."""
        self.queue.set_at_once(count)
        self._worker.submit(self._dispatch)

    def _dispatch(self) -> None:
        """Start what waits, as far as there is room. On the worker's thread.

        Each stays in the queue until its run's folder is there; what cannot start says why.
        """
        for run in self._lanes:
            run.try_again()
        while item := self._next_in_turn():
            try:
                self._start_item(item, queued=True)
            except NoRoomError:
                break
            except (ConfigError, LabError, RunNotFoundError) as error:
                self.queue.set_problem(item.id, str(error))
            except Exception as error:
                log.exception("%s could not be started", item.run or item.recipe)
                self.queue.set_problem(item.id, _unexpected(item, error))
        self._end_turn()

    def _next_in_turn(self) -> Waiting | None:
        """What is to start now: asked again when no other lab of this home can start it too."""
        if self._closing or not self.queue.next(self._in_hand()):
            return None
        if not self._has_room_for_next() or not self.queue.take_turn():
            return None
        self.refresh()
        return self.queue.next(self._in_hand()) if self._has_room_for_next() else None

    def _has_room_for_next(self) -> bool:
        """On a cluster one after the other is sent, so that they keep their order."""
        if self.cluster:
            return self.cluster.has_room()
        item = self.queue.next(self._in_hand())
        return item is not None and self.has_room(_setup_of(item))


def _setup_of(item: Waiting) -> Setup | None:
    """What waits, to know its place; None where it is wrong, which is said when it starts."""
    with contextlib.suppress(ConfigError, *UNREADABLE):
        return setup_from(item.setup)
    return None


def _unexpected(item: Waiting, error: Exception) -> str:
    """Why a training could not begin, when nothing better is known."""
    if item.kind == "new":
        return f"It could not be started ({type(error).__name__}: {error})."
    return f"{item.run} cannot be read ({error}): it is damaged, or not whole."
