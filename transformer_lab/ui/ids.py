"""Names of the parts of the page that callbacks speak of."""

TABS = "tabs"
TICK = "tick"
CURSOR = "cursor"
REFRESH = "refresh"
PLAN = "plan"
HEADLINE = "headline"

RECIPE = "recipe"
RECIPE_SUMMARY = "recipe-summary"
MODIFIED = "modified"
UNDO = "undo"
CORPUS_NOTE = "corpus-note"
INITIALIZE = "initialize"
START = "start"
PAUSE = "pause"
STOP = "stop"
START_OVER = "start-over"
APPLY_RATE = "apply-rate"
LIVE_ACTIONS = "live-actions"
MESSAGE = "message"
PREFLIGHT = "preflight"
OFFER = "offer"
WHY = "why"

RUN = "run"
STATE = "state"
LOSS = "loss-chart"
PERPLEXITY = "perplexity-chart"
RATE = "rate-chart"
SAMPLE = "sample"
SAMPLE_STEP = "sample-step"
PANEL = "panel"

WRITER = "writer"
MOMENT_BAR = "moment-bar"
MOMENT = "moment"
MOMENT_STEPS = "moment-steps"
MOMENT_AT = "moment-at"  # {"run", "step", "newest"}: which weights Generate and Look inside show
MOMENT_LABEL = "moment-label"
MOMENT_TICK = "moment-tick"
PLAY = "play"
PLAY_TICK = "play-tick"
GENERATE = "generate"
GENERATE_STOP = "generate-stop"
GENERATE_TICK = "generate-tick"
WRITING = "writing"  # {"shown": [ids of one or two writings]}
WRITTEN = "written"  # how much of each is on the page
WRITINGS = "writings"  # the tree of all that this page has asked for
PICKED = "picked"  # {"writing", "place"}: the token that is looked at
PICKED_HEAD = "picked-head"
PICKED_BODY = "picked-body"
BRANCHES = "branches"
AGAINST = "against"
AGAINST_STEP = "against-step"
OUTPUT_2 = "output-2"
CAPTION_2 = "caption-2"
OUTPUT_2_BOX = "output-2-box"
GENERATE_MESSAGE = "generate-message"
GENERATE_CAPTION = "generate-caption"
DROP_UNKNOWN = "drop-unknown"
OUTPUT = "output"

TEXT = "text"
TEXT_FACTS = "text-facts"
TEXT_PREVIEW = "text-preview"
TEXT_PROBLEM = "text-problem"
TEXT_OWN = "text-own"
TEXT_MESSAGE = "text-message"
TEXT_TOKENIZER = "text-tokenizer"
TEXT_VOCABULARY = "text-vocabulary"
DOWNLOAD = "download"
TRAIN_ON = "train-on"
UPLOAD = "upload"
UPLOADED = "uploaded"
PASTE = "paste"
PASTE_NAME = "paste-name"
PASTE_TEXT = "paste-text"
PATH = "path"
ADD_PATH = "add-path"
NEW_NAME = "new-name"
RENAME = "rename"
DELETE = "delete"
STUDY = "study"
STUDY_TICK = "study-tick"
STUDY_STATE = "study-state"
STUDIED = "studied"
SENTENCE = "sentence"
TOKENS = "tokens"
COSTS = "costs"
MERGES = "merges"
MERGE = "merge"
MERGED = "merged"
RANKS = "ranks"
FREQUENT = "frequent"
VERIFIED = "verified"

BRANCH = "branch"
BRANCH_LINE = "branch-line"
BRANCH_CANCEL = "branch-cancel"
ENQUEUE = "enqueue"
KEEP = "keep"
RESUME_OFFER = "resume-offer"
RESUME_WORDS = "resume-words"
RESUME_NOW = "resume-now"
RESUME_LATER = "resume-later"
RESUME_DISMISSED = "resume-dismissed"

RUNS = "runs"
RUNS_TICK = "runs-tick"
RUNS_KNOWN = "runs-known"
RUNS_COUNT = "runs-count"
RUNS_SEARCH = "runs-search"
RUNS_MESSAGE = "runs-message"
RUNS_DETAIL = "runs-detail"
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

AUDIT_MODEL = "audit-model"
AUDIT_START = "audit-start"
AUDIT_JOB = "audit-job"
AUDIT_TICK = "audit-tick"
AUDIT_CAPTION = "audit-caption"
AUDIT_PROOFS = "audit-proofs"


def queue_button(what: str, item: str) -> dict[str, str]:
    """A button of one training in the queue: up, down or remove."""
    return {"type": "queue-button", "what": what, "item": item}


def checkpoint_button(checkpoint: str) -> dict[str, str]:
    """The button that branches from a checkpoint of the run shown."""
    return {"type": "checkpoint-button", "checkpoint": checkpoint}


def alternative(token: int) -> dict[str, str]:
    """The button that branches with another token."""
    return {"type": "alternative", "token": str(token)}


def writing_button(writing: str) -> dict[str, str]:
    """The button that shows a writing of the tree."""
    return {"type": "writing-button", "writing": writing}


def setting(group: str, name: str) -> dict[str, str]:
    """The control of one setting."""
    return {"type": "setting", "group": group, "name": name}


def sample_setting(name: str) -> dict[str, str]:
    """The control of one setting of Generate."""
    return {"type": "sample-setting", "name": name}


def problem(group: str, name: str) -> dict[str, str]:
    """Where the error of one setting is shown."""
    kind = "sample-problem" if group == "sample" else "problem"
    return {"type": kind, "group": group, "name": name}
