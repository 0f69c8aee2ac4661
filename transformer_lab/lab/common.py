"""What the labs of a class share: the thread that trains, the turns of jobs, and room in memory."""

from transformer_lab.lab.jobs import Turns
from transformer_lab.lab.shelves import Shelves
from transformer_lab.lab.training.shared_worker import SharedThread

PLACES, EACH = 4, 2  # jobs that compute at once, and how many of them may be one person's
BEGUN = 16  # jobs of one person that are under way or wait for their turn; more wait to be begun
TEXTS_ON_DISK = 200_000_000  # bytes of encoded texts that one person's lab keeps


class Common:
    """One for all labs of a class, which divide it among them in turns by person."""

    def __init__(self) -> None:
        self.thread = SharedThread()
        self.shelves = Shelves()
        self.turns = Turns(PLACES, EACH)
