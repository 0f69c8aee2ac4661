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
GENERATE = "generate"
GENERATE_STOP = "generate-stop"
GENERATE_TICK = "generate-tick"
GENERATE_JOB = "generate-job"
GENERATE_MESSAGE = "generate-message"
GENERATE_CAPTION = "generate-caption"
DROP_UNKNOWN = "drop-unknown"
OUTPUT = "output"


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
