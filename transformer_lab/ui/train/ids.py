"""Names of the parts of the Train tab that callbacks speak of."""

CURSOR = "cursor"
REFRESH = "refresh"
PLAN = "plan"
LOCKED_NOTE = "locked-note"

RECIPE = "recipe"
RECIPE_SUMMARY = "recipe-summary"
DIFFERS = "differs"
SETTINGS_SEARCH = "settings-search"
SETTINGS_FOUND = "settings-found"  # says when no setting has the words searched for
UNUSED = "unused"  # the advanced settings that have no effect now
MODIFIED = "modified"
UNDO = "undo"
CORPUS_NOTE = "corpus-note"
INITIALIZE = "initialize"
START = "start"
PAUSE = "pause"
STOP = "stop"
START_OVER = "start-over"
START_OVER_ASK = "start-over-ask"
START_OVER_WORDS = "start-over-words"
START_OVER_YES = "start-over-yes"
START_OVER_NO = "start-over-no"
APPLY_RATE = "apply-rate"
LIVE_ACTIONS = "live-actions"
MESSAGE = "message"
PREFLIGHT = "preflight"
OFFER = "offer"
WHY = "why"

RUN = "run"
STATE = "state"
RUN_SHOWN = "run-shown"  # the id of the run whose charts are there
RUN_BEFORE = "run-before"  # the id of the run it is compared with
AFTER = "after"  # what to do with a run that has ended
AFTER_GENERATE = "after-generate"
AFTER_LOOK = "after-look"
AFTER_COMPARE = "after-compare"
AFTER_FURTHER = "after-further"


def strip_number(name: str) -> str:
    """One of the numbers over the charts."""
    return f"strip-{name}"


LOSS = "loss-chart"
SMOOTHING = "smoothing"  # of the loss that is drawn, by the browser
PERPLEXITY = "perplexity-chart"
RATE = "rate-chart"
SAMPLE = "sample"
SAMPLE_STEP = "sample-step"
COACH = "coach"  # what it says of the run, and the press that helps
MILESTONE_CARD = "milestone-card"
MILESTONE_TITLE = "milestone-title"
MILESTONE_TEXTS = "milestone-texts"
GENERATE_NOW = "generate-now"
PANEL = "panel"

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

SETTLING_CARD = "settling-card"
SETTLING_CHART = "settling-chart"
SETTLING_STEP = "settling-step"
SETTLING_TICK = "settling-tick"
SETTLING_SEEN = "settling-seen"
