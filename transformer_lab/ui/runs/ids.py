"""Names of the parts of the Runs tab that callbacks speak of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

RUNS = "runs"
RUNS_TICK = "runs-tick"
RUNS_KNOWN = "runs-known"
RUNS_COUNT = "runs-count"
RUNS_FOLD = "runs-fold"
RUNS_MORE_COLUMNS = "runs-more-columns"
RUNS_COLORS = "runs-colors"  # of the curves that are compared, by run
RUNS_COMPARISON = "runs-comparison"  # the comparison whose row alone is chosen, or none
RUNS_SEARCH = "runs-search"
RUNS_MESSAGE = "runs-message"
RUNS_DETAIL = "runs-detail"
RACE_CARD = "race-card"  # a comparison that is open in Runs
RACE_SEEN = "race-seen"
RACE_TITLE = "race-title"
RACE_FACTS = "race-facts"
RACE_AWAY = "race-away"
RACE_VERDICT = "race-verdict"
RACE_CURVES = "race-curves"
RACE_TABLES = "race-tables"
RUNS_SEEN = "runs-seen"
RUNS_HINT = "runs-hint"
DETAIL_TITLE = "detail-title"
DETAIL_FACTS = "detail-facts"
DETAIL_REASON = "detail-reason"
DETAIL_LOSS = "detail-loss"
DETAIL_RATE = "detail-rate"
DETAIL_SETTINGS = "detail-settings"
DETAIL_SAMPLES = "detail-samples"
DETAIL_CHECKPOINTS = "detail-checkpoints"
DETAIL_ENVIRONMENT = "detail-environment"
DETAIL_LOG = "detail-log"
DETAIL_AWAY = "detail-away"
RUNS_PICKED = "runs-picked"
RUN_DELETE = "run-delete"
RUN_UNDO = "run-undo"
RUN_DELETED = "run-deleted"
RUN_NOTES = "run-notes"
RUN_RESUME = "run-resume"
RUN_SHOW = "run-show"
RUN_EXTEND = "run-extend"
RUN_MORE = "run-more"
RUN_IMPORT = "run-import"
RUN_IMPORTED = "run-imported"
OVERLAY = "overlay"
OVERLAY_AXIS = "overlay-axis"
OVERLAY_SHOWN = "overlay-shown"
OVERLAY_SMOOTH = "overlay-smooth"
OVERLAY_CARD = "overlay-card"
DIFFERENCES = "differences"
QUEUE = "queue"
QUEUE_HEAD = "queue-head"
QUEUE_RUN = "queue-run"
AT_ONCE = "at-once"
CLUSTER = "cluster"


@dataclass(frozen=True)
class QueueButton:
    """A button of one training in the queue: `what` is up, down or remove; or take-off, of a run
    that waits for another computer of a cluster."""

    what: str
    item: str

    def as_id(self) -> dict[str, str]:
        """As Dash takes it."""
        return {"type": "queue-button", **asdict(self)}


@dataclass(frozen=True)
class CheckpointButton:
    """The button that branches from a checkpoint of the run shown."""

    checkpoint: str

    def as_id(self) -> dict[str, str]:
        """As Dash takes it."""
        return {"type": "checkpoint-button", **asdict(self)}


def queue_button(triggered: object) -> QueueButton | None:
    """The button of the queue that has this id, as `ctx.triggered_id` gives it."""
    if isinstance(triggered, Mapping) and triggered.get("type") == "queue-button":
        return QueueButton(str(triggered["what"]), str(triggered["item"]))
    return None


def checkpoint_button(triggered: object) -> CheckpointButton | None:
    """The button of a checkpoint that has this id, as `ctx.triggered_id` gives it."""
    if isinstance(triggered, Mapping) and triggered.get("type") == "checkpoint-button":
        return CheckpointButton(str(triggered["checkpoint"]))
    return None
